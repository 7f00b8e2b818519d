"""A critic that sees more than the policy: asymmetric actor-critic (Pinto et al. 2018)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_dm.config import replace
from mjx_dm.learner import make_learner
from mjx_dm.presets import PRESETS
from mjx_dm.tasks import any_task
from mjx_dm.training import program
from mjx_dm.training.worlds import make_worlds
from mjx_dm.types import Spaces

pytestmark = pytest.mark.usefixtures("rail")
SETTINGS = replace(
    PRESETS["smoke"],
    task="brax:rail",
    num_envs=16,
    random_steps=256,
    replay_size=4096,
    chunk_iterations=64,
    updates_per_step=4,
    critic="scalar",
    discount=0.5,
    reward_scale=1.0,
    critic_lr=3e-3,
    critic_widths=(32,),
    actor_widths=(16,),
)


def critic_loss(privileged):
    """After some 700 updates; half of the reward's variance is the coin's, of 1."""
    env = make_worlds(SETTINGS, any_task("brax:rail", privileged=privileged))
    state = jax.jit(lambda key: program.init(SETTINGS, env, key))(jax.random.key(0))
    chunk = jax.jit(program.make_chunk(SETTINGS, env), donate_argnums=0)
    for _ in range(3):
        state, metrics = chunk(state)
    assert np.isfinite(float(metrics["critic_loss"]))
    return float(metrics["critic_loss"]), state


def test_the_critics_learn_from_what_only_they_see():
    blind, blind_state = critic_loss(privileged=False)
    seeing, state = critic_loss(privileged=True)
    assert blind > 1.0, "two critics, each with no less than the variance of the coin"
    assert seeing < 0.3 * blind
    assert state.replay.obs.shape[-1] == state.normalizer.mean.shape[0] == 5
    assert blind_state.replay.obs.shape[-1] == blind_state.normalizer.mean.shape[0] == 2


def test_the_policy_acts_on_its_own_observation_alone():
    spaces = Spaces(2, 1, (-1.0,), (1.0,), 3)
    learner = make_learner(SETTINGS, spaces)
    state, act = jax.jit(learner.init)(jax.random.key(0)), jax.jit(learner.act)
    seen = jax.random.normal(jax.random.key(1), (4, 5))
    key = jax.random.key(2)
    acted = act(state, seen, key)
    np.testing.assert_array_equal(acted, act(state, seen.at[:, 2:].add(1.0), key))
    assert (acted != act(state, seen.at[:, :2].add(1.0), key)).any()


def test_without_a_privileged_part_nothing_is_cut():
    spaces = Spaces(2, 1, (-1.0,), (1.0,))
    seen = jnp.zeros((4, 2))
    assert spaces.seen_size == 2
    assert spaces.of_policy(seen) is seen and spaces.of_critic(seen) is seen
