"""Three engines that step a task's model, behind one protocol.

Every engine carries the same `PhysicsState`, so a run may go on under another engine.
"""

import importlib.util
from typing import Protocol, runtime_checkable

from jaxtyping import Array, Bool, Float

from mjx_dm import host
from mjx_dm.config import ConfigError
from mjx_dm.device import platform
from mjx_dm.engines.mjx import MjxEngine
from mjx_dm.engines.mujoco import MujocoEngine
from mjx_dm.groups import ENGINES, PHYSICS
from mjx_dm.tasks.physics import model_for
from mjx_dm.tasks.task import Fields, Task
from mjx_dm.types import PhysicsState


@runtime_checkable
class Engine(Protocol):
    """Steps `num_envs` worlds at once; both methods are traced under jit.

    The fields returned are the task's `reads`, each with a leading axis over worlds. They lag qpos
    and qvel by up to one substep, as mj_step leaves them.
    """

    name: str

    def start(
        self, qpos: Float[Array, "N nq"], qvel: Float[Array, "N nv"]
    ) -> tuple[PhysicsState, Fields]:
        """The state and fields of worlds placed at rest of actuation."""
        ...

    def step(
        self, state: PhysicsState, action: Float[Array, "N act"]
    ) -> tuple[PhysicsState, Fields, Bool[Array, "N"]]:
        """One environment step under `action`, in the actuators' units.

        The last value is True where the engine could not be trusted: it ran out of room for
        contacts or met a state that is not finite.
        """
        ...


def check(engine: str, physics: str) -> None:
    """Raises ConfigError with one sentence where either is unknown."""
    for name, value, choices in (("engine", engine, ENGINES), ("physics", physics, PHYSICS)):
        if value not in choices:
            raise ConfigError(f"{name} {value!r} is unknown; choose from {', '.join(choices)}.")


def make_engine(
    task: Task, name: str, physics: str, num_envs: int, threads: int | None = None
) -> Engine:
    """`name` is mujoco, mjx or warp (see `choose_engine` for auto); `physics` one of PHYSICS.

    threads: those of the engine mujoco; None for as many as there are cores to use.
    Raises ConfigError where the engine cannot run the task's model.
    """
    model = model_for(task, name, physics)
    if name == "mujoco":
        return MujocoEngine(task, model, num_envs, threads or host.cores())
    try:
        return MjxEngine(task, model, num_envs, impl={"mjx": "jax", "warp": "warp"}[name])
    except NotImplementedError as error:
        raise ConfigError(
            f"--engine {name} cannot run {task.name}: {error}. Take mujoco."
        ) from error


def choose_engine(name: str = "auto") -> tuple[str, str]:
    """(engine, reason): `name` itself, or for "auto" the fastest that this machine can run.

    Raises ConfigError where warp is asked for and warp-lang is not installed.
    """
    if name == "warp" and importlib.util.find_spec("warp") is None:
        raise ConfigError(
            "--engine warp needs warp-lang, which is not installed; make setup EXTRAS=dev,warp "
            "installs it, or choose mjx or mujoco."
        )
    if name != "auto":
        return name, "as asked"
    if platform() == "cpu":
        return "mujoco", "no accelerator: MuJoCo's C engine is the fastest on a CPU"
    if platform() == "gpu" and importlib.util.find_spec("warp") is not None:
        return "warp", "an NVIDIA GPU with warp-lang installed"
    return "mjx", f"an accelerator ({platform()}) without warp-lang"
