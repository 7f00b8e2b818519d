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

from mjx_dm.tasks import humanoid
from mjx_dm.tasks.humanoid import FRAME_SKIP
from mjx_dm.types import NV, PhysicsState

with contextlib.redirect_stdout(io.StringIO()):  # MJX prints that warp-lang is absent
    from mujoco import mjx

# Warp's buffers for this model. A running or falling humanoid has some 6 contacts; in heaps 14
# with the floor and 10 between bodies were seen. Contacts are pooled over the worlds; a world that
# needs more rows than these is reset and counted.
WARP_CONTACTS_PER_WORLD = 24
WARP_ROWS_PER_WORLD = 64
# Bits of Warp's overflow mask (OverflowType.ITERATIONS, LS_ITERATIONS) that only say that the
# solver used all its iterations, which a cheap preset does on purpose; the others mean lost rows.
_SOLVER_LIMITS = 1 << 9 | 1 << 10


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
