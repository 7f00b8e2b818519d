"""The humanoid's left and right exchanged: what it sees and does, reflected in the xz-plane.

Its model is its own mirror image but for two numbers: the armature of the hips' y hinges (0.008
kg m² on the right, 0.010 on the left) and the stiffness of the knees (0 and 1 N m/rad). With those
made equal a reflected world goes the reflected way, to rounding (`tests/test_mirror.py`).
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mjx_dm.tasks.humanoid import PHYSICS, load_model
from mjx_dm.types import Transition

# Signs of what a reflection leaves of a vector, of an axial one, of MuJoCo's pairs of a rotation
# and a translation, and of a quaternion.
_VECTOR = np.array([1, -1, 1])
_AXIAL = np.array([-1, 1, -1])
_SPATIAL = np.concatenate([_AXIAL, _VECTOR])
_QUATERNION = np.array([1, -1, 1, -1])
# Ixx, Iyy, Izz, Ixy, Ixz, Iyz, the first moment of the mass, the mass: a body's cinert.
_INERTIA = np.array([1, 1, 1, -1, 1, -1, *_VECTOR, 1])


class Exchange(NamedTuple):
    """Entry i of what is reflected is `sign[i]` times entry `source[i]`."""

    source: np.ndarray
    sign: np.ndarray

    def __call__(self, x: Float[Array, "*B size"]) -> Float[Array, "*B size"]:
        return x[..., self.source] * jnp.broadcast_to(jnp.asarray(self.sign), x.shape)


class Mirror(NamedTuple):
    """What takes observations (..., 376) and actions (..., 17) to their reflections and back."""

    obs: Exchange
    action: Exchange


@cache
def mirror() -> Mirror:
    """Humanoid-v4's, read off its model: which joints, bodies and motors are twins, and signs."""
    model = load_model(PHYSICS["mujoco", "v4"])
    bodies = np.array([_twin(model.body, i) for i in range(model.nbody)])
    # Joint 0 is the free one, which the hinges follow.
    twins = np.array([_twin(model.joint, j) for j in range(1, model.njnt)])
    axes = np.sum(model.jnt_axis[twins] * _AXIAL * model.jnt_axis[1:], -1)
    assert np.allclose(np.abs(axes), 1.0), "a hinge has no twin in the humanoid's model"
    hinges = Exchange(twins - 1, np.round(axes))
    height_and_turn = Exchange(np.arange(5), np.concatenate([[1], _QUATERNION]))
    velocities = _join(Exchange(np.arange(6), np.concatenate([_VECTOR, _AXIAL])), hinges)
    inertias, spatial = _of_bodies(bodies, _INERTIA), _of_bodies(bodies, _SPATIAL)
    motors = np.array([_twin(model.actuator, i) for i in range(model.nu)])
    return Mirror(
        # As mjx_dm.tasks.humanoid.observe joins them.
        obs=_join(height_and_turn, hinges, velocities, inertias, spatial, velocities, spatial),
        action=Exchange(motors, hinges.sign[model.actuator_trnid[:, 0] - 1].astype(np.float32)),
    )


def reflect(batch: Transition, chosen: Bool[Array, "B"]) -> Transition:
    """`batch` (B rows) with the `chosen` rows reflected; reward and ends are what they were.

    Source: Lin et al. 2019 (Kaleidoscope Experience Replay).
    """
    m = mirror()

    def where(x: Array, exchange: Exchange) -> Array:
        return jnp.where(chosen[:, None], exchange(x), x)

    return batch._replace(
        obs=where(batch.obs, m.obs),
        action=where(batch.action, m.action),
        next_obs=where(batch.next_obs, m.obs),
    )


def _twin(named: Callable[..., Any], i: int) -> int:
    """The body, joint or motor that is on the other side what `i` is on this one."""
    name = named(i).name
    for one, other in (("left", "right"), ("right", "left")):
        if name.startswith(one):
            return named(other + name[len(one) :]).id
    return i


def _of_bodies(bodies: np.ndarray, signs: np.ndarray) -> Exchange:
    size = len(signs)
    return Exchange((bodies[:, None] * size + np.arange(size)).ravel(), np.tile(signs, len(bodies)))


def _join(*parts: Exchange) -> Exchange:
    starts = np.cumsum([0] + [len(p.source) for p in parts[:-1]])
    index = np.concatenate([p.source + s for p, s in zip(parts, starts, strict=True)])
    return Exchange(index, np.concatenate([p.sign for p in parts]).astype(np.float32))
