"""A run as a user sees it: train.py, its directory, --resume, eval_render.py."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from limits import Limit, communicate, give

import eval_render
import train
from mjx_dm.checkpoints import policy_file
from mjx_dm.checkpoints.policy import load_policy
from mjx_dm.checkpoints.saving import latest_step, restore_arrays
from mjx_dm.config import replace
from mjx_dm.evaluation.evaluate import NoScore, evaluate
from mjx_dm.presets import PRESETS
from mjx_dm.records import read_metrics
from mjx_dm.report.sessions import read_sessions
from mjx_dm.runs import health, initial, kernels, launching, plots, scoring, starting
from mjx_dm.runs import loop as runs
from mjx_dm.runs.clock import WallClock
from mjx_dm.runs.keeping import Keeper, saved_of
from mjx_dm.runs.launching import Launch, Launcher
from mjx_dm.runs.lock import owned
from mjx_dm.runs.scoring import EVAL_SEED
from mjx_dm.training import program as training
from mjx_dm.training import replay as ring
from mjx_dm.training.program import TrainState
from mjx_dm.training.worlds import make_worlds

ROOT = Path(__file__).parents[2]
SMOKE = ["--preset", "smoke"]
# Rewards that are normalised depend on all that came before, also before a run was resumed.
NORMALIZED = [*SMOKE, "--normalize-reward"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The directory of a smoke run that ended by itself."""
    directory = tmp_path_factory.mktemp("runs") / "smoke"
    assert train.main([*NORMALIZED, "--run-dir", str(directory)]) == 0
    return directory


def test_a_run_leaves_its_settings_metrics_checkpoint_and_plots(finished):
    saved = json.loads((finished / "config.json").read_text())
    assert saved["run"]["preset"] == "smoke" and saved["spaces"]["action_size"] == 17
    assert sorted(p.name for p in (finished / "plots").iterdir()) == [
        "diagnostics.png",
        "learning_curve.png",
    ]
    assert [p.name for p in (finished / "checkpoints").iterdir()] == ["000000000512"]
    metrics = read_metrics(finished / "metrics.jsonl")
    assert metrics["step"][-1] == 512
    for key in ("critic_loss", "temperature", "ess", "steps_per_second", "eval_return"):
        assert key in metrics


def test_a_run_leaves_its_page_and_what_its_time_went_to(finished):
    assert "Mean return" in (finished / "report.html").read_text()
    (session,) = read_sessions(finished)
    assert session.ended == "ended" and session.machine["platform"] == "cpu"
    assert session.seconds["training"] > 0 and session.seconds["evaluation"] > 0


def test_evaluation_is_the_same_twice_and_the_same_as_in_training(finished, tmp_path):
    reports = []
    for name in ("a", "b"):
        played = ["--episodes", "1", "--seed", str(EVAL_SEED), "--no-video"]
        arguments = [str(finished), *played, "--out", str(tmp_path / name)]
        assert eval_render.main(arguments) == 0
        reports.append(json.loads((tmp_path / name / "eval.json").read_text()))
    assert reports[0]["returns"] == reports[1]["returns"]
    assert reports[0]["action_rule"] == "mixture mean, clipped"
    in_training = read_metrics(finished / "metrics.jsonl")["eval_return"][-1]
    assert reports[0]["mean"] == pytest.approx(in_training, rel=1e-6)


