"""The replay: a (time, world) ring on the device, each observation stored once.

The successor of a row is the observation of the next row of its world. Rows whose successor is
another episode's start are either terminal (the successor does not matter) or marked invalid.
Written in place when the state is donated.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt16

from mjx_dm.config import ConfigError
from mjx_dm.types import Spaces, Transition

# A uniform float32 has 2^23 values, so that of more rows it would not reach each alike.
ROWS_OF_A_FLOAT = 2**20
_MOST_ROWS = 2**30


class Replay(NamedTuple):
    """`written` counts the rows ever added, or some rounds of the ring less: it stays within an
    int32 for ever. The ring holds the newest T of them.

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
    """An empty ring of `capacity // num_envs` rows; in bfloat16 observations take half the room.

    Raises ConfigError from 2^30 rows on, which an int32 could not count in rounds.
    """
    rows = capacity // num_envs
    if rows >= _MOST_ROWS:
        raise ConfigError(
            f"--replay-size {capacity} is {rows} steps of {num_envs} worlds and must be less than "
            "2^30 steps: give less, or more --num-envs."
        )
    dtype = jnp.uint16 if obs_dtype == "bfloat16" else jnp.float32
    return Replay(
        obs=jnp.zeros((rows, num_envs, spaces.seen_size), dtype),
        action=jnp.zeros((rows, num_envs, spaces.action_size)),
        reward=jnp.zeros((rows, num_envs)),
        discount=jnp.zeros((rows, num_envs)),
        valid=jnp.zeros((rows, num_envs), jnp.bool_),
        written=jnp.zeros((), jnp.int32),
    )


def empty(shapes: Replay) -> Replay:
    """What `init` gives, from its shapes and where it lies."""
    return Replay(*(jnp.zeros(x.shape, x.dtype, device=x.sharding) for x in shapes))


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
        written=_one_more(replay.written, replay.obs.shape[0]),
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
    most = rows if newest is None else min(newest + 1, rows)
    stored = jnp.minimum(replay.written, most)
    age = 1 + draw_ages(time_key, batch_size, stored - 1, most - 1, recency)
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


def draw_ages(
    key: Array, size: int, count: Int[Array, ""], most: int, recency: float
) -> Int[Array, "size"]:
    """`size` whole numbers below `count`, as a share of it u^recency with u uniform; consumes
    `key`. `count` is at least 1 and at most `most`, which may be up to 2^31 - 1.
    """
    if most <= ROWS_OF_A_FLOAT:
        share = jax.random.uniform(key, (size,), jnp.float32) ** recency
        # Rounding may carry a share to 1, and with it an age beyond the oldest.
        return jnp.minimum((share * count.astype(jnp.float32)).astype(jnp.int32), count - 1)
    if isinstance(recency, float) and recency == 1.0:
        return jax.random.randint(key, (size,), 0, count, jnp.int32)
    # Each of the 2^22 cells of u is as likely; in a cell, rows are drawn alike. A cell ends where
    # the next begins, so that no row is left out, however coarse a float32 is there.
    cells = 2**22
    cell_key, row_key = jax.random.split(key)
    cell = jax.random.randint(cell_key, (size,), 0, cells, jnp.int32)

    def begins(cell: Int[Array, "size"]) -> Int[Array, "size"]:
        share = (cell.astype(jnp.float32) / cells) ** recency
        row = share * count.astype(jnp.float32)
        # The largest float32 below 2^31: beyond it the conversion would not be defined.
        whole = jnp.minimum(row, 2.0**31 - 128).astype(jnp.int32)
        return jnp.where(cell == cells, count, jnp.minimum(whole, count))

    first, end = begins(cell), begins(cell + 1)
    width = jnp.maximum(end - first, 1)
    return jnp.minimum(first + jax.random.randint(row_key, (size,), 0, width, jnp.int32), count - 1)


def pack(obs: Float[Array, "*B obs"], dtype: Any) -> Array:
    """Observations as a ring of `dtype` holds them."""
    if dtype == jnp.uint16:
        return jax.lax.bitcast_convert_type(obs.astype(jnp.bfloat16), jnp.uint16)
    return obs


def _one_more(written: Int[Array, ""], rows: int) -> Int[Array, ""]:
    """`written` + 1, less whole rounds of the ring where it would come near 2^31."""
    rounds = rows * max(1, _MOST_ROWS // 2 // rows)
    return jnp.where(written < 2 * rounds - 1, written + 1, written + 1 - rounds)


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
    last = step == span[None] - 1
    reward = jnp.sum(power * taken.astype(jnp.float32) * reward, 0)
    return reward, jnp.sum(power * last.astype(jnp.float32) * discount, 0), span
