"""SAC against NumPy, and where its optimum is known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import softmax
from scipy.stats import norm

from mjx_dm.config import Config, replace
from mjx_dm.learner import losses, make_learner, networks
from mjx_dm.learner.tanh_gaussian import TanhGaussian
from mjx_dm.types import Spaces, Transition

# One state's best policy, where Q is alpha times its log density.
TRUE = TanhGaussian(jnp.array([0.8, -0.3]), jnp.log(jnp.array([0.2, 0.6])))
STATES, STEPS = 32, 1000

BATCH, HEAD = 32, 16
SPACES = Spaces(6, 3, (-1.0,) * 3, (1.0,) * 3)
CONFIG = replace(
    Config(),
    learner="sac",
    batch_size=BATCH,
    actor_batch_size=HEAD,
    actor_widths=(16, 16),
    critic_widths=(16, 16),
    value_min=-20.0,
    value_max=20.0,
    num_atoms=21,
    alpha=0.2,
    actor_lr=3e-3,
    critic_lr=3e-3,
)
POLICY = jax.jit(networks.policy_network(CONFIG, SPACES).apply)
CRITIC = jax.jit(networks.twin_critic(CONFIG).apply)


def fit(q, alpha):
    """The tanh Gaussian that STEPS updates lead to from mu 0, sigma 0.5."""
    optimizer = optax.adam(optax.cosine_decay_schedule(2e-2, STEPS))

    def loss(policy, key):
        of_states = jax.tree.map(lambda x: jnp.broadcast_to(x, (STATES, *x.shape)), policy)
        action, log_prob = of_states.sample_and_log_prob(key)
        return losses.sac_loss(q(action), log_prob, alpha)

    def step(carry, key):
        policy, state = carry
        updates, state = optimizer.update(jax.grad(loss)(policy, key), state)
        return (optax.apply_updates(policy, updates), state), None

    start = TanhGaussian(jnp.zeros(2), jnp.full(2, jnp.log(0.5)))
    keys = jax.random.split(jax.random.key(0), STEPS)
    carry = (start, optimizer.init(start))
    return jax.jit(lambda carry: jax.lax.scan(step, carry, keys)[0][0])(carry)


def test_with_entropy_the_policy_becomes_exp_of_q_over_alpha():
    alpha = 0.5
    policy = fit(lambda action: alpha * TRUE.log_prob(action), alpha)
    np.testing.assert_allclose(policy.centre, TRUE.centre, atol=0.02)
    np.testing.assert_allclose(np.exp(policy.log_std), np.exp(TRUE.log_std), rtol=0.05)


def test_without_entropy_the_policy_shrinks_onto_the_best_action():
    best = jnp.broadcast_to(jnp.array([0.6, -0.2]), (STATES, 2))
    policy = fit(lambda action: -jnp.sum(jnp.square(action - best), -1), 0.0)
    np.testing.assert_allclose(policy.mean(), best[0], atol=0.01)
    assert np.exp(policy.log_std).max() < 0.1


@pytest.fixture(scope="module")
def learner():
    return make_learner(CONFIG, SPACES)


@pytest.fixture(scope="module")
def updated(learner):
    """(state, batch, key, state after one update on them, metrics)."""
    rng = np.random.default_rng(0)
    state = jax.jit(learner.init)(jax.random.key(0))

    def shaken(x):
        return jnp.asarray(np.asarray(x) + 0.3 * rng.normal(size=x.shape), jnp.float32)

    state = state._replace(**{n: jax.tree.map(shaken, getattr(state, n)) for n in NETWORKS})
    batch, key = batch_of(rng), jax.random.key(5)
    return state, batch, key, *jax.jit(learner.update)(state, batch, key)


NETWORKS = ("actor", "critic", "target_critic")


def batch_of(rng):
    def f(x):
        return jnp.asarray(x, jnp.float32)

    return Transition(
        obs=f(rng.normal(size=(BATCH, 6))),
        action=f(rng.uniform(-1, 1, (BATCH, 3))),
        reward=f(5 * rng.normal(size=BATCH)),
        discount=f(np.arange(BATCH) % 3 != 0),
        next_obs=f(rng.normal(size=(BATCH, 6))),
        valid=jnp.asarray(np.arange(BATCH) % 4 != 1),
    )


def drawn(params, obs, key):
    """The policy's actions with `key`, and their log pi in float64."""
    policy = POLICY(params, obs)
    mu, std = np.asarray(policy.centre, np.float64), np.exp(np.asarray(policy.log_std, np.float64))
    u = mu + std * np.asarray(jax.random.normal(key, mu.shape), np.float64)
    action = np.tanh(u)
    return action, (norm.logpdf(u, mu, std) - np.log1p(-(action**2))).sum(-1)


