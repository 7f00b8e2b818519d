"""Three engines that step the humanoid, behind one protocol.

Every engine carries the same `PhysicsState`, so a run may go on under another engine.
"""

import contextlib
import functools
import importlib.util
import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Bool, Float

from mjx_dm import humanoid
from mjx_dm.config import ConfigError
from mjx_dm.humanoid import FRAME_SKIP, Reading
from mjx_dm.types import NQ, NV

with contextlib.redirect_stdout(io.StringIO()):  # MJX prints that warp-lang is absent
    from mujoco import mjx

# Warp's buffers for this model: at most 10 contacts and 44 constraint rows were seen in a world.
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
    ) -> tuple[PhysicsState, Reading]:
        """The state and reading of worlds placed at rest of actuation."""
        ...

    def step(
        self, state: PhysicsState, action: Float[Array, "N 17"]
    ) -> tuple[PhysicsState, Reading, Bool[Array, "N"]]:
        """One environment step of 5 substeps under `action` in v4 units.

        The last value is True where the engine could not be trusted: it ran out of room for
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


class MujocoEngine:
    """MuJoCo's C engine, one MjData per core, called from inside the compiled program.

    Derived fields are read as Gymnasium reads them: mj_step, then mj_rnePostConstraint.
    """

    name = "mujoco"

    def __init__(self, model: mujoco.MjModel, num_envs: int):
        self._model = model
        self._num_envs = num_envs
        self._mass = model.body_mass / model.body_mass.sum()
        threads = min(len(os.sched_getaffinity(0)), num_envs)
        self._data = [mujoco.MjData(model) for _ in range(threads)]
        self._blocks = np.array_split(np.arange(num_envs), threads)
        self._pool = ThreadPoolExecutor(threads)
        self._lock = threading.Lock()

    def start(self, qpos, qvel):
        reading = jax.pure_callback(self._start, _reading_shape(self._num_envs), qpos, qvel)
        return PhysicsState(qpos, qvel, jnp.zeros_like(qvel), reading.com_x), reading

    def step(self, state, action):
        shape = (
            jax.ShapeDtypeStruct((self._num_envs, NQ), jnp.float32),
            jax.ShapeDtypeStruct((self._num_envs, NV), jnp.float32),
            jax.ShapeDtypeStruct((self._num_envs, NV), jnp.float32),
            _reading_shape(self._num_envs),
            jax.ShapeDtypeStruct((self._num_envs,), jnp.bool_),
        )
        qpos, qvel, warmstart, reading, failed = jax.pure_callback(
            self._step, shape, state.qpos, state.qvel, state.qacc_warmstart, action
        )
        return PhysicsState(qpos, qvel, warmstart, reading.com_x), reading, failed

    def _start(self, qpos, qvel) -> Reading:
        qpos, qvel = np.asarray(qpos), np.asarray(qvel)
        reading = _empty_reading(self._num_envs)
        with self._lock:
            data = self._data[0]
            for i in range(self._num_envs):
                data.qpos[:], data.qvel[:] = qpos[i], qvel[i]
                # What mj_forward would leave of these; all forces are zero at a start.
                mujoco.mj_kinematics(self._model, data)
                mujoco.mj_comPos(self._model, data)
                mujoco.mj_comVel(self._model, data)
                reading.cinert[i], reading.cvel[i] = data.cinert, data.cvel
                reading.com_x[i] = self._mass @ data.xipos[:, 0]
        return reading

    def _step(self, qpos, qvel, warmstart, action):
        before = [np.asarray(x) for x in (qpos, qvel, warmstart, action)]
        after = [np.empty(x.shape, np.float32) for x in before[:3]]
        reading = _empty_reading(self._num_envs)
        xipos_x = np.empty((self._num_envs, self._model.nbody))
        failed = np.zeros(self._num_envs, np.bool_)

        def work(data, block):
            given = (data.qpos, data.qvel, data.qacc_warmstart, data.ctrl)
            derived = (data.cinert, data.cvel, data.qfrc_actuator, data.cfrc_ext, data.xipos[:, 0])
            results: tuple[Any, ...] = (*after, *reading[:4], xipos_x)
            for i in block:
                for field, value in zip(given, before, strict=True):
                    field[:] = value[i]
                mujoco.mj_step(self._model, data, nstep=FRAME_SKIP)
                mujoco.mj_rnePostConstraint(self._model, data)
                for field, value in zip((*given[:3], *derived), results, strict=True):
                    value[i] = field
                # On a bad state MuJoCo warns and resets the world without an error.
                if any(data.warning.number[_BAD_STATE].tolist()):
                    failed[i] = True
                    mujoco.mj_resetData(self._model, data)

        with self._lock:
            list(self._pool.map(work, self._data, self._blocks))
        reading.com_x[:] = xipos_x @ self._mass
        return *after, reading, failed


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
            return Reading(
                cinert=data._impl.cinert,
                cvel=data.cvel,
                qfrc_actuator=jnp.zeros(NV),
                cfrc_ext=jnp.zeros((self._model.nbody, 6)),
                com_x=self._mass @ data.xipos[:, 0],
            )

        with jax.default_matmul_precision("highest"):
            reading = jax.vmap(one)(qpos, qvel)
        return PhysicsState(qpos, qvel, jnp.zeros_like(qvel), reading.com_x), reading

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
            reading = Reading(
                cinert=data._impl.cinert,
                cvel=data.cvel,
                qfrc_actuator=data.qfrc_actuator,
                cfrc_ext=data._impl.cfrc_ext,
                com_x=self._mass @ data.xipos[:, 0],
            )
            state = PhysicsState(data.qpos, data.qvel, data.qacc_warmstart, reading.com_x)
            return state, reading, overflow

        with jax.default_matmul_precision("highest"):
            return jax.vmap(one)(state.qpos, state.qvel, state.qacc_warmstart, action)

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


def _reading_shape(num_envs: int) -> Reading:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, jnp.float32), _empty_reading(num_envs)
    )


def _empty_reading(num_envs: int) -> Reading:
    def zeros(*shape: int) -> Any:
        return np.zeros((num_envs, *shape), np.float32)

    return Reading(
        cinert=zeros(14, 10),
        cvel=zeros(14, 6),
        qfrc_actuator=zeros(NV),
        cfrc_ext=zeros(14, 6),
        com_x=zeros(),
    )
