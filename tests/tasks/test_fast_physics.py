"""Fast physics is only fast if a policy cannot tell it from Humanoid-v4's own."""

from pathlib import Path

import pytest

from mjx_dm.checkpoints.policy import load_policy
from mjx_dm.engines.mujoco import MujocoEngine
from mjx_dm.envs.batch import BatchEnv
from mjx_dm.evaluation.transfer import played
from mjx_dm.tasks import get_task
from mjx_dm.tasks.physics import model_for

WORLDS = 3
# The best one minds cheap physics less than this one does.
FRAGILE = Path(__file__).parents[2] / "benchmarks" / "policies" / "humanoid_cpu_earlier"


@pytest.fixture(scope="module")
def runner():
    return load_policy(FRAGILE)


@pytest.mark.parametrize("engine", ["mujoco", "mjx", "warp"])
def test_a_policy_that_runs_keeps_its_return_in_fast_physics(runner, engine):
    # 11,291 in exact physics; under Newton 2/4 it falls.
    task = get_task("Humanoid-v4")
    # MuJoCo's C engine, whatever engine asks for it.
    env = BatchEnv(task, MujocoEngine(task, model_for(task, engine, "fast"), WORLDS, 2), WORLDS)
    mean = played(runner, env, 1000, engine, "fast").to_json()["mean"]
    assert mean == pytest.approx(11_291, rel=0.05)
