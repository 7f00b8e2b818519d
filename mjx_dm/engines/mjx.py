"""MuJoCo MJX, in JAX or through MuJoCo Warp: one world's step, mapped over the batch."""

import contextlib
import functools
import io
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Bool, Float

from mjx_dm.tasks.fields import AT_REST, needs_forward, needs_rne
from mjx_dm.tasks.task import Fields, Task
from mjx_dm.types import PhysicsState

with contextlib.redirect_stdout(io.StringIO()):  # MJX prints that warp-lang is absent
    from mujoco import mjx

# Bits of Warp's overflow mask (OverflowType.ITERATIONS, LS_ITERATIONS) that only say that the
# solver used all its iterations, which a cheap preset does on purpose; the others mean lost rows.
_SOLVER_LIMITS = 1 << 9 | 1 << 10


class MjxEngine:
    """MuJoCo MJX: `impl` is "jax" (any device) or "warp" (MuJoCo Warp, NVIDIA; CPU for tests)."""

    def __init__(self, task: Task, model: mujoco.MjModel, num_envs: int, impl: str):
        self.name = {"jax": "mjx", "warp": "warp"}[impl]
        self._impl = impl
        self._task = task
        self._needs_rne = needs_rne(task)
        self._needs_forward = needs_forward(task)
        # Kinematics of a reset are computed by MJX's own code under either implementation.
        self._kinematics = mjx.put_model(model, impl="jax")
        self._kinematics_data = mjx.make_data(self._kinematics)
        if impl == "warp":
            _hush_warp()
            contacts, rows = task.warp_room or _warp_room(model, self._kinematics_data)
            self._model = mjx.put_model(model, impl="warp").tree_replace(
                {
                    "opt._impl.run_rne_postconstraint": self._needs_rne,
                    # Warp's own warnings would print a line a world and solve; `step` reads the
                    # mask that they print from.
                    "opt._impl.warn_overflow": 0,
                }
            )
            self._data = mjx.make_data(model, impl="warp", naconmax=contacts * num_envs, njmax=rows)
        else:
            self._model, self._data = self._kinematics, self._kinematics_data

    @functools.partial(jax.named_call, name="physics_start")
    def start(
        self, qpos: Float[Array, "N nq"], qvel: Float[Array, "N nv"]
    ) -> tuple[PhysicsState, Fields]:
        """The state and fields of worlds placed at rest of actuation."""

        def one(qpos: Array, qvel: Array) -> Fields:
            data = self._kinematics_data.replace(qpos=qpos, qvel=qvel)
            if self._needs_forward:
                data = mjx.forward(self._kinematics, data)
            else:
                data = mjx.com_pos(self._kinematics, mjx.kinematics(self._kinematics, data))
                data = mjx.com_vel(self._kinematics, data)
            fields = self._read(data)
            at_rest = {name: jnp.zeros_like(x) for name, x in fields.items() if name in AT_REST}
            return fields | at_rest

        with jax.default_matmul_precision("highest"):
            fields = jax.vmap(one)(qpos, qvel)
        return PhysicsState(qpos, qvel, jnp.zeros_like(qvel)), fields

    @functools.partial(jax.named_call, name="physics")
    def step(
        self, state: PhysicsState, action: Float[Array, "N act"]
    ) -> tuple[PhysicsState, Fields, Bool[Array, "N"]]:
        """One environment step; the last value is True where contacts may have been left out."""

        def substep(carry, _):
            data, overflow = carry
            data = mjx.step(self._model, data)
            if self._impl == "jax":
                overflow |= self._no_room(data)
            return (data, overflow), None

        def one(qpos, qvel, warmstart, ctrl):
            data = self._data.replace(qpos=qpos, qvel=qvel, qacc_warmstart=warmstart, ctrl=ctrl)
            (data, overflow), _ = jax.lax.scan(
                substep, (data, jnp.zeros((), jnp.bool_)), length=self._task.frame_skip
            )
            if self._impl == "warp":
                overflow = jnp.any(data._impl.overflow & ~_SOLVER_LIMITS != 0)
            elif self._needs_rne:
                data = mjx.rne_postconstraint(self._model, data)
            return (
                PhysicsState(data.qpos, data.qvel, data.qacc_warmstart),
                self._read(data),
                overflow,
            )

        with jax.default_matmul_precision("highest"):
            return jax.vmap(one)(*state, action)

    def _read(self, data: Any) -> Fields:
        """The fields that the task reads of one world, in MuJoCo's shapes."""
        with jax.named_scope("read"):
            return {
                name: getattr(data._impl if hasattr(data._impl, name) else data, name).reshape(
                    self._task.field_shapes[name].shape
                )
                for name in self._task.reads
            }

    def _no_room(self, data: Any) -> Bool[Array, ""]:
        """Whether all that is kept of a kind of contact touches: others may have been left out."""
        contact = data._impl.contact
        dim = np.asarray(self._data._impl.contact.dim)
        touches = contact.dist < contact.includemargin
        no_room = jnp.zeros((), jnp.bool_)
        for kind in (dim == d for d in np.unique(dim)):
            if kind.sum() == self._task.mjx_contacts:
                no_room |= jnp.all(touches[kind])
        return no_room


def _hush_warp() -> None:
    """Without a line for every kernel that Warp loads, and for a GPU that is not there."""
    import warp

    warp.config.log_level = warp.LOG_ERROR


def _warp_room(model: mujoco.MjModel, data: Any) -> tuple[int, int]:
    """Contacts and rows a world: every contact that could be, up to 48, with the rows of the
    widest friction pyramid each, and every limit, friction and equality."""
    contact = data._impl.contact.dist
    contacts = min(48, max(1, len(contact)))
    limits = int(model.jnt_limited.sum() + model.tendon_limited.sum())
    frictions = int((model.dof_frictionloss > 0).sum() + (model.tendon_frictionloss > 0).sum())
    pyramid = max(1, 2 * (int(model.geom_condim.max()) - 1))
    return contacts, pyramid * contacts + limits + frictions + 6 * model.neq
