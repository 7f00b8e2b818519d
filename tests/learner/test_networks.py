"""The policy and the twin critics."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_dm.config import Config, replace
from mjx_dm.learner import networks
from mjx_dm.presets import PRESETS
from mjx_dm.types import Spaces

SPACES = Spaces(24, 5, (-1.0,) * 5, (1.0,) * 5)
TINY = replace(Config(), actor_widths=(16, 16), critic_widths=(16, 16), num_components=2)
PUBLISHED = replace(
    PRESETS["published"], actor_widths=(16, 16), critic_widths=(16, 16), num_components=3
)


@pytest.fixture(scope="module")
def critics():
    """{name: (config, parameters, apply)} of a categorical and a scalar twin critic."""
    made = {}
    for name, config in (("categorical", TINY), ("scalar", PUBLISHED)):
        module = networks.twin_critic(config)
        inputs = jnp.zeros((1, 24)), jnp.zeros((1, 1, 5))
        params = jax.jit(module.init)(jax.random.key(0), *inputs)
        made[name] = config, params, jax.jit(module.apply)
    return made


def inputs_of_critic(states=4, actions=5, seed=0):
    rng = np.random.default_rng(seed)
    return (
        jnp.asarray(rng.normal(size=(states, 24)), jnp.float32),
        jnp.asarray(rng.uniform(-1, 1, (states, actions, 5)), jnp.float32),
    )


@pytest.mark.parametrize("name", ["categorical", "scalar"])
def test_critic_values_each_action_as_if_it_were_alone(critics, name):
    config, params, apply = critics[name]
    obs, actions = inputs_of_critic()
    together = apply(params, obs, actions)
    assert together.shape == (2, 4, 5, config.critic.num_atoms if name == "categorical" else 1)
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
    value = networks.values(config.critic, apply(params, *inputs_of_critic()))
    assert np.abs(value).max() < 1.0


def test_a_floor_under_the_atoms_starts_near_0_return_too_and_brings_far_returns_near():
    critic = PRESETS["sample"].critic
    start = networks.categorical_start(critic)
    value = jax.nn.softmax(start) @ networks.support(critic)
    assert abs(value) < 0.1, "of a support of 5 either way"
    assert jax.nn.logsumexp(start) - start.min() == pytest.approx(critic.atom_floor + 0.95, abs=0.1)
    bare = networks.categorical_start(dataclasses.replace(critic, atom_floor=np.inf))
    assert jax.nn.logsumexp(bare) - bare.min() > 1000


OBS = jnp.asarray(np.random.default_rng(0).normal(size=(50, 24)), jnp.float32)


@functools.cache
def policy(config):
    """(its initial parameters, its apply)."""
    module = networks.mixture_network(config, SPACES)
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
    assert mean.shape == (50, 2, 5)
    assert np.abs(mean).max() <= 1.0
    assert mean.max() > 0.99 and mean.min() < -0.99


def test_unbounded_means_leave_the_box(extreme):
    assert np.abs(extreme["free"].component_mean).max() > 1.0


@pytest.mark.parametrize(("name", "config"), [("bounded", TINY), ("free", PUBLISHED)])
def test_log_std_fills_its_range_and_stays_inside(extreme, name, config):
    log_std = np.asarray(extreme[name].log_std)
    low, high = config.policy.log_std_min, config.policy.log_std_max
    assert log_std.min() >= low and log_std.max() <= high
    assert log_std.max() - log_std.min() > 0.95 * (high - low)


def test_components_start_apart():
    """Identical components would receive identical gradients for ever."""
    params, apply = policy(TINY)
    mean = apply(params, OBS).component_mean
    assert np.abs(mean[:, 0] - mean[:, 1]).mean(-1).min() > 0.05


def test_a_policy_is_the_same_where_its_norms_take_the_variance_in_two_passes(monkeypatch):
    """A policy that learned on a GPU is scored on a CPU."""
    policy, obs = networks.mixture_network(TINY, SPACES), OBS[:8]
    params = policy.init(jax.random.key(0), obs)
    outputs = []
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        outputs.append(jax.tree.leaves(policy.apply(params, obs)))
    for one_pass, two_passes in zip(*outputs, strict=True):
        np.testing.assert_allclose(one_pass, two_passes, rtol=1e-4, atol=1e-5)
