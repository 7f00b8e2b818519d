"""What a task is: a robot's model and pure functions of MuJoCo's fields."""

import dataclasses
import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Bool, Float

from mjx_dm.config import ConfigError
from mjx_dm.tasks.layout import Entry, Layout, actuators, unnamed
from mjx_dm.types import Spaces

Fields = dict[str, Array]
"""MuJoCo's fields of one world after a step, by their names in MjData: qpos, qvel and `reads`."""


def compiled(spec: mujoco.MjSpec) -> mujoco.MjModel:
    """`spec` as a model, without MuJoCo's warning of an attribute that Gymnasium's files use."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*settotalmass.*")
        return spec.compile()


def _no_info(before: Fields, after: Fields) -> dict[str, Array]:
    return {}


def never(after: Fields) -> Bool[Array, ""]:
    """That no episode ends but by its time limit."""
    return jnp.zeros((), jnp.bool_)


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """A robot and what it is to do, for one world; callers map the functions over worlds.

    name, version: a run's config and every policy file carry them; a version changes when a
        policy trained before would no longer fit.
    spec: makes the model anew, as an MjSpec that an engine may still change.
    frame_skip: physics steps to an environment step.
    observe: fields -> observation (obs,).
    reward: (before, after, action (act,)) -> (reward, {term: value}), terms under Gymnasium's
        names. `before` holds qpos, qvel and `carries`, as the step before left them; `action` is
        in the actuators' units, not clipped.
    reset: key -> (qpos (nq,), qvel (nv,)) of a fresh episode.
    terminated: fields -> whether the episode is over for good.
    info: (before, after) -> {name: value}, what Gymnasium reports besides the reward's terms.
    reads: the derived fields of MjData that the functions look at: engines return exactly these.
    carries: those of them that `reward` and `info` compare with the step before.
    max_episode_steps: the time limit.
    gym_id, options: the Gymnasium environment that scores it, and what its constructor is given;
        without an id its own functions score it, under exact physics in MuJoCo's C engine.
    physics: what trains where nothing else is asked for: exact, or fast where a policy is known to
        keep its return.
    mjx_contacts: contacts of each kind that MJX solves, the deepest first; None solves all.
    warp_room: contacts and constraint rows a world that Warp makes room for; None reads them off
        the model.
    unequal: fields of MjModel that may differ between left and right without the robot being
        taken for asymmetric.
    camera: a camera of the model to film with; None follows the robot, which fills the picture.
    layout: model -> (name, unit) of each entry of the observation; None where nothing names them.
    files: what the files held that it was read from, by their paths from the Python file's folder;
        empty for a task of this package or made in a program.
    """

    name: str
    spec: Callable[[], mujoco.MjSpec]
    frame_skip: int
    observe: Callable[[Fields], Float[Array, "obs"]]
    reward: Callable[
        [Fields, Fields, Float[Array, "act"]], tuple[Float[Array, ""], dict[str, Array]]
    ]
    reset: Callable[[Array], tuple[Float[Array, "nq"], Float[Array, "nv"]]]
    terminated: Callable[[Fields], Bool[Array, ""]] = never
    info: Callable[[Fields, Fields], dict[str, Array]] = _no_info
    reads: tuple[str, ...] = ()
    carries: tuple[str, ...] = ()
    max_episode_steps: int = 1000
    version: int = 1
    gym_id: str | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    physics: str = "exact"
    mjx_contacts: int | None = None
    warp_room: tuple[int, int] | None = None
    unequal: tuple[str, ...] = ()
    camera: str | None = None
    layout: Layout | None = None
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict, repr=False)

    @functools.cached_property
    def model(self) -> mujoco.MjModel:
        """The robot's own model, as the task's environment runs it."""
        return compiled(self.spec())

    @functools.cached_property
    def spaces(self) -> Spaces:
        """Sizes of observation and action, and the box of the actuators' control ranges."""
        model = self.model
        obs = jax.eval_shape(self.observe, self.field_shapes)
        low, high = model.actuator_ctrlrange.T
        return Spaces(obs.shape[0], model.nu, tuple(map(float, low)), tuple(map(float, high)))

    @functools.cached_property
    def field_shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Shape of every field of one world: qpos, qvel and `reads`, float32."""
        data = mujoco.MjData(self.model)
        return {
            name: jax.ShapeDtypeStruct(np.shape(getattr(data, name)), jnp.float32)
            for name in ("qpos", "qvel", *self.reads)
        }

    @property
    def observations(self) -> list[Entry]:
        """The entries of an observation, "obs[0]" and so on where `layout` names none.

        Raises ConfigError where it names more or fewer than there are.
        """
        size = self.spaces.obs_size
        if self.layout is None:
            return unnamed("obs", size)
        found = [Entry(*entry) for entry in self.layout(self.model)]
        if len(found) != size:
            raise ConfigError(
                f"The layout of {self.name} names {len(found)} entries, and an observation has "
                f"{size}: name each."
            )
        return found

    @property
    def actions(self) -> list[Entry]:
        """The entries of an action."""
        return actuators(self.model)

    @property
    def step_seconds(self) -> float:
        """Seconds between two actions."""
        return self.frame_skip * float(self.model.opt.timestep)
