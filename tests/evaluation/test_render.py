"""eval_render.py says what it did: scores, films, or why there are none."""

import importlib
import json
import os
from pathlib import Path
from types import SimpleNamespace

import imageio_ffmpeg
import numpy as np
import pytest

import eval_render
from mjx_dm.checkpoints import policy
from mjx_dm.checkpoints.saving import CheckpointError
from mjx_dm.drawing import opengl
from mjx_dm.evaluation.evaluate import evaluate
from mjx_dm.films import making
from mjx_dm.report import tables
from mjx_dm.tasks import get_task

SMALL = ["--width", "64", "--height", "48", "--seconds", "0.2"]


def feedback(obs: np.ndarray) -> np.ndarray:
    return np.clip(-obs[:, 5:22], -0.4, 0.4)


def humanoid():
    return get_task("Humanoid-v4")


@pytest.fixture
def run_dir(monkeypatch, tmp_path):
    """A run directory whose policy is `feedback`."""
    # eval_render sets it where it is unset; restored when the test ends.
    monkeypatch.setenv("JAX_PLATFORMS", os.environ.get("JAX_PLATFORMS", "cpu"))
    loaded = policy.Policy(
        act=feedback,
        distribute=feedback,
        task="Humanoid-v4",
        task_version=humanoid().version,
        spaces=humanoid().spaces,
        env_steps=1234,
        checkpoint="000000001234",
        action_rule="mixture mean",
    )
    monkeypatch.setattr(policy, "load_policy", lambda path, rule: loaded)
    (tmp_path / "run" / "checkpoints" / "000000001234").mkdir(parents=True)
    return tmp_path / "run"


@pytest.mark.skipif(opengl.find_gl() is None, reason=opengl.gl_advice())
def test_eval_render_writes_scores_and_a_film_of_the_median(run_dir, capsys, monkeypatch) -> None:
    """And into a folder whose name ffmpeg would read as a protocol or a pattern."""
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    importlib.import_module("tensorboardX")  # which sets a variable of its own
    before = dict(os.environ)
    out = run_dir / "seed:1 of 5%d"
    wanted = [*SMALL, "--gif", "--overlay", "--out", str(out)]
    assert eval_render.main([str(run_dir), "--episodes", "3", *wanted]) == 0
    assert dict(os.environ) == before
    report = json.loads((out / "eval.json").read_text())
    assert report["returns"] == list(evaluate(feedback, episodes=3, seed=1000).returns)
    assert report["checkpoint"] == "000000001234"
    assert report["env_steps"] == 1234
    assert report["action_rule"] == "mixture mean"
    seed = report["seeds"][report["returns"].index(report["median"])]
    film = f"step_000000001234_median_seed_{seed}"
    assert {x.name for x in out.iterdir()} == {
        "eval.json", f"{film}.mp4", f"{film}.png", f"{film}.gif",
    }  # fmt: skip
    said = capsys.readouterr()
    assert f"{report['mean']:.1f} ± {report['std']:.1f}" in said.out
    assert f"Video (median): {out / film}.mp4" in said.out and not said.err


def test_eval_render_films_each_kind_once_under_a_name_of_its_own(run_dir, monkeypatch) -> None:
    drawn: list[tuple[str, int]] = []
    monkeypatch.setattr(
        making, "draw", lambda shots: drawn.extend((x.name, shot.frames) for shot, x in shots)
    )
    kinds = ["best", "median", "worst", "wall", "best"]
    arguments = ["--episodes", "3", *SMALL, "--film", *kinds]
    assert eval_render.main([str(run_dir), *arguments]) == 0
    returns = json.loads((run_dir / "eval" / "eval.json").read_text())["returns"]
    best, worst = 1000 + int(np.argmax(returns)), 1000 + int(np.argmin(returns))
    films = [(name, frames) for name, frames in drawn if name.endswith(".mp4")]
    assert [frames for _, frames in films] == [6] * 4
    names = [name.removeprefix("step_000000001234_") for name, _ in films]
    assert names[0] == f"best_seed_{best}.mp4" and names[2] == f"worst_seed_{worst}.mp4"
    assert names[3] == "wall.mp4" and len(drawn) == 8


