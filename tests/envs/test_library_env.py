"""The worlds of another library's environment: their episodes, ends and quarantine."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import END, STEP

from mjx_dm.envs import LibraryEnv
from mjx_dm.tasks import any_task

pytestmark = pytest.mark.usefixtures("rail")
WORLDS = 8
LIMIT = 5
BROKEN = 1.5  # m from the middle, where the simulation gives NaN


@pytest.fixture(scope="module")
def env(rail):
    return LibraryEnv(any_task("brax:rail", breaks_at=BROKEN), WORLDS, max_episode_steps=LIMIT)


@pytest.fixture(scope="module")
def step(env):
    """One program: (state, where the points are sent) -> (state, infos)."""
    program = jax.jit(env.step_with_info)

    def move(state, target):
        target = jnp.broadcast_to(jnp.asarray(target, jnp.float32), WORLDS)
        action = (target - state.obs[:, 0]) / STEP
        return program(state, action[:, None])

    return move


@pytest.fixture(scope="module")
def fresh(env):
    return jax.jit(env.reset)(jax.random.key(0))


@pytest.fixture(scope="module")
def episodes(step, fresh):
    """Every state of 12 steps that stay, the first fresh."""
    states = [fresh]
    for _ in range(12):
        states.append(step(states[-1], states[-1].obs[:, 0])[0])
    return states


def test_critics_are_shown_what_the_policy_is_not(env, episodes):
    state = episodes[1]
    assert state.obs.shape == (WORLDS, 2) and state.privileged.shape == (WORLDS, 3)
    assert state.seen.shape == (WORLDS, env.spaces.seen_size)
    np.testing.assert_array_equal(env.spaces.of_policy(state.seen), state.obs)
    np.testing.assert_array_equal(env.spaces.of_critic(state.seen), state.privileged)


def test_a_time_limit_truncates_and_keeps_the_last_observation(episodes):
    ended = episodes[LIMIT]
    assert ended.truncated.all() and not ended.terminated.any() and ended.valid.all()
    np.testing.assert_allclose(ended.final_obs[:, 0], episodes[LIMIT - 1].obs[:, 0], rtol=1e-6)
    assert (ended.last_length == LIMIT).all()


def test_every_episode_of_every_world_starts_anew(episodes):
    """Not at its first start again, as the libraries' own wrapper has it."""
    starts = np.stack([episodes[i].obs[:, 0] for i in (0, LIMIT, 2 * LIMIT)])
    assert len(np.unique(starts)) == 3 * WORLDS
    info = episodes[LIMIT].physics.info
    assert (info["steps"] == 0).all(), "what the environment counts itself starts anew too"


def test_what_the_environment_calls_done_is_a_termination(step, fresh):
    state, _ = step(fresh, (END + BROKEN) / 2)
    assert state.terminated.all() and not state.truncated.any()
    assert (state.final_obs[:, 0] > END).all() and (jnp.abs(state.obs[:, 0]) < END).all()


def test_a_world_that_breaks_is_reset_and_not_learned_from(step, fresh):
    state, infos = step(fresh, jnp.where(jnp.arange(WORLDS) % 2 == 0, 2 * BROKEN, 0.5))
    np.testing.assert_array_equal(state.valid, jnp.arange(WORLDS) % 2 == 1)
    assert (state.truncated == ~state.valid).all() and not state.terminated.any()
    assert np.isfinite(state.seen).all() and np.isfinite(state.final_obs).all()
    assert np.isfinite(state.physics.pipeline_state.q).all()
    assert np.isfinite(infos["distance"]).all() and (infos["distance"][::2] == 0).all()


def test_an_action_that_is_not_finite_breaks_its_world(step, fresh):
    state, _ = step(fresh, jnp.nan)
    assert not state.valid.any() and np.isfinite(state.seen).all()


def test_a_fresh_state_shares_no_buffer_and_a_step_keeps_its_types(fresh, episodes):
    def kinds(state):
        return [(x.shape, x.dtype, getattr(x, "weak_type", False)) for x in jax.tree.leaves(state)]

    assert kinds(fresh) == kinds(episodes[1])
    buffers = [x for x in jax.tree.leaves(fresh) if hasattr(x, "unsafe_buffer_pointer")]
    held = {x.unsafe_buffer_pointer() for x in buffers}
    assert len(buffers) > 20 and len(held) == len(buffers), "the state is donated"
