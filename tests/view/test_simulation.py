"""What is watched: an episode as it is scored, pushed, and under the policy that was chosen."""

import contextlib
import shutil
import sys
import threading
import time

import glfw
import numpy as np
import pytest
from watched import TASK, keep_untrained

from mjx_dm.checkpoints.policy import load_policy
from mjx_dm.evaluation.evaluate import evaluate
from mjx_dm.view import window
from mjx_dm.view.__main__ import main
from mjx_dm.view.choices import BEST, NEWEST, Choices, Switch
from mjx_dm.view.simulation import PUSH_SECONDS, Simulation

SEED = 7


@pytest.fixture(scope="module")
def policy(run):
    return load_policy(run.folder)


@pytest.fixture
def simulation(policy):
    simulation = Simulation(TASK, policy, SEED)
    yield simulation
    simulation.close()


def pose(simulation):
    return simulation.data.qpos.copy()


def test_an_episode_that_is_watched_is_the_one_that_is_scored(simulation, policy):
    scored = evaluate(policy, TASK, episodes=1, seed=SEED)
    moments = []
    while simulation.episode == 0:
        simulation.step()
        moments.append(simulation.moment)
    assert len(moments) == scored.lengths[0] > 2
    before_last = moments[-2]
    assert set(before_last.terms) == {"reward_forward", "reward_ctrl", "reward_survive"}
    assert sum(before_last.terms.values()) == pytest.approx(before_last.reward, abs=1e-6)
    assert before_last.weights.shape == (3,) and before_last.weights.sum() == pytest.approx(1.0)
    assert f"after {scored.lengths[0]} steps, return {scored.mean:,.1f}" in simulation.ended


def test_it_moves_while_it_plays_and_at_the_pace_that_is_asked_for(simulation):
    start = pose(simulation)
    simulation.is_playing = False
    assert not simulation.advance(1.0)
    np.testing.assert_array_equal(pose(simulation), start)
    simulation.is_playing, simulation.speed = True, 0.5
    assert simulation.advance(8 * TASK.step_seconds, most_seconds=60.0)
    assert simulation.steps == 4
    assert np.abs(pose(simulation) - start).max() > 1e-4
    simulation.reset()
    assert (simulation.episode, simulation.steps) == (1, 0)


def test_a_push_moves_the_robot_and_ends(simulation, policy):
    pushed = Simulation(TASK, policy, SEED)
    directions = pushed.directions()
    assert set(directions) == {"+x", "-x", "+z"}, "a hopper moves in a plane"
    pushed.push(directions["+x"], 1.0)
    steps = round(PUSH_SECONDS / TASK.step_seconds)
    assert pushed.steps + steps < 40
    for step in range(3):
        pushed.step()
        simulation.step()
        assert pushed.data.xfrc_applied[pushed.root, 0] > 0, step
    assert pushed.data.qvel[0] - simulation.data.qvel[0] > 0.1
    pushed.policy = policy
    while pushed.data.xfrc_applied.any():
        pushed.step()
    assert pushed.episode > 0 or pushed.steps == steps
    pushed.close()


def test_what_is_chosen_is_loaded_and_the_newest_is_followed(run, simulation):
    choices = Choices(run.folder)
    assert choices.names() == [NEWEST, BEST, "200 steps", "100 steps"]
    switch = Switch(choices, simulation, NEWEST, 200)
    kept = simulation.policy
    switch.poll()
    switch.wait()
    assert simulation.policy is kept, "the newest is loaded already"
    run.save(300)
    switch.poll()
    switch.wait()
    assert (simulation.policy.env_steps, switch.status) == (300, "")
    switch.choose(BEST)
    switch.wait()
    assert (simulation.policy.env_steps, simulation.policy.eval_return) == (150, 77.5)
    switch.choose("100 steps")
    switch.wait()
    assert simulation.policy.env_steps == 100
    shutil.rmtree(run.folder / "checkpoints" / f"{300:012d}")
    switch.choose("300 steps")
    switch.wait()
    assert switch.status == "The checkpoint of 300 steps is not kept any more."
    assert simulation.policy.env_steps == 100


class Handle:
    """What launch_passive gives, for as many frames as it is told."""

    def __init__(self, frames):
        self.frames, self.synced = frames, 0

    def is_running(self):
        return self.synced < self.frames

    def lock(self):
        return contextlib.nullcontext()

    def sync(self):
        self.synced += 1


def test_the_window_plays_and_hears_keys(run, simulation):
    switch = Switch(Choices(run.folder), simulation, BEST)
    handle, keys = Handle(10), window.Keys(simulation)
    window.play_in(handle, simulation, switch)
    assert handle.synced == 10 and (simulation.episode, simulation.steps) > (0, 0)
    keys(glfw.KEY_LEFT)
    assert simulation.speed == 0.5
    keys(glfw.KEY_UP)
    assert simulation.data.xfrc_applied[simulation.root, 0] > 0
    keys(glfw.KEY_SPACE)
    assert not simulation.is_playing
    before = simulation.episode
    keys(glfw.KEY_R)
    assert (simulation.episode, simulation.steps) == (before + 1, 0)


def test_the_command_names_what_is_missing(run, monkeypatch, capsys):
    monkeypatch.setattr(glfw, "init", lambda: False)
    assert main([str(run.folder), "--window"]) == 2
    assert "no display here for --window" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "viser", None)
    monkeypatch.setitem(sys.modules, "mjviser", None)
    assert main([str(run.folder)]) == 2
    assert "pip install 'mjx-dm[view]'" in capsys.readouterr().err


def test_a_view_is_of_our_own_tasks(rail, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mjx_dm.view.__main__._missing", lambda options: None)
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "There is no policy in" in capsys.readouterr().err
    keep_untrained(tmp_path, "brax:rail")
    assert main([str(tmp_path)]) == 2
    assert "the view is for this program's own tasks" in capsys.readouterr().err


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_panel_tells_of_the_episode_as_it_goes(run, simulation):
    pytest.importorskip("mjviser", reason="the extra view is not installed")
    from mjx_dm.view.page import Page

    choices = Choices(run.folder)
    switch = Switch(choices, simulation, BEST)
    with pytest.raises(OSError):
        Page(simulation, choices, switch, "192.0.2.1", 8180)  # of no machine, by RFC 5737
    page = Page(simulation, choices, switch, "127.0.0.1", 8180)
    assert page.address.startswith("http://127.0.0.1:")
    thread = threading.Thread(target=page.run)
    thread.start()
    while simulation.episode == 0 and thread.is_alive():
        time.sleep(0.05)
    simulation.is_playing = False
    time.sleep(0.5)
    page.close()
    thread.join()
    assert "ended after" in page.told and f"Episode {simulation.episode}" in page.told
