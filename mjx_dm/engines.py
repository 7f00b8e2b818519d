"""Three engines that step the humanoid, behind one protocol.

Every engine carries the same `PhysicsState`, so a run may go on under another engine.
"""

import contextlib
import functools
import importlib.util
import io
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jax.experimental.buffer_callback import buffer_callback
from jaxtyping import Array, Bool, Float

from mjx_dm import humanoid
from mjx_dm.config import ConfigError
from mjx_dm.humanoid import FRAME_SKIP
from mjx_dm.types import ACTION_SIZE, NQ, NV, OBS_PARTS, OBS_SIZE

with contextlib.redirect_stdout(io.StringIO()):  # MJX prints that warp-lang is absent
    from mujoco import mjx

# Warp's buffers for this model. A running or falling humanoid has some 6 contacts; in heaps 14
# with the floor and 10 between bodies were seen. Contacts are pooled over the worlds; a world that
# needs more rows than these is reset and counted.
WARP_CONTACTS_PER_WORLD = 24
WARP_ROWS_PER_WORLD = 64


class PhysicsState(NamedTuple):
    """What one step hands to the next. Units: m, rad, s.

    `com_x` is the centre of mass along x, from the body positions as the last step left them.
    """

    qpos: Float[Array, "N 24"]
    qvel: Float[Array, "N 23"]
    qacc_warmstart: Float[Array, "N 23"]
    com_x: Float[Array, "N"]


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


class Stepped(NamedTuple):
    """What `MujocoEngine` fills in: a step's results, in NumPy."""

    state: PhysicsState
    obs: Float[Array, "N 376"]
    failed: Bool[Array, "N"]


class MujocoEngine:
    """MuJoCo's C engine, one MjData per core, called from inside the compiled program.

    Derived fields are read as Gymnasium reads them: mj_step, then mj_rnePostConstraint.
    """

    name = "mujoco"

    def __init__(self, model: mujoco.MjModel, num_envs: int):
        self._model = model
        self._mass = model.body_mass / model.body_mass.sum()
        threads = min(len(os.sched_getaffinity(0)), num_envs)
        self._data = [mujoco.MjData(model) for _ in range(threads)]
        self._pool = ThreadPoolExecutor(threads)
        self._lock = threading.Lock()

        def shape(*size: int, dtype: Any = jnp.float32) -> Any:
            return jax.ShapeDtypeStruct((num_envs, *size), dtype)

        state = PhysicsState(shape(NQ), shape(NV), shape(NV), shape())
        self.shape = Stepped(state, shape(OBS_SIZE), shape(dtype=jnp.bool_))

    def start(self, qpos, qvel):
        rest = jnp.zeros_like(qvel), jnp.zeros((len(qpos), ACTION_SIZE))
        state, obs, _ = _on_host(self.place, self.shape)(qpos, qvel, *rest)
        return state, obs

    def step(self, state, action):
        return _on_host(self.advance, self.shape)(*state[:3], action)

    def place(self, out: Stepped, *before: np.ndarray) -> None:
        """Fills `out` with what mj_forward would leave in the fields that are read, before any
        force: `before` is qpos, qvel, and zeros for the warm start and the action."""

        def move(data: mujoco.MjData) -> None:
            mujoco.mj_kinematics(self._model, data)
            mujoco.mj_comPos(self._model, data)
            mujoco.mj_comVel(self._model, data)
            data.qfrc_actuator[:], data.cfrc_ext[:] = 0.0, 0.0

        self._fill(out, before, move)

    def advance(self, out: Stepped, *before: np.ndarray) -> None:
        """Fills `out`, arrays of the shapes of `shape`, with what a step leads to from `before`:
        qpos, qvel, qacc_warmstart and action."""

        def move(data: mujoco.MjData) -> None:
            mujoco.mj_step(self._model, data, nstep=FRAME_SKIP)
            mujoco.mj_rnePostConstraint(self._model, data)

        self._fill(out, before, move)

    def _fill(
        self,
        out: Stepped,
        before: tuple[np.ndarray, ...],
        move: Callable[[mujoco.MjData], None],
    ) -> None:
        state, obs, failed = out
        xipos_x = np.empty((len(obs), self._model.nbody))
        qpos, qvel, *parts = np.split(obs, np.cumsum(list(OBS_PARTS.values()))[:-1], 1)
        results: tuple[Any, ...] = (*state[:3], *parts, xipos_x)
        worlds = iter(range(len(obs)))  # shared, so that a thread that is held up takes fewer

        def work(data: mujoco.MjData) -> None:
            given = (data.qpos, data.qvel, data.qacc_warmstart, data.ctrl)
            derived = (data.cinert, data.cvel, data.qfrc_actuator, data.cfrc_ext)
            fields = (*given[:3], *(x.reshape(-1) for x in derived), data.xipos[:, 0])
            for i in worlds:
                for field, value in zip(given, before, strict=True):
                    field[:] = value[i]
                move(data)
                for field, value in zip(fields, results, strict=True):
                    value[i] = field
                # On a bad state MuJoCo warns and resets the world without an error.
                failed[i] = any(data.warning.number[_BAD_STATE].tolist())
                if failed[i]:
                    mujoco.mj_resetData(self._model, data)

        with self._lock:
            list(self._pool.map(work, self._data))
        qpos[:], qvel[:] = state.qpos[:, 2:], state.qvel
        state.com_x[:] = xipos_x @ self._mass


