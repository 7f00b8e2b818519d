"""One step of all worlds: act, simulate, remember."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mjx_dm.envs.episodes import EnvState, Worlds
from mjx_dm.training import replay as ring
from mjx_dm.training.replay import Replay


def collect(
    env: Worlds,
    state: EnvState,
    replay: Replay,
    action: Array,
    env_action: Callable[[Array], Array],
    bootstrap_time_limits: bool,
) -> tuple[EnvState, Replay]:
    """Steps every world under `action` (N, action_size), in the policy's units, and stores the row.

    A time limit's successor is not in the ring, so that its row is kept out of learning; when
    time limits count as terminations its successor is not needed and the row stays.
    """
    after = env.step(state, env_action(action))
    ended = after.terminated if bootstrap_time_limits else after.terminated | after.truncated
    kept = after.valid & ~after.truncated if bootstrap_time_limits else after.valid
    with jax.named_scope("insert"):
        replay = ring.add(
            replay,
            obs=state.seen,
            # What broke the world may be the action; even an invalid row must not hold a NaN, since
            # no weight of 0 cancels it.
            action=jnp.where(after.valid[:, None], action, 0.0),
            reward=after.reward,
            discount=1.0 - ended.astype(jnp.float32),
            valid=kept,
        )
    return after, replay
