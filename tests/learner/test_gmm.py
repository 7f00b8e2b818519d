"""The mixture against SciPy's densities and against the moments of its own draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from mjx_dm.learner.gmm import GMM

log_prob = jax.jit(GMM.log_prob)
sample = jax.jit(GMM.sample, static_argnums=2)
sample_pairs = jax.jit(GMM.sample_pairs, static_argnums=2)


def random_mixture(batch=(), components=3, dims=4, seed=0):
    rng = np.random.default_rng(seed)
    return GMM(
        logits=jnp.asarray(rng.normal(size=(*batch, components)), jnp.float32),
        mean=jnp.asarray(rng.normal(size=(*batch, components, dims)), jnp.float32),
        log_std=jnp.asarray(rng.uniform(-1.5, 0.5, (*batch, components, dims)), jnp.float32),
    )


def numpy_fields(gmm):
    """(log weights, means, standard deviations) in float64."""
    logits, mean, log_std = (
        np.asarray(x, np.float64) for x in (gmm.logits, gmm.component_mean, gmm.log_std)
    )
    return logits - logsumexp(logits, -1, keepdims=True), mean, np.exp(log_std)


def scipy_log_prob(gmm, action):
    log_weight, mean, std = numpy_fields(gmm)
    component = norm.logpdf(np.asarray(action, np.float64)[..., None, :], mean, std).sum(-1)
    return logsumexp(log_weight + component, -1)


@pytest.mark.parametrize(
    ("batch", "components", "dims"), [((), 3, 4), ((5,), 1, 17), ((5,), 32, 17), ((2, 3), 4, 1)]
)
def test_log_prob_is_scipys(batch, components, dims):
    gmm = random_mixture(batch, components, dims)
    action = np.random.default_rng(1).normal(size=(*batch, dims)).astype(np.float32)
    ours = log_prob(gmm, jnp.asarray(action))
    assert ours.shape == batch
    # Sums of up to 17 float32 squares of order 100.
    np.testing.assert_allclose(ours, scipy_log_prob(gmm, action), rtol=1e-5, atol=1e-4)


def test_log_prob_of_more_actions_than_mixtures_broadcasts():
    gmm = random_mixture((5,))
    action = np.random.default_rng(1).normal(size=(7, 5, 4)).astype(np.float32)
    with jax.numpy_rank_promotion("allow"):
        ours = log_prob(gmm, jnp.asarray(action))
    np.testing.assert_allclose(ours, scipy_log_prob(gmm, action), rtol=1e-5, atol=1e-4)


def test_log_prob_far_out_is_finite_and_right():
    """1e4 standard deviations away exp() of every component is 0: only the log form survives."""
    gmm = random_mixture((2,), components=3, dims=17)
    action = jnp.full((2, 17), 1e4)
    np.testing.assert_allclose(log_prob(gmm, action), scipy_log_prob(gmm, action), rtol=1e-5)


def test_log_prob_has_finite_gradients_far_out_and_at_tiny_weights():
    gmm = random_mixture(components=3, dims=17)
    gmm = GMM(jnp.array([0.0, -200.0, 200.0]), gmm.component_mean, gmm.log_std)
    grads = jax.jit(jax.grad(log_prob))(gmm, jnp.full(17, 50.0))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    assert any(np.any(leaf != 0) for leaf in jax.tree.leaves(grads))


@pytest.fixture(scope="module", params=["single", "pairs"])
def draws(request):
    """A mixture of three far components in two states, and 20,000 draws from each.

    With as many dimensions as components, noise drawn by the component's key would show.
    """
    gmm = GMM(
        logits=jnp.log(jnp.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])),
        mean=jnp.array([-20.0, 0.0, 20.0])[None, :, None] + jnp.zeros((2, 3, 3)),
        log_std=jnp.log(
            jnp.array(
                [
                    [[0.5, 1.0, 1.0], [1.0, 2.0, 0.1], [2.0, 0.5, 1.0]],
                    [[1.0, 1.0, 2.0], [0.1, 0.3, 1.0], [1.0, 2.0, 0.5]],
                ]
            )
        ),
    )
    if request.param == "single":
        drawn = sample(gmm, jax.random.key(0), (20_000,))
    else:
        drawn = sample_pairs(gmm, jax.random.key(0), 10_000)
    return gmm, np.asarray(drawn, np.float64)


def test_samples_have_the_requested_shape():
    gmm = random_mixture((5,), components=3, dims=4)
    assert sample(gmm, jax.random.key(0), ()).shape == (5, 4)
    assert sample(gmm, jax.random.key(0), (2, 7)).shape == (2, 7, 5, 4)
    assert sample(random_mixture(()), jax.random.key(0), (6,)).shape == (6, 4)


def test_components_are_drawn_as_often_as_they_weigh(draws):
    gmm, drawn = draws
    # The components are at least 9 sigma apart, so the nearest mean tells them.
    component = np.rint(drawn[..., 0] / 20).astype(int) + 1
    frequency = np.stack([(component == k).mean(0) for k in range(3)], -1)
    # Four standard errors of a share of 20,000 draws: 4 * sqrt(0.25 / 20000) = 0.014.
    np.testing.assert_allclose(frequency, np.exp(numpy_fields(gmm)[0]), atol=0.015)


def test_draws_of_each_component_have_its_mean_and_deviation(draws):
    gmm, drawn = draws
    _, mean, std = numpy_fields(gmm)
    component = np.rint(drawn[..., 0] / 20).astype(int) + 1
    for state in range(2):
        for k in range(3):
            chosen = drawn[component[:, state] == k, state]
            # At least 1,900 draws each: 5 standard errors are 0.12 sigma and 8% of sigma.
            assert np.all(np.abs(chosen.mean(0) - mean[state, k]) < 0.12 * std[state, k])
            np.testing.assert_allclose(chosen.std(0), std[state, k], rtol=0.08)


def test_draws_of_different_states_are_independent(draws):
    _, drawn = draws
    # 5 / sqrt(20000) = 0.035.
    assert abs(np.corrcoef(drawn[:, 0, 0], drawn[:, 1, 0])[0, 1]) < 0.035


def test_a_pair_lies_mirrored_at_the_mean_of_its_component():
    gmm = random_mixture((5,), components=3, dims=4)
    one, other = np.asarray(sample_pairs(gmm, jax.random.key(0), 20)).reshape(2, 20, 5, 4)
    middle = (one + other)[..., None, :] / 2
    distance = np.abs(middle - np.asarray(gmm.component_mean)).max(-1)
    assert np.all(distance.min(-1) < 1e-5)
    assert np.all(np.abs(one - other).max(-1) > 1e-3)
    assert len(np.unique(distance.argmin(-1))) == 3


def test_mean_is_the_weighted_mean_of_the_components():
    gmm = random_mixture((5,), components=4, dims=17)
    log_weight, mean, _ = numpy_fields(gmm)
    expected = np.einsum("bk,bka->ba", np.exp(log_weight), mean)
    np.testing.assert_allclose(gmm.mean(), expected, rtol=1e-5, atol=1e-6)


def test_effective_components_is_k_when_even_and_1_when_one_has_it_all():
    gmm = random_mixture((2,), components=8)
    logits = jnp.stack([jnp.full(8, 3.0), jnp.zeros(8).at[2].set(1e4)])
    even, single = GMM(logits, gmm.component_mean, gmm.log_std).effective_components()
    assert even == pytest.approx(8, rel=1e-5)
    assert single == 1.0


def test_positions_and_keywords_build_the_same_mixture():
    a = random_mixture((5,))
    b = GMM(a.logits, a.component_mean, a.log_std)
    for name in ("logits", "component_mean", "log_std"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_a_mixture_passes_through_jax_as_a_pytree():
    gmm = random_mixture((5,))
    leaves, structure = jax.tree.flatten(gmm)
    back = jax.tree.unflatten(structure, leaves)
    assert isinstance(back, GMM)
    for name in ("logits", "component_mean", "log_std"):
        assert getattr(back, name) is getattr(gmm, name)


def test_a_mixture_can_hold_what_is_not_an_array():
    """JAX unflattens pytrees with placeholders, such as the axes of vmap."""
    axes = jax.tree.map(lambda _: 0, random_mixture((5,)))
    assert (axes.logits, axes.component_mean, axes.log_std) == (0, 0, 0)


@pytest.mark.parametrize(
    ("draw", "of"),
    [(GMM.sample, ()), (GMM.sample, (1,)), (GMM.sample, (8,)), (GMM.sample_pairs, 4)],
)
def test_optimised_samples_are_the_ones_asked_for(draw, of):
    # conftest turns most of XLA's optimisations off; this is about what they once made of `sample`.
    gmm = random_mixture(batch=(256,), components=4, dims=17)
    jax.config.update("jax_disable_most_optimizations", False)
    try:
        jitted = jax.jit(draw, static_argnums=2)(gmm, jax.random.key(0), of)
    finally:
        jax.config.update("jax_disable_most_optimizations", True)
    np.testing.assert_allclose(jitted, draw(gmm, jax.random.key(0), of), atol=1e-4)
