"""A robot's left and right exchanged: what it sees and does, reflected in the xz-plane.

Read off the model: every body, joint and actuator has a twin where its reflection lies. What
`observe` makes of reflected fields says how an observation is reflected.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float

from mjx_dm.tasks.task import Fields, Task

# Signs of what a reflection leaves of a vector, of an axial one, of MuJoCo's pairs of a rotation
# and a translation, and of a quaternion.
_VECTOR = np.array([1, -1, 1])
_AXIAL = np.array([-1, 1, -1])
_SPATIAL = np.concatenate([_AXIAL, _VECTOR])
_QUATERNION = np.array([1, -1, 1, -1])
# Ixx, Iyy, Izz, Ixy, Ixz, Iyz, the first moment of the mass, the mass: a body's cinert.
_INERTIA = np.array([1, 1, 1, -1, 1, -1, *_VECTOR, 1])
_OF_BODIES = {
    "cinert": _INERTIA, "cvel": _SPATIAL, "cfrc_ext": _SPATIAL,
    "xpos": _VECTOR, "xipos": _VECTOR, "subtree_com": _VECTOR,
}  # fmt: skip
_OF_DOFS = ("qvel", "qfrc_actuator", "qfrc_constraint")
_FREE, _BALL, _SLIDE = (
    mujoco.mjtJoint.mjJNT_FREE,
    mujoco.mjtJoint.mjJNT_BALL,
    mujoco.mjtJoint.mjJNT_SLIDE,
)


class NoSymmetry(ValueError):
    """Why a robot is not its own mirror image, in a few words."""


class Exchange(NamedTuple):
    """Entry i of what is reflected is `sign[i]` times entry `source[i]`."""

    source: np.ndarray
    sign: np.ndarray

    def __call__(self, x: Float[Array, "*B size"]) -> Float[Array, "*B size"]:
        return x[..., self.source] * jnp.broadcast_to(jnp.asarray(self.sign, x.dtype), x.shape)


class Symmetry(NamedTuple):
    """What takes observations (..., obs) and actions (..., act) to their reflections and back."""

    obs: Exchange
    action: Exchange


@functools.cache
def symmetry(task: Task) -> Symmetry:
    """The reflection of what the robot sees and does; raises NoSymmetry where there is none."""
    # A program that is being traced may ask, too.
    with jax.ensure_compile_time_eval():
        return _symmetry(task)


def _symmetry(task: Task) -> Symmetry:
    model = task.model
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    bodies = _twin_bodies(model, data)
    joints, signs = _twin_joints(model, data, bodies)
    actuators, action_sign = _twin_actuators(model, joints, signs)
    _check_equal(task, bodies, joints, signs, actuators, action_sign)
    _check_places(model, data, bodies)
    fields = _field_exchanges(task, bodies, joints, signs)
    action = Exchange(actuators, action_sign.astype(np.float32))
    obs = _obs_exchange(task, fields)
    _check_task(task, fields, action)
    if np.array_equal(obs.source, np.arange(len(obs.source))) and np.all(obs.sign == 1):
        raise NoSymmetry("it has no left and right")
    return Symmetry(obs, action)


def _twin_bodies(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """For every body the one that lies where its reflection does, the root's first."""
    twins = np.zeros(model.nbody, int)
    for i in range(1, model.nbody):
        parent = twins[model.body_parentid[i]]
        near = [
            j
            for j in range(1, model.nbody)
            if model.body_parentid[j] == parent
            and np.allclose(data.xpos[j], _VECTOR * data.xpos[i], atol=1e-5)
            and np.allclose(data.xipos[j], _VECTOR * data.xipos[i], atol=1e-5)
        ]
        # Legs of a planar robot lie in one place: their names tell them apart.
        others = _other_names(model.body(i).name)
        named = [j for j in near if model.body(j).name in others]
        chosen = named or [j for j in near if j == i] or near
        if not chosen:
            raise NoSymmetry(f"nothing lies opposite its body {model.body(i).name or i}")
        twins[i] = chosen[0]
    if len(set(twins)) != model.nbody:
        raise NoSymmetry("two of its bodies lie opposite the same one")
    return twins


def _other_names(name: str) -> set[str]:
    swapped = name.replace("left", "\0").replace("right", "left").replace("\0", "right")
    others = {swapped, f"{name}_left", f"{name}_right"} - {name}
    for side in ("_left", "_right"):
        if name.endswith(side):
            others.add(name.removesuffix(side))
    return others


