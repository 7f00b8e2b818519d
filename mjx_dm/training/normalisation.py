"""Running statistics, and observations as the networks are shown them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mjx_dm.collectives import ALONE, Devices

OBS_CLIP = 10.0
OBS_EPSILON = 1e-8


class Normalizer(NamedTuple):
    """Running mean and variance of observations, or of what else comes in batches (Welford)."""

    weight: Float[Array, ""]
    mean: Float[Array, "*shape"]
    var: Float[Array, "*shape"]


def init(shape: tuple[int, ...]) -> Normalizer:
    """Mean 0 and variance 1, with the weight of a hundredth of an observation."""
    return Normalizer(jnp.full((), 1e-2, jnp.float32), jnp.zeros(shape), jnp.ones(shape))


def update(
    state: Normalizer, obs: Float[Array, "N *shape"], devices: Devices = ALONE
) -> Normalizer:
    """Takes in a batch, of which each of the `devices` has N rows. Source: Chan et al. 1979,
    parallel form."""
    n = obs.shape[0] * devices.size
    mean = devices.mean(jnp.mean(obs, 0))
    var = devices.mean(jnp.mean(jnp.square(obs - mean[None]), 0))
    # The weight saturates, so that the statistics follow the policy for ever.
    total = state.weight + n
    rate = n / total
    delta = mean - state.mean
    return Normalizer(
        weight=jnp.minimum(total, 1e7),
        mean=state.mean + rate * delta,
        var=state.var + rate * (var - state.var) + rate * (1 - rate) * jnp.square(delta),
    )


def normalize(state: Normalizer, obs: Float[Array, "*B obs"]) -> Float[Array, "*B obs"]:
    """Zero mean and unit variance, clipped at 10."""
    mean, var = (jnp.broadcast_to(x, obs.shape) for x in (state.mean, state.var))
    return jnp.clip((obs - mean) * jax.lax.rsqrt(var + OBS_EPSILON), -OBS_CLIP, OBS_CLIP)


def rounded(obs: Float[Array, "*B obs"], obs_dtype: str) -> Float[Array, "*B obs"]:
    """Observations as `obs_dtype` (float32 or bfloat16) holds them, in float32."""
    # Not a cast there and back, which XLA may leave out.
    return jax.lax.reduce_precision(obs, 8, 7) if obs_dtype == "bfloat16" else obs


def seen(
    state: Normalizer, obs: Float[Array, "*B obs"], obs_dtype: str, normalize_obs: bool
) -> Float[Array, "*B obs"]:
    """What the networks are shown of observations: rounded like those in the replay, and normalised
    where `normalize_obs` says so."""
    obs = rounded(obs, obs_dtype)
    return normalize(state, obs) if normalize_obs else obs
