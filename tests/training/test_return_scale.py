"""Rewards divided by the running scale of what they add up to."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_dm.config import replace
from mjx_dm.envs import batch as envs
from mjx_dm.groups import CriticSettings
from mjx_dm.presets import PRESETS
from mjx_dm.training import program as training
from mjx_dm.training import return_scale
from mjx_dm.training.worlds import make_worlds

GAMMA = 0.9


@pytest.fixture(scope="module")
def start():
    return envs.make_env(3, engine="mujoco", physics="fast").reset(jax.random.key(0))


def lived(start, rewards, **ends):
    """The scale after steps of three worlds that earned `rewards` (T, 3)."""
    state, never = return_scale.init(3), np.zeros_like(rewards, bool)
    flags = {"terminated": never, "truncated": never, "valid": ~never} | ends
    for t, reward in enumerate(rewards):
        env = start._replace(
            reward=jnp.asarray(reward), **{k: jnp.asarray(v[t]) for k, v in flags.items()}
        )
        state = return_scale.update(state, env, GAMMA)
    return state


def test_returns_add_up_until_an_episode_ends(start):
    rewards = np.float32([[1, 1, 1], [2, 2, 2], [3, 3, 3], [4, 4, 4]])
    ends = np.zeros((4, 3), bool)
    over, out_of_time = ends.copy(), ends.copy()
    over[1, 1], out_of_time[1, 2] = True, True
    state = lived(start, rewards, terminated=over, truncated=out_of_time)
    whole, late = 4 + 0.9 * (3 + 0.9 * (2 + 0.9 * 1)), 4 + 0.9 * 3
    np.testing.assert_allclose(state.discounted, [whole, late, late], rtol=1e-6)
    np.testing.assert_allclose(state.largest, whole, rtol=1e-6)


def test_a_broken_step_counts_for_nothing(start):
    rewards, valid = np.float32([[1, 1, 1], [np.nan, 2, 2]]), np.ones((2, 3), bool)
    valid[1, 0] = False
    state = lived(start, rewards, valid=valid)
    np.testing.assert_allclose(state.discounted, [0.0, 2.9, 2.9], rtol=1e-6)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(state))


def test_rewards_are_divided_by_the_deviation_of_the_returns(start):
    rewards = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    total, seen = np.zeros(3), []
    for reward in rewards:
        total = reward + GAMMA * total
        seen.append(total)
    found = return_scale.divisor(CriticSettings(), lived(start, rewards))
    # The start counts as a hundredth of 1,200 returns.
    np.testing.assert_allclose(found, np.std(seen), rtol=1e-3)


def test_the_largest_return_fits_the_critic(start):
    rewards = np.full((400, 3), 12.0, np.float32)
    config = CriticSettings(reward_scale=1.0, value_min=-5.0, value_max=5.0, discount=GAMMA)
    state = lived(start, rewards)
    found = config.reward_scale * state.largest / return_scale.divisor(config, state)
    np.testing.assert_allclose(found, 5.0, rtol=1e-5)
    scalar = return_scale.divisor(dataclasses.replace(config, critic="scalar"), state)
    np.testing.assert_allclose(scalar, np.sqrt(state.moments.var), rtol=1e-5)


def test_an_episode_that_goes_on_for_ever_fits_the_critic(start):
    """Episodes end after two steps, and a longer one would earn as much a step."""
    rewards = np.full((400, 3), 12.0, np.float32)
    ends = np.tile(np.arange(400)[:, None] % 2 == 1, (1, 3))
    config = CriticSettings(reward_scale=1.0, value_min=-5.0, value_max=5.0, discount=GAMMA)
    state = lived(start, rewards, terminated=ends)
    assert state.largest < 30.0
    lasting = 12.0 / (1 - GAMMA)
    found = config.reward_scale * lasting / return_scale.divisor(config, state)
    np.testing.assert_allclose(found, 5.0, rtol=1e-4)


def test_what_a_run_learns_from_is_divided():
    """A reward is 5 and more, and so is every target that is not divided."""
    short = {"num_envs": 4, "random_steps": 16, "chunk_iterations": 30, "engine": "mujoco"}
    scaled = {"reward_scale": 1.0, "critic": "scalar", "normalize_reward": True}
    config = replace(PRESETS["smoke"], **short, **scaled)
    env = make_worlds(config)
    state = jax.jit(lambda key: training.init(config, env, key))(jax.random.key(0))
    state, metrics = jax.jit(training.make_chunk(config, env))(state)
    assert state.returns is not None and return_scale.divisor(config.critic, state.returns) > 5.0
    assert float(metrics["target_mean"]) < 2.5
