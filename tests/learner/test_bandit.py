"""Density matching where the answer is known: one state, two actions, exp(Q) a mixture itself.

The divergence is the sum over a grid that holds all but 1e-6 of either density.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mjx_dm.config import Config, replace
from mjx_dm.learner import losses
from mjx_dm.learner.gmm import GMM
from mjx_dm.learner.proposals import propose, tilted

TRUE = GMM(
    jnp.log(jnp.array([0.7, 0.3])),
    jnp.array([[0.4, 0.2], [-0.3, -0.4]]),
    jnp.log(jnp.array([[0.15, 0.2], [0.2, 0.1]])),
)
# Wide enough for a standard normal density to bend it.
WIDE = GMM(TRUE.logits, 2.5 * TRUE.component_mean, TRUE.log_std + jnp.log(4.0))
NORMAL = GMM(jnp.zeros(1), jnp.zeros((1, 2)), jnp.zeros((1, 2)))
STATES, STEPS = 32, 3000


def log_density(*factors):
    """The logarithm of the product of some densities, normalised over the grid."""
    axis = jnp.linspace(-5.0, 5.0, 801)
    grid = jnp.stack(jnp.meshgrid(axis, axis), -1).reshape(-1, 2)
    return jax.nn.log_softmax(sum(jax.vmap(gmm.log_prob)(grid) for gmm in factors))


def divergence(p, q):
    """KL(p || q) in nats, of log densities."""
    return float(jnp.sum(jnp.exp(p) * (p - q)))


def fit(true=TRUE, **settings):
    """The mixture that STEPS updates on proposals lead to, with Q = log of the true density."""
    config = replace(Config(), num_components=2, **settings)
    alpha = config.temperatures.alpha
    optimizer = optax.adam(optax.cosine_decay_schedule(2e-2, STEPS))

    def of_states(gmm):
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (STATES, *x.shape)), gmm)

    def loss(gmm, key):
        policy = jax.lax.stop_gradient(of_states(gmm))

        def q(actions):
            return losses.log_prob_of_each(of_states(true), actions)

        chosen = propose(config.policy, policy, q, alpha, 1.0, key)
        return losses.density_matching_loss(of_states(gmm), chosen.actions, chosen.score, 1.0, 0.0)

    def step(carry, key):
        gmm, state = carry
        updates, state = optimizer.update(jax.grad(loss)(gmm, key), state)
        return (optax.apply_updates(gmm, updates), state), None

    start = GMM(jnp.zeros(2), jnp.array([[0.1, 0.0], [-0.1, 0.0]]), jnp.full((2, 2), jnp.log(0.5)))
    carry = (start, optimizer.init(start))
    keys = jax.random.split(jax.random.key(0), STEPS)
    return jax.jit(lambda carry: jax.lax.scan(step, carry, keys)[0][0])(carry)


@pytest.mark.parametrize("proposal", ["policy", "tilted"])
def test_proposals_from_the_policy_with_entropy_fit_the_true_density(proposal):
    """pi exp((Q - alpha log pi) / T) with alpha = T is exp(Q / T)."""
    gmm = fit(proposal=proposal, alpha=1.0, bounded=False, num_proposals=16)
    assert divergence(log_density(TRUE), log_density(gmm)) < 0.001


def test_the_published_form_fits_the_true_density_times_the_normal_one():
    true, biased = log_density(WIDE), log_density(WIDE, NORMAL)
    settings = {"proposal": "prior", "alpha": 0.0, "num_proposals": 64, "bounded": False}
    fitted = log_density(fit(WIDE, **settings))
    assert divergence(biased, fitted) < 0.001
    assert divergence(true, fitted) > 0.25


def test_proposals_from_the_policy_without_entropy_shrink_onto_the_best_action():
    gmm = fit(proposal="policy", alpha=0.0, num_proposals=16)
    heaviest = int(jnp.argmax(gmm.logits))
    assert np.exp(gmm.log_std[heaviest]).max() < 0.02


def test_where_q_is_linear_a_tilted_policy_leaves_nothing_to_the_weights():
    """N(mu, sigma^2) exp(g a / T) is N(mu + sigma^2 g / T, sigma^2)."""
    std, slope, temperature = jnp.array([0.2, 0.5]), jnp.array([0.6, -0.4]), 0.5
    policy = GMM(jnp.zeros((1, 1)), jnp.array([[[0.1, -0.3]]]), jnp.log(std)[None, None])
    settings = replace(Config(), proposal="tilted", num_proposals=6, bounded=False).policy
    key = jax.random.key(1)
    proposed = propose(settings, policy, lambda a: a @ slope, 0.0, temperature, key)
    np.testing.assert_allclose(np.ptp(proposed.score), 0.0, atol=1e-5)
    mean = policy.component_mean[0, 0] + std**2 * slope / temperature
    np.testing.assert_allclose(proposed.actions[0].mean(0), mean, atol=1e-6)
    # What the weights of samples of the policy itself would have kept.
    drawn = policy.sample(key, (200_000,))[:, 0]
    share = losses.effective_sample_share(losses.proposal_weights(drawn @ slope, temperature))
    np.testing.assert_allclose(proposed.kept[0], share, rtol=0.02)


def test_a_tilted_component_moves_by_one_sigma_at_most():
    policy = GMM(jnp.zeros((1, 1)), jnp.zeros((1, 1, 2)), jnp.log(jnp.full((1, 1, 2), 0.1)))
    moved, kept = tilted(policy, jnp.array([[[30.0, 40.0]]]), 1.0)
    np.testing.assert_allclose(moved.component_mean[0, 0], [0.06, 0.08], rtol=1e-6)
    np.testing.assert_allclose(kept, np.exp(-1.0), rtol=1e-6)