def probs(params, obs, action):
    """Masses of the twins' atoms, `(2, B, atoms)`."""
    action = jnp.asarray(action, jnp.float32)[:, None]
    out = CRITIC(params, obs, action)[:, :, 0]
    return softmax(np.asarray(out, np.float64), -1)


SUPPORT = np.linspace(-20, 20, 21)


def test_the_critics_target_is_promised_the_entropy_of_the_next_action(updated):
    state, batch, key, _, metrics = updated
    action, log_prob = drawn(state.actor, batch.next_obs, jax.random.split(key)[0])
    target = probs(state.target_critic, batch.next_obs, action)
    predicted = probs(state.critic, batch.obs, batch.action)
    costs = []
    for row in np.flatnonzero(batch.valid):
        lesser = target[np.argmin(target[:, row] @ SUPPORT), row]
        moved = 0.1 * float(batch.reward[row]) + 0.98 * float(batch.discount[row]) * (
            SUPPORT - 0.2 * log_prob[row]
        )
        place = (np.clip(moved, -20, 20)[None] - SUPPORT[:, None]) / 2
        mass = np.maximum(1 - np.abs(place), 0) @ lesser
        costs.append(sum(-mass @ np.log(predicted[c, row]) for c in range(2)))
    assert np.abs(0.2 * log_prob).max() > 0.5, "the entropy should matter"
    np.testing.assert_allclose(metrics["critic_loss"], np.mean(costs), rtol=1e-4)


def test_the_policys_loss_is_alpha_log_pi_less_the_lesser_q(updated):
    state, batch, key, after, metrics = updated
    obs = batch.obs[:HEAD]
    action, log_prob = drawn(state.actor, obs, jax.random.split(key)[1])
    # The critics are updated before the policy is.
    q = (probs(after.critic, obs, action) @ SUPPORT).min(0)
    np.testing.assert_allclose(metrics["actor_loss"], np.mean(0.2 * log_prob - q), rtol=1e-4)
    np.testing.assert_allclose(metrics["entropy"], -np.mean(log_prob), rtol=1e-4)
    assert metrics["alpha"] == pytest.approx(0.2, rel=1e-5)


@pytest.mark.parametrize(
    ("start", "target"), [(0.001, -0.3), pytest.param(1.0, -1.5, marks=pytest.mark.slow)]
)
def test_alpha_brings_the_entropy_to_its_target(start, target):
    """A bandit whose best action lies inside the box; alpha starts too low, and too high."""
    config = replace(CONFIG, alpha=start, target_entropy=target, alpha_step=0.02, critic_lr=1e-2)
    learner = make_learner(config, SPACES)
    best = jnp.broadcast_to(jnp.array([0.5, -0.5, 0.0]), (BATCH, 3))

    def bandit(key):
        action = jax.random.uniform(key, (BATCH, 3), minval=-1.0, maxval=1.0)
        obs = jnp.zeros((BATCH, 6))
        reward = -50.0 * jnp.sum(jnp.square(action - best), -1)
        no, yes = jnp.zeros(BATCH), jnp.ones(BATCH, bool)
        return Transition(obs, action, reward, no, obs, yes)

    @jax.jit
    def train(key):
        init_key, data_key, key = jax.random.split(key, 3)
        batches = jax.vmap(bandit)(jax.random.split(data_key, 800))
        carry = learner.pack(learner.init(init_key))
        carry, _ = learner.updates(carry, batches, jax.random.split(key, 800))
        last = jax.tree.map(lambda x: x[-200:], batches)
        return learner.updates(carry, last, jax.random.split(key, 200))[1]

    found = train(jax.random.key(0))
    assert found["entropy"] / 3 == pytest.approx(target, abs=0.1)
