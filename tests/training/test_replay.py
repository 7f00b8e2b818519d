"""The ring against a plain Python list."""

import collections
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from mjx_dm.config import ConfigError
from mjx_dm.training import normalisation
from mjx_dm.training import replay as ring
from mjx_dm.types import Spaces

# As many worlds as rows to draw from: draws of the two by one key would coincide.
ROWS, WORLDS, DRAWS = 5, 4, 256
SPACES = Spaces(24, 5, (-1.0,) * 5, (1.0,) * 5)
add = jax.jit(ring.add)
sample = jax.jit(ring.sample, static_argnums=2)


def row_of(step):
    """A row in which every number tells its step and world."""
    name = 10.0 * step + np.arange(WORLDS, dtype=np.float32)
    return {
        "obs": np.tile(name[:, None], (1, 24)),
        "action": np.tile(-name[:, None], (1, 5)),
        "reward": name + 0.25,
        "discount": name + 0.5,
        "valid": (np.arange(WORLDS) + step) % 3 != 0,
    }


def filled(steps):
    replay = ring.init(ROWS * WORLDS, WORLDS, SPACES)
    for step in range(steps):
        replay = add(replay, **row_of(step))
    return replay


@pytest.mark.parametrize("steps", [2, 3, ROWS, ROWS + 1, 2 * ROWS, 3 * ROWS + 2])
def test_every_draw_is_a_stored_row_with_its_successor(steps):
    kept = collections.deque(maxlen=ROWS)
    for step in range(steps):
        kept.append(step)
    draws = sample(filled(steps), jax.random.key(steps), DRAWS)
    seen = set()
    for i in range(DRAWS):
        step, world = divmod(int(draws.obs[i, 0]), 10)
        # The newest row has no successor yet, and what was overwritten is gone.
        assert step in list(kept)[:-1]
        row, successor = row_of(step), row_of(step + 1)
        for name in ("obs", "action", "reward", "discount", "valid"):
            np.testing.assert_array_equal(getattr(draws, name)[i], row[name][world])
        np.testing.assert_array_equal(draws.next_obs[i], successor["obs"][world])
        seen.add((step, world))
    # 256 draws miss one of at most 16 transitions with probability 1e-6.
    assert len(seen) == (len(kept) - 1) * WORLDS


@pytest.mark.parametrize("recency", [1.0, 2.0, 3.0])
def test_draws_are_uniform_over_worlds_and_of_an_age_of_u_to_the_recency(recency):
    count, cells = 12_000, (ROWS - 1) * WORLDS
    draws = ring.sample(filled(2 * ROWS + 3), jax.random.key(0), count, recency=recency)
    _, observed = np.unique(np.asarray(draws.obs[:, 0]), return_counts=True)
    assert len(observed) == cells
    # u^r < x where u < x^(1/r); the oldest row comes first.
    up_to = np.linspace(0.0, 1.0, ROWS) ** (1 / recency)
    expected = count * np.repeat(np.diff(up_to)[::-1], WORLDS) / WORLDS
    statistic = np.sum((observed - expected) ** 2 / expected)
    # A fair draw exceeds this once in a million keys.
    assert statistic < chi2.ppf(1 - 1e-6, cells - 1)


def test_draws_of_different_keys_differ():
    replay = filled(ROWS)
    a, b = (sample(replay, jax.random.key(k), DRAWS) for k in (0, 1))
    assert np.any(a.obs != b.obs)


def test_capacity_counts_transitions_of_all_worlds():
    assert ring.init(100, 32, SPACES).reward.shape == (3, 32)


