"""MuJoCo's C engine on the CPU's cores, called from inside a compiled program."""

import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jax.experimental.buffer_callback import buffer_callback
from jaxtyping import Array, Bool, Float

from mjx_dm.device import platform
from mjx_dm.engines.native import BAD_STATE, NativeSteps, can_step
from mjx_dm.tasks.fields import AT_REST, needs_forward, needs_rne
from mjx_dm.tasks.task import Fields, Task
from mjx_dm.types import PhysicsState


class Stepped(NamedTuple):
    """What `MujocoEngine` fills in: a step's results, in NumPy."""

    state: PhysicsState
    fields: dict[str, np.ndarray]
    failed: Bool[Array, "N"]


class Moves:
    """What places a world and what steps it, in C.

    Derived fields are left as Gymnasium reads them: mj_step, then mj_rnePostConstraint.
    """

    def __init__(self, task: Task, model: mujoco.MjModel):
        self._model = model
        self._frame_skip = task.frame_skip
        self._at_rest = tuple(AT_REST.intersection(task.reads))
        self._needs_rne = needs_rne(task)
        self._needs_forward = needs_forward(task)

    def place(self, data: mujoco.MjData) -> None:
        """From qpos and qvel to what mj_forward would leave in the fields that are read, before
        any force."""
        if self._needs_forward:
            mujoco.mj_forward(self._model, data)
        else:
            mujoco.mj_kinematics(self._model, data)
            mujoco.mj_comPos(self._model, data)
            mujoco.mj_comVel(self._model, data)
        for name in self._at_rest:
            getattr(data, name)[:] = 0.0

    def step(self, data: mujoco.MjData) -> None:
        """One environment step under data.ctrl."""
        mujoco.mj_step(self._model, data, nstep=self._frame_skip)
        if self._needs_rne:
            mujoco.mj_rnePostConstraint(self._model, data)


class MujocoEngine:
    """MuJoCo's C engine on `threads` threads, called from inside the compiled program.

    Steps are `NativeSteps` where these are exact, and elsewhere Python's threads, which hold its
    lock for some 6 microseconds a world.
    """

    name = "mujoco"

    def __init__(self, task: Task, model: mujoco.MjModel, num_envs: int, threads: int):
        self._model = model
        self._reads = task.reads
        self._moves = Moves(task, model)
        threads = min(threads, num_envs)
        self.native = None
        if can_step(task, model):
            self.native = NativeSteps(task, model, num_envs, threads)
        self._data = [mujoco.MjData(model) for _ in range(threads)]
        self._pool = ThreadPoolExecutor(threads)
        self._lock = threading.Lock()

        def shape(*size: int, dtype: Any = jnp.float32) -> Any:
            return jax.ShapeDtypeStruct((num_envs, *size), dtype)

        state = PhysicsState(shape(model.nq), shape(model.nv), shape(model.nv))
        fields = {name: shape(*task.field_shapes[name].shape) for name in task.reads}
        self.shape = Stepped(state, fields, shape(dtype=jnp.bool_))

    def start(
        self, qpos: Float[Array, "N nq"], qvel: Float[Array, "N nv"]
    ) -> tuple[PhysicsState, Fields]:
        """The state and fields of worlds placed at rest of actuation."""
        rest = jnp.zeros_like(qvel), jnp.zeros((len(qpos), self._model.nu))
        state, fields, _ = _on_host(self.place, self.shape)(qpos, qvel, *rest)
        return state, fields

    def step(
        self, state: PhysicsState, action: Float[Array, "N act"]
    ) -> tuple[PhysicsState, Fields, Bool[Array, "N"]]:
        """One environment step; the last value is True where MuJoCo met a bad state."""
        return tuple(_on_host(self.advance, self.shape)(*state, action))

    def place(self, out: Stepped, *before: np.ndarray) -> None:
        """Fills `out` with what mj_forward would leave in the fields that are read, before any
        force: `before` is qpos, qvel, and zeros for the warm start and the action."""
        self._fill(out, before, self._moves.place)

    def advance(self, out: Stepped, *before: np.ndarray) -> None:
        """Fills `out`, arrays of the shapes of `shape`, with what a step leads to from `before`:
        qpos, qvel, qacc_warmstart and action."""
        if self.native is None:
            self._fill(out, before, self._moves.step)
            return
        state, derived, failed = out
        with self._lock:
            results = (*state, *(derived[name] for name in self._reads))
            self.native.advance(results, failed, before)

    def _fill(
        self,
        out: Stepped,
        before: tuple[np.ndarray, ...],
        move: Callable[[mujoco.MjData], None],
    ) -> None:
        state, derived, failed = out
        results: tuple[Any, ...] = (*state, *(derived[name] for name in self._reads))
        worlds = iter(range(len(failed)))  # shared, so that a thread that is held up takes fewer

        def work(data: mujoco.MjData) -> None:
            given = (data.qpos, data.qvel, data.qacc_warmstart, data.ctrl)
            fields = (*given[:3], *(getattr(data, name) for name in self._reads))
            for i in worlds:
                for field, value in zip(given, before, strict=True):
                    field[:] = value[i]
                move(data)
                for field, value in zip(fields, results, strict=True):
                    value[i] = field
                # On a bad state MuJoCo warns and resets the world without an error.
                failed[i] = any(data.warning.number[BAD_STATE].tolist())
                if failed[i]:
                    mujoco.mj_resetData(self._model, data)

        with self._lock:
            list(self._pool.map(work, self._data))


def _on_host(fill: Callable[..., None], shape: Any) -> Callable[..., Any]:
    """Has a compiled program call fill(out, *arguments), which fills `out`, arrays of `shape`."""
    if platform() == "cpu":

        def in_place(_context: Any, out: Any, *arguments: Any) -> None:
            fill(jax.tree.map(np.asarray, out), *map(np.asarray, arguments))

        # A tenth of the time of pure_callback, which copies what it is given and what it returns.
        return buffer_callback(in_place, shape)

    def copied(*arguments: Any) -> Any:
        out = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), shape)
        fill(out, *map(np.asarray, arguments))
        return out

    return functools.partial(jax.pure_callback, copied, shape)
