"""Every formula of the losses against plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp, softmax
from scipy.stats import norm

from mjx_dm.learner import losses
from mjx_dm.learner.gmm import GMM

STATES, PROPOSALS, COMPONENTS, DIMS = 5, 6, 3, 17


def float32(x):
    return jnp.asarray(x, jnp.float32)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def problem(rng):
    """(logits, mean, log_std, actions, q_values) in float64, exact in float32."""
    arrays = (
        rng.normal(size=(STATES, COMPONENTS)),
        rng.normal(size=(STATES, COMPONENTS, DIMS)),
        rng.uniform(-1, 0.5, (STATES, COMPONENTS, DIMS)),
        rng.normal(size=(STATES, PROPOSALS, DIMS)),
        3 * rng.normal(size=(STATES, PROPOSALS)),
    )
    return tuple(x.astype(np.float32).astype(np.float64) for x in arrays)


def published_loss(logits, mean, log_std, actions, q_values, temperature, entropy_coef):
    """- sum_i p_i log pi(a_i|s) - lambda sum_k w_k sum_j log sigma_kj, state by state."""
    losses_of_states = []
    for s in range(len(logits)):
        w = softmax(logits[s])
        p = softmax(q_values[s] / temperature)
        fit = 0.0
        for i in range(len(p)):
            densities = norm.logpdf(actions[s, i], mean[s], np.exp(log_std[s])).sum(-1)
            fit -= p[i] * logsumexp(np.log(w) + densities)
        losses_of_states.append(fit - entropy_coef * (w @ log_std[s].sum(-1)))
    return np.mean(losses_of_states)


def test_proposal_weights_are_the_softmax_of_q_over_temperature(rng):
    q = rng.normal(size=(4, 6)) * 5
    expected = np.exp(q / 0.7) / np.exp(q / 0.7).sum(-1, keepdims=True)
    np.testing.assert_allclose(losses.proposal_weights(float32(q), 0.7), expected, rtol=1e-5)


def test_proposal_weights_survive_values_whose_exponential_overflows():
    weights = losses.proposal_weights(float32([[1000.0, 0.0, 999.0]]), 0.5)
    np.testing.assert_allclose(weights, [[0.880797, 0.0, 0.119203]], atol=1e-5)


@pytest.mark.parametrize(("temperature", "entropy_coef"), [(1.0, 0.01), (0.3, 0.0), (5.0, 2.0)])
def test_density_matching_loss_is_the_published_formula(problem, temperature, entropy_coef):
    logits, mean, log_std, actions, q_values = map(float32, problem)
    loss = losses.density_matching_loss(
        GMM(logits, mean, log_std), actions, q_values, temperature, entropy_coef
    )
    expected = published_loss(*problem, temperature, entropy_coef)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


_gradients = jax.jit(jax.grad(losses.density_matching_loss, argnums=(0, 1, 2, 3)), static_argnums=4)


def gradients(problem):
    """At temperature 0.5 and lambda 0.1, in the mixture, the actions, the values and T."""
    logits, mean, log_std, actions, q_values = map(float32, problem)
    return _gradients(GMM(logits, mean, log_std), actions, q_values, jnp.asarray(0.5), 0.1)


def test_density_matching_moves_the_mixture_along_the_formulas_gradient(problem, rng):
    """Central differences of the NumPy formula along a random direction of all parameters."""
    direction = [rng.normal(size=x.shape) for x in problem[:3]]

    def at(h):
        return published_loss(
            *(x + h * d for x, d in zip(problem[:3], direction, strict=True)),
            *problem[3:],
            0.5,
            0.1,
        )

    expected = (at(1e-5) - at(-1e-5)) / 2e-5
    grads, *_ = gradients(problem)
    slope = sum(
        np.sum(np.asarray(g, np.float64) * d)
        for g, d in zip(jax.tree.leaves(grads), direction, strict=True)
    )
    np.testing.assert_allclose(slope, expected, rtol=1e-4)


def test_no_gradient_of_density_matching_flows_past_the_mixture(problem):
    for grad in gradients(problem)[1:]:
        np.testing.assert_array_equal(grad, np.zeros(grad.shape))


def test_effective_sample_share_of_known_weights():
    weights = float32(
        [[0.25, 0.25, 0.25, 0.25], [0, 1, 0, 0], [0.5, 0.5, 0, 0], [0.7, 0.1, 0.1, 0.1]]
    )
    # The last: 1 / (4 * (0.49 + 0.03)) = 0.480769.
    expected = [1.0, 0.25, 0.5, 0.480769]
    np.testing.assert_allclose(losses.effective_sample_share(weights), expected, rtol=1e-5)


def test_td_target_bootstraps_only_where_the_episode_goes_on():
    target = losses.td_target(
        reward=float32([1.0, 1.0, -2.0]),
        discount=float32([1.0, 0.0, 1.0]),
        next_value=float32([10.0, 10.0, -4.0]),
        gamma=0.9,
    )
    np.testing.assert_allclose(target, [10.0, 1.0, -5.6], rtol=1e-6)


def test_scalar_critic_loss_is_the_mean_over_valid_rows_of_both_errors(rng):
    q, target = rng.normal(size=(2, 6)), rng.normal(size=6)
    valid = np.array([1, 0, 1, 1, 0, 1.0])
    total = sum(
        (q[0, i] - target[i]) ** 2 + (q[1, i] - target[i]) ** 2 for i in range(6) if valid[i]
    )
    loss = losses.scalar_critic_loss(float32(q), float32(target), float32(valid))
    np.testing.assert_allclose(loss, total / 4, rtol=1e-5)


def test_categorical_critic_loss_is_the_mean_over_valid_rows_of_both_cross_entropies(rng):
    logits, target = 3 * rng.normal(size=(2, 6, 5)), rng.dirichlet(np.ones(5), 6)
    valid = np.array([1, 0, 1, 1, 0, 1.0])
    total = sum(
        -np.sum(target[i] * np.log(softmax(logits[c, i])))
        for c in range(2)
        for i in range(6)
        if valid[i]
    )
    loss = losses.categorical_critic_loss(float32(logits), float32(target), float32(valid))
    np.testing.assert_allclose(loss, total / 4, rtol=1e-5)


def test_invalid_rows_send_no_gradient_into_a_critic(rng):
    valid = float32([1, 0, 1, 0])
    scalar = jax.grad(losses.scalar_critic_loss)(
        float32(rng.normal(size=(2, 4))), float32(rng.normal(size=4)), valid
    )
    categorical = jax.grad(losses.categorical_critic_loss)(
        float32(rng.normal(size=(2, 4, 5))), float32(rng.dirichlet(np.ones(5), 4)), valid
    )
    for grad in (scalar, categorical):
        np.testing.assert_array_equal(grad[:, 1::2], np.zeros_like(grad[:, 1::2]))
        assert np.all(grad[:, ::2] != 0)


def test_a_batch_without_a_valid_row_costs_nothing():
    q, target, valid = jnp.ones((2, 3)), jnp.zeros(3), jnp.zeros(3)
    assert losses.scalar_critic_loss(q, target, valid) == 0.0


def c51_projection(probs, positions, support):
    """Bellemare et al. 2017, algorithm 1: mass by mass, with floor and ceiling."""
    low, width = support[0], support[1] - support[0]
    projected = np.zeros_like(probs)
    for row in range(len(probs)):
        for p, z in zip(probs[row], positions[row], strict=True):
            b = (np.clip(z, low, support[-1]) - low) / width
            below, above = int(np.floor(b)), int(np.ceil(b))
            if below == above:
                projected[row, below] += p
            else:
                projected[row, below] += p * (above - b)
                projected[row, above] += p * (b - below)
    return projected


SUPPORT = np.linspace(-20.0, 120.0, 21)


@pytest.fixture(params=["cpu", "default"])
def project(request, monkeypatch):
    """`losses.project` as a CPU and as every other platform runs it."""
    monkeypatch.setattr(
        jax.lax, "platform_dependent", lambda *args, **ways: ways[request.param](*args)
    )
    return losses.project


def test_project_is_the_loop_of_c51(rng, project):
    probs = rng.dirichlet(np.ones(21), 4)
    positions = rng.normal(size=(4, 1)) * 40 + 0.9 * SUPPORT
    projected = project(float32(probs), float32(positions), float32(SUPPORT))
    # float32 positions up to 120 over a width of 7: 1e-6 of an atom.
    np.testing.assert_allclose(projected, c51_projection(probs, positions, SUPPORT), atol=1e-5)


def test_project_keeps_the_mass_and_inside_the_support_the_mean(rng, project):
    probs = rng.dirichlet(np.ones(21), 4)
    positions = rng.uniform(-20, 120, (4, 21))
    projected = np.asarray(project(float32(probs), float32(positions), float32(SUPPORT)))
    np.testing.assert_allclose(projected.sum(-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(projected @ SUPPORT, (probs * positions).sum(-1), atol=1e-3)


def test_project_puts_mass_beyond_an_end_on_it(project):
    probs = float32([[0.25, 0.75, 0.0]])
    projected = project(probs, float32([[-9.0, 50.0, 0.0]]), float32([-1.0, 0.0, 1.0]))
    np.testing.assert_allclose(projected, [[0.25, 0.0, 0.75]], atol=1e-6)


def test_a_dual_rises_when_its_value_is_too_small_and_falls_when_too_large():
    start = jnp.asarray(-1.0)
    assert losses.step_towards(start, jnp.asarray(0.2), 0.5, 0.01) == pytest.approx(-0.99)
    assert losses.step_towards(start, jnp.asarray(0.8), 0.5, 0.01) == pytest.approx(-1.01)


def test_the_kl_of_weights_is_nothing_when_even_and_log_m_when_one_counts():
    weights = float32([[0.25] * 4, [1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]])
    np.testing.assert_allclose(losses.weights_kl(weights), [0.0, np.log(4), np.log(2)], atol=1e-6)
