"""Many learners as one program: their worlds are stepped together, all else is mapped over them."""

from typing import Any

import jax
import jax.numpy as jnp

from mjx_dm.config import Config, replace
from mjx_dm.engines import Engine
from mjx_dm.envs import batch as envs
from mjx_dm.training import program as training


class Pooled:
    """An engine for one learner's worlds, whose steps under vmap are one step of all worlds."""

    def __init__(self, one: Engine, whole: Engine):
        self.name = one.name
        self.start = _pool(one.start, whole.start)
        self.step = _pool(one.step, whole.step)


def _pool(one: Any, whole: Any) -> Any:
    pooled = jax.custom_batching.custom_vmap(one)

    @pooled.def_vmap
    def _rule(axis_size, in_batched, *args):
        def join(x, batched):
            x = x if batched else jnp.broadcast_to(x, (axis_size, *x.shape))
            return x.reshape(-1, *x.shape[2:])

        out = whole(*jax.tree.map(join, args, tuple(in_batched)))
        out = jax.tree.map(lambda x: x.reshape(axis_size, -1, *x.shape[1:]), out)
        return out, jax.tree.map(lambda _: True, out)

    return pooled


def programs(config: Config, stacked: dict[str, jax.Array], env: envs.BatchEnv) -> tuple[Any, Any]:
    """init(keys) -> state and advance(state) -> (state, metrics), with a leading axis of learners;
    `env` are one learner's worlds."""

    def init(keys: jax.Array) -> Any:
        def one(varied, key):
            return training.init(replace(config, **varied), env, key)

        return jax.vmap(one)(stacked, keys)

    def advance(state: Any) -> Any:
        def one(varied, state):
            return training.make_chunk(replace(config, **varied), env)(state)

        return jax.vmap(one)(stacked, state)

    return jax.jit(init), jax.jit(advance, donate_argnums=0)
