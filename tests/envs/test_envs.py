"""Batches of worlds on MuJoCo's C engine: ends, resets, and worlds that break."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mjx_dm.envs
from mjx_dm.config import ConfigError
from mjx_dm.envs.batch import MAX_OBS, MAX_SPEED, BatchEnv, make_env
from mjx_dm.tasks import get_task

WORLDS = 16
BROKEN = 5
NOISE = 0.01  # InvertedPendulum's starts, in m and rad


class Worlds:
    """InvertedPendulum-v5, whose pole is lost beyond 0.2 rad, with its functions compiled once."""

    def __init__(self):
        self.env = make_env(WORLDS, "InvertedPendulum-v5", engine="mujoco")
        self.reset = jax.jit(self.env.reset, static_argnames="stagger")
        self.step = jax.jit(self.env.step_with_info)
        self.set_state = jax.jit(self.env.set_state)

    def after(self, state, action=None):
        return self.step(state, action_of() if action is None else action)[0]


@pytest.fixture(scope="module")
def worlds():
    return Worlds()


@pytest.fixture(scope="module")
def start(worlds):
    return worlds.reset(jax.random.key(0))


def action_of(seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.uniform(-0.3, 0.3, (WORLDS, 1)), jnp.float32)


def moved(state, world, **columns):
    """`state` with one world changed behind the environment's back."""
    qpos = state.physics.qpos
    for column, value in columns.items():
        qpos = qpos.at[world, {"cart": 0, "pole": 1}[column]].set(value)
    return state._replace(physics=state.physics._replace(qpos=qpos))


def fallen(state, world):
    """`state` with one world's pole about to be lost."""
    return moved(state, world, pole=0.3)


def at_step(state, world, step):
    return state._replace(episode_step=state.episode_step.at[world].set(step))


def test_make_envs_signature_is_stable():
    """Scripts of others call it."""
    signature = inspect.signature(mjx_dm.envs.make_env)
    assert {name: p.default for name, p in signature.parameters.items()} == {
        "num_envs": inspect.Parameter.empty,
        "task": "Humanoid-v4",
        "engine": "auto",
        "physics": "v4",
        "seed": 0,
        "max_episode_steps": None,
    }


def test_make_env_without_a_task_is_humanoid_v4():
    env = make_env(2)
    assert (env.task.name, env.engine.name) == ("Humanoid-v4", "mujoco")
    assert env.spaces == get_task("Humanoid-v4").spaces
    assert env.max_episode_steps == 1000


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"num_envs": 0}, "num_envs must be at least 1, got 0."),
        ({"max_episode_steps": 0}, "max_episode_steps must be at least 1, got 0."),
        ({"task": "Hopper"}, "--task Hopper is unknown .Hopper-v5 is near it.; choose from"),
        ({"engine": "c"}, "engine 'c' is unknown; choose from auto, mujoco, mjx, warp."),
        ({"physics": "v5"}, "physics 'v5' is unknown; choose from auto, exact, v4, fast."),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_sentence(wrong, sentence):
    with pytest.raises(ConfigError, match=sentence):
        make_env(**{"num_envs": 1, **wrong})


def test_reset_shapes_and_flags(start):
    assert start.obs.shape == start.final_obs.shape == (WORLDS, 4)
    assert np.isfinite(start.obs).all() and start.valid.all()
    assert not (start.terminated | start.truncated).any()
    assert not start.episode_step.any()


def test_an_ordinary_step_leads_to_what_the_next_action_is_chosen_from(worlds, start):
    after = worlds.after(start)
    assert after.valid.all() and not (after.terminated | after.truncated).any()
    np.testing.assert_array_equal(after.obs, after.final_obs)
    assert np.abs(after.obs - start.obs).max() > 0.1
    np.testing.assert_array_equal(after.episode_step, np.ones(WORLDS))


def test_time_limit_keeps_the_final_observation(worlds, start):
    state = at_step(at_step(start, 3, 998), 5, 999)
    after, unlimited = worlds.after(state), worlds.after(start)
    assert np.flatnonzero(after.truncated).tolist() == [5]
    assert not after.terminated.any() and after.valid.all()
    # The step led where it leads without the limit, and a fresh episode was begun.
    np.testing.assert_array_equal(after.final_obs, unlimited.obs)
    assert np.abs(after.obs[5]).max() <= NOISE and np.abs(after.final_obs[5]).max() > NOISE
    assert after.episode_step[5] == 0 and after.episode_step[3] == 999
    last = worlds.after(after, action_of(1))
    assert np.flatnonzero(last.truncated).tolist() == [3]


