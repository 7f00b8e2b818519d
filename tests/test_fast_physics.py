"""Fast physics is only fast if a policy cannot tell it from Humanoid-v4's own."""

from pathlib import Path

import jax
import numpy as np
import pytest

from mjx_dm import humanoid
from mjx_dm.engines import MujocoEngine
from mjx_dm.envs import HumanoidEnv
from mjx_dm.policy import load_policy

WORLDS = 3
BEST = Path(__file__).parents[1] / "benchmarks" / "policies" / "humanoid_cpu"


@pytest.fixture(scope="module")
def runner():
    return load_policy(BEST)


def mean_return(policy, physics):
    """Of one whole episode in each world, in MuJoCo's C engine whatever engine asks for it."""
    env = HumanoidEnv(MujocoEngine(humanoid.load_model(physics), WORLDS), WORLDS)
    step = jax.jit(env.step)
    state = jax.jit(env.reset)(jax.random.key(1000))
    total, live = np.zeros(WORLDS), np.ones(WORLDS, bool)
    while live.any():
        state = step(state, policy.act(np.asarray(state.obs)))
        total += live * np.asarray(state.reward)
        live &= ~np.asarray(state.terminated | state.truncated)
    return total.mean()


@pytest.mark.parametrize("engine", ["mujoco", "mjx", "warp"])
def test_a_policy_that_runs_keeps_its_return_in_fast_physics(runner, engine):
    # 11,291 in exact physics. Under Newton 2/4, or without its arms' contacts, it earns 2,800 to
    # 7,900; policies of 7,000 do not tell the difference.
    earned = mean_return(runner, humanoid.PHYSICS[engine, "fast"])
    assert earned == pytest.approx(11_291, rel=0.05)
