"""The policy, the twin critics and the observation normaliser."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_dm.config import LearnerConfig
from mjx_dm.learner import networks
from mjx_dm.presets import PRESETS

TINY = LearnerConfig(actor_widths=(16, 16), critic_widths=(16, 16), num_components=2)
PUBLISHED = dataclasses.replace(
    PRESETS["published"].learner, actor_widths=(16, 16), critic_widths=(16, 16), num_components=3
)


def batches(count, size, seed=0):
    """Observations with a mean and scale of their own for every feature and batch."""
    rng = np.random.default_rng(seed)
    scale, offset = rng.uniform(0.1, 10, 376), 5 * rng.normal(size=376)
    return [
        (offset + rng.normal() + scale * rng.normal(size=(size, 376))).astype(np.float32)
        for _ in range(count)
    ]


def taken_in(data):
    state = networks.init_normalizer()
    for obs in data:
        state = networks.update_normalizer(state, jnp.asarray(obs))
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
    state = networks.Normalizer(jnp.asarray(1e7), jnp.zeros(1), jnp.zeros(1))
    ones, left = jnp.ones((1_000_000, 1)), (10 / 11) ** 20
    for _ in range(20):
        state = networks.update_normalizer(state, ones)
    np.testing.assert_allclose(state.mean, 1 - left, rtol=1e-4)
    # The variance of the share `left` of 0 among ones.
    np.testing.assert_allclose(state.var, left * (1 - left), rtol=1e-3)


def test_normalized_observations_have_mean_0_and_variance_1():
    (data,) = batches(1, 2000)
    out = np.asarray(networks.normalize(taken_in([data]), jnp.asarray(data)))
    np.testing.assert_allclose(out.mean(0), 0.0, atol=1e-3)
    np.testing.assert_allclose(out.std(0), 1.0, atol=1e-2)


def test_normalized_observations_are_clipped_at_10():
    state = taken_in(batches(1, 100))
    out = networks.normalize(state, jnp.stack([jnp.full(376, 1e6), jnp.full(376, -1e6)]))
    np.testing.assert_array_equal(out[0], np.full(376, 10.0))
    np.testing.assert_array_equal(out[1], np.full(376, -10.0))


def test_a_constant_feature_normalizes_to_0():
    """Many of the 376 never change; a division by their spread must not blow them up."""
    constant = np.random.default_rng(0).normal(size=376).astype(np.float32) * 10
    constant[:10] = 0.0
    state = taken_in([np.tile(constant, (4000, 1))] * 3)
    out = networks.normalize(state, jnp.asarray(constant))
    np.testing.assert_array_equal(out[:10], np.zeros(10))
    # The start's hundredth of an observation leaves 0.1 / sqrt(12000) = 0.0009.
    np.testing.assert_allclose(out, 0.0, atol=2e-3)


@pytest.fixture(scope="module")
def critics():
    """{name: (config, parameters, apply)} of a categorical and a scalar twin critic."""
    made = {}
    for name, config in (("categorical", TINY), ("scalar", PUBLISHED)):
        module = networks.twin_critic(config)
        inputs = jnp.zeros((1, 376)), jnp.zeros((1, 1, 17))
        params = jax.jit(module.init)(jax.random.key(0), *inputs)
        made[name] = config, params, jax.jit(module.apply)
    return made


def inputs_of_critic(states=4, actions=5, seed=0):
    rng = np.random.default_rng(seed)
    return (
        jnp.asarray(rng.normal(size=(states, 376)), jnp.float32),
        jnp.asarray(rng.uniform(-1, 1, (states, actions, 17)), jnp.float32),
    )


@pytest.mark.parametrize("name", ["categorical", "scalar"])
def test_critic_values_each_action_as_if_it_were_alone(critics, name):
    config, params, apply = critics[name]
    obs, actions = inputs_of_critic()
    together = apply(params, obs, actions)
    assert together.shape == (2, 4, 5, config.num_atoms if name == "categorical" else 1)
    for i in range(5):
        alone = apply(params, obs, actions[:, i : i + 1])
        np.testing.assert_allclose(together[:, :, i], alone[:, :, 0], rtol=1e-5, atol=1e-5)
    assert np.ptp(together, axis=2).max() > 1e-4, "the action must matter"


@pytest.mark.parametrize("name", ["categorical", "scalar"])
def test_the_two_critics_differ(critics, name):
    _, params, apply = critics[name]
    first, second = apply(params, *inputs_of_critic())
    assert np.abs(first - second).max() > 1e-3


def test_categorical_critic_starts_near_0_return(critics):
    """A uniform start would lie at the middle of the support, 50."""
    config, params, apply = critics["categorical"]
    support = np.linspace(config.value_min, config.value_max, config.num_atoms)
    value = jax.nn.softmax(apply(params, *inputs_of_critic())) @ jnp.asarray(support, jnp.float32)
    assert np.abs(value).max() < 1.0


OBS = jnp.asarray(np.random.default_rng(0).normal(size=(50, 376)), jnp.float32)


@functools.cache
def policy(config):
    """(its initial parameters, its apply)."""
    module = networks.Policy(config)
    return jax.jit(module.init)(jax.random.key(0), OBS[:1]), jax.jit(module.apply)


def policy_with_large_weights(config):
    """Its mixture for normal observations, with every parameter blown up towards the limits."""
    params, apply = policy(config)
    return apply(jax.tree.map(lambda x: 1000 * np.asarray(x), params), OBS)


@pytest.fixture(scope="module")
def extreme():
    return {
        "bounded": policy_with_large_weights(TINY),
        "free": policy_with_large_weights(PUBLISHED),
    }


def test_bounded_means_fill_the_box_and_stay_inside(extreme):
    mean = np.asarray(extreme["bounded"].component_mean)
    assert mean.shape == (50, 2, 17)
    assert np.abs(mean).max() <= 1.0
    assert mean.max() > 0.99 and mean.min() < -0.99


def test_unbounded_means_leave_the_box(extreme):
    assert np.abs(extreme["free"].component_mean).max() > 1.0


@pytest.mark.parametrize(("name", "config"), [("bounded", TINY), ("free", PUBLISHED)])
def test_log_std_fills_its_range_and_stays_inside(extreme, name, config):
    log_std = np.asarray(extreme[name].log_std)
    assert log_std.min() >= config.log_std_min and log_std.max() <= config.log_std_max
    reach = log_std.max() - log_std.min()
    assert reach > 0.95 * (config.log_std_max - config.log_std_min)


def test_components_start_apart():
    """Identical components would receive identical gradients for ever."""
    params, apply = policy(TINY)
    mean = apply(params, OBS).component_mean
    assert np.abs(mean[:, 0] - mean[:, 1]).mean(-1).min() > 0.05


def test_a_residual_critic_passes_on_what_its_layers_leave_at_nothing():
    """With a second layer that puts out 0, the head sees the first layer's output."""
    config = dataclasses.replace(TINY, critic_widths=(8, 8), critic_residual=True)
    obs, actions = inputs_of_critic()
    found = {}
    for name, c in (
        ("residual", config),
        ("plain", dataclasses.replace(config, critic_residual=False)),
        ("shallow", dataclasses.replace(config, critic_widths=(8,), critic_residual=False)),
    ):
        module = networks.twin_critic(c)
        params = module.init(jax.random.key(0), obs, actions)["params"]
        head = params["Dense_1" if len(c.critic_widths) == 2 else "Dense_0"]
        head = head | {"kernel": jnp.ones_like(head["kernel"])}
        if len(c.critic_widths) == 2:
            silent = jax.tree.map(jnp.zeros_like, params["LayerNorm_1"])
            params = params | {"LayerNorm_1": silent, "Dense_1": head}
        else:
            params = params | {"Dense_0": head}
        found[name] = module.apply({"params": params}, obs, actions)
    np.testing.assert_allclose(found["residual"], found["shallow"], rtol=1e-5)
    assert np.abs(found["plain"] - found["shallow"]).max() > 0.1


def test_a_policy_is_the_same_where_its_norms_take_the_variance_in_two_passes(monkeypatch):
    """A policy that learned on a GPU is scored on a CPU."""
    policy, obs = networks.Policy(TINY), jnp.asarray(batches(1, 8)[0])
    params = policy.init(jax.random.key(0), obs)
    outputs = []
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        outputs.append(jax.tree.leaves(policy.apply(params, obs)))
    for one_pass, two_passes in zip(*outputs, strict=True):
        np.testing.assert_allclose(one_pass, two_passes, rtol=1e-4, atol=1e-5)
