"""The one program that advances a run: traced once, in place, and the same every time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_dm.config import replace
from mjx_dm.device import compiler_options
from mjx_dm.presets import PRESETS
from mjx_dm.training import program as training
from mjx_dm.training import replay as ring
from mjx_dm.training.worlds import make_worlds


def small(**changes):
    settings = {"engine": "mujoco", "num_envs": 4, "random_steps": 16, "chunk_iterations": 6}
    return replace(PRESETS["smoke"], **settings | changes)


@pytest.fixture(scope="module")
def program():
    """A small run's environment, its chunk compiled ahead, and a function that makes its start."""
    config = small()
    env = make_worlds(config)
    start = jax.jit(lambda key: training.init(config, env, key))
    traces = []
    body = training.make_chunk(config, env)

    def counted(state):
        traces.append(1)
        return body(state)

    return config, start, jax.jit(counted, donate_argnums=0), traces


def test_the_chunk_is_traced_once(program):
    _, start, chunk, traces = program
    traces.clear()
    state = start(jax.random.key(0))
    for _ in range(4):
        state, _ = chunk(state)
    jax.block_until_ready(state)
    assert sum(traces) <= 1, "the state's shapes, dtypes or weak types change between calls"
    assert chunk._cache_size() == 1


def test_updates_draw_as_the_settings_say_and_what_is_diagnosed_is_long_and_new(
    program, monkeypatch
):
    config, start, _, _ = program
    asked, sample = [], ring.sample
    names = ("num_steps", "gamma", "newest", "recency")

    def spy(replay, key, batch_size, num_steps=1, gamma=1.0, **settings):
        told = {"num_steps": num_steps, "gamma": gamma, **settings}
        asked.append([told.get(name) for name in names])
        return sample(replay, key, batch_size, num_steps, gamma, **settings)

    monkeypatch.setattr(ring, "sample", spy)
    env = make_worlds(config)
    state = jax.eval_shape(start, jax.random.key(0))
    jax.eval_shape(training.make_chunk(config, env), state)
    diagnosed = [500, 0.98, 1000, None]
    assert asked == [[1, 0.98, None, 3.0], diagnosed, diagnosed]


def test_what_is_diagnosed_is_drawn_by_a_key_of_its_own():
    """For every n, the i-th key of a split is `fold_in(key, i)`."""
    key = jax.random.key(0)
    np.testing.assert_array_equal(
        jax.random.key_data(jax.random.fold_in(key, 1)),
        jax.random.key_data(jax.random.split(key)[1]),
    )
    own = np.array(jax.random.key_data(jax.random.fold_in(key, training.DIAGNOSIS)))
    others = np.array(jax.random.key_data(jax.random.split(key, 1000)))
    assert not np.any(np.all(own == others, -1))


@pytest.mark.parametrize(
    ("iteration", "written", "expected"),
    [
        (0, 0, 5),  # a run's start
        (3, 3, 5),  # stopped before it learned, and gone on with its replay
        (90, 90, 90),  # stopped later
        (90, 0, 95),  # its replay was lost
        (92, 2, 95),  # and it was stopped again while that was filled
    ],
)
def test_learning_begins_when_the_replay_holds_the_random_steps(iteration, written, expected):
    config = replace(PRESETS["smoke"], num_envs=4, random_steps=17)
    assert int(training.learn_from(config, iteration, written)) == expected


def test_learning_waits_for_the_random_steps(program):
    config, start, chunk, _ = program
    state, metrics = chunk(start(jax.random.key(0)))
    # 16 random steps are 4 iterations of 4 worlds; 2 of the 6 learn.
    assert int(state.learner.updates) == 2 * config.replay.updates_per_step
    assert np.isfinite(float(metrics["critic_loss"]))


def test_every_learned_weight_moves(program):
    _, start, chunk, _ = program
    before = jax.device_get(start(jax.random.key(0)).learner)
    state = start(jax.random.key(0))
    for _ in range(3):
        state, _ = chunk(state)
    after = jax.device_get(state.learner)
    for name in ("actor", "average_actor", "critic", "target_critic"):
        moved = jax.tree.map(
            lambda a, b: bool(np.any(a != b)), getattr(before, name), getattr(after, name)
        )
        still = [jax.tree_util.keystr(p) for p, m in jax.tree.leaves_with_path(moved) if not m]
        assert not still, f"{name}: {still}"


