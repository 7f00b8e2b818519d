"""What a run will need in memory, told before anything of it is allocated."""

from typing import Any, NamedTuple

import jax

from mjx_dm import host
from mjx_dm.config import Config, ConfigError
from mjx_dm.training.program import TrainState

GIB = 2**30


class Plan(NamedTuple):
    """Bytes on a device by what holds them: the donated state in three parts, and what a launch
    adds."""

    worlds: int
    replay: int
    learner: int
    temporary: int

    @property
    def total(self) -> int:
        """Bytes in all."""
        return sum(self)

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {_in_words(size)}" for name, size in self._asdict().items())
        return f"{_in_words(self.total)} ({parts})"


def plan(shapes: TrainState, compiled: Any, devices: int = 1) -> Plan:
    """`shapes` is the state as jax.eval_shape gives it, `compiled` the program that advances it;
    each of the `devices` has its share of worlds and replay."""
    analysis = compiled.memory_analysis()
    replay, learner = _bytes(shapes.replay), _bytes((shapes.learner, shapes.normalizer))
    return Plan(
        worlds=(_bytes(shapes) - replay - learner) // devices,
        replay=replay // devices,
        learner=learner,
        temporary=int(analysis.temp_size_in_bytes) if analysis else 0,
    )


def available() -> int | None:
    """Bytes that JAX may use on a device; on a CPU, the machine's memory or its container's, shared
    out over its devices. None where nothing tells."""
    here = jax.local_devices()
    stats = here[0].memory_stats() or {}
    memory = host.memory()
    return stats.get("bytes_limit") or (memory and memory // len(here))


def check(config: Config, needed: Plan, room: int | None) -> None:
    """Raises ConfigError, with what would fit, where the run would not."""
    if room is None or needed.total <= room:
        return
    rest = needed.total - needed.replay
    fits = int((room - rest) / needed.replay * config.replay.replay_size * 0.95)
    if fits >= 2 * config.physics.num_envs:
        advice = f"--replay-size {fits // 1000 * 1000 or fits} would fit"
    else:
        advice = f"give less than --num-envs {config.physics.num_envs} and --replay-size"
    raise ConfigError(
        f"The run needs {needed} of memory and there are {_in_words(room)}: {advice}."
    )


def _bytes(tree: Any) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _in_words(size: int) -> str:
    return f"{size / GIB:.2f} GiB" if size >= GIB else f"{size / 2**20:.0f} MiB"
