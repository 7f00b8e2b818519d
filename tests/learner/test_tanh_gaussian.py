"""The tanh Gaussian against SciPy, and where float32 would round an action to the edge."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from mjx_dm.learner.tanh_gaussian import TanhGaussian

MU = np.array([[0.3, -1.2, 0.0], [2.0, 0.1, -0.5]])
LOG_STD = np.array([[-1.0, 0.0, -2.0], [-0.5, -3.0, 0.0]])
POLICY = TanhGaussian(jnp.asarray(MU, jnp.float32), jnp.asarray(LOG_STD, jnp.float32))


def change_of_variables(action):
    """log N(atanh a) + log |d atanh a / da|, the derivative by central differences in float64."""
    step = 1e-6
    slope = (np.arctanh(action + step) - np.arctanh(action - step)) / (2 * step)
    return (norm.logpdf(np.arctanh(action), MU, np.exp(LOG_STD)) + np.log(slope)).sum(-1)


def test_log_prob_is_the_change_of_variables():
    actions = np.random.default_rng(0).uniform(-0.99, 0.99, (50, 2, 3))
    ours = POLICY.log_prob(jnp.asarray(actions, jnp.float32))
    # Where sigma is exp(-3) a float32's rounding of the action is worth 1e-3 nats.
    np.testing.assert_allclose(ours, change_of_variables(actions), rtol=1e-3, atol=1e-3)


def test_the_density_of_one_coordinate_has_mass_1():
    grid = np.linspace(-1.0, 1.0, 20_001)[1:-1]
    one = TanhGaussian(jnp.array([0.5]), jnp.array([-0.7]))
    density = np.exp(np.asarray(one.log_prob(jnp.asarray(grid[:, None], jnp.float32)), np.float64))
    assert np.trapezoid(density, grid) == pytest.approx(1.0, abs=1e-3)


def test_a_sample_comes_with_its_own_log_prob():
    action, log_prob = POLICY.sample_and_log_prob(jax.random.key(0))
    np.testing.assert_array_equal(action, POLICY.sample(jax.random.key(0)))
    exact = change_of_variables(np.asarray(action, np.float64))
    np.testing.assert_allclose(log_prob, exact, rtol=1e-3, atol=1e-3)


def test_samples_are_squashed_normal_draws():
    drawn = np.arctanh(np.asarray(POLICY.sample(jax.random.key(0), (20_000,)), np.float64))
    assert drawn.shape == (20_000, 2, 3)
    np.testing.assert_allclose(drawn.mean(0), MU, atol=0.03)
    np.testing.assert_allclose(drawn.std(0), np.exp(LOG_STD), rtol=0.03)
    np.testing.assert_allclose(POLICY.mean(), np.tanh(MU), rtol=1e-6)


@pytest.mark.parametrize("mu", [20.0, -20.0])
def test_log_prob_and_its_gradient_are_finite_where_the_action_rounds_to_the_edge(mu):
    def entropy(mu):
        policy = TanhGaussian(jnp.full(3, mu), jnp.zeros(3))
        action, log_prob = policy.sample_and_log_prob(jax.random.key(0))
        return -log_prob, action

    (value, action), slope = jax.jit(jax.value_and_grad(entropy, has_aux=True))(mu)
    assert np.abs(action).min() > 1.0 - 1e-6
    noise = np.asarray(jax.random.normal(jax.random.key(0), 3), np.float64)
    # log(1 - tanh(u)^2) is 2 log 2 - 2 |u| there.
    expected = np.sum(-norm.logpdf(noise) + 2 * np.log(2) - 2 * np.abs(mu + noise))
    assert value == pytest.approx(expected, rel=1e-5)
    assert slope == pytest.approx(-6.0 * np.sign(mu), rel=1e-3)
    policy = TanhGaussian(jnp.full(3, mu), jnp.zeros(3))
    assert np.isfinite(policy.log_prob(action))


def test_a_tanh_gaussian_passes_through_jax_as_a_pytree():
    leaves, structure = jax.tree.flatten(POLICY)
    back = jax.tree.unflatten(structure, leaves)
    assert back.centre is POLICY.centre and back.log_std is POLICY.log_std
    # As vmap's in_axes are.
    assert jax.tree.map(lambda _: 0, POLICY).centre == 0