def test_a_run_is_resumed_where_it_ended(finished, tmp_path, capsys, monkeypatch):
    def no_plot(*_):
        raise ValueError("no font")

    monkeypatch.setattr(plots, "plot_run", no_plot)
    run_dir = tmp_path / "run"
    shutil.copytree(finished, run_dir)
    before = (run_dir / "metrics.jsonl").read_text()
    again = ["--run-dir", str(run_dir), "--resume"]
    capsys.readouterr()
    assert train.main(again) == 2
    said = capsys.readouterr()
    assert "give more to go on" in said.err
    assert "Compiled" not in said.out, "it could be told before"
    assert train.main([*again, "--env-steps", "1024", "--max-episode-steps", "3"]) == 0
    said = capsys.readouterr().out
    assert "Resumed at 512" in said and "could not be drawn (ValueError: no font)." in said
    assert (run_dir / "metrics.jsonl").read_text().startswith(before)
    metrics = read_metrics(run_dir / "metrics.jsonl")
    wall, trained = np.array(metrics["wall_seconds"]), np.array(metrics["train_seconds"])
    assert np.all(np.diff(wall) > 0) and np.all(wall > trained), "it goes on over a resume"
    length = metrics["episode_length"]
    assert np.nanmax(length[: len(before.splitlines())]) > 3 and length[-2] == 3
    assert np.nanmin(metrics["eval_length"]) > 3, "scores are over whole episodes"
    kept = json.loads((run_dir / "config.json").read_text())
    assert (kept["task"]["max_episode_steps"], kept["run"]["env_steps"]) == (3, 1024)
    assert kept["run"]["resume"] is False
    assert train.main([*again, "--env-steps", "2048", "--minutes", "1e-6"]) == 2
    assert "--minutes asks for 1e-06; give more" in capsys.readouterr().err
    assert json.loads((run_dir / "config.json").read_text()) == kept


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), RuntimeError("INTERNAL: calling back: KeyboardInterrupt:")]
)
def test_an_interrupted_run_says_what_is_saved(finished, tmp_path, monkeypatch, capsys, error):
    def interrupt(*_):
        raise error

    monkeypatch.setattr(runs, "run", interrupt)
    assert train.main([*SMOKE, "--run-dir", str(tmp_path / "new")]) == 130
    assert "before there was anything to save" in capsys.readouterr().err
    assert train.main(["--run-dir", str(finished), "--resume", "--env-steps", "9999"]) == 130
    said = capsys.readouterr().err
    assert "environment steps: go on with --resume" in said and "512" in said


def test_out_of_memory_is_one_sentence_with_what_there_is_to_go_on_from(
    finished, monkeypatch, capsys
):
    def exhausted(_):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nallocating 1 TiB")

    monkeypatch.setattr(runs, "run", exhausted)
    assert train.main(["--run-dir", str(finished), "--resume", "--env-steps", "9999"]) == 1
    said = capsys.readouterr().err
    assert "there is not enough memory" in said and "512 environment steps" in said
    assert "--replay-size 1024" in said and said.count("\n") == 1


def damaged(finished, path, name):
    """A copy of a finished run with `name` in it changed."""
    shutil.copytree(finished, path)
    file = next(x for x in path.glob(name) if x.is_file())
    file.write_bytes(b"?" + file.read_bytes()[1:])
    return file


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("replay/*/tree/**/*", "to go on with an empty replay."),
        ("metrics.jsonl", "Line 1 of"),
    ],
)
def test_a_damaged_file_is_told_before_anything_is_compiled(finished, tmp_path, capsys, name, told):
    file = damaged(finished, tmp_path / "run", name)
    arguments = ["--run-dir", str(tmp_path / "run"), "--resume", "--env-steps", "1024"]
    assert train.main(arguments) == 2
    said = capsys.readouterr()
    assert told in said.err and file.name in said.err and said.err.count("\n") == 1
    assert "Compiled" not in said.out


