"""A toy of Brax's interface that compiles in no time: a point on a rail that is paid by a coin.

The coin is tossed anew in every step, and only the critics see it.
"""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import mujoco
from brax.envs.base import Env, State
from flax import struct

RAIL = """
<mujoco>
  <worldbody>
    <body><joint type="slide" axis="1 0 0"/><geom size="0.1" mass="1"/></body>
  </worldbody>
</mujoco>
"""
STEP = 0.1  # m that a full action moves the point
END = 1.0  # m from the middle, where an episode is over


@struct.dataclass
class Place:
    """What Brax calls a pipeline state."""

    q: jax.Array
    qd: jax.Array


class Rail(Env):
    """Reward: the coin, -1 or 1, less the square of the position. `privileged` shows the coin."""

    def __init__(self, privileged=True, breaks_at=None, **kwargs):
        self.sys = SimpleNamespace(mj_model=mujoco.MjModel.from_xml_string(RAIL))
        self.privileged, self.breaks_at = privileged, breaks_at

    def reset(self, rng):
        place_key, coin_key = jax.random.split(rng)
        q = jax.random.uniform(place_key, (1,), minval=-0.5, maxval=0.5)
        return self._state(Place(q, jnp.zeros(1)), coin_key, jnp.zeros(()), steps=0)

    def step(self, state, action):
        q = state.pipeline_state.q + STEP * action
        if self.breaks_at is not None:
            q = jnp.where(jnp.abs(q) > self.breaks_at, jnp.nan, q)
        reward = state.info["coin"] - q[0] ** 2
        place = Place(q, STEP * action)
        return self._state(place, state.info["key"], reward, state.info["steps"] + 1)

    def _state(self, place, key, reward, steps):
        key, coin_key = jax.random.split(key)
        coin = jax.random.rademacher(coin_key, (), jnp.float32)
        seen = jnp.concatenate([place.q, place.qd])
        obs = {"state": seen, "privileged_state": jnp.append(seen, coin)}
        return State(
            place,
            obs if self.privileged else seen,
            reward,
            (jnp.abs(place.q[0]) > END).astype(jnp.float32),
            {"distance": jnp.abs(place.q[0])},
            {"coin": coin, "key": key, "steps": jnp.asarray(steps, jnp.int32)},
        )

    observation_size = 2
    action_size = 1
    backend = "toy"
    dt = 0.05
