"""Flax modules of the policy and the critic, and the observation normaliser."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mjx_dm.config import LearnerConfig
from mjx_dm.learner import products
from mjx_dm.learner.gmm import GMM
from mjx_dm.types import ACTION_SIZE, OBS_SIZE

OBS_CLIP = 10.0

_Dense = functools.partial(nn.Dense, dot_general=products.dot_general)


class Policy(nn.Module):
    """obs `(..., 376)` -> GMM over actions of the policy's own units, `(..., K, 17)`."""

    config: LearnerConfig

    @nn.compact
    def __call__(self, obs: Float[Array, "*B 376"]) -> GMM:
        c = self.config
        x = obs
        for width in c.actor_widths:
            x = _hidden(self, _Dense(width)(x))
        k, a = c.num_components, ACTION_SIZE
        small = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")
        logits = _Dense(k, kernel_init=small)(x)
        mean = _Dense(k * a, kernel_init=small)(x).reshape(*x.shape[:-1], k, a)
        # The components start apart: identical ones would receive identical gradients.
        spread = self.param("mean_spread", nn.initializers.normal(0.2 if k > 1 else 0.0), (k, a))
        raw_std = _Dense(k * a, kernel_init=small)(x).reshape(*x.shape[:-1], k, a)
        mean = mean + jnp.broadcast_to(spread, mean.shape)
        if c.bounded:
            mean = jnp.tanh(mean)
        # A sigmoid keeps log sigma inside its bounds with a gradient everywhere.
        log_std = c.log_std_min + (c.log_std_max - c.log_std_min) * nn.sigmoid(raw_std + 1.0)
        return GMM(logits, mean, log_std)


class Critic(nn.Module):
    """obs `(..., 376)`, actions `(..., M, 17)` -> `(..., M, atoms)`.

    The share of the first layer that sees the state is computed once for the M actions. With
    `critic_residual` a later layer is x + f(x) (He et al. 2016), f one layer with its norm.
    """

    config: LearnerConfig

    @nn.compact
    def __call__(
        self, obs: Float[Array, "*B 376"], action: Float[Array, "*B M 17"]
    ) -> Float[Array, "*B M atoms"]:
        c = self.config
        first, *rest = c.critic_widths
        of_state = _Dense(first, name="state")(obs)[..., None, :]
        of_action = _Dense(first, use_bias=False, name="action")(action)
        x = _hidden(self, of_state + of_action)
        for width in rest:
            y = _hidden(self, _Dense(width)(x))
            x = x + y if c.critic_residual else y
        if c.critic == "scalar":
            return _Dense(1)(x)
        small = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")
        return _Dense(c.num_atoms, kernel_init=small, bias_init=_near_zero_return(c))(x)


def twin_critic(config: LearnerConfig) -> nn.Module:
    """Two critics as one batched product: the output gains a leading axis of 2."""
    return nn.vmap(
        Critic,
        variable_axes={"params": 0, "intermediates": 0},
        split_rngs={"params": True},
        in_axes=None,
        out_axes=0,
        axis_size=2,
    )(config)


def support(config: LearnerConfig) -> Float[Array, "atoms"]:
    """The returns that the atoms of a categorical critic stand for, in scaled reward."""
    # NumPy's is a constant of the program; JAX's would be computed in every update.
    atoms = np.linspace(config.value_min, config.value_max, config.num_atoms)
    return jnp.asarray(atoms, jnp.float32)


def values(config: LearnerConfig, out: Float[Array, "2 *B atoms"]) -> Float[Array, "2 *B"]:
    """The critics' expected returns, from what they put out."""
    return out[..., 0] if config.critic == "scalar" else jax.nn.softmax(out) @ support(config)


class Normalizer(NamedTuple):
    """Running mean and variance of observations, or of what else comes in batches (Welford)."""

    weight: Float[Array, ""]
    mean: Float[Array, "*shape"]
    var: Float[Array, "*shape"]


def init_normalizer(shape: tuple[int, ...] = (OBS_SIZE,)) -> Normalizer:
    """Mean 0 and variance 1, with the weight of a hundredth of an observation."""
    return Normalizer(jnp.full((), 1e-2, jnp.float32), jnp.zeros(shape), jnp.ones(shape))


def update_normalizer(state: Normalizer, obs: Float[Array, "N *shape"]) -> Normalizer:
    """Takes in a batch. Source: Chan et al. 1979, parallel form."""
    n = obs.shape[0]
    mean = jnp.mean(obs, 0)
    var = jnp.mean(jnp.square(obs - mean[None]), 0)
    # The weight saturates, so that the statistics follow the policy for ever.
    total = state.weight + n
    rate = n / total
    delta = mean - state.mean
    return Normalizer(
        weight=jnp.minimum(total, 1e7),
        mean=state.mean + rate * delta,
        var=state.var + rate * (var - state.var) + rate * (1 - rate) * jnp.square(delta),
    )


def normalize(state: Normalizer, obs: Float[Array, "*B 376"]) -> Float[Array, "*B 376"]:
    """Zero mean and unit variance, clipped at 10."""
    mean, var = (jnp.broadcast_to(x, obs.shape) for x in (state.mean, state.var))
    return jnp.clip((obs - mean) * jax.lax.rsqrt(var + 1e-8), -OBS_CLIP, OBS_CLIP)


def rounded(config: LearnerConfig, obs: Float[Array, "*B 376"]) -> Float[Array, "*B 376"]:
    """Observations as `obs_dtype` holds them, in float32."""
    # Not a cast there and back, which XLA may leave out.
    return jax.lax.reduce_precision(obs, 8, 7) if config.obs_dtype == "bfloat16" else obs


def seen(
    config: LearnerConfig, normalizer: Normalizer, obs: Float[Array, "*B 376"]
) -> Float[Array, "*B 376"]:
    """What the networks are shown of observations: rounded like those in the replay, normalised."""
    obs = rounded(config, obs)
    return normalize(normalizer, obs) if config.normalize_obs else obs


def _hidden(module: Policy | Critic, x: Array) -> Array:
    config = module.config
    activation: Callable[[Array], Array] = {"relu": nn.relu, "silu": nn.silu}[config.activation]
    # A GPU makes one kernel of a norm whose variance is a mean of squared differences; a CPU makes
    # an update faster from the squares' mean (1.03 times the time otherwise).
    norm = nn.LayerNorm(use_fast_variance=jax.default_backend() == "cpu")
    x = activation(norm(x) if config.layer_norm else x)
    module.sow("intermediates", "hidden", x)  # for mjx_dm.learner.diagnostics; else a no-op
    return x


def _near_zero_return(config: LearnerConfig) -> Callable[..., Array]:
    """Bias whose softmax is a narrow bump at 0 return.

    A uniform start would sit at the middle of the support and spend thousands of updates coming
    down.
    """
    atoms = jnp.linspace(config.value_min, config.value_max, config.num_atoms)
    width = atoms[1] - atoms[0]
    return lambda key, shape, dtype=jnp.float32: jnp.broadcast_to(
        (-0.5 * jnp.square(atoms / width)).astype(dtype), shape
    )