@pytest.fixture
def optimized():
    """The compiler as users have it."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def test_observations_in_bfloat16_are_drawn_rounded_in_float32():
    obs = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 24)) * 100, jnp.float32)
    replay, ones = ring.init(8, 2, SPACES, "bfloat16"), jnp.ones(2)
    for row in obs:
        replay = ring.add(replay, row, jnp.ones((2, 5)), ones, ones, ones > 0)
    batch = ring.sample(replay, jax.random.key(0), 64)
    assert replay.obs.nbytes == 4 * 2 * 24 * 2 and batch.obs.dtype == jnp.float32
    drawn = {tuple(x) for x in np.asarray(batch.obs).tolist()}
    kept = normalisation.rounded(obs[:2], "bfloat16").reshape(4, 24)
    assert drawn == {tuple(x) for x in np.asarray(kept).tolist()}
    assert not np.array_equal(kept[0], obs[0, 0])


@pytest.mark.parametrize("obs_dtype", ["float32", "bfloat16"])
def test_a_donated_ring_is_written_in_place(optimized, obs_dtype):
    rows, worlds = 512, 4
    replay = jax.eval_shape(lambda: ring.init(rows * worlds, worlds, SPACES, obs_dtype))
    row = jax.eval_shape(
        lambda: {
            "obs": jnp.zeros((worlds, 24)),
            "action": jnp.zeros((worlds, 5)),
            "reward": jnp.zeros(worlds),
            "discount": jnp.zeros(worlds),
            "valid": jnp.zeros(worlds, jnp.bool_),
        }
    )
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(replay))
    compiled = jax.jit(ring.add, donate_argnums=0).lower(replay, **row).compile()
    memory = compiled.memory_analysis()
    assert memory.alias_size_in_bytes >= size
    # A copy of the ring would be 512 rows; a few of them may pass through temporaries.
    assert memory.temp_size_in_bytes < size / 100
    # Nor may the ring be converted there and back, which needs no memory but all of the time.
    assert len(set(re.findall(r"(\w+)\[512,4,24\]", compiled.as_text()))) == 1


def test_n_step_draws_are_the_sums_that_a_list_gives():
    """Against plain Python over 40 steps of 3 worlds with deaths and invalid rows, of which the
    ring holds the last 25."""
    steps, rows, worlds, n, gamma = 40, 25, 3, 4, 0.9
    rng = np.random.default_rng(0)
    reward = rng.normal(size=(steps, worlds))
    discount = (rng.random((steps, worlds)) > 0.15).astype(float)
    valid = rng.random((steps, worlds)) > 0.1
    replay = ring.init(rows * worlds, worlds, SPACES)
    for t in range(steps):
        obs = np.tile((t + steps * np.arange(worlds))[:, None], (1, 24)).astype(np.float32)
        row = (np.float32(x[t]) for x in (reward, discount))
        replay = add(replay, obs, np.zeros((worlds, 5), np.float32), *row, valid[t])
    draws = jax.jit(ring.sample, static_argnums=(2, 3, 4))(replay, jax.random.key(0), 600, n, gamma)
    spans, seen = set(), set()
    for i in range(600):
        world, t = divmod(int(draws.obs[i, 0]), steps)
        total, factor, span = reward[t, world], discount[t, world], 1
        while (
            span < n
            and valid[t, world]
            and factor > 0
            and t + span < steps - 1
            and valid[t + span, world]
        ):
            total += gamma**span * reward[t + span, world]
            factor = gamma**span * discount[t + span, world]
            span += 1
        spans.add(span)
        seen.add(t)
        assert draws.valid[i] == valid[t, world]
        if valid[t, world]:
            np.testing.assert_allclose(draws.reward[i], total, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(draws.discount[i], factor, rtol=1e-5)
            assert int(draws.next_obs[i, 0]) == t + span + steps * world
    assert spans == {1, 2, 3, 4} and seen == set(range(steps - rows, steps - 1))


ages = jax.jit(ring.draw_ages, static_argnums=(1, 3, 4))


@pytest.mark.parametrize("recency", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("count", [2**25 + 1, 2**30 - 3, 2**31 - 2])
def test_ages_reach_every_row_of_a_ring_of_more_than_a_float_counts(count, recency):
    """The rows themselves need not be there: only their numbers are drawn."""
    size = 1 << 18
    drawn = np.asarray(ages(jax.random.key(0), size, jnp.int32(count), 2**31 - 2, recency))
    assert drawn.min() >= 0 and drawn.max() < count
    # Fourteen halves of the range by age, in each as many as u^recency puts there.
    share = np.sort((drawn + np.random.default_rng(0).random(size)) / count)
    distance = np.abs(share ** (1 / recency) - (np.arange(size) + 0.5) / size).max()
    # Kolmogorov and Smirnov: more than this once in a million keys.
    assert distance < 2.7 / np.sqrt(size)
    # Beyond 2^24 a float32 would give even numbers alone, beyond 2^25 every fourth row.
    large = drawn[drawn > 2**24]
    observed = np.bincount(large % 8, minlength=8)
    expected = len(large) / 8
    assert np.sum((observed - expected) ** 2 / expected) < chi2.ppf(1 - 1e-6, 7)


def test_ages_of_a_small_ring_are_those_of_a_float():
    key, count = jax.random.key(3), jnp.int32(5000)
    few = ages(key, 1000, count, ring.ROWS_OF_A_FLOAT, 3.0)
    share = jax.random.uniform(key, (1000,)) ** 3.0
    np.testing.assert_array_equal(few, (share * 5000).astype(jnp.int32))


@pytest.mark.parametrize("rows", [1, 3, ROWS, 31_250, 2**24 + 5, 2**29 + 1, 2**30 - 1])
def test_rows_are_counted_for_ever(rows):
    """From shortly before an int32 would overflow: the next row is the next, and the ring full."""
    one_more = jax.jit(ring._one_more, static_argnums=1)
    rounds = rows * max(1, 2**29 // rows)
    written, row, folds = jnp.int32(2 * rounds - 3), (2 * rounds - 3) % rows, 0
    for _ in range(6):
        after = one_more(written, rows)
        folds += after < written
        row = (row + 1) % rows
        assert after % rows == row and after >= rows
        written = after
    assert folds == 1 and int(written) < 2**30 + rows


def test_a_ring_of_more_rows_than_are_counted_is_refused():
    with pytest.raises(ConfigError, match=r"must be less than 2\^30 steps"):
        jax.eval_shape(lambda: ring.init(2**33, 4, SPACES))
