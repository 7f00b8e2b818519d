"""A critic that sees more than the policy: asymmetric actor-critic (Pinto et al. 2018)."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mjx_dm.config import replace
from mjx_dm.envs import LibraryEnv
from mjx_dm.learner import make_learner
from mjx_dm.learner.critic import TwinCritic
from mjx_dm.presets import PRESETS
from mjx_dm.tasks import any_task
from mjx_dm.training import replay as ring
from mjx_dm.training.rollout import collect
from mjx_dm.types import Spaces

pytestmark = pytest.mark.usefixtures("rail")
SETTINGS = replace(
    PRESETS["smoke"],
    critic="scalar",
    discount=0.1,  # the next coin, of which nobody knows, hardly counts
    reward_scale=1.0,
    layer_norm=False,
    critic_widths=(32,),
    actor_widths=(16,),
)
WORLDS, STEPS, UPDATES, BATCH = 16, 64, 300, 64


def losses(spaces, replay):
    """The critics' loss in every update on transitions of `replay`, at actions of 0."""
    critic, optimizer = TwinCritic(SETTINGS, spaces), optax.adam(1e-2)

    def update(carry, key):
        params, moments = carry
        batch = ring.sample(replay, key, BATCH)
        loss, gradient = jax.value_and_grad(
            lambda x: critic.loss(x, params, batch, jnp.zeros((BATCH, 1)), 0.0)[0]
        )(params)
        steps, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(params, steps), moments), loss

    def run(key):
        params = critic.init(key)
        keys = jax.random.split(key, UPDATES)
        return jax.lax.scan(update, (params, optimizer.init(params)), keys)[1]

    return jax.jit(run)(jax.random.key(0))


def test_the_critics_learn_from_what_only_they_see():
    """The reward is a coin of variance 1, which the critics see and the policy does not."""
    env = LibraryEnv(any_task("brax:rail"), WORLDS, max_episode_steps=20)

    def gather(key):
        def step(carry, _):
            return collect(env, *carry, jnp.zeros((WORLDS, 1)), lambda x: x, True), None

        start = env.reset(key), ring.init(WORLDS * STEPS, WORLDS, env.spaces)
        return jax.lax.scan(step, start, length=STEPS)[0][1]

    replay = jax.jit(gather)(jax.random.key(0))
    seeing = losses(env.spaces, replay)
    # The same transitions without their privileged part.
    without = replay._replace(obs=env.spaces.of_policy(replay.obs))
    blind = losses(env.spaces._replace(privileged_size=None), without)
    assert blind[-50:].mean() > 1.5, "two critics, each with the variance of the coin"
    assert seeing[-50:].mean() < 0.2 * blind[-50:].mean()


def test_the_policy_acts_on_its_own_observation_alone():
    learner = make_learner(SETTINGS, Spaces(2, 1, (-1.0,), (1.0,), 3))

    @jax.jit
    def acted(changes):
        key, seen = jax.random.key(0), jax.random.normal(jax.random.key(1), (4, 5))
        state = learner.init(key)
        return jax.vmap(lambda change: learner.act(state, seen + change[None], key))(changes)

    same, privileged, own = acted(jnp.array([[0.0] * 5, [0.0, 0, 1, 1, 1], [1.0, 1, 0, 0, 0]]))
    np.testing.assert_array_equal(same, privileged)
    assert (same != own).any()


def test_without_a_privileged_part_nothing_is_cut():
    spaces = Spaces(2, 1, (-1.0,), (1.0,))
    seen = jnp.zeros((4, 2))
    assert spaces.seen_size == 2
    assert spaces.of_policy(seen) is seen and spaces.of_critic(seen) is seen