def test_a_fall_terminates_and_resets(worlds, start):
    after = worlds.after(fallen(start, 7))
    assert np.flatnonzero(after.terminated).tolist() == [7]
    assert not after.truncated.any() and after.valid.all()
    assert after.final_obs[7, 1] > 0.2
    assert np.abs(after.obs[7]).max() <= NOISE
    np.testing.assert_array_equal(after.obs[7, :2], after.physics.qpos[7])
    assert not after.physics.qacc_warmstart[7].any()
    assert after.episode_step[7] == 0


def test_termination_wins_over_the_time_limit(worlds, start):
    state = at_step(at_step(fallen(start, 7), 7, 999), 8, 999)
    after = worlds.after(state)
    assert np.flatnonzero(after.terminated).tolist() == [7]
    assert np.flatnonzero(after.truncated).tolist() == [8]


def test_no_start_serves_twice_and_all_are_drawn_anew_when_one_would(worlds, start):
    first = worlds.after(fallen(start, 7))
    second = worlds.after(fallen(first, 8))
    third = worlds.after(fallen(second, 7))
    assert not start.starts.used.any()
    used = [np.flatnonzero(s.starts.used).tolist() for s in (first, second, third)]
    assert used == [[7], [7, 8], [7]]
    np.testing.assert_array_equal(first.obs[7], start.starts.obs[7])
    np.testing.assert_array_equal(first.starts.obs, start.starts.obs)
    np.testing.assert_array_equal(second.starts.obs, start.starts.obs)
    np.testing.assert_array_equal(third.obs[7], third.starts.obs[7])
    starts = [start.obs, start.starts.obs, third.starts.obs]
    numbers = np.concatenate(starts).ravel()
    assert len(np.unique(numbers)) == len(numbers), "every number of every start is drawn anew"


def test_staggered_worlds_start_apart_within_the_time_limit(worlds):
    step = np.asarray(worlds.reset(jax.random.key(0), stagger=True).episode_step)
    assert step.min() >= 0 and step.max() < 1000
    assert len(set(step.tolist())) > WORLDS / 2 and step.max() - step.min() > 500
    short = BatchEnv(worlds.env.task, worlds.env.engine, WORLDS, max_episode_steps=100)
    step = jax.jit(short.reset, static_argnames="stagger")(jax.random.key(0), stagger=True)
    assert 50 < int(step.episode_step.max()) < 100


def test_the_same_key_gives_the_same_trajectory(worlds, start):
    def trajectory(state):
        for seed in range(3):
            state = worlds.after(fallen(state, seed), action_of(seed))
        return state._replace(key=jax.random.key_data(state.key))

    again = worlds.reset(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, trajectory(start), trajectory(again))


def test_other_keys_and_other_seeds_give_other_worlds(worlds, start):
    other_key = worlds.reset(jax.random.key(1))
    seeded = BatchEnv(worlds.env.task, worlds.env.engine, WORLDS, seed=1)
    other_seed = jax.jit(seeded.reset)(jax.random.key(0))
    assert np.all(start.obs != other_key.obs) and np.all(start.obs != other_seed.obs)


def test_set_state_places_every_world_and_begins_its_episode(worlds, start):
    rng = np.random.default_rng(0)
    qpos, qvel = jnp.asarray(rng.normal(size=(2, WORLDS, 2)) / 50, jnp.float32)
    state = worlds.set_state(worlds.after(start), qpos, qvel)
    np.testing.assert_array_equal(state.obs, np.concatenate([qpos, qvel], 1))
    np.testing.assert_array_equal(state.obs, state.final_obs)
    assert not state.episode_step.any() and not state.episode_return.any()


def test_set_state_forgets_the_past(worlds, start):
    """From the same place the same action leads to the same step, whatever was before."""
    used = worlds.after(worlds.after(start, action_of(1)), action_of(2))
    a, b = (
        worlds.after(worlds.set_state(s, start.physics.qpos, start.physics.qvel))
        for s in (start, used)
    )
    np.testing.assert_array_equal(a.final_obs, b.final_obs)
    np.testing.assert_array_equal(a.reward, b.reward)


def test_returns_and_lengths_are_of_each_worlds_newest_episode(worlds, start):
    """InvertedPendulum-v5 pays 1 a step and 0 for the one that ends it."""
    assert not start.last_return.any() and not start.last_length.any()
    states, state = [], start
    for step in range(5):
        if step in (1, 4):
            state = fallen(state, 7)
        state = worlds.after(state, action_of(step))
        states.append(state)
    assert [bool(s.terminated[7]) for s in states] == [False, True, False, False, True]
    for s, reward, length in ((states[1], 1, 2), (states[3], 1, 2), (states[4], 2, 3)):
        assert (s.last_return[7], s.last_length[7]) == (reward, length)
    others = np.arange(WORLDS) != 7
    assert not state.last_return[others].any() and not state.last_length[others].any()