def test_the_same_seed_gives_the_same_run_and_another_seed_another(program):
    _, start, chunk, _ = program

    def weights(seed):
        state, _ = chunk(chunk(start(jax.random.key(seed)))[0])
        return np.concatenate([np.ravel(x) for x in jax.tree.leaves(state.learner.actor)])

    first = weights(0)
    np.testing.assert_array_equal(first, weights(0))
    assert np.any(first != weights(1))


def test_the_updates_of_a_run_have_the_precision_asked_for():
    config = small(matmul_precision="tensorfloat32")
    env = make_worlds(config)
    state = jax.eval_shape(lambda key: training.init(config, env, key), jax.random.key(0))
    program = jax.jit(training.make_chunk(config, env)).lower(state).as_text()
    # The weighing of actions keeps the highest.
    assert "precision = [HIGH, HIGH]" in program and "precision = [HIGHEST, HIGHEST]" in program


def test_the_program_writes_the_replay_in_place_and_leaves_out_ynnpack():
    config = small(replay_size=100_000)
    env = make_worlds(config)
    state = jax.eval_shape(lambda key: training.init(config, env, key), jax.random.key(0))
    program = jax.jit(training.make_chunk(config, env), donate_argnums=0).lower(state)
    compiled = program.compile(compiler_options())
    if jax.__version_info__ < (0, 11):
        assert "ynn_fusion" not in compiled.as_text()
    memory = compiled.memory_analysis()
    ring = config.replay.replay_size * env.spaces.obs_size * 4
    assert memory.alias_size_in_bytes > ring
    assert memory.temp_size_in_bytes < 0.2 * ring


def test_the_ring_holds_what_the_worlds_lived_through(program):
    config, start, chunk, _ = program
    state, _ = chunk(start(jax.random.key(0)))
    replay = jax.device_get(state.replay)
    rows = config.run.chunk_iterations
    assert int(replay.written) == rows
    assert np.all(np.isfinite(replay.obs[:rows])) and np.any(replay.obs[:rows] != 0)
    assert np.all(replay.obs[rows:] == 0)
    # Within an episode the height moves little from row to row: rows are in order.
    alive = (replay.discount[: rows - 1] == 1) & replay.valid[: rows - 1]
    height = np.abs(np.diff(replay.obs[:rows, :, 0], axis=0))
    assert height[alive].max() < 0.1


def test_published_settings_run_through_the_same_program():
    config = replace(
        PRESETS["published"],
        engine="mujoco",
        num_envs=4,
        random_steps=16,
        chunk_iterations=6,
        updates_per_step=1,
        batch_size=16,
        actor_batch_size=16,
        actor_widths=(16, 16),
        critic_widths=(16, 16),
        num_components=3,
        num_proposals=4,
    )
    env = make_worlds(config)
    state = jax.jit(lambda key: training.init(config, env, key))(jax.random.key(0))
    state, metrics = jax.jit(training.make_chunk(config, env), donate_argnums=0)(state)
    assert np.isfinite(float(metrics["actor_loss"])) and float(metrics["alpha"]) == 0
    assert float(metrics["temperature"]) == pytest.approx(1.0)


@pytest.mark.slow
def test_the_same_program_runs_on_mjx_physics():
    config = small(engine="mjx")
    with jax.numpy_rank_promotion("allow"):  # MJX relies on it
        env = make_worlds(config)
        state = jax.jit(lambda key: training.init(config, env, key))(jax.random.key(0))
        state, metrics = jax.jit(training.make_chunk(config, env), donate_argnums=0)(state)
    assert float(metrics["quarantined"]) == 0
    assert np.isfinite(float(metrics["critic_loss"]))


def test_iterations_are_counted_for_ever_and_learning_stays_begun():
    """From shortly before 2^30, by the function that every iteration calls."""
    count = jax.jit(training.next_iteration)
    for learn_from, learns in ((5, True), (2**30 + 3, False)):
        state = (jnp.int32(2**30 - 3), jnp.int32(learn_from))
        begins_in = max(learn_from - (2**30 - 3), 0)
        for i in range(10):
            assert bool(state[0] >= state[1]) == (learns or i >= begins_in)
            before, state = state[0], count(*state)
            assert state[0] in (before + 1, before + 1 - 2**29) and 0 < state[0] < 2**30
