"""The learner against NumPy, from the same parameters with the same keys.

Networks are applied through Flax; what the learner does with their outputs is computed again.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp, softmax
from scipy.stats import norm

from mjx_dm.config import Config, replace
from mjx_dm.learner import make_learner, networks
from mjx_dm.presets import PRESETS
from mjx_dm.types import Spaces, Transition

BATCH, STATES = 32, 16
SPACES = Spaces(24, 5, (-1.0,) * 5, (1.0,) * 5)
TINY = {
    "batch_size": BATCH,
    "actor_widths": (16, 16),
    "critic_widths": (16, 16),
    "num_components": 3,
}


class Case:
    """A learner with its functions compiled once, and its networks."""

    def __init__(self, config: Config):
        self.config = config
        learner = make_learner(config, SPACES)
        self.init = jax.jit(learner.init)
        self.act = jax.jit(learner.act)
        self.update = jax.jit(learner.update)
        self.policy = jax.jit(networks.mixture_network(config, SPACES).apply)
        self._critic = jax.jit(networks.twin_critic(config).apply)
        self.start = self.init(jax.random.key(0))

    def mixture(self, params, obs):
        """(weights, means, log sigmas) in float64."""
        gmm = self.policy(params, obs)
        logits, mean, log_std = (
            np.asarray(x, np.float64) for x in (gmm.logits, gmm.component_mean, gmm.log_std)
        )
        return softmax(logits, -1), mean, log_std

    def critic(self, params, obs, actions):
        """(2, B, M, atoms), whatever M."""
        return np.asarray(self._critic(params, obs, jnp.asarray(actions, jnp.float32)), np.float64)


@pytest.fixture(scope="module")
def published():
    return Case(replace(PRESETS["published"], **TINY, actor_batch_size=STATES, num_proposals=5))


@pytest.fixture(scope="module")
def ours():
    """The default learner, small: categorical critic, sampled actions and both duals."""
    config = replace(
        Config(),
        **TINY,
        actor_batch_size=STATES,
        num_proposals=5,
        value_min=-20.0,
        value_max=20.0,
        num_atoms=21,
        actor_lr=3e-3,
        critic_lr=3e-3,
    )
    return Case(config)


def batch_of(seed=0, valid=None):
    """A batch that ends some episodes and leaves some rows out."""
    rng = np.random.default_rng(seed)

    def f(x):
        return jnp.asarray(x, jnp.float32)

    return Transition(
        obs=f(rng.normal(size=(BATCH, SPACES.obs_size))),
        action=f(rng.uniform(-1, 1, (BATCH, SPACES.action_size))),
        reward=f(5 * rng.normal(size=BATCH)),
        discount=f(np.arange(BATCH) % 3 != 0),
        next_obs=f(rng.normal(size=(BATCH, SPACES.obs_size))),
        valid=jnp.asarray(np.arange(BATCH) % 4 != 1 if valid is None else valid),
    )


def with_other_invalid_rows(batch):
    other, invalid = batch_of(10), np.flatnonzero(~np.asarray(batch.valid))
    mixed = jax.tree.map(lambda a, b: a.at[invalid].set(b[invalid]), batch, other)
    return mixed._replace(reward=batch.reward.at[invalid].set(1e4), valid=batch.valid)


def used(case, updates=3):
    """A state in which critic, targets and actor have moved apart."""
    state = case.start
    for i in range(updates):
        state, _ = case.update(state, batch_of(i), jax.random.key(i))
    rng = np.random.default_rng(0)

    def shaken(x):
        return jnp.asarray(np.asarray(x) + 0.1 * rng.normal(size=x.shape), jnp.float32)

    return state._replace(target_critic=jax.tree.map(shaken, state.target_critic))


def with_log_std_bias(case, state, bias):
    """`state` with sigma near its lower (bias -9) or upper (bias 9) bound everywhere."""
    # The last layer of the policy gives log sigma.
    name = f"Dense_{len(case.config.policy.actor_widths) + 2}"
    layers = dict(state.actor["params"])
    layers[name] = {**layers[name], "bias": jnp.full_like(layers[name]["bias"], bias)}
    return state._replace(actor={"params": layers}, average_actor={"params": layers})


def log_prob(mixture, action):
    """log pi(a|s): mixture of S states, action (S, M, A) -> (S, M)."""
    weight, mean, log_std = (x[:, None] for x in mixture)
    parts = norm.logpdf(action[:, :, None], mean, np.exp(log_std)).sum(-1)
    return logsumexp(np.log(weight) + parts, -1)


def test_published_critic_loss_is_its_formula(published):
    """y = r + gamma (1-d) min Q_tgt(s', a'), a' the component mean with the highest online Q."""
    state, batch = used(published), batch_of(9)
    _, metrics = published.update(state, batch, jax.random.key(5))
    _, means, _ = published.mixture(state.actor, batch.next_obs)
    online = published.critic(state.critic, batch.next_obs, means)[..., 0].min(0)
    best = means[np.arange(BATCH), online.argmax(-1)][:, None]
    target = published.critic(state.target_critic, batch.next_obs, means)[..., 0].min(0)
    assert np.any(online.argmax(-1) != target.argmax(-1)), "the targets should choose otherwise"
    next_q = published.critic(state.target_critic, batch.next_obs, best)[:, :, 0, 0].min(0)
    y = np.asarray(batch.reward) + 0.99 * np.asarray(batch.discount) * next_q
    q = published.critic(state.critic, batch.obs, batch.action[:, None])[:, :, 0, 0]
    rows = np.flatnonzero(batch.valid)
    expected = np.mean(((q - y) ** 2).sum(0)[rows])
    np.testing.assert_allclose(metrics["critic_loss"], expected, rtol=1e-5)


