"""Transitions with left and right exchanged, to learn from."""

import jax.numpy as jnp
from jaxtyping import Array, Bool

from mjx_dm.config import Config, ConfigError
from mjx_dm.tasks.libraries import LibraryTask
from mjx_dm.tasks.symmetry import Exchange, NoSymmetry, Symmetry, symmetry
from mjx_dm.tasks.task import Task
from mjx_dm.types import Transition


def symmetry_of(config: Config, task: Task | LibraryTask) -> Symmetry | None:
    """The reflection that the settings ask for. Raises ConfigError where `--mirror on` asks for one
    of a robot that has none. Nothing is known of left and right in another library's task."""
    if config.replay.mirror == "off" or isinstance(task, LibraryTask):
        return None
    try:
        return symmetry(task)
    except NoSymmetry as error:
        if config.replay.mirror == "auto":
            return None
        raise ConfigError(
            f"--mirror on: {task.name} is not its own mirror image, as {error}; give off or auto."
        ) from error


def reflect(batch: Transition, chosen: Bool[Array, "B"], by: Symmetry) -> Transition:
    """`batch` (B rows) with the `chosen` rows reflected; reward and ends are what they were.

    Source: Lin et al. 2019 (Kaleidoscope Experience Replay).
    """

    def where(x: Array, exchange: Exchange) -> Array:
        return jnp.where(chosen[:, None], exchange(x), x)

    return batch._replace(
        obs=where(batch.obs, by.obs),
        action=where(batch.action, by.action),
        next_obs=where(batch.next_obs, by.obs),
    )
