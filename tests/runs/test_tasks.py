"""Every task trains, scores and is loaded again, by the commands that a user types."""

import json

import pytest

import eval_render
import train
from mjx_dm.runs import plots
from mjx_dm.tasks import get_task, task_names

# As small as it gets: what takes the time is compiling.
TINY = [
    *("--preset", "smoke", "--env-steps", "64", "--num-envs", "4", "--random-steps", "16"),
    *("--chunk-iterations", "8", "--batch-size", "8", "--actor-batch-size", "4"),
    *("--actor-widths", "8", "--critic-widths", "8", "--no-save-replay"),
]


# Each takes ten seconds, most of them to compile; the other robots are in the slow tests.
QUICK = ["HalfCheetah-v5"]
SLOW = [name for name in task_names() if name not in (*QUICK, "Pusher-v4")]


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def test_a_task_trains_and_scores(name, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(plots, "plot_run", lambda *args: None)  # it takes as long as the rest
    run = tmp_path / "run"
    assert train.main(["--task", name, *TINY, "--run-dir", str(run)]) == 0
    assert f"{name} after 64 steps" in capsys.readouterr().out
    assert eval_render.main([str(run / "best"), "--episodes", "1", "--no-video"]) == 0
    score = json.loads((run / "best" / "eval" / "eval.json").read_text())
    assert score["env"] == name and score["seeds"] == [1000]
    saved = json.loads((run / "config.json").read_text())
    assert saved["spaces"]["obs_size"] == get_task(name).spaces.obs_size


@pytest.mark.slow
@pytest.mark.usefixtures("broadcasts")
@pytest.mark.parametrize("engine", ["mjx", "warp"])
@pytest.mark.parametrize(
    "name", ["Humanoid-v4", "Humanoid-v5", "Ant-v5", "HalfCheetah-v5", "Walker2d-v5"]
)
def test_a_task_trains_on_the_engines_of_a_card(name, engine, tmp_path):
    """Both compile for minutes on a CPU."""
    if engine == "warp":
        pytest.importorskip("warp")
    run = tmp_path / "run"
    assert train.main(["--task", name, "--engine", engine, *TINY, "--run-dir", str(run)]) == 0
    assert eval_render.main([str(run / "best"), "--episodes", "1", "--no-video"]) == 0


@pytest.mark.slow
def test_options_of_a_task_go_with_its_policy(tmp_path, capsys):
    run = tmp_path / "run"
    ask = ["--task", "Hopper-v5", "--task-options", "healthy_reward=3.0", "ctrl_cost_weight=0.5"]
    assert train.main([*ask, *TINY, "--run-dir", str(run)]) == 0
    assert eval_render.main([str(run / "best"), "--episodes", "1", "--no-video"]) == 0
    options = json.loads((run / "best" / "eval" / "eval.json").read_text())["options"]
    assert options["healthy_reward"] == 3 and options["ctrl_cost_weight"] == 0.5


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (["--task", "Foo-v1"], "--task Foo-v1 is unknown; choose from Ant-v4, Ant-v5, "),
        (["--task", "Pusher-v4"], "Pusher-v4 needs mujoco<3, by Gymnasium's own account"),
        (["--task", "Ant-v5", "--task-options", "wind=1"], "Ant-v5 has no option 'wind'"),
        (["--task", "Ant-v5", "--task-options", "wind"], "--task-options wind is not understood"),
        (["--task", "Hopper-v4", "--mirror", "on"], "Hopper-v4 is not its own mirror image"),
    ],
)
def test_what_cannot_be_trained_is_told_before_anything_is_written(
    asked, sentence, tmp_path, capsys
):
    run = tmp_path / "run"
    assert train.main([*asked, "--preset", "smoke", "--run-dir", str(run)]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1 and not run.exists()


def test_tasks_are_listed_with_their_sizes(capsys):
    assert train.main(["--list-tasks"]) == 0
    listed = capsys.readouterr().out
    assert "Humanoid-v4" in listed and "376" in listed and "needs mujoco<3" in listed
