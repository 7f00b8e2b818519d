"""By how much rewards are divided, where they are normalised by what they add up to."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from mjx_dm.collectives import ALONE, Devices
from mjx_dm.envs.episodes import EnvState
from mjx_dm.groups import CriticSettings
from mjx_dm.training import normalisation
from mjx_dm.training.normalisation import Normalizer


class ReturnScale(NamedTuple):
    """In the task's units: `discounted` is G_t = r_t + gamma G_{t-1} in every world, 0 where an
    episode has just ended; `moments` are its running mean and variance, `largest` the largest |G_t|
    so far; `per_step` holds the running mean of |r_t|."""

    discounted: Float[Array, "N"]
    moments: Normalizer
    largest: Float[Array, ""]
    per_step: Normalizer


def init(num_envs: int) -> ReturnScale:
    """Nothing seen yet."""
    nothing = normalisation.init(())
    return ReturnScale(jnp.zeros(num_envs), nothing, jnp.zeros(()), nothing)


def update(
    state: ReturnScale, env: EnvState, gamma: float, devices: Devices = ALONE
) -> ReturnScale:
    """Takes in a step of all worlds, those of the `devices` together; one that broke in it counts
    with what it had."""
    reward = jnp.where(env.valid, env.reward, 0.0)
    total = reward + gamma * state.discounted
    return ReturnScale(
        discounted=jnp.where(env.terminated | env.truncated | ~env.valid, 0.0, total),
        moments=normalisation.update(state.moments, total, devices),
        largest=jnp.maximum(state.largest, devices.largest(jnp.max(jnp.abs(total)))),
        per_step=normalisation.update(state.per_step, jnp.abs(reward), devices),
    )


def divisor(critic: CriticSettings, state: ReturnScale) -> Float[Array, ""]:
    """max(std(G), reward_scale max(max|G|, mean|r| / (1 - gamma)) / value_max).

    Unit variance, and no return beyond the support of a categorical critic: neither one that was
    seen, nor that of an episode that goes on for ever at the present mean reward. The second counts
    while episodes are short: without it a falling robot's returns set the scale, and the critic
    fills the top of its support as soon as it expects the robot to stay up. Source of the first
    two: reward scaling in Lee et al. 2025 (SimbaV2).
    """
    std = jnp.sqrt(state.moments.var + 1e-8)
    if critic.critic == "scalar":
        return std
    lasting = state.per_step.mean / (1 - critic.discount)
    return jnp.maximum(
        std, critic.reward_scale * jnp.maximum(state.largest, lasting) / critic.value_max
    )
