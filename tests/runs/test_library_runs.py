"""Environments of Brax and Playground by the commands that a user types: train, score, film."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eval_render
import train
from mjx_dm.checkpoints.policy import keep_policy, load_policy
from mjx_dm.config import replace
from mjx_dm.drawing.mp4 import read_frames
from mjx_dm.drawing.opengl import find_gl, gl_advice
from mjx_dm.learner import networks
from mjx_dm.presets import PRESETS
from mjx_dm.runs import plots
from mjx_dm.training import normalisation
from mjx_dm.types import Spaces

# As small as it gets: what takes the time is compiling.
TINY = [
    *("--preset", "smoke", "--env-steps", "64", "--num-envs", "4", "--random-steps", "16"),
    *("--chunk-iterations", "8", "--batch-size", "8", "--actor-batch-size", "4"),
    *("--actor-widths", "8", "--critic-widths", "8"),
]
# Each of its environments compiles for a minute or two.
BRAX = [
    ("brax:inverted_pendulum", ["backend=spring", "episode_length=20"], "brax (spring)"),
    ("brax:ant", ["backend=mjx", "episode_length=20"], "brax (mjx)"),
]
PLAYGROUND = [
    ("playground:CartpoleBalance", ["episode_length=20"], "playground (jax)"),
    ("playground:SliderWithAHiddenPush", ["episode_length=20"], "playground (jax)"),
]


def trained(task, options, run):
    arguments = ["--task", task, "--task-options", *options, *TINY, "--run-dir", str(run)]
    assert train.main(arguments) == 0
    return run


def scored(run):
    """The report of one episode, and the frames of its video."""
    if find_gl() is None:
        pytest.skip(gl_advice())
    small = ["--width", "64", "--height", "48", "--seconds", "0.5"]
    assert eval_render.main([str(run / "best"), "--episodes", "1", *small]) == 0
    report = json.loads((run / "best" / "eval" / "eval.json").read_text())
    return report, read_frames(next((run / "best" / "videos").glob("*.mp4")))


@pytest.fixture(scope="module")
def finished(rail, tmp_path_factory):
    """A run of the toy of `toys`, with its replay."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "plot_run", lambda *args: None)  # it takes as long as the rest
        run = tmp_path_factory.mktemp("runs") / "rail"
        yield trained("brax:rail", ["episode_length=10"], run)


@pytest.mark.slow
def test_a_library_task_is_scored_and_filmed_in_its_own_simulation(finished):
    report, frames = scored(finished)
    assert report["env"] is None and report["task"] == "brax:rail"
    assert "no Gymnasium environment was asked" in report["scored_by"]
    assert report["options"] == {"episode_length": 10} and report["versions"]["brax"]
    assert report["lengths"] == [10] and report["seeds"] == [1000]
    assert len(frames) == 15 and frames.std() > 1  # half a second


@pytest.mark.slow
def test_it_is_resumed_with_its_replay(finished, capsys):
    again = ["--run-dir", str(finished), "--resume", "--env-steps", "96"]
    assert train.main(again) == 0
    assert "Resumed at 64 environment steps, with its replay" in capsys.readouterr().out


@pytest.mark.slow
def test_its_policy_loads_from_the_run_and_from_its_file(finished):
    """Acting needs what the policy sees alone, and no library."""
    saved = json.loads((finished / "config.json").read_text())
    assert saved["spaces"]["privileged_size"] == 3 and saved["physics"]["engine"] == "auto"
    obs = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    for path in (finished, finished / "best"):
        action = load_policy(path).act(obs)
        assert action.shape == (5, 1) and (np.abs(action) <= 1).all()


@pytest.mark.slow
def test_a_rule_that_asks_the_critic_is_refused_where_it_sees_more(finished, capsys):
    asked = [str(finished), "--action-rule", "best_of", "--episodes", "1", "--no-video"]
    assert eval_render.main(asked) == 2
    assert "asks the critic, which sees more of brax:rail" in capsys.readouterr().err


def test_a_policy_of_playground_acts_without_it_and_its_score_names_the_extra(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "mujoco_playground", None)
    monkeypatch.delitem(sys.modules, "mjx_dm.tasks.libraries.playground", raising=False)
    settings = replace(PRESETS["smoke"], task="playground:CartpoleBalance")
    spaces = Spaces(5, 1, (-1.0,), (1.0,), 3)
    actor = networks.policy_network(settings, spaces).init(jax.random.key(0), jnp.zeros((1, 5)))
    keep_policy(tmp_path, settings, spaces, 64, actor, normalisation.init((8,)), 1)
    policy = load_policy(tmp_path)
    assert policy.act(np.zeros(5, np.float32)).shape == (1,)
    assert policy.spaces == spaces
    assert eval_render.main([str(tmp_path), "--episodes", "1"]) == 2
    assert "pip install 'mjx-dm[playground]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (["--engine", "mjx"], "--engine mjx is for this program's own tasks: brax simulates"),
        (["--physics", "fast"], "--physics fast is for this program's own tasks"),
        (["--mirror", "on"], "--mirror on needs a task whose left and right are known"),
        (["--task-options", "wind=1"], "brax:rail has no option 'wind'"),
    ],
)
@pytest.mark.usefixtures("rail")
def test_settings_without_a_meaning_are_refused_in_a_sentence(asked, sentence, tmp_path, capsys):
    run = tmp_path / "run"
    assert train.main(["--task", "brax:rail", *TINY, *asked, "--run-dir", str(run)]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1 and not run.exists()


@pytest.fixture
def hidden_push(monkeypatch):
    """Registers an environment of Playground's own kind, with a privileged state: those that it
    brings need robots that are downloaded."""
    suite = pytest.importorskip("mujoco_playground").dm_control_suite
    from playground_toy import HiddenPush, default_config

    monkeypatch.setitem(suite._envs, "SliderWithAHiddenPush", HiddenPush)
    monkeypatch.setitem(suite._cfgs, "SliderWithAHiddenPush", default_config)


@pytest.mark.slow
@pytest.mark.usefixtures("broadcasts")
@pytest.mark.parametrize(("task", "options", "simulation"), BRAX)
def test_an_environment_of_brax_trains_scores_and_films(task, options, simulation, tmp_path):
    report, frames = scored(trained(task, options, tmp_path / "run"))
    assert report["simulation"] == simulation and report["lengths"][0] <= 20
    assert len(frames) > 1 and frames.std() > 1


@pytest.mark.slow
@pytest.mark.usefixtures("broadcasts", "hidden_push")
@pytest.mark.parametrize(("task", "options", "simulation"), PLAYGROUND)
def test_an_environment_of_playground_trains_scores_and_films(task, options, simulation, tmp_path):
    run = trained(task, options, tmp_path / "run")
    report, frames = scored(run)
    assert report["simulation"] == simulation and report["lengths"] == [20]
    assert len(frames) > 1 and frames.std() > 1
    spaces = json.loads((run / "config.json").read_text())["spaces"]
    assert (spaces["privileged_size"] is not None) == (task == "playground:SliderWithAHiddenPush")
