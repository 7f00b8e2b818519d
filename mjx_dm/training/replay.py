"""The replay: a (time, world) ring on the device, each observation stored once.

The successor of a row is the observation of the next row of its world. Rows whose successor is
another episode's start are either terminal (the successor does not matter) or marked invalid.
Written in place when the state is donated.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt16

from mjx_dm.types import Spaces, Transition


class Replay(NamedTuple):
    """`written` counts the rows ever added; the ring holds the newest T of them.

    `obs` is all that policy and critics see, in float32, or the bits of bfloat16: a CPU would
    convert a whole ring of bfloat16 for every row that is written.
    """

    obs: Float[Array, "T N obs"] | UInt16[Array, "T N obs"]
    action: Float[Array, "T N act"]
    reward: Float[Array, "T N"]
    discount: Float[Array, "T N"]
    valid: Bool[Array, "T N"]
    written: Int[Array, ""]


def init(capacity: int, num_envs: int, spaces: Spaces, obs_dtype: str = "float32") -> Replay:
    """An empty ring of `capacity // num_envs` rows; in bfloat16 observations take half the room."""
    rows = capacity // num_envs
    dtype = jnp.uint16 if obs_dtype == "bfloat16" else jnp.float32
    return Replay(
        obs=jnp.zeros((rows, num_envs, spaces.seen_size), dtype),
        action=jnp.zeros((rows, num_envs, spaces.action_size)),
        reward=jnp.zeros((rows, num_envs)),
        discount=jnp.zeros((rows, num_envs)),
        valid=jnp.zeros((rows, num_envs), jnp.bool_),
        written=jnp.zeros((), jnp.int32),
    )


def add(
    replay: Replay,
    obs: Float[Array, "N obs"],
    action: Float[Array, "N act"],
    reward: Float[Array, "N"],
    discount: Float[Array, "N"],
    valid: Bool[Array, "N"],
) -> Replay:
    """Writes one row of all worlds over the oldest."""
    row = replay.written % replay.obs.shape[0]

    def put(ring: Array, value: Array) -> Array:
        return jax.lax.dynamic_update_index_in_dim(ring, value.astype(ring.dtype), row, 0)

    return Replay(
        obs=put(replay.obs, pack(obs, replay.obs.dtype)),
        action=put(replay.action, action),
        reward=put(replay.reward, reward),
        discount=put(replay.discount, discount),
        valid=put(replay.valid, valid),
        written=replay.written + 1,
    )


def sample(
    replay: Replay,
    key: Array,
    batch_size: int,
    num_steps: int = 1,
    gamma: float = 1.0,
    newest: int | None = None,
    recency: float = 1.0,
) -> Transition:
    """`batch_size` transitions of those whose successor is stored; consumes `key`.

    Their age, as a share of the oldest's, is u^recency with u uniform: 1 draws all alike, 3 half of
    them from the newest eighth. Emphasis on what is recent is from Wang and Ross 2019, who narrow
    the replay in the course of an episode's updates.

    A transition spans up to `num_steps` steps: with m of them, `reward` is sum_i gamma^i r_i,
    `discount` gamma^(m-1) (1 - d) and `next_obs` what the m-th led to (Watkins 1989, uncorrected
    n-step return). m < num_steps at the end of an episode, before a row that must not be learned
    from, and at the newest row. `newest` draws from that many rows before the newest.

    The newest row is left out, since its successor is not there yet. At least two rows must have
    been added.
    """
    rows, num_envs = replay.reward.shape
    time_key, world_key = jax.random.split(key)
    stored = jnp.minimum(replay.written, rows if newest is None else min(newest + 1, rows))
    share = jax.random.uniform(time_key, (batch_size,)) ** recency
    # Rounding may carry a share to 1, and with it an age beyond the oldest.
    age = jnp.minimum(1 + (share * (stored - 1)).astype(jnp.int32), stored - 1)
    time = (replay.written - 1 - age) % rows
    world = jax.random.randint(world_key, (batch_size,), 0, num_envs)
    reward, discount, span = _sum_of_steps(replay, time, world, age, num_steps, gamma)
    return Transition(
        obs=_unpack(replay.obs[time, world]),
        action=replay.action[time, world],
        reward=reward,
        discount=discount,
        next_obs=_unpack(replay.obs[(time + span) % rows, world]),
        valid=replay.valid[time, world],
    )


def pack(obs: Float[Array, "*B obs"], dtype: Any) -> Array:
    """Observations as a ring of `dtype` holds them."""
    if dtype == jnp.uint16:
        return jax.lax.bitcast_convert_type(obs.astype(jnp.bfloat16), jnp.uint16)
    return obs


def _unpack(obs: Array) -> Float[Array, "*B obs"]:
    if obs.dtype == jnp.uint16:
        return jax.lax.bitcast_convert_type(obs, jnp.bfloat16).astype(jnp.float32)
    return obs


def _sum_of_steps(
    replay: Replay,
    time: Int[Array, "B"],
    world: Int[Array, "B"],
    age: Int[Array, "B"],
    num_steps: int,
    gamma: float,
) -> tuple[Float[Array, "B"], Float[Array, "B"], Int[Array, "B"]]:
    """The discounted reward of up to `num_steps` steps, the discount after them, and their number.

    Row i of what is gathered here is i steps after `time`.
    """
    step = jnp.arange(num_steps)[:, None]
    row, column = (time[None] + step) % replay.reward.shape[0], world[None]
    reward, discount, valid = (x[row, column] for x in replay[2:5])
    goes_on = (discount[:-1] > 0) & valid[:-1] & valid[1:] & (step[1:] < age[None])
    first = jnp.ones((1, time.shape[0]), jnp.bool_)
    taken = jnp.cumprod(jnp.concatenate([first, goes_on]), 0, dtype=jnp.int32)
    span = jnp.sum(taken, 0)
    power = gamma ** step.astype(jnp.float32)
    last = taken * (step == span[None] - 1)
    return jnp.sum(power * taken * reward, 0), jnp.sum(power * last * discount, 0), span
