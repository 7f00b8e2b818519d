"""The observation normaliser against NumPy."""

import jax.numpy as jnp
import numpy as np

from mjx_dm.training import normalisation

SIZE = 30


def batches(count, size, seed=0):
    """Observations with a mean and scale of their own for every feature and batch."""
    rng = np.random.default_rng(seed)
    scale, offset = rng.uniform(0.1, 10, SIZE), 5 * rng.normal(size=SIZE)
    return [
        (offset + rng.normal() + scale * rng.normal(size=(size, SIZE))).astype(np.float32)
        for _ in range(count)
    ]


def taken_in(data):
    state = normalisation.init((SIZE,))
    for obs in data:
        state = normalisation.update(state, jnp.asarray(obs))
    return state


def moments(rows):
    """Mean and variance of `rows` and a hundredth of an observation of N(0, 1)."""
    rows = rows.astype(np.float64)
    total = 0.01 + len(rows)
    mean = rows.sum(0) / total
    var = (0.01 * (1 + mean**2) + ((rows - mean) ** 2).sum(0)) / total
    return mean, var


def test_normalizer_holds_the_mean_and_variance_of_all_it_saw():
    data = batches(4, 50)
    state = taken_in(data)
    mean, var = moments(np.concatenate(data))
    # float32 sums of squares around a mean of up to 15.
    np.testing.assert_allclose(state.mean, mean, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(state.var, var, rtol=1e-3)


def test_a_normalizer_that_has_seen_ten_million_follows_what_it_sees():
    state = normalisation.Normalizer(jnp.asarray(1e7), jnp.zeros(1), jnp.zeros(1))
    ones, left = jnp.ones((1_000_000, 1)), (10 / 11) ** 20
    for _ in range(20):
        state = normalisation.update(state, ones)
    np.testing.assert_allclose(state.mean, 1 - left, rtol=1e-4)
    # The variance of the share `left` of 0 among ones.
    np.testing.assert_allclose(state.var, left * (1 - left), rtol=1e-3)


def test_normalized_observations_have_mean_0_and_variance_1():
    (data,) = batches(1, 2000)
    out = np.asarray(normalisation.normalize(taken_in([data]), jnp.asarray(data)))
    np.testing.assert_allclose(out.mean(0), 0.0, atol=1e-3)
    np.testing.assert_allclose(out.std(0), 1.0, atol=1e-2)


def test_normalized_observations_are_clipped_at_10():
    state = taken_in(batches(1, 100))
    out = normalisation.normalize(state, jnp.stack([jnp.full(SIZE, 1e6), jnp.full(SIZE, -1e6)]))
    np.testing.assert_array_equal(out[0], np.full(SIZE, 10.0))
    np.testing.assert_array_equal(out[1], np.full(SIZE, -10.0))


def test_a_constant_feature_normalizes_to_0():
    """Many never change; a division by their spread must not blow them up."""
    constant = np.random.default_rng(0).normal(size=SIZE).astype(np.float32) * 10
    constant[:10] = 0.0
    state = taken_in([np.tile(constant, (4000, 1))] * 3)
    out = normalisation.normalize(state, jnp.asarray(constant))
    np.testing.assert_array_equal(out[:10], np.zeros(10))
    # The start's hundredth of an observation leaves 0.1 / sqrt(12000) = 0.0009.
    np.testing.assert_allclose(out, 0.0, atol=2e-3)
