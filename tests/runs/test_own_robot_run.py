"""A robot of a user's own from its file to a film, by the commands that a user types."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import eval_render
import train
from mjx_dm.bench.__main__ import main as bench
from mjx_dm.checkpoints.manifest import CheckpointError
from mjx_dm.checkpoints.policy import export_policy, load_policy
from mjx_dm.config import load, replace
from mjx_dm.drawing.opengl import find_gl
from mjx_dm.envs.vector import BatchVectorEnv
from mjx_dm.evaluation.evaluate import evaluate, random_policy
from mjx_dm.runs import plots
from mjx_dm.tasks import get_task, loading
from mjx_dm.training.worlds import task_of

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY = [
    *("--preset", "smoke", "--env-steps", "64", "--num-envs", "4", "--random-steps", "16"),
    *("--chunk-iterations", "8", "--batch-size", "8", "--actor-batch-size", "4"),
    *("--actor-widths", "8", "--critic-widths", "8", "--no-save-replay", "--engine", "mujoco"),
]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """The user's file, and the directory of a run of it."""
    folder = tmp_path_factory.mktemp("own")
    file = Path(shutil.copy(EXAMPLES / "pendulum.py", folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "plot_run", lambda *args: None)
        assert train.main(["--task", str(file), *TINY, "--run-dir", str(folder / "run")]) == 0
    return file, folder / "run"


def test_a_run_keeps_its_file_and_is_filmed_and_taken_away_with_it(own, tmp_path, capsys):
    file, run = own
    text = file.read_text()
    assert [x.name for x in (run / "task").iterdir()] == [file.name]
    assert (run / "best" / "task" / file.name).read_text() == text
    export_policy(run, tmp_path / "taken")
    file.unlink()
    try:
        asked = [str(tmp_path / "taken"), "--episodes", "1", "--out", str(tmp_path / "out")]
        asked += ["--width", "64", "--height", "48", "--seconds", "0.2"]
        assert eval_render.main(asked) == 0
        if find_gl() is not None:
            found = [x.suffix for x in sorted((tmp_path / "out").iterdir())]
            assert found == [".json", ".mp4", ".png"]
        score = json.loads((tmp_path / "out" / "eval.json").read_text())
        assert (score["env"], score["task"], score["lengths"]) == (None, "Pendulum", [200])
        said = "the task's own functions under exact physics in MuJoCo's C engine; no Gymnasium"
        assert said in score["scored_by"] and said in " ".join(capsys.readouterr().out.split())

        shutil.rmtree(tmp_path / "taken" / "task")
        policy = load_policy(tmp_path / "taken")
        assert policy.act(np.zeros(3)).shape == (1,), "to act takes no task"
        with pytest.raises(CheckpointError, match="a policy may also lie in a folder task beside"):
            policy.own_task()
    finally:
        file.write_text(text)


def test_a_resumed_run_takes_its_copy_of_a_file_that_was_edited_or_moved(own):
    file, run = own
    text, resumed = file.read_text(), replace(load(run / "config.json"), run_dir=str(run))
    resumed = replace(resumed, resume=True)
    assert not loading.changed(task_of(resumed), str(file))
    file.write_text(text.replace("200", "300"))
    try:
        assert task_of(resumed).max_episode_steps == 200
        assert task_of(replace(resumed, resume=False)).max_episode_steps == 300
        assert loading.changed(task_of(resumed), str(file)) == [str(file)]
        file.unlink()
        assert task_of(resumed).max_episode_steps == 200
        assert not loading.changed(task_of(resumed), str(file))
    finally:
        file.write_text(text)


@pytest.mark.slow
def test_a_run_goes_on_with_its_copy_and_says_so(own, capsys, monkeypatch):
    file, run = own
    text = file.read_text()
    monkeypatch.setattr(plots, "plot_run", lambda *args: None)
    file.write_text(text.replace("return upright", "return 7 + upright"))
    try:
        assert train.main(["--run-dir", str(run), "--resume", "--env-steps", "96"]) == 0
    finally:
        file.write_text(text)
    said = " ".join(capsys.readouterr().out.split())
    assert f"{file} changed since the run began, which goes on with its own copy" in said
    scored = [json.loads(x) for x in (run / "metrics.jsonl").read_text().splitlines()]
    last = [x["eval_return"] for x in scored if "eval_return" in x][-1]
    assert last < 200, "seven a step would be 1,400"


@pytest.mark.slow
def test_the_worlds_of_a_file_serve_gymnasium_and_the_bench(own, tmp_path):
    name, out = str(own[0]), tmp_path / "bench.json"
    worlds = BatchVectorEnv(3, name)
    obs, _ = worlds.reset(seed=0)
    _, reward, *_, infos = worlds.step(worlds.action_space.sample())
    assert obs.shape == (3, 3) and reward.shape == infos["upright"].shape == (3,)
    asked = ["--task", name, "--parts", "physics", "--num-envs", "4", "--rounds", "1"]
    assert bench([*asked, "--seconds", "0.01", "--json", str(out)]) == 0
    assert json.loads(out.read_text())["options"]["task"] == name


@pytest.mark.parametrize("name", ["pendulum", "ring"])
def test_an_example_is_in_order_and_short(name):
    task = get_task(str(EXAMPLES / f"{name}.py"))
    assert task.gym_id is None and task.files[f"{name}.py"].count(b"\n") < 75


def test_a_wrong_file_is_told_before_anything_is_written(tmp_path, capsys):
    file, run = tmp_path / "my_robot.py", tmp_path / "run"
    file.write_text((EXAMPLES / "pendulum.py").read_text().replace("return upright", "return x"))
    assert train.main(["--task", str(file), *TINY, "--run-dir", str(run)]) == 2
    said = capsys.readouterr().err
    assert "my_robot.py, line 34, in reward: NameError: name 'x' is not defined." in said
    assert said.count("\n") == 1 and not run.exists()


# As their docstrings have it, for as long as it takes to see that they learn.
LEARN = {
    "pendulum": ("8", "2000", "20000", 40.0),
    "ring": ("16", "4000", "40000", 1.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARN)
def test_an_example_learns(name, tmp_path):
    num_envs, random_steps, env_steps, enough = LEARN[name]
    task, run = get_task(str(EXAMPLES / f"{name}.py")), tmp_path / "run"
    asked = ["--task", str(EXAMPLES / f"{name}.py"), "--num-envs", num_envs, "--reward-scale", "1"]
    asked += ["--random-steps", random_steps, "--env-steps", env_steps, "--no-save-replay"]
    asked += [
        "--actor-widths",
        "64",
        "64",
        "--critic-widths",
        "64",
        "64",
        "--actor-average",
        "0.01",
    ]
    assert train.main([*asked, "--run-dir", str(run)]) == 0
    policy = load_policy(run, "sample")
    assert evaluate(random_policy(task), task, episodes=10).mean < enough / 4
    assert evaluate(policy, task, episodes=10).mean > enough