def test_published_actor_loss_is_its_formula(published):
    """M draws of N(0, I), weighted by softmax(min Q / T), and the bonus on log sigma."""
    state, batch, key = used(published), batch_of(9), jax.random.key(5)
    after, metrics = published.update(state, batch, key)
    obs = batch.obs[:STATES]
    actions = jax.random.normal(jax.random.split(key)[1], (STATES, 5, SPACES.action_size))
    # The critic is updated before the policy is fitted.
    q = published.critic(after.critic, obs, actions)[..., 0].min(0)
    p = softmax(q / published.config.temperatures.temperature, -1)
    mixture = weight, _, log_std = published.mixture(state.actor, obs)
    fit = -np.sum(p * log_prob(mixture, np.asarray(actions, np.float64)), -1)
    bonus = np.sum(weight * log_std.sum(-1), -1)
    np.testing.assert_allclose(metrics["actor_loss"], np.mean(fit - 0.01 * bonus), rtol=1e-5)
    np.testing.assert_allclose(metrics["ess"], np.mean(1 / (5 * (p**2).sum(-1))), rtol=1e-4)


def test_our_critic_loss_is_its_formula(ours):
    """Cross-entropy to the lesser target critic's distribution, moved by reward and entropy."""
    state, batch, key = used(ours), batch_of(9), jax.random.key(5)
    _, metrics = ours.update(state, batch, key)
    gmm = ours.policy(state.actor, batch.next_obs)
    next_action = np.clip(gmm.sample(jax.random.split(key)[0]), -1, 1)
    mixture = ours.mixture(state.actor, batch.next_obs)
    entropy = -log_prob(mixture, next_action[:, None].astype(np.float64))[:, 0]
    support, gamma = np.linspace(-20, 20, 21), ours.config.critic.discount
    target = softmax(
        ours.critic(state.target_critic, batch.next_obs, next_action[:, None])[:, :, 0], -1
    )
    logits = ours.critic(state.critic, batch.obs, batch.action[:, None])[:, :, 0]
    alpha, costs = np.exp(float(state.log_alpha)), []
    assert len(set(np.argmin(target @ support, 0).tolist())) == 2, (
        "each critic should be least once"
    )
    for row in np.flatnonzero(batch.valid):
        lesser = target[np.argmin(target[:, row] @ support), row]
        moved = 0.1 * float(batch.reward[row]) + gamma * float(batch.discount[row]) * (
            support + alpha * entropy[row]
        )
        mass = np.zeros(21)
        for p, z in zip(lesser, np.clip(moved, -20, 20), strict=True):
            below = min(int((z + 20) // 2), 19)
            share = (z - support[below]) / 2
            mass[below] += p * (1 - share)
            mass[below + 1] += p * share
        costs.append(sum(-mass @ np.log(softmax(logits[c, row])) for c in range(2)))
    np.testing.assert_allclose(metrics["critic_loss"], np.mean(costs), rtol=1e-4)


def test_our_actor_loss_is_its_formula(ours):
    """M draws of the policy in mirrored pairs, clipped, weighted by softmax((min Q - alpha log pi)
    / T)."""
    state, batch, key = used(ours), batch_of(9), jax.random.key(5)
    state = state._replace(log_temperature=jnp.log(jnp.float32(0.05)))
    after, metrics = ours.update(state, batch, key)
    obs = batch.obs[:STATES]
    draws = ours.policy(state.actor, obs).sample_pairs(jax.random.split(key)[1], 3)[:5]
    actions = np.clip(np.moveaxis(np.asarray(draws, np.float64), 0, 1), -1, 1)
    probs = softmax(ours.critic(after.critic, obs, actions), -1)
    q = (probs @ np.linspace(-20, 20, 21)).min(0)
    density = log_prob(ours.mixture(state.actor, obs), actions)
    p = softmax((q - np.exp(float(state.log_alpha)) * density) / 0.05, -1)
    assert 0.21 < np.mean(1 / (5 * (p**2).sum(-1))) < 0.99, "the weights should matter"
    expected = np.mean(-np.sum(p * density, -1))
    np.testing.assert_allclose(metrics["actor_loss"], expected, rtol=1e-4)


def test_targets_move_by_polyak_once_in_polyak_every_updates(published):
    state, batch = used(published), batch_of(9)
    # The preset's 50: the update that makes 49 leaves the targets, the next one moves them.
    still, _ = published.update(state._replace(updates=jnp.int32(48)), batch, jax.random.key(0))
    assert still.updates == 49
    moved, _ = published.update(state._replace(updates=jnp.int32(49)), batch, jax.random.key(0))
    assert moved.updates == 50
    trees = (state.target_critic, still.target_critic, moved.target_critic, moved.critic)
    for old, same, new, critic in zip(*map(jax.tree.leaves, trees), strict=True):
        np.testing.assert_array_equal(same, old)
        expected = 0.995 * np.float64(old) + 0.005 * np.float64(critic)
        np.testing.assert_allclose(new, expected, rtol=1e-5, atol=1e-7)


def test_invalid_rows_do_not_change_the_critics_update(ours, published):
    for case in (ours, published):
        state, batch = used(case), batch_of(9)
        wrong = with_other_invalid_rows(batch)
        updated = [case.update(state, b, jax.random.key(0))[0].critic for b in (batch, wrong)]
        for a, b in zip(*map(jax.tree.leaves, updated), strict=True):
            np.testing.assert_array_equal(a, b)
        assert any(
            np.any(a != b)
            for a, b in zip(*map(jax.tree.leaves, (updated[0], state.critic)), strict=True)
        )


@pytest.mark.parametrize(("log_temperature", "direction"), [(-20.0, 1), (20.0, -1)])
def test_temperature_moves_towards_the_target_share(ours, log_temperature, direction):
    """A cold softmax leaves one proposal in five, a hot one all: the target is a half."""
    state = used(ours)._replace(log_temperature=jnp.float32(log_temperature))
    after, metrics = ours.update(state, batch_of(9), jax.random.key(0))
    assert (metrics["ess"] < 0.5) == (direction > 0)
    step = float(after.log_temperature) - log_temperature
    assert step == pytest.approx(direction * 0.01, abs=1e-5)


@pytest.mark.parametrize(("bias", "direction"), [(-9.0, 1), (9.0, -1)])
def test_alpha_moves_towards_the_target_width(ours, bias, direction):
    """sigma is exp(-5) = 0.007 or exp(0) = 1, the target 0.15."""
    state = with_log_std_bias(ours, ours.start, bias)
    after, metrics = ours.update(state, batch_of(9), jax.random.key(0))
    assert metrics["mean_sigma"] == pytest.approx(0.0067 if bias < 0 else 1.0, rel=0.1)
    step = float(after.log_alpha) - float(state.log_alpha)
    assert step == pytest.approx(direction * 3e-4, abs=1e-6)


def test_published_holds_temperature_and_has_no_alpha(published):
    after, metrics = published.update(used(published), batch_of(9), jax.random.key(0))
    assert metrics["temperature"] == 1.0 and metrics["alpha"] == 0.0
    assert after.log_temperature == published.start.log_temperature


def test_best_component_is_the_mean_with_the_highest_lesser_value(published):
    state, obs = used(published), batch_of(9).obs
    action = published.act(state, obs, jax.random.key(0))
    _, means, _ = published.mixture(state.actor, obs)
    q = published.critic(state.critic, obs, means)[..., 0].min(0)
    chosen = q.argmax(-1)
    assert len(set(chosen.tolist())) > 1, "the choice should depend on the state"
    np.testing.assert_allclose(action, means[np.arange(BATCH), chosen], atol=1e-6)


def test_sampled_actions_follow_the_key_and_stay_in_the_box(ours):
    # With a sigma of 1 a third of the draws would leave.
    state, obs = with_log_std_bias(ours, ours.start, 9.0), batch_of(9).obs
    a, b = (np.asarray(ours.act(state, obs, jax.random.key(k))) for k in (0, 1))
    assert np.abs(a).max() == 1.0 and 0.2 < np.mean(np.abs(a) == 1.0) < 0.5
    assert np.mean(a != b) > 0.8


def test_an_update_is_a_function_of_state_batch_and_key(ours):
    state, batch = used(ours), batch_of(9)
    a, b, c = (ours.update(state, batch, jax.random.key(k))[0] for k in (0, 0, 1))
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)
    assert any(np.any(x != y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(c), strict=True))


def test_the_policy_finds_the_best_arm_of_a_bandit(ours):
    """One step, reward - |a - a*|^2 (scaled): 400 updates take the mean most of the way to a*."""
    rng = np.random.default_rng(0)
    best = np.where(np.arange(SPACES.action_size) % 2, 0.6, -0.6).astype(np.float32)
    obs = jnp.asarray(rng.normal(size=(BATCH, SPACES.obs_size)), jnp.float32)

    def distance(s):
        weight, means, _ = ours.mixture(s.actor, obs)
        return np.linalg.norm(np.einsum("bk,bka->ba", weight, means) - best, axis=-1).mean()

    state = ours.start
    before = distance(state)
    for i in range(400):
        action = rng.uniform(-1, 1, (BATCH, SPACES.action_size)).astype(np.float32)
        batch = Transition(
            obs=obs,
            action=jnp.asarray(action),
            reward=jnp.asarray(-10 * np.sum((action - best) ** 2, -1)),
            discount=jnp.zeros(BATCH),
            next_obs=obs,
            valid=jnp.ones(BATCH, jnp.bool_),
        )
        state, _ = ours.update(state, batch, jax.random.key(i))
    # Measured: a fifth of the way is left.
    assert distance(state) < 0.5 * before


def test_the_scored_policy_follows_the_learning_one_slowly(ours):
    state, _ = ours.update(ours.start, batch_of(), jax.random.key(1))
    rate = ours.config.policy.actor_average
    assert 0 < rate < 0.1
    for start, now, average in zip(
        jax.tree.leaves(ours.start.actor),
        jax.tree.leaves(state.actor),
        jax.tree.leaves(state.average_actor),
        strict=True,
    ):
        expected = (1 - rate) * np.asarray(start) + rate * np.asarray(now)
        np.testing.assert_allclose(average, expected, rtol=1e-5, atol=1e-7)


def test_the_published_form_scores_the_learning_policy_itself(published):
    state, _ = published.update(published.start, batch_of(), jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, state.average_actor, state.actor)
