"""Actions in the policy's units and in the task's, whose legal ones are a box."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mjx_dm.config import Config
from mjx_dm.types import Spaces


def to_env_action(
    config: Config, spaces: Spaces, action: Float[Array, "*B act"]
) -> Float[Array, "*B act"]:
    """The policy's units to the task's: where bounded, [-1, 1] to every actuator's box as its
    centre and half of its width, else unchanged."""
    return from_box(spaces, action) if config.policy.bounded else action


def from_box(spaces: Spaces, action: Float[Array, "*B act"]) -> Float[Array, "*B act"]:
    """Actions, clipped to [-1, 1], as the task's units."""
    low, high = np.array(spaces.action_low), np.array(spaces.action_high)
    scaled = _each((high - low) / 2, action) * jnp.clip(action, -1.0, 1.0)
    centre = (high + low) / 2
    return scaled + _each(centre, action) if np.any(centre) else scaled


def into_box(spaces: Spaces, action: Float[Array, "*B act"]) -> Float[Array, "*B act"]:
    """Actions in the task's units, clipped to the legal box."""
    low, high = np.array(spaces.action_low), np.array(spaces.action_high)
    return jnp.clip(action, _each(low, action), _each(high, action))


def random_action(
    config: Config, spaces: Spaces, key: Array, num_envs: int
) -> Float[Array, "N act"]:
    """Uniform in the legal box, in the policy's units. Consumes `key`."""
    shape = (num_envs, spaces.action_size)
    if config.policy.bounded:
        return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
    low, high = (_row(np.array(x)) for x in (spaces.action_low, spaces.action_high))
    return jax.random.uniform(key, shape, minval=low, maxval=high)


def _row(numbers: np.ndarray) -> Float[Array, "act"] | float:
    """One number for each actuator, or for all where it is the same."""
    alike = bool(np.all(numbers == numbers[0]))
    return float(numbers[0]) if alike else jnp.asarray(numbers, jnp.float32)


def _each(numbers: np.ndarray, action: Float[Array, "*B act"]) -> Array | float:
    """`_row`, against every row of `action`."""
    row = _row(numbers)
    return row if isinstance(row, float) else jnp.broadcast_to(row, action.shape)