def _on_host(fill: Callable[..., None], shape: Any) -> Callable[..., Any]:
    """Has a compiled program call fill(out, *arguments), which fills `out`, arrays of `shape`."""
    if jax.default_backend() == "cpu":

        def in_place(_context: Any, out: Any, *arguments: Any) -> None:
            fill(jax.tree.map(np.asarray, out), *map(np.asarray, arguments))

        # A tenth of the time of pure_callback, which copies what it is given and what it returns.
        return buffer_callback(in_place, shape)

    def copied(*arguments: Any) -> Any:
        out = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), shape)
        fill(out, *map(np.asarray, arguments))
        return out

    return functools.partial(jax.pure_callback, copied, shape)


class MjxEngine:
    """MuJoCo MJX: `impl` is "jax" (any device) or "warp" (MuJoCo Warp, NVIDIA; CPU for tests)."""

    def __init__(self, model: mujoco.MjModel, num_envs: int, impl: str):
        self.name = {"jax": "mjx", "warp": "warp"}[impl]
        self._impl = impl
        self._mass = jnp.asarray(model.body_mass / model.body_mass.sum(), jnp.float32)
        # Kinematics of a reset are computed by MJX's own code under either implementation.
        self._kinematics = mjx.put_model(model, impl="jax")
        self._kinematics_data = mjx.make_data(self._kinematics)
        if impl == "warp":
            self._model = mjx.put_model(model, impl="warp").tree_replace(
                {
                    "opt._impl.run_rne_postconstraint": True,
                    # Warp's own warnings would print a line a world and solve; `step` reads the
                    # mask that they print from.
                    "opt._impl.warn_overflow": 0,
                }
            )
            self._data = mjx.make_data(
                model,
                impl="warp",
                naconmax=WARP_CONTACTS_PER_WORLD * num_envs,
                njmax=WARP_ROWS_PER_WORLD,
            )
        else:
            self._model, self._data = self._kinematics, self._kinematics_data

    @functools.partial(jax.named_call, name="physics_start")
    def start(self, qpos, qvel):
        def one(qpos, qvel):
            data = self._kinematics_data.replace(qpos=qpos, qvel=qvel)
            data = mjx.com_pos(self._kinematics, mjx.kinematics(self._kinematics, data))
            data = mjx.com_vel(self._kinematics, data)
            return self._read(data, jnp.zeros(NV), jnp.zeros((self._model.nbody, 6)))

        with jax.default_matmul_precision("highest"):
            com_x, obs = jax.vmap(one)(qpos, qvel)
        return PhysicsState(qpos, qvel, jnp.zeros_like(qvel), com_x), obs

    @functools.partial(jax.named_call, name="physics")
    def step(self, state, action):
        def substep(carry, _):
            data, overflow = carry
            data = mjx.step(self._model, data)
            if self._impl == "jax":
                overflow |= self._no_room(data)
            return (data, overflow), None

        def one(qpos, qvel, warmstart, ctrl):
            data = self._data.replace(qpos=qpos, qvel=qvel, qacc_warmstart=warmstart, ctrl=ctrl)
            (data, overflow), _ = jax.lax.scan(
                substep, (data, jnp.zeros((), jnp.bool_)), length=FRAME_SKIP
            )
            if self._impl == "jax":
                data = mjx.rne_postconstraint(self._model, data)
            else:
                overflow = jnp.any(data._impl.overflow & ~_SOLVER_LIMITS != 0)
            com_x, obs = self._read(data, data.qfrc_actuator, data._impl.cfrc_ext)
            state = PhysicsState(data.qpos, data.qvel, data.qacc_warmstart, com_x)
            return state, obs, overflow

        with jax.default_matmul_precision("highest"):
            return jax.vmap(one)(state.qpos, state.qvel, state.qacc_warmstart, action)

    def _read(
        self, data: Any, qfrc_actuator: Float[Array, "23"], cfrc_ext: Float[Array, "14 6"]
    ) -> tuple[Float[Array, ""], Float[Array, "376"]]:
        """The centre of mass along x and the observation of one world."""
        with jax.named_scope("observe"):
            bodies = data._impl.cinert, data.cvel
            obs = humanoid.observe(data.qpos, data.qvel, *bodies, qfrc_actuator, cfrc_ext)
        return self._mass @ data.xipos[:, 0], obs

    def _no_room(self, data: Any) -> Bool[Array, ""]:
        """Whether all that is kept of a kind of contact touches: others may have been left out."""
        contact = data._impl.contact
        dim = np.asarray(self._data._impl.contact.dim)
        touches = contact.dist < contact.includemargin
        no_room = jnp.zeros((), jnp.bool_)
        for kind in (dim == d for d in np.unique(dim)):
            if kind.sum() == humanoid.MJX_CONTACTS:
                no_room |= jnp.all(touches[kind])
        return no_room


# Bits of Warp's overflow mask (OverflowType.ITERATIONS, LS_ITERATIONS) that only say that the
# solver used all its iterations, which a cheap preset does on purpose; the others mean lost rows.
_SOLVER_LIMITS = 1 << 9 | 1 << 10

_BAD_STATE = slice(mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQACC + 1)