def _twin_joints(
    model: mujoco.MjModel, data: mujoco.MjData, bodies: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For every joint its twin, and the sign that its coordinate takes there."""
    twins, signs = np.arange(model.njnt), np.ones(model.njnt)
    for j in range(model.njnt):
        body = model.jnt_bodyid[j]
        twin_body = bodies[body]
        if model.body_jntnum[body] != model.body_jntnum[twin_body]:
            raise NoSymmetry(f"the body opposite {model.body(body).name} has other joints")
        k = model.body_jntadr[twin_body] + j - model.body_jntadr[body]
        kind = model.jnt_type[j]
        if kind != model.jnt_type[k] or kind == _BALL:
            raise NoSymmetry(f"its joint {model.joint(j).name} has no twin of its kind")
        twins[j] = k
        if kind == _FREE:
            continue
        reflected = (_VECTOR if kind == _SLIDE else _AXIAL) * data.xaxis[j]
        along = reflected @ data.xaxis[k]
        if abs(abs(along) - 1) > 1e-5:
            raise NoSymmetry(f"its joint {model.joint(j).name} turns about another axis there")
        signs[j] = np.sign(along)
    return twins, signs


def _twin_actuators(
    model: mujoco.MjModel, joints: np.ndarray, signs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    if np.any(model.actuator_trntype != mujoco.mjtTrn.mjTRN_JOINT):
        raise NoSymmetry("an actuator of it drives something else than a joint")
    of_joint = {int(j): a for a, j in enumerate(model.actuator_trnid[:, 0])}
    twins = np.zeros(model.nu, int)
    sign = np.ones(model.nu)
    for a, j in enumerate(model.actuator_trnid[:, 0]):
        if int(joints[j]) not in of_joint:
            raise NoSymmetry(f"nothing drives the joint opposite {model.joint(j).name}")
        twins[a] = of_joint[int(joints[j])]
        gears = model.actuator_gear[a, 0] * model.actuator_gear[twins[a], 0]
        sign[a] = signs[j] * np.sign(gears)
    return twins, sign


def _check_equal(task, bodies, joints, signs, actuators, action_sign) -> None:
    """Raises NoSymmetry where twins differ in what moves them, but for `task.unequal`."""
    model = task.model
    dofs = _dof_twins(model, joints)
    pairs = {
        "body_mass": bodies, "body_inertia": bodies, "jnt_stiffness": joints,
        "dof_damping": dofs, "dof_armature": dofs, "dof_frictionloss": dofs,
        "actuator_gainprm": actuators, "actuator_biasprm": actuators,
    }  # fmt: skip
    for name, twins in pairs.items():
        value = getattr(model, name)
        if name not in task.unequal and not np.allclose(value, value[twins], rtol=1e-3):
            raise NoSymmetry(f"left and right differ in {name}")
    for name, box, twins, sign in (
        ("jnt_range", model.jnt_range, joints, signs),
        ("actuator_ctrlrange", model.actuator_ctrlrange, actuators, action_sign),
    ):
        reflected = np.where((sign > 0)[:, None], box, -box[:, ::-1])
        if not np.allclose(reflected, box[twins], atol=1e-6):
            raise NoSymmetry(f"left and right differ in {name}")
    for body in range(model.nbody):
        for name in ("geom_type", "geom_size", "geom_friction", "geom_contype"):
            mine, other = (_of_geoms(model, int(b), name) for b in (body, bodies[body]))
            if mine.shape != other.shape or not np.allclose(mine, other, rtol=1e-3):
                raise NoSymmetry(f"left and right differ in {name}")


def _check_places(model: mujoco.MjModel, data: mujoco.MjData, bodies: np.ndarray) -> None:
    """Raises NoSymmetry where a geom, of the world's too, has nothing opposite it, or what pulls on
    everything pulls sideways."""
    if model.opt.gravity[1] or model.opt.wind[1]:
        raise NoSymmetry("its gravity or wind points to one side")
    for geom in range(model.ngeom):
        body = bodies[model.geom_bodyid[geom]]
        first = model.body_geomadr[body]
        others = data.geom_xpos[first : first + model.body_geomnum[body]]
        if not np.any(np.abs(others - _VECTOR * data.geom_xpos[geom]).max(1) < 1e-4):
            raise NoSymmetry(f"nothing lies opposite its geom {model.geom(geom).name or geom}")


def _of_geoms(model: mujoco.MjModel, body: int, name: str) -> np.ndarray:
    first = model.body_geomadr[body]
    value = getattr(model, name)[first : first + model.body_geomnum[body]]
    if not len(value):
        return value
    return value.reshape(len(value), -1)[np.lexsort(value.reshape(len(value), -1).T)]


def _dof_twins(model: mujoco.MjModel, joints: np.ndarray) -> np.ndarray:
    starts = model.jnt_dofadr
    widths = {int(_FREE): 6}
    return np.concatenate(
        [np.arange(starts[k], starts[k] + widths.get(int(model.jnt_type[k]), 1)) for k in joints]
    )


def _field_exchanges(
    task: Task, bodies: np.ndarray, joints: np.ndarray, signs: np.ndarray
) -> dict[str, Exchange]:
    """How every field of one world, laid out flat, is reflected."""
    model = task.model
    qpos_source, qpos_sign, dof_sign = [], [], []
    for j, k in enumerate(joints):
        free = model.jnt_type[j] == _FREE
        first = model.jnt_qposadr[k]
        qpos_source.append(np.arange(first, first + (7 if free else 1)))
        qpos_sign.append(np.concatenate([_VECTOR, _QUATERNION]) if free else [signs[j]])
        dof_sign.append(np.concatenate([_VECTOR, _AXIAL]) if free else [signs[j]])
    dofs = Exchange(_dof_twins(model, joints), np.concatenate(dof_sign))
    found = {"qpos": Exchange(np.concatenate(qpos_source), np.concatenate(qpos_sign)), "qvel": dofs}
    for name in task.reads:
        if name in _OF_DOFS:
            found[name] = dofs
        elif name in _OF_BODIES:
            size = len(_OF_BODIES[name])
            source = (bodies[:, None] * size + np.arange(size)).ravel()
            found[name] = Exchange(source, np.tile(_OF_BODIES[name], len(bodies)))
        else:
            raise NoSymmetry(f"how {name} is reflected is not known")
    return found


def _random_fields(task: Task, seed: int) -> Fields:
    """Small values, no two alike, so that none is clipped and each can be told from the others."""
    rng = np.random.default_rng(seed)
    return {
        name: jnp.asarray(rng.uniform(-0.05, 0.05, shape.shape), jnp.float32)
        for name, shape in task.field_shapes.items()
    }


def _reflect(fields: Fields, by: dict[str, Exchange]) -> Fields:
    return {
        name: by[name](x.reshape(-1)).reshape(x.shape).astype(jnp.float32)
        for name, x in fields.items()
    }


def _obs_exchange(task: Task, fields: dict[str, Exchange]) -> Exchange:
    """How an observation is reflected: which entry, and with which sign, each becomes."""

    def seen(seed: int) -> tuple[np.ndarray, np.ndarray]:
        plain = _random_fields(task, seed)
        return np.asarray(task.observe(plain)), np.asarray(task.observe(_reflect(plain, fields)))

    plain, reflected = seen(0)
    where = {abs(float(value)): i for i, value in enumerate(plain)}
    source = np.array([where.get(abs(float(value)), -1) for value in reflected])
    sign = np.where(np.sign(reflected) == np.sign(plain[source]), 1.0, -1.0).astype(np.float32)
    plain, reflected = seen(1)
    if np.any(source < 0) or not np.array_equal(plain[source] * sign, reflected):
        raise NoSymmetry("its observation does not hold the reflection of what it holds")
    return Exchange(source, sign)


def _check_task(task: Task, fields: dict[str, Exchange], action: Exchange) -> None:
    """Raises NoSymmetry where a reflected step is worth something else."""
    for seed in range(4):
        before, after = _random_fields(task, 2 * seed), _random_fields(task, 2 * seed + 1)
        ctrl = jnp.asarray(
            np.random.default_rng(seed).uniform(-1, 1, task.spaces.action_size), jnp.float32
        )
        plain = task.reward(before, after, ctrl)[0], task.terminated(after)
        reflected = _reflect(before, fields), _reflect(after, fields)
        there = (
            task.reward(*reflected, action(ctrl))[0],
            task.terminated(reflected[1]),
        )
        if not np.allclose(plain, there, rtol=1e-4, atol=1e-5):
            raise NoSymmetry("its reward tells left from right")