@pytest.mark.parametrize("broken", ["no ffmpeg", "no OpenGL", "one age"])
def test_eval_render_keeps_its_scores_where_no_film_can_be_made(
    run_dir, capsys, monkeypatch, broken
) -> None:
    def fail(*_, **__):
        raise RuntimeError("No ffmpeg exe could be found.\nInstall it.")

    monkeypatch.setattr(opengl, "find_gl", lambda: None if broken == "no OpenGL" else "egl")
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", fail)
    kind = "training" if broken == "one age" else "median"
    assert eval_render.main([str(run_dir), "--episodes", "1", *SMALL, "--film", kind]) == 0
    said = capsys.readouterr()
    assert json.loads((run_dir / "eval" / "eval.json").read_text())["episodes"] == 1
    assert f"The scores stand, but no video could be written ({kind}): " in said.err
    reason = {"no ffmpeg": "no ffmpeg program", "one age": "holds none: give a run directory"}
    assert reason.get(broken, "OpenGL") in said.err
    assert said.err.count("\n") == 1 and "Video (" not in said.out
    assert not (run_dir / "videos").exists() or not list(Path(run_dir / "videos").iterdir())


def test_eval_render_writes_scores_that_nobody_reads(run_dir, monkeypatch) -> None:
    def closed(*_):
        raise SystemExit(1)  # as Rich ends a program whose pipe is closed

    monkeypatch.setattr(tables, "print_scores", closed)
    assert eval_render.main([str(run_dir), "--episodes", "1", "--no-video"]) == 0
    assert (run_dir / "eval" / "eval.json").exists()


def test_eval_render_out_receives_everything(run_dir, tmp_path) -> None:
    out = tmp_path / "elsewhere"
    assert eval_render.main([str(run_dir), "--episodes", "1", "--out", str(out), "--no-video"]) == 0
    assert [path.name for path in out.iterdir()] == ["eval.json"]
    assert [path.name for path in run_dir.iterdir()] == ["checkpoints"]


def test_eval_render_shows_the_scores_that_it_cannot_write(run_dir, capsys) -> None:
    (run_dir / "eval" / "eval.json").mkdir(parents=True)
    assert eval_render.main([str(run_dir), "--episodes", "1"]) == 1
    said = capsys.readouterr()
    assert "over 1 episodes" in said.out and "Scores:" not in said.out
    assert "eval.json cannot be written: Is a directory." in said.err
    assert said.err.count("\n") == 1
    assert [path.name for path in (run_dir / "eval").iterdir()] == ["eval.json"]


def test_eval_render_ends_on_an_interrupt_in_one_sentence(run_dir, capsys, monkeypatch) -> None:
    def interrupted(obs: np.ndarray) -> np.ndarray:
        raise KeyboardInterrupt

    loaded = SimpleNamespace(act=interrupted, own_task=humanoid)
    monkeypatch.setattr(policy, "load_policy", lambda path, rule: loaded)
    assert eval_render.main([str(run_dir), "--episodes", "1"]) == 130
    assert capsys.readouterr().err == "eval_render.py: interrupted before all was done.\n"


def test_eval_render_gives_no_score_for_a_broken_policy(run_dir, capsys, monkeypatch) -> None:
    broken = SimpleNamespace(act=lambda obs: np.full((len(obs), 17), np.nan), own_task=humanoid)
    monkeypatch.setattr(policy, "load_policy", lambda path, rule: broken)
    assert eval_render.main([str(run_dir), "--episodes", "1"]) == 1
    assert not (run_dir / "eval" / "eval.json").exists()
    assert "not finite" in capsys.readouterr().err


def test_eval_render_passes_on_what_is_wrong_with_a_checkpoint(
    run_dir, capsys, monkeypatch
) -> None:
    def damaged(path, rule):
        raise CheckpointError("Checkpoint 12 is damaged.")

    monkeypatch.setattr(policy, "load_policy", damaged)
    assert eval_render.main([str(run_dir)]) == 2
    assert capsys.readouterr().err == "eval_render.py: Checkpoint 12 is damaged.\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "no run directory nowhere"),
        (["RUN", "--episodes", "0"], "--episodes must be at least 1"),
        (["RUN", "--seed", "-1"], "--seed must lie in"),
        (["RUN", "--out", "FILE"], "cannot be made"),
        (["EMPTY"], "holds no checkpoint"),
        (["RUN", "--film", "party"], "--film party is unknown; choose from best, median, worst,"),
        (["RUN", "--width", "127"], "--width must be an even number"),
        (["RUN", "--film", "wall", "--height", "90"], "needs a --height that 4 divides, got 90"),
        (["RUN", "--slow", "0"], "--slow must lie in [0.1, 100], got 0"),
        (["RUN", "--fps", "nan"], "--fps must lie in [1, 240], got nan"),
        (["RUN", "--camera", "left"], "no camera 'left' to be filmed with; it has: track"),
    ],
)
def test_eval_render_answers_bad_input_in_one_sentence(
    run_dir, tmp_path, capsys, arguments, sentence
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    places = {"RUN": run_dir, "EMPTY": tmp_path / "empty", "FILE": tmp_path / "file"}
    assert eval_render.main([str(places.get(word, word)) for word in arguments]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
