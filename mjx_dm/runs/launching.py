"""One launch of the program after another, so that an accelerator does not wait for the host."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from mjx_dm.config import Config
from mjx_dm.device import platform
from mjx_dm.learner.protocol import Metrics
from mjx_dm.runs import health
from mjx_dm.runs.initial import Held
from mjx_dm.training.program import TrainState


class Launch(NamedTuple):
    """What a launch tells once it is over, in arrays that the next launch does not take."""

    metrics: Metrics
    updates: Int[Array, ""]
    finite: Bool[Array, ""]

    def wait(self) -> tuple[dict[str, float], int, bool]:
        """The three of them, as numbers."""
        metrics, updates, finite = jax.device_get(self)
        return {name: float(x) for name, x in metrics.items()}, int(updates), bool(finite)


class Launcher:
    """Launches `chunk`, a run's program.

    `overlaps`: whether a launch may begin before the host has read the last one. On a CPU it would
    gain nothing and answer a signal later, the start of a run that began with a policy is held from
    launch to launch, and several processes agree on what comes next while a launch is not there.
    """

    def __init__(self, config: Config, chunk: Callable[[TrainState], Any]) -> None:
        self._chunk, self._held = chunk, Held(config)
        alone = jax.process_count() == 1
        self.overlaps = platform() != "cpu" and alone and not config.run.init_from

    def __call__(self, state: TrainState) -> tuple[TrainState, Launch]:
        """The state after a launch and what it will tell; `state` is donated."""
        self._held.before(state.learner)
        state, metrics = self._chunk(state)
        state = state._replace(learner=self._held.after(state.learner))
        learner = state.learner
        finite = health.all_finite((learner.actor, learner.critic))
        return state, Launch(metrics, jnp.copy(learner.updates), finite)
