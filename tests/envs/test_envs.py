"""Batches of Humanoid-v4 on MuJoCo's C engine: ends, resets, and worlds that break."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_dm.envs.batch import HumanoidEnv, make_env
from mjx_dm.training import replay as ring
from mjx_dm.training.rollout import collect

WORLDS = 64
BROKEN = 17


class Worlds:
    """The environment with its functions compiled once."""

    def __init__(self):
        # The rules of this file do not depend on the integrator; this one is the cheaper.
        self.env = make_env(WORLDS, engine="mujoco", physics="fast")
        self.reset = jax.jit(self.env.reset, static_argnames="stagger")
        self.step = jax.jit(self.env.step)
        self.set_state = jax.jit(self.env.set_state)
        self.physics_step = jax.jit(self.env.engine.step)
        self.collect = jax.jit(
            lambda state, replay, action: collect(
                self.env, state, replay, action, lambda a: 0.4 * a, bootstrap_time_limits=True
            )
        )


@pytest.fixture(scope="module")
def worlds():
    return Worlds()


@pytest.fixture
def start(worlds):
    return worlds.reset(jax.random.key(0))


def action_of(seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.uniform(-0.4, 0.4, (WORLDS, 17)), jnp.float32)


def moved(state, world, **columns):
    """`state` with qpos of one world changed behind the environment's back."""
    qpos = state.physics.qpos
    for column, value in columns.items():
        qpos = qpos.at[world, {"x": 0, "z": 2, "hip": 10}[column]].set(value)
    return state._replace(physics=state.physics._replace(qpos=qpos))


def thrown_up(state, world):
    """`state` with one world above the healthy range, clear of the floor."""
    return moved(state, world, z=2.5)


def at_step(state, world, step):
    return state._replace(episode_step=state.episode_step.at[world].set(step))


def test_reset_shapes_and_flags(start):
    assert start.obs.shape == start.final_obs.shape == (WORLDS, 376)
    assert np.isfinite(start.obs).all() and start.valid.all()
    assert not (start.terminated | start.truncated).any()
    assert not start.episode_step.any()


def test_an_ordinary_step_leads_to_what_the_next_action_is_chosen_from(worlds, start):
    after = worlds.step(start, action_of())
    assert after.valid.all() and not (after.terminated | after.truncated).any()
    np.testing.assert_array_equal(after.obs, after.final_obs)
    assert np.abs(after.obs - start.obs).max() > 0.1
    np.testing.assert_array_equal(after.episode_step, np.ones(WORLDS))


def test_time_limit_keeps_the_final_observation(worlds, start):
    state = at_step(at_step(start, 3, 998), 5, 999)
    after = worlds.step(state, action_of())
    unlimited = worlds.step(start, action_of())
    assert np.flatnonzero(after.truncated).tolist() == [5]
    assert not after.terminated.any() and after.valid.all()
    # The step led where it leads without the limit, and a fresh episode was begun.
    np.testing.assert_array_equal(after.final_obs, unlimited.obs)
    assert np.abs(after.obs[5] - after.final_obs[5]).max() > 0.1
    assert after.episode_step[5] == 0 and after.episode_step[3] == 999
    last = worlds.step(after, action_of(1))
    assert np.flatnonzero(last.truncated).tolist() == [3]


def test_a_fall_terminates_and_resets(worlds, start):
    after = worlds.step(thrown_up(start, 7), action_of())
    assert np.flatnonzero(after.terminated).tolist() == [7]
    assert not after.truncated.any() and after.valid.all()
    assert after.final_obs[7, 0] > 2.0
    assert abs(after.obs[7, 0] - 1.4) <= 0.01 + 2e-7
    assert after.physics.qpos[7, 2] == after.obs[7, 0]
    assert not after.physics.qacc_warmstart[7].any()
    assert after.episode_step[7] == 0


def test_the_terminal_step_pays_the_healthy_reward_too(worlds, start):
    state, action = thrown_up(start, 7), action_of()
    after = worlds.step(state, action)
    assert after.terminated[7] and not after.terminated[8]
    # What the engine says before any reset.
    physics, _, _ = worlds.physics_step(state.physics, action)
    speed = (np.float64(physics.com_x) - np.float64(state.physics.com_x)) / 0.015
    expected = 5.0 + 1.25 * speed - 0.1 * np.sum(np.float64(action) ** 2, -1)
    # float32 positions of order 0.1 m: 1e-8 / 0.015.
    np.testing.assert_allclose(after.reward, expected, atol=1e-4)


def test_termination_wins_over_the_time_limit(worlds, start):
    state = at_step(at_step(thrown_up(start, 7), 7, 999), 8, 999)
    after = worlds.step(state, action_of())
    assert np.flatnonzero(after.terminated).tolist() == [7]
    assert np.flatnonzero(after.truncated).tolist() == [8]


