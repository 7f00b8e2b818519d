"""One run on several devices: worlds and replay shared out, learner and statistics on each.

The program of `mjx_dm.training.program` runs on every device at once, as a device's share of the
run. What is sharded keeps its global form, so a state can go on with another number of devices.
"""

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from mjx_dm.collectives import AXIS, Devices
from mjx_dm.config import Config, ConfigError, replace
from mjx_dm.envs.episodes import Worlds
from mjx_dm.learner.protocol import Metrics
from mjx_dm.training import program as training
from mjx_dm.training.program import TrainState
from mjx_dm.validation import check_shares


class Program(NamedTuple):
    """A run's functions, to be jitted: init(key) -> state and chunk(state) -> (state, metrics), on
    all devices. `shapes` is the state as jax.eval_shape gives it, with its shardings."""

    init: Callable[[Array], TrainState]
    chunk: Callable[[TrainState], tuple[TrainState, Metrics]]
    shapes: TrainState


def make_mesh(config: Config) -> Mesh:
    """The devices that the settings ask for: all that are there, of every process, or `devices` of
    them. Raises ConfigError where there are fewer, or worlds or batch do not divide among them."""
    there = jax.devices()
    count = config.hosts.devices or len(there)
    if count > len(there):
        raise ConfigError(
            f"--devices {count} asks for more than the {_in_words(there)}: give at most "
            f"{len(there)}, or leave it out."
        )
    if count < len(there) and jax.process_count() > 1:
        raise ConfigError(
            f"--devices {count} leaves out some of the {len(there)} devices of "
            f"{jax.process_count()} processes: leave it out, or start fewer processes."
        )
    check_shares(config, count)
    return jax.make_mesh((count,), (AXIS,), (AxisType.Auto,), devices=there[:count])


def share(config: Config, count: int) -> Config:
    """The settings of one of `count` devices, which must divide them."""
    replay = config.replay
    return replace(
        config,
        num_envs=config.physics.num_envs // count,
        replay_size=replay.replay_size // count,
        # Rounded up, as are the steps of all worlds that it comes to.
        random_steps=-(-replay.random_steps // count),
        batch_size=replay.batch_size // count,
        actor_batch_size=config.policy.actor_batch_size // count,
    )


def programs(config: Config, env: Worlds, mesh: Mesh) -> Program:
    """The run of `config`, a device's share, on every device of `mesh`; `env` are its worlds."""
    devices = Devices(mesh.size)

    def init(key: Array) -> TrainState:
        return training.init(config, env, key, devices)

    chunk = training.make_chunk(config, env, devices)
    shapes = jax.eval_shape(lambda key: training.init(config, env, key), jax.random.key(0))
    if mesh.size == 1:
        return Program(init, chunk, shapes)
    specs = specs_of(shapes)
    # Unchecked: engines and other libraries' simulations were not written for JAX's types of what
    # varies over a mesh. `fingerprint` tells before a checkpoint whether the replicas are one.
    over: dict[str, Any] = {"mesh": mesh, "check_vma": False}
    init = jax.shard_map(init, in_specs=P(), out_specs=specs, **over)
    chunk = jax.shard_map(chunk, in_specs=(specs,), out_specs=(specs, P()), **over)
    shapes = jax.tree.map(
        lambda x, spec: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, spec)),
        jax.eval_shape(init, jax.random.key(0)),
        specs,
    )
    return Program(init, chunk, shapes)


def specs_of(state: TrainState) -> Any:
    """How each array lies on the mesh: along the axis of its worlds, or whole on every device."""
    worlds: Any = P(AXIS)
    whole: Any = P()

    def everywhere(tree: Any) -> Any:
        return jax.tree.map(lambda _: whole, tree)

    returns = state.returns
    if returns is not None:
        returns = everywhere(returns)._replace(discounted=worlds)
    whole_of: Any = {"key": whole, "iteration": whole, "learn_from": whole}
    return state._replace(
        learner=everywhere(state.learner),
        normalizer=everywhere(state.normalizer),
        env=jax.tree.map(lambda _: worlds, state.env)._replace(key=whole),
        replay=jax.tree.map(lambda _: P(None, AXIS), state.replay)._replace(written=whole),
        returns=returns,
        **whole_of,
    )


def place(state: TrainState, shapes: TrainState) -> TrainState:
    """`state` on the devices, as `shapes` lie; where there is one, as it was."""

    def put(x: Any, like: jax.ShapeDtypeStruct) -> Any:
        if like.sharding is None or x.sharding.is_equivalent_to(like.sharding, x.ndim):
            return x
        if not x.is_fully_addressable or jax.process_count() == 1:
            return jax.device_put(x, like.sharding)
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(
                put(jax.random.key_data(x), like), impl=jax.random.key_impl(x)
            )
        # Every process has all of it, and puts what lies on its own devices there.
        found = np.asarray(x)
        return jax.make_array_from_callback(x.shape, like.sharding, lambda where: found[where])

    return jax.tree.map(put, state, shapes)


def fingerprint(tree: Any) -> int | None:
    """A number below 2^31 of the bits of what lies whole on every device; None where those of this
    process differ in it."""
    found = 0
    for leaf in jax.tree.leaves(tree):
        copies = {np.asarray(x.data).tobytes() for x in leaf.addressable_shards}
        if len(copies) > 1:
            return None
        found = zlib.crc32(copies.pop(), found)
    return found & 0x7FFFFFFF


def _in_words(devices: list[Any]) -> str:
    kind = {"cpu": "CPU", "gpu": "GPU"}.get(devices[0].platform, devices[0].platform)
    more = "s" if len(devices) > 1 else ""
    on_cpu = " (XLA_FLAGS=--xla_force_host_platform_device_count=N makes N of it)"
    return f"{len(devices)} {kind} device{more} that JAX finds" + (on_cpu if kind == "CPU" else "")