def test_length_counts_the_steps_taken_after_a_staggered_start(worlds, start):
    after = worlds.after(worlds.after(at_step(start, 7, 998)), action_of(1))
    assert after.truncated[7] and after.last_length[7] == 2


def others(state):
    """Every field of the worlds that were left alone."""
    kept = np.arange(WORLDS) != BROKEN
    return [np.asarray(x)[kept] for x in jax.tree.leaves(state._replace(key=jnp.zeros(WORLDS)))]


def test_a_world_that_breaks_leaves_every_other_bit_identical(worlds, start):
    before = worlds.after(start)
    healthy, hurt = before, moved(before, BROKEN, pole=jnp.nan)
    for seed in range(1, 5):
        healthy, hurt = (worlds.after(s, action_of(seed)) for s in (healthy, hurt))
        for a, b in zip(others(healthy), others(hurt), strict=True):
            np.testing.assert_array_equal(a, b)


def assert_quarantined(worlds, after, infos):
    """`BROKEN` was reset, and nothing of its step can reach anyone."""
    assert np.flatnonzero(~after.valid).tolist() == [BROKEN]
    assert after.truncated[BROKEN] and not after.terminated[BROKEN]
    assert after.reward[BROKEN] == 0.0 and after.episode_step[BROKEN] == 0
    # The broken episode is no finished one.
    assert not after.last_return[BROKEN] and not after.last_length[BROKEN]
    for name in ("obs", "final_obs", "physics"):
        for leaf in jax.tree.leaves(getattr(after, name)):
            assert np.abs(leaf).max() < MAX_OBS
    assert np.abs(after.obs[BROKEN]).max() <= NOISE
    assert all(np.isfinite(x).all() and x[BROKEN] == 0 for x in infos.values())
    assert worlds.after(after, action_of(1)).valid.all()


def test_a_world_that_breaks_is_marked_and_begun_anew(worlds, start):
    after, infos = worlds.step(moved(start, BROKEN, pole=jnp.nan), action_of())
    assert np.flatnonzero(after.failed).tolist() == [BROKEN], "MuJoCo itself sees a NaN"
    assert_quarantined(worlds, after, infos)


def test_an_action_that_is_not_a_number_breaks_its_world_alone(worlds, start):
    """MuJoCo's C engine takes it for 0, and InvertedPendulum's reward does not look at it."""
    after, infos = worlds.step(start, action_of().at[BROKEN].set(jnp.nan))
    assert_quarantined(worlds, after, infos)


@pytest.mark.parametrize("huge", [2e19, -2e19])
def test_one_huge_number_in_an_observation_quarantines_its_world(worlds, start, huge):
    """Finite, and slow: its square would make a running variance infinite for good."""
    task = worlds.env.task

    def observe(fields):
        obs = task.observe(fields)
        return obs.at[2].set(jnp.where(fields["qpos"][0] > 0.5, huge, obs[2]))

    env = BatchEnv(dataclasses.replace(task, observe=observe), worlds.env.engine, WORLDS)
    after, infos = jax.jit(env.step_with_info)(moved(start, BROKEN, cart=0.8), action_of())
    assert not after.failed.any(), "the engine should see nothing wrong"
    assert_quarantined(worlds, after, infos)


def test_a_reward_that_is_not_a_number_quarantines_its_world(worlds, start):
    task = worlds.env.task

    def reward(before, after, action):
        return jnp.where(after["qpos"][0] > 0.5, jnp.nan, 1.0), {}

    env = BatchEnv(dataclasses.replace(task, reward=reward), worlds.env.engine, WORLDS)
    after, infos = jax.jit(env.step_with_info)(moved(start, BROKEN, cart=0.8), action_of())
    assert_quarantined(worlds, after, infos)


@pytest.fixture(scope="module")
def collected(worlds):
    """collect(state, break_state, break_action): six steps, the third broken as asked."""
    from mjx_dm.training import replay as ring
    from mjx_dm.training.rollout import collect

    def one(state, replay, action, bootstrap):
        return collect(worlds.env, state, replay, action, lambda a: 0.3 * a, bootstrap)

    program = jax.jit(one, static_argnums=3)

    def run(state, steps=6, broken=None, bootstrap=True):
        replay = ring.init(6 * WORLDS, WORLDS, worlds.env.spaces)
        for step in range(steps):
            action = action_of(step) / 0.3
            if step == 2 and broken == "state":
                state = moved(state, BROKEN, pole=jnp.nan)
            if step == 2 and broken == "action":
                action = action.at[BROKEN, 0].set(jnp.nan)
            state, replay = program(state, replay, action, bootstrap)
        return state, replay

    return run


# The rollout is being moved to tasks; then the marks go.