def test_resets_are_fresh(worlds, start):
    def both(state):
        return worlds.step(thrown_up(thrown_up(state, 7), 8), action_of())

    first = both(start)
    second = both(first)
    assert first.terminated[7] and first.terminated[8] and second.terminated[7]
    states = [start.obs[7], first.obs[7], first.obs[8], second.obs[7]]
    for i, a in enumerate(states):
        for b in states[:i]:
            # All 45 positions and velocities are drawn anew.
            assert np.all(a[:45] != b[:45])


def test_no_start_serves_twice_and_all_are_drawn_anew_when_one_would(worlds, start):
    first = worlds.step(thrown_up(start, 7), action_of())
    second = worlds.step(thrown_up(first, 8), action_of())
    third = worlds.step(thrown_up(second, 7), action_of())
    assert not start.starts.used.any()
    used = [np.flatnonzero(s.starts.used).tolist() for s in (first, second, third)]
    assert used == [[7], [7, 8], [7]]
    np.testing.assert_array_equal(first.obs[7], start.starts.obs[7])
    np.testing.assert_array_equal(first.starts.obs, start.starts.obs)
    np.testing.assert_array_equal(second.starts.obs, start.starts.obs)
    assert np.all(third.starts.obs[:, :45] != start.starts.obs[:, :45])
    np.testing.assert_array_equal(third.obs[7], third.starts.obs[7])


def test_staggered_worlds_start_apart_within_the_time_limit(worlds):
    step = np.asarray(worlds.reset(jax.random.key(0), stagger=True).episode_step)
    assert step.min() >= 0 and step.max() < 1000
    assert len(set(step.tolist())) > WORLDS / 2 and step.max() - step.min() > 500
    short = HumanoidEnv(worlds.env.engine, WORLDS, max_episode_steps=100)
    step = jax.jit(short.reset, static_argnames="stagger")(jax.random.key(0), stagger=True)
    assert 50 < int(step.episode_step.max()) < 100


def test_the_same_key_gives_the_same_trajectory(worlds, start):
    def trajectory(state):
        for seed in range(3):
            state = worlds.step(thrown_up(state, seed), action_of(seed))
        return state

    a, b = trajectory(start), trajectory(worlds.reset(jax.random.key(0)))
    for x, y in zip(
        jax.tree.leaves(a._replace(key=0)), jax.tree.leaves(b._replace(key=0)), strict=True
    ):
        np.testing.assert_array_equal(x, y)


def test_other_keys_and_other_seeds_give_other_worlds(worlds, start):
    other_key = worlds.reset(jax.random.key(1))
    other_seed = jax.jit(HumanoidEnv(worlds.env.engine, WORLDS, seed=1).reset)(jax.random.key(0))
    assert np.all(start.obs[:, :45] != other_key.obs[:, :45])
    assert np.all(start.obs[:, :45] != other_seed.obs[:, :45])


def test_set_state_places_every_world_and_begins_its_episode(worlds, start):
    rng = np.random.default_rng(0)
    qpos = np.asarray(start.physics.qpos) + rng.normal(size=(WORLDS, 24)).astype(np.float32) / 50
    qvel = rng.normal(size=(WORLDS, 23)).astype(np.float32)
    state = worlds.set_state(worlds.step(start, action_of()), qpos, qvel)
    np.testing.assert_array_equal(state.obs[:, :45], np.concatenate([qpos[:, 2:], qvel], 1))
    np.testing.assert_array_equal(state.obs, state.final_obs)
    assert not state.episode_step.any() and not state.episode_return.any()


def test_set_state_forgets_the_past(worlds, start):
    """From the same place the same action leads to the same step, whatever was before."""
    used = worlds.step(worlds.step(start, action_of(1)), action_of(2))
    a, b = (
        worlds.step(worlds.set_state(s, start.physics.qpos, start.physics.qvel), action_of())
        for s in (start, used)
    )
    np.testing.assert_array_equal(a.final_obs, b.final_obs)
    np.testing.assert_array_equal(a.reward, b.reward)


def test_returns_and_lengths_are_of_each_worlds_newest_episode(worlds, start):
    assert np.isnan(start.last_return).all() and not start.last_length.any()
    rewards, states, state = [], [], start
    for step in range(5):
        if step in (1, 4):
            state = thrown_up(state, 7)
        state = worlds.step(state, action_of(step))
        rewards.append(float(state.reward[7]))
        states.append(state)
    ended = [bool(s.terminated[7]) for s in states]
    assert ended == [False, True, False, False, True]
    for s, past in ((states[1], rewards[:2]), (states[3], rewards[:2]), (states[4], rewards[2:])):
        assert s.last_return[7] == pytest.approx(sum(past), rel=1e-5)
        assert s.last_length[7] == len(past)
    others = np.arange(WORLDS) != 7
    assert np.isnan(state.last_return[others]).all() and not state.last_length[others].any()


def test_length_counts_the_steps_taken_after_a_staggered_start(worlds, start):
    after = worlds.step(worlds.step(at_step(start, 7, 998), action_of()), action_of(1))
    assert after.truncated[7] and after.last_length[7] == 2


def with_nan_state(state, world):
    return moved(state, world, hip=jnp.nan)


