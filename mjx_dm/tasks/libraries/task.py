"""An environment of another library as a task: its own simulation, resets and rewards."""

import contextlib
import dataclasses
import functools
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
from jaxtyping import Array, Float

from mjx_dm.config import ConfigError
from mjx_dm.tasks.layout import Entry, unnamed
from mjx_dm.tasks.task import compiled
from mjx_dm.types import Spaces

State = Any
"""What such an environment hands from step to step: `obs`, `reward`, `done`, `metrics`, `info`."""

# What Brax's and Playground's trainers squash every action into.
LOW, HIGH = -1.0, 1.0


class Pose(NamedTuple):
    """Where a world's model is and how it moves, as MuJoCo has it."""

    qpos: Float[Array, "*B nq"]
    qvel: Float[Array, "*B nv"]


@dataclasses.dataclass(frozen=True, eq=False)
class LibraryTask:
    """An environment of Brax or MuJoCo Playground, for one world; callers map it over worlds.

    name, options: what `any_task` was given. version: as a Task's.
    simulation: what steps it, in words for a report: "brax (mjx)".
    start: key -> state of a fresh episode, the library's own random reset.
    advance: (state, action (act,) in [-1, 1]) -> state, `action_repeat` of the library's steps.
    spaces: sizes; `privileged_size` is None where the critics see what the policy sees.
    max_episode_steps: the time limit, in steps of `advance`.
    step_seconds: between two actions.
    packages: those whose versions a score depends on.
    pose: state -> Pose, or None where its state holds no positions.
    model_xml, assets: the model as MJCF, for films; None where there is none.
    camera, physics, files: as a Task's.
    """

    name: str
    simulation: str
    start: Callable[[Array], State]
    advance: Callable[[State, Float[Array, "act"]], State]
    spaces: Spaces
    max_episode_steps: int
    step_seconds: float
    packages: tuple[str, ...]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    pose: Callable[[State], Pose] | None = None
    model_xml: str | None = None
    assets: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    version: int = 1
    camera: str | None = None
    physics: str = "auto"
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)

    @property
    def is_filmed(self) -> bool:
        """Whether there is a model to draw and a pose to draw it in."""
        return self.pose is not None and self.model_xml is not None

    def spec(self) -> mujoco.MjSpec:
        """The model anew. Raises ConfigError where there is none to draw."""
        if not self.is_filmed:
            raise ConfigError(f"{self.name} has no MuJoCo model to be drawn with.")
        return mujoco.MjSpec.from_string(self.model_xml, assets=dict(self.assets))

    @property
    def observations(self) -> list[Entry]:
        """The entries of an observation, which the library does not name."""
        return unnamed("obs", self.spaces.obs_size)

    @property
    def actions(self) -> list[Entry]:
        """The entries of an action."""
        return unnamed("action", self.spaces.action_size)

    @functools.cached_property
    def model(self) -> mujoco.MjModel:
        """The model for films; not what the library steps."""
        return compiled(self.spec())


def describe(
    env: Any,
    name: str,
    simulation: str,
    options: Mapping[str, Any],
    episode_length: int,
    action_repeat: int,
    step_seconds: float,
    packages: tuple[str, ...],
    pose: Callable[[State], Pose] | None,
    model: mujoco.MjModel | None,
    assets: Mapping[str, bytes],
) -> LibraryTask:
    """`env`, of Brax's interface, as a task; `model` must be the newest that MuJoCo compiled.

    Time limit and repeated actions as in Brax's EpisodeWrapper, which Playground uses too: both
    count in the environment's own steps. Raises ConfigError where they are less than 1, or the
    observation is not a vector, or a dict of the vectors state and privileged_state.
    """
    for option, value in (("episode_length", episode_length), ("action_repeat", action_repeat)):
        if not isinstance(value, int) or value < 1:
            raise ConfigError(f"{name}: {option} must be a whole number from 1 on, got {value!r}.")

    def start(key: Array) -> State:
        # Raw keys, as both libraries' own trainers give: some environments keep theirs in `info`.
        return env.reset(jax.random.key_data(key))

    def advance(state: State, action: Array) -> State:
        if action_repeat == 1:
            return env.step(state, action)

        def once(state: State, _: None) -> tuple[State, Array]:
            state = env.step(state, action)
            return state, state.reward

        state, rewards = jax.lax.scan(once, state, length=action_repeat)
        return state.replace(reward=jnp.sum(rewards))

    sizes = _sizes(name, jax.eval_shape(start, jax.random.key(0)).obs)
    actions = int(env.action_size)
    return LibraryTask(
        name=name,
        simulation=simulation,
        start=start,
        advance=advance,
        spaces=Spaces(sizes[0], actions, (LOW,) * actions, (HIGH,) * actions, sizes[1]),
        max_episode_steps=math.ceil(episode_length / action_repeat),
        step_seconds=step_seconds * action_repeat,
        packages=packages,
        options=options,
        pose=pose,
        model_xml=None if model is None else _xml(model),
        assets=assets,
    )


@contextlib.contextmanager
def without_advice() -> Iterator[None]:
    """Keeps from the user what is meant for the authors of a library's files; without a handler
    MuJoCo also writes a MUJOCO_LOG.TXT where it is run."""

    def say(text: str) -> None:
        if "settotalmass" not in text:  # an attribute in Brax's files
            warnings.warn(text, stacklevel=2)

    handler = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(say)
    try:
        with warnings.catch_warnings():
            # Who asks for a Brax environment has no use for the advice to take another.
            warnings.filterwarnings("ignore", message="Brax System", category=UserWarning)
            yield
    finally:
        mujoco.set_mju_user_warning(handler)


def split_obs(obs: Any) -> tuple[Any, Any | None]:
    """What the policy sees, and what the critics see where that is something else: arrays, or
    their shapes."""
    if not isinstance(obs, Mapping):
        return obs, None
    return obs["state"], obs.get("privileged_state")


def _sizes(name: str, obs: Any) -> tuple[int, int | None]:
    if isinstance(obs, Mapping) and "state" not in obs:
        raise ConfigError(
            f"{name} observes {', '.join(obs)}; it would have to be a vector, or a dict with state "
            "and, for the critics, privileged_state."
        )
    parts = [x for x in split_obs(obs) if x is not None]
    for part in parts:
        if len(part.shape) != 1:
            raise ConfigError(
                f"{name} observes an array of shape {part.shape}; it would have to be a vector."
            )
    return parts[0].shape[0], parts[1].shape[0] if len(parts) > 1 else None


def _xml(model: mujoco.MjModel) -> str | None:
    """MJCF of the model that MuJoCo compiled last, which is all that is left of the file it came
    from; None where it was another."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.xml")
        try:
            mujoco.mj_saveLastXML(path, model)
        except (mujoco.FatalError, ValueError):
            return None
        return Path(path).read_text()