@pytest.mark.parametrize("broken", ["state", "action"])
def test_a_broken_step_is_stored_invalid_and_clean_and_never_drawn_as_valid(
    collected, start, broken
):
    from mjx_dm.training import replay as ring

    state, replay = collected(start, broken=broken)
    assert np.argwhere(~np.asarray(replay.valid)).tolist() == [[2, BROKEN]]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(replay))
    assert np.isfinite(state.obs).all()
    draws = jax.jit(ring.sample, static_argnums=2)(replay, jax.random.key(0), 1000)
    is_broken = np.all(np.asarray(draws.obs) == np.asarray(replay.obs[2, BROKEN]), -1)
    assert is_broken.any(), "1,000 draws of 80 rows should hold it"
    assert not draws.valid[is_broken].any() and draws.valid[~is_broken].all()


def test_a_time_limits_row_is_stored_invalid_where_it_would_bootstrap(collected, start):
    """Its true successor is not in the ring, only the next episode's start."""
    state, replay = collected(at_step(fallen(start, 7), 5, 999), steps=1)
    assert state.truncated[5] and state.terminated[7]
    assert np.flatnonzero(~np.asarray(replay.valid[0])).tolist() == [5]
    assert np.flatnonzero(np.asarray(replay.discount[0]) == 0).tolist() == [7]
    np.testing.assert_array_equal(replay.obs[0], start.obs)
    np.testing.assert_array_equal(replay.reward[0], state.reward)


def test_a_time_limits_row_counts_as_terminal_where_it_does_not_bootstrap(collected, start):
    _, replay = collected(at_step(start, 5, 999), steps=1, bootstrap=False)
    assert replay.valid[0].all()
    assert np.flatnonzero(np.asarray(replay.discount[0]) == 0).tolist() == [5]


class Humanoids:
    """Four of Humanoid-v4, which carries a field from step to step; the cheaper physics."""

    def __init__(self):
        self.env = make_env(4, engine="mujoco", physics="fast")
        self.step = jax.jit(self.env.step_with_info)
        self.start = jax.jit(self.env.reset)(jax.random.key(0))
        qpos = self.start.physics.qpos.at[1, 2].set(2.5)  # above the healthy range
        self.thrown = self.start._replace(physics=self.start.physics._replace(qpos=qpos))


@pytest.fixture(scope="module")
def humanoids():
    return Humanoids()


def test_the_humanoids_terminal_step_pays_and_its_next_episode_compares_with_its_own_start(
    humanoids,
):
    action = jnp.full((4, 17), 0.2)
    after, infos = humanoids.step(humanoids.thrown, action)
    assert after.terminated.tolist() == [False, True, False, False]
    # v4 pays the healthy reward on the terminal step too.
    np.testing.assert_allclose(infos["reward_alive"], 5.0)
    expected = 5.0 + 1.25 * infos["x_velocity"] - 0.1 * 17 * 0.04
    np.testing.assert_allclose(after.reward, expected, rtol=1e-5)
    # Were the carried centre of mass still the old episode's, the velocity would be of metres a
    # step; both are torsos at rest near the origin.
    np.testing.assert_array_equal(
        after.carried["subtree_com"][1], humanoids.thrown.starts.carried["subtree_com"][1]
    )
    following, infos = humanoids.step(after, action)
    assert not following.terminated.any() and np.abs(infos["x_velocity"]).max() < 1.0
    assert abs(float(after.obs[1, 0]) - 1.4) <= 0.01 + 2e-7 and after.final_obs[1, 0] > 2.0


def test_a_humanoid_that_breaks_carries_nothing_on(humanoids):
    state = humanoids.start
    qpos = state.physics.qpos.at[2, 10].set(jnp.nan)
    broken = state._replace(physics=state.physics._replace(qpos=qpos))
    after, infos = humanoids.step(broken, jnp.zeros((4, 17)))
    assert after.valid.tolist() == [True, True, False, True]
    for leaf in jax.tree.leaves((after.obs, after.final_obs, after.physics, after.carried, infos)):
        assert np.isfinite(leaf).all()
    assert humanoids.step(after, jnp.zeros((4, 17)))[0].valid.all()


def test_a_humanoid_that_explodes_is_quarantined(humanoids):
    """Finite, but faster than any body: it must not be learned from either."""
    physics = humanoids.start.physics
    physics = physics._replace(
        qpos=physics.qpos.at[2, 2].set(1.6), qvel=physics.qvel.at[2, 0].set(2000.0)
    )
    after, _ = humanoids.step(humanoids.start._replace(physics=physics), jnp.zeros((4, 17)))
    assert not after.failed.any(), "the engine should see nothing wrong"
    assert after.valid.tolist() == [True, True, False, True]
    assert np.abs(after.physics.qvel).max() < MAX_SPEED
