"""Three engines that step the humanoid, behind one protocol.

Every engine carries the same `PhysicsState`, so a run may go on under another engine.
"""

import importlib.util
from typing import Protocol, runtime_checkable

import jax
from jaxtyping import Array, Bool, Float

from mjx_dm.config import ENGINES, PHYSICS, ConfigError
from mjx_dm.engines.mjx import MjxEngine
from mjx_dm.engines.mujoco import MujocoEngine
from mjx_dm.tasks import humanoid
from mjx_dm.types import PhysicsState


@runtime_checkable
class Engine(Protocol):
    """Steps `num_envs` worlds at once; both methods are traced under jit."""

    name: str

    def start(
        self, qpos: Float[Array, "N 24"], qvel: Float[Array, "N 23"]
    ) -> tuple[PhysicsState, Float[Array, "N 376"]]:
        """The state and observation of worlds placed at rest of actuation."""
        ...

    def step(
        self, state: PhysicsState, action: Float[Array, "N 17"]
    ) -> tuple[PhysicsState, Float[Array, "N 376"], Bool[Array, "N"]]:
        """One environment step of 5 substeps under `action` in v4 units.

        What is observed besides qpos and qvel lags them by up to one substep, as mj_step leaves
        it. The last value is True where the engine could not be trusted: it ran out of room for
        contacts or met a state that is not finite.
        """
        ...


def check(engine: str, physics: str) -> None:
    """Raises ValueError with one sentence where either is unknown."""
    for name, value, choices in (("engine", engine, ENGINES), ("physics", physics, PHYSICS)):
        if value not in choices:
            raise ValueError(f"{name} {value!r} is unknown; choose from {', '.join(choices)}.")


def make_engine(name: str, physics: str, num_envs: int) -> Engine:
    """`name` is mujoco, mjx or warp (see `choose_engine` for auto); `physics` is v4 or fast."""
    settings = humanoid.PHYSICS[name, physics]
    model = humanoid.load_model(settings)
    if name == "mujoco":
        return MujocoEngine(model, num_envs)
    return MjxEngine(model, num_envs, impl={"mjx": "jax", "warp": "warp"}[name])


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
    platform = jax.default_backend()
    if platform == "cpu":
        return "mujoco", "no accelerator: MuJoCo's C engine is the fastest on a CPU"
    if platform == "gpu" and importlib.util.find_spec("warp") is not None:
        return "warp", "an NVIDIA GPU with warp-lang installed"
    return "mjx", f"an accelerator ({platform}) without warp-lang"
