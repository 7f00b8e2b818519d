"""The processes that make up a run, on one host or several: one leads, and all do the same.

The first process owns the run directory and writes all of it. What depends on a clock, a disk or a
signal is decided by one process for all, since a program that some devices do not launch never
ends on the others. A process alone asks nobody.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from mjx_dm.checkpoints.manifest import SaveError
from mjx_dm.config import Config, ConfigError
from mjx_dm.training.mesh import fingerprint

Found = TypeVar("Found")

# A process that was not heard of for so long is taken for dead, where no connection tells before.
HEARTBEAT_SECONDS = 60
# The others wait so long for the first to play its last episodes and save the replay.
END_SECONDS = 24 * 3600
# Of what is copied to the first process at once; every device has it whole for that while.
_BLOCK_BYTES = 64 * 2**20
# In an error of JAX's where another process is the cause.
_OF_OTHERS = ("Gloo", "NCCL", "nccl", "coordination service", "distributed service")


class HostLost(SaveError):
    """Another process of the run is gone."""


def find_each_other(config: Config) -> None:
    """Has this process find the others where the settings say so; before JAX finds its devices,
    and once in a process. Raises ConfigError where they are not found."""
    hosts = config.hosts
    if hosts.distributed and not jax.distributed.is_initialized():
        # Its handler of SIGTERM would be in the way of the run's own.
        jax.config.update("jax_enable_preemption_service", False)
        try:
            jax.distributed.initialize(
                hosts.coordinator or None,
                hosts.num_processes,
                hosts.process_id,
                # Who is told where the others are has all devices of the host, not one.
                cluster_detection_method="deactivate" if hosts.coordinator else None,
                heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
                shutdown_timeout_seconds=END_SECONDS,
            )
        except (ValueError, RuntimeError) as error:
            raise ConfigError(
                "--distributed: the processes of the run do not find each other "
                f"({' '.join(str(error).split())[:200]}); under Slurm, Open MPI or Kubernetes they "
                "do by themselves, elsewhere give --coordinator, --process-id and --num-processes."
            ) from error


class Hosts:
    """`count` processes, of which this one `leads` or does not. Every method is called by all of
    them, in the same order."""

    def __init__(self, config: Config) -> None:
        self.count, self.leads = jax.process_count(), jax.process_index() == 0
        self._directory = config.directory

    def largest(self, *numbers: int) -> tuple[int, ...]:
        """Of each number the largest that a process has."""
        if self.count == 1:
            return numbers
        found = multihost_utils.process_allgather(np.array(numbers, np.int32))
        return tuple(int(x) for x in np.max(found, 0))

    def led(self, number: int) -> int:
        """The number that the first process has, at least 0."""
        return self.largest(number if self.leads else 0)[0]

    def first(self, work: Callable[[], Found]) -> Found:
        """`work` done by the first process, and then by the others.

        Raises what it raises there, and ConfigError in the others where it failed in the first.
        """
        if self.count == 1:
            return work()
        failed: Exception | None = None
        if self.leads:
            try:
                found = work()
            except Exception as error:  # raised below, once the others know of it
                failed = error
        if self.largest(failed is not None)[0]:
            raise failed or ConfigError("The first process of the run did not begin: see there.")
        return found if self.leads else work()

    def to_first(self, tree: Any) -> Any:
        """`tree` in NumPy arrays and keys of the first process; the others get None. A process
        alone has it as it was."""
        if self.count == 1:
            return tree
        copied = jax.tree.map(self._to_first, tree)
        return copied if self.leads else None

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Raises HostLost for an error inside whose cause is another process."""
        try:
            yield
        except (jax.errors.JaxRuntimeError, ValueError) as error:
            if self.count == 1 or not any(word in str(error) for word in _OF_OTHERS):
                raise
            raise HostLost(
                "Another process of the run is gone or does not answer: this one ends too. What is "
                f"saved in {self._directory} is intact: start all of them again with --resume."
            ) from error

    def check_replicas(self, learner: Any, env_steps: int) -> None:
        """Raises SaveError where the learner is not the same on every device of every process."""
        found = fingerprint(learner)
        differs, most, least = self.largest(found is None, found or 0, -(found or 0))
        if differs or most != -least:
            raise SaveError(
                f"The devices' copies of the learner differ after {env_steps:,} environment steps, "
                "so that no checkpoint would be that of a run: go on from the newest with --resume "
                "--devices 1, and report this."
            )

    def in_words(self, devices: int) -> str:
        """On what the run is, where that is more than a device."""
        on = f", on {devices} devices" if devices > 1 else ""
        return on + (f" of {self.count} processes" if self.count > 1 else "")

    def end(self) -> None:
        """Waits for the others to come to their end, and parts from them."""
        if self.count > 1:
            jax.distributed.shutdown()

    def _to_first(self, x: Any) -> Any:
        if not isinstance(x, jax.Array):
            return x
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            data = self._to_first(jax.random.key_data(x))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
        if x.is_fully_replicated:
            return np.array(x)
        sharding = x.sharding
        assert isinstance(sharding, NamedSharding)
        if sharding.spec[0] is not None:  # of the worlds alone, and small
            whole = multihost_utils.process_allgather(x, tiled=True)
            return np.asarray(whole)
        rows = max(1, min(len(x), _BLOCK_BYTES // max(1, x.nbytes // len(x))))
        take = jax.jit(
            lambda x, at: jax.lax.dynamic_slice_in_dim(x, at, rows, 0),
            out_shardings=NamedSharding(sharding.mesh, P()),
        )
        out = np.empty(x.shape, x.dtype) if self.leads else None
        for at in range(0, len(x), rows):
            at = min(at, len(x) - rows)
            block = take(x, at)
            if out is not None:
                out[at : at + rows] = np.asarray(block)
        return out