def others(state):
    """Every field of the worlds that were left alone."""
    kept = np.arange(WORLDS) != BROKEN
    return [np.asarray(x)[kept] for x in jax.tree.leaves(state._replace(key=jnp.zeros(WORLDS)))]


def test_a_world_that_breaks_leaves_every_other_bit_identical(worlds, start):
    before = worlds.step(start, action_of())
    healthy, hurt = before, with_nan_state(before, BROKEN)
    for seed in range(1, 5):
        healthy, hurt = (worlds.step(s, action_of(seed)) for s in (healthy, hurt))
        for a, b in zip(others(healthy), others(hurt), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_world_that_breaks_is_marked_and_begun_anew(worlds, start):
    after = worlds.step(with_nan_state(start, BROKEN), action_of())
    assert np.flatnonzero(~after.valid).tolist() == [BROKEN]
    assert after.truncated[BROKEN] and not after.terminated[BROKEN]
    assert np.flatnonzero(after.failed).tolist() == [BROKEN], "MuJoCo itself sees a NaN"
    assert after.reward[BROKEN] == 0.0 and after.episode_step[BROKEN] == 0
    # The broken episode is no finished one.
    assert np.isnan(after.last_return[BROKEN])
    for name in ("obs", "final_obs", "physics"):
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(getattr(after, name)))
    assert abs(after.obs[BROKEN, 0] - 1.4) <= 0.01 + 2e-7
    assert worlds.step(after, action_of(1)).valid.all()


def test_a_world_that_explodes_is_quarantined(worlds, start):
    """Finite, but faster than any body: it must not be learned from either."""
    state = moved(start, BROKEN, z=1.6)
    qvel = state.physics.qvel.at[BROKEN, 0].set(2000.0)
    state = state._replace(physics=state.physics._replace(qvel=qvel))
    _, _, failed = worlds.physics_step(state.physics, action_of())
    assert not failed.any(), "the engine should see nothing wrong"
    after = worlds.step(state, action_of())
    assert np.flatnonzero(~after.valid).tolist() == [BROKEN] and not after.failed.any()
    assert np.abs(after.physics.qvel).max() < 1000


def stored(worlds, start, break_state=False, break_action=False):
    """A ring of six steps, with the third broken as asked, and the final state."""
    state, replay = start, ring.init(6 * WORLDS, WORLDS)
    for step in range(6):
        action = action_of(step) / 0.4
        if step == 2 and break_state:
            state = with_nan_state(state, BROKEN)
        if step == 2 and break_action:
            action = action.at[BROKEN, 4].set(jnp.nan)
        state, replay = worlds.collect(state, replay, action)
    return state, replay


@pytest.fixture(scope="module", params=["state", "action"])
def broken_ring(request, worlds):
    return stored(worlds, worlds.reset(jax.random.key(0)), **{f"break_{request.param}": True})


def test_a_broken_step_is_stored_invalid_and_no_other(broken_ring):
    _, replay = broken_ring
    invalid = np.argwhere(~np.asarray(replay.valid))
    assert invalid.tolist() == [[2, BROKEN]]


def test_nothing_that_is_not_finite_reaches_the_ring(broken_ring):
    state, replay = broken_ring
    for leaf in jax.tree.leaves(replay):
        assert np.isfinite(leaf).all()
    assert np.isfinite(state.obs).all()


def test_a_broken_step_is_never_drawn_as_valid(broken_ring):
    _, replay = broken_ring
    draws = jax.jit(ring.sample, static_argnums=2)(replay, jax.random.key(0), 4000)
    is_broken = np.all(np.asarray(draws.obs) == np.asarray(replay.obs[2, BROKEN]), -1)
    assert is_broken.any(), "4,000 draws of 320 rows should hold it"
    assert not draws.valid[is_broken].any() and draws.valid[~is_broken].all()


def test_a_time_limits_row_is_stored_invalid_where_it_would_bootstrap(worlds, start):
    """Its true successor is not in the ring, only the next episode's start."""
    state = at_step(thrown_up(start, 7), 5, 999)
    state, replay = worlds.collect(state, ring.init(6 * WORLDS, WORLDS), action_of())
    assert state.truncated[5] and state.terminated[7]
    assert np.flatnonzero(~np.asarray(replay.valid[0])).tolist() == [5]
    assert np.flatnonzero(np.asarray(replay.discount[0]) == 0).tolist() == [7]
    np.testing.assert_array_equal(replay.obs[0], start.obs)
    np.testing.assert_array_equal(replay.reward[0], state.reward)


def test_a_time_limits_row_counts_as_terminal_where_it_does_not_bootstrap(worlds, start):
    state, replay = jax.jit(
        lambda s, r, a: collect(worlds.env, s, r, a, lambda x: x, bootstrap_time_limits=False)
    )(at_step(start, 5, 999), ring.init(6 * WORLDS, WORLDS), action_of())
    assert replay.valid[0].all()
    assert np.flatnonzero(np.asarray(replay.discount[0]) == 0).tolist() == [5]