def test_a_file_is_no_run_directory(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert train.main([*SMOKE, "--run-dir", str(tmp_path / "file")]) == 2
    assert "is a file; give another --run-dir" in capsys.readouterr().err


@pytest.mark.slow
def test_the_policy_that_scored_best_is_kept_beyond_a_resume(tmp_path):
    run_dir = tmp_path / "run"
    often = ["--run-dir", str(run_dir), "--eval-every", "128"]
    assert train.main([*SMOKE, *often]) == 0
    kept = []
    for steps in (512, 1024):
        if steps == 1024:
            assert train.main([*often, "--resume", "--env-steps", "1024"]) == 0
        metrics = read_metrics(run_dir / "metrics.jsonl")
        scores = np.nan_to_num(metrics["eval_return"], nan=-np.inf)
        assert np.isfinite(scores).sum() == steps / 128
        kept.append(metrics["step"][int(np.argmax(scores))])
        best = load_policy(run_dir / "best")
        assert best.env_steps == kept[-1] and best.eval_return == np.max(scores)
    arguments = [str(run_dir / "best"), "--episodes", "1", "--seed", str(EVAL_SEED), "--no-video"]
    assert eval_render.main(arguments) == 0
    report = json.loads((run_dir / "best" / "eval" / "eval.json").read_text())
    assert report["mean"] == pytest.approx(np.max(scores), rel=1e-6)


@pytest.mark.slow
def test_on_an_accelerator_training_goes_on_while_episodes_are_played(tmp_path, monkeypatch):
    metrics = tmp_path / "run" / "metrics.jsonl"
    calls = []

    def evaluate_later(act, task, **how):
        calls.append(how)
        deadline = time.monotonic() + 60
        while len(calls) == 1 and read_metrics(metrics)["step"][-1] == 128:
            assert time.monotonic() < deadline, "training waits for the score"
            time.sleep(0.01)
        return evaluate(act, **how)

    monkeypatch.setattr(scoring, "evaluate", evaluate_later)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    often = ["--run-dir", str(tmp_path / "run"), "--eval-every", "128", "--engine", "mujoco"]
    assert train.main([*SMOKE, *often]) == 0
    recorded = read_metrics(metrics)
    scored = np.isfinite(recorded["eval_return"])
    assert np.array(recorded["step"])[scored].tolist() == [128, 256, 384, 512]
    best = policy_file.describe(tmp_path / "run" / "best" / policy_file.NAME)
    assert best["eval_return"] == np.array(recorded["eval_return"])[scored].max()


@pytest.mark.slow
def test_a_run_outlives_episodes_that_have_no_score_but_no_mistake(tmp_path, monkeypatch, capsys):
    errors: list[Exception] = [NoScore("The simulation broke down at step 7: no score.")]
    errors.append(ValueError("The policy returned actions of shape (17,)."))

    def evaluate_in_vain(act, task, **how):
        raise errors.pop(0)

    monkeypatch.setattr(scoring, "evaluate", evaluate_in_vain)
    with pytest.raises(ValueError, match="shape"):
        train.main([*SMOKE, "--run-dir", str(tmp_path / "run"), "--eval-every", "128"])
    assert capsys.readouterr().out.count("steps: The simulation broke down at step 7") == 1
    assert not errors and not (tmp_path / "run" / "best").exists()
    assert latest_step(tmp_path / "run" / "checkpoints") == 256, "what is scored is saved first"


async def in_threads(call, each):
    return await asyncio.gather(*(asyncio.to_thread(call, one) for one in each))


def test_a_resumed_run_ends_with_the_weights_of_one_that_was_never_interrupted(finished, tmp_path):
    halves, whole, emptied = tmp_path / "halves", tmp_path / "whole", tmp_path / "emptied"
    shutil.copytree(finished, halves)
    shutil.copytree(finished, emptied, ignore=shutil.ignore_patterns("replay"))
    more = ["--resume", "--env-steps", "1024"]
    assert train.main(["--run-dir", str(halves), *more]) == 0
    # In a program around it: in threads, side by side, under an event loop as in a notebook.
    both = (["--run-dir", str(emptied), *more], [*NORMALIZED, "--run-dir", str(whole), *more[1:]])
    assert asyncio.run(in_threads(train.main, both)) == [0, 0]
    learners = [restore_arrays(x / "checkpoints")[1]["learner"] for x in (halves, whole, emptied)]
    jax.tree.map(np.testing.assert_array_equal, learners[0], learners[1])
    # Without its replay a run first refills it, for 8 of the 64 iterations.
    assert learners[1]["updates"] == 120 and learners[2]["updates"] == 112


@pytest.mark.slow
def test_what_is_done_for_an_accelerator_changes_nothing(finished, tmp_path, monkeypatch, capsys):
    """An engine that compiles late is warmed up before the clock starts; a launch begins before the
    host has read the last one."""
    launches, order = [], []
    make_chunk = training.make_chunk

    def counted(config, env, *devices):
        chunk = make_chunk(config, env, *devices)

        def launch(state):
            jax.debug.callback(lambda: launches.append(1))
            return chunk(state)

        return launch

    monkeypatch.setattr(training, "make_chunk", counted)
    launch, wait = Launcher.__call__, Launch.wait
    monkeypatch.setattr(Launcher, "__call__", lambda *x: order.append("launch") or launch(*x))
    monkeypatch.setattr(Launch, "wait", lambda x: order.append("wait") or wait(x))
    monkeypatch.setattr(launching, "platform", lambda: "gpu")
    monkeypatch.setattr(starting, "COMPILE_AT_FIRST_LAUNCH", ("mujoco",))
    monkeypatch.setattr(kernels, "compile_apart", lambda config: "They could not be compiled.")
    assert train.main([*NORMALIZED, "--run-dir", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert re.match(r"Wall-clock \d+ s: compilation and start \d+ s, training \d+ s, ", said[-1])
    assert "They could not be compiled." in said
    metrics = [read_metrics(x / "metrics.jsonl") for x in (finished, tmp_path / "run")]
    count = int(np.sum(np.isfinite(metrics[1]["updates"])))
    assert len(launches) == count + 1
    assert order == ["launch", *(["launch", "wait"] * (count - 1)), "wait"]
    learners = [
        restore_arrays(x / "checkpoints")[1]["learner"] for x in (finished, tmp_path / "run")
    ]
    jax.tree.map(np.testing.assert_array_equal, *learners)


def test_the_wall_clock_is_split_by_what_it_went_to():
    now = [0.0]
    clock = WallClock(clock=lambda: now[0])
    for what in ("training", "evaluation", "training"):
        with clock.on(what):
            now[0] += 2.0
    now[0], clock.before = 10.0, 5.0
    assert clock.seconds() == 15.0
    assert str(clock) == "10 s: training 4 s, evaluation 2 s, other 4 s"


class Worlds(NamedTuple):
    episode_step: jax.Array


def test_worlds_stay_apart_under_a_shorter_time_limit(tmp_path):
    settings = {"run_dir": str(tmp_path), "resume": True, "max_episode_steps": 250}
    config = replace(PRESETS["smoke"], engine="mujoco", **settings)
    said = []
    with owned(tmp_path, said.append) as owner:
        keeper = Keeper(config, owner, said.append)
    worlds = Worlds(jnp.array([0, 249, 250, 777]))
    state = TrainState(**dict.fromkeys(TrainState._fields))
    env = make_worlds(config)
    empty = ring.init(8, 4, env.spaces)
    state = state._replace(env=worlds, iteration=jnp.array(9), replay=empty)
    resumed = keeper.go_on(env, state, saved_of(state, 0.0))
    assert resumed.env.episode_step.tolist() == [0, 249, 0, 27]


# What notebooks, clusters and those who look for faults have set; nothing of it is there.
ODD = {
    "JAX_PLATFORMS": "cpu",
    "JAX_DEBUG_NANS": "1",
    "JAX_ENABLE_X64": "1",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "MUJOCO_GL": "foo",
    "MPLBACKEND": "module://gone.backend",
}


def start(arguments, **environment):
    """train.py in a process of its own, in which signals act as usual."""
    begin = [sys.executable, "tests/soak/start.py", "0", sys.executable, "train.py"]
    return subprocess.Popen(
        [*begin, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **ODD, **environment},
    )


def wait_for(path, process, seconds=240):
    limit = Limit(process, seconds)
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        assert not limit.is_over(), f"no {path} after {seconds} s of its own time"
        time.sleep(0.2)


@pytest.mark.slow
def test_a_live_run_is_left_alone_and_a_signal_saves_it(tmp_path, capsys):
    run_dir = tmp_path / "run"
    long = [*SMOKE, "--task", "InvertedPendulum-v5", "--env-steps", "100000000"]
    process = start([*long, "--run-dir", str(run_dir)])
    wait_for(run_dir / "lock.json", process)
    for again in (SMOKE, ["--resume"]):
        if again == ["--resume"]:
            wait_for(run_dir / "metrics.jsonl", process)
        before = (run_dir / "lock.json").read_text()
        assert train.main([*again, "--run-dir", str(run_dir)]) == 2
        said = capsys.readouterr().err
        assert f"in use by process {process.pid} on " in said and said.count("\n") == 1
        assert (run_dir / "lock.json").read_text() == before
    time.sleep(1.0)
    process.send_signal(signal.SIGTERM)
    said, _ = communicate(process, 120)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "Go on with --resume" in said and "Traceback" not in said
    assert len(list((run_dir / "checkpoints").iterdir())) == 1
    assert (run_dir / "plots" / "learning_curve.png").exists()
    assert not (run_dir / "lock.json").exists()


@pytest.mark.slow
def test_a_run_whose_output_nobody_reads_any_more_is_saved(tmp_path):
    run_dir = tmp_path / "run"
    process = start([*SMOKE, "--env-steps", "100000000", "--run-dir", str(run_dir)])
    wait_for(run_dir / "metrics.jsonl", process)
    process.stdout.close()  # as `| head -4` does
    give(process, 120)
    assert process.poll() == 128 + 13
    assert latest_step(run_dir / "checkpoints") > 0


@pytest.mark.slow
def test_a_second_signal_ends_a_run_at_once_while_episodes_are_played(tmp_path):
    run_dir = tmp_path / "run"
    many = ["--eval-every", "128", "--eval-episodes", "200", "--task", "HalfCheetah-v5"]
    process = start([*SMOKE, *many, "--run-dir", str(run_dir)])
    wait_for(run_dir / "checkpoints" / f"{128:012d}", process)
    process.send_signal(signal.SIGINT)
    give(process, 2.0)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    said, _ = communicate(process, 5.0)
    assert process.returncode == 130
    assert "the newest checkpoint in" in said and "128 environment steps" in said


@pytest.mark.slow
def test_a_full_disk_stops_no_training_and_the_last_state_is_told_of(tmp_path):
    command = [*SMOKE, "--env-steps", "40000", "--checkpoint-minutes", "0.01"]
    begin = [sys.executable, "tests/soak/start.py", "20000", sys.executable, "train.py"]
    process = subprocess.Popen(
        [*begin, *command, "--run-dir", str(tmp_path / "run")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "0"},
    )
    out, err = communicate(process, 300)
    assert process.returncode == 1 and "Traceback" not in out + err
    assert "100%" in out and "metrics.jsonl cannot be written" in out
    assert err.startswith("train.py: The run's last state is not saved: ")


def test_evaluating_what_is_not_a_run_gets_one_sentence(tmp_path, capsys):
    assert eval_render.main([str(tmp_path / "nothing")]) == 2
    said = capsys.readouterr().err.strip()
    assert "nothing" in said and said.count("\n") == 0


def test_a_policy_is_no_run_to_resume_but_one_to_begin_with(finished, tmp_path, capsys):
    best = finished / "best"
    assert train.main(["--run-dir", str(best), "--resume"]) == 2
    said = capsys.readouterr().err
    assert f"{best} holds a policy and no run" in said and f"--init-from {best}" in said
    begin = [*SMOKE, "--run-dir", str(tmp_path / "run"), "--init-from"]
    for path, wrong in ((tmp_path, "There is no policy"), (best, "--actor-widths (32, 32)")):
        assert train.main([*begin, str(path), "--actor-widths", "16"]) == 2
        said = capsys.readouterr()
        assert wrong in said.err and said.err.count("\n") == 1 and "Compiled" not in said.out


@pytest.mark.slow
@pytest.mark.parametrize("source", ["", "best"])
def test_a_run_begins_with_a_policy_and_moves_it_once_its_critics_know(
    finished, tmp_path, source, monkeypatch
):
    run, kept = tmp_path / "run", restore_arrays(finished / "checkpoints")[1]["learner"]
    begin = [*SMOKE, "--init-from", str(finished / source), "--run-dir", str(run)]
    assert train.main(begin) == 0
    learner = restore_arrays(run / "checkpoints")[1]["learner"]
    same = jax.tree.map(np.array_equal, learner["actor"], kept["average_actor"])
    assert all(jax.tree.leaves(same)), "held while the critics learn"
    assert not np.array_equal(
        jax.tree.leaves(learner["critic"])[0], jax.tree.leaves(kept["critic"])[0]
    )
    monkeypatch.setattr(initial, "CRITIC_ALONE", 60)
    assert train.main(["--resume", "--run-dir", str(run), "--env-steps", "1024"]) == 0
    moved = restore_arrays(run / "checkpoints")[1]["learner"]["actor"]
    assert not all(jax.tree.leaves(jax.tree.map(np.array_equal, moved, kept["average_actor"])))


@pytest.mark.parametrize(
    ("engine", "failed", "cause"),
    [
        (
            "warp",
            2,
            "in 2 of them Warp ran out of room for contacts: raise warp_room of the task",
        ),
        ("warp", 0, "faster than MAX_SPEED"),
        (
            "mjx",
            2,
            "MJX had more contacts than it solves: raise mjx_contacts of the task",
        ),
        ("mujoco", 2, "in 2 of them MuJoCo met a state that is not finite"),
    ],
)
def test_the_first_quarantine_is_told_with_its_cause(engine, failed, cause):
    told = health.about_quarantine(engine, 3, failed)
    assert told.startswith("3 worlds were reset") and cause in told
