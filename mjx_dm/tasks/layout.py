"""What the numbers of an observation and of an action are called, and their units."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import mujoco


class Entry(NamedTuple):
    """One number: its name, as a formula of MuJoCo's fields where it is of one, and its unit.

    A name is FIELD.JOINT or FIELD.BODY and a component: "qpos.root.z", "qvel.left_knee",
    "cinert.torso.mass". The unit is "" where there is none or none is known.
    """

    name: str
    unit: str = ""


Layout = Callable[[mujoco.MjModel], Sequence[Entry]]
"""The entries of a task's observation, in their order."""

_AXES = ("x", "y", "z")
_QUATERNION = tuple((f"q{axis}", "") for axis in "wxyz")
# The components of a joint's numbers in a field, by type: free, ball, slide, hinge.
_OF_JOINT = {
    "qpos": (
        (*((axis, "m") for axis in _AXES), *_QUATERNION),
        _QUATERNION,
        (("", "m"),),
        (("", "rad"),),
    ),
    "qvel": (
        (*((f"v{x}", "m/s") for x in _AXES), *((f"w{x}", "rad/s") for x in _AXES)),
        tuple((f"w{x}", "rad/s") for x in _AXES),
        (("", "m/s"),),
        (("", "rad/s"),),
    ),
    "qfrc": (
        (*((f"f{x}", "N") for x in _AXES), *((f"t{x}", "N m") for x in _AXES)),
        tuple((f"t{x}", "N m") for x in _AXES),
        (("", "N"),),
        (("", "N m"),),
    ),
}
# Those of a body, in the order of MuJoCo's mjData: rotation before translation.
_OF_BODY = {
    "xpos": tuple((x, "m") for x in _AXES),
    "cinert": (
        *((f"I{x}", "kg m^2") for x in ("xx", "yy", "zz", "xy", "xz", "yz")),
        *((f"m{x}", "kg m") for x in _AXES),
        ("mass", "kg"),
    ),
    "cvel": (*((f"w{x}", "rad/s") for x in _AXES), *((f"v{x}", "m/s") for x in _AXES)),
    "cfrc_ext": (*((f"t{x}", "N m") for x in _AXES), *((f"f{x}", "N") for x in _AXES)),
}


def of(model: mujoco.MjModel, field: str) -> list[Entry]:
    """The entries of qpos, qvel, a qfrc_*, xpos, cinert, cvel or cfrc_ext, flattened."""
    if field in _OF_BODY:
        names = [_name(model, "body", i) for i in range(model.nbody)]
        return [entry for name in names for entry in _entries(field, name, _OF_BODY[field])]
    components = _OF_JOINT[field.split("_")[0]]
    found = []
    for i in range(model.njnt):
        name = _name(model, "joint", i)
        found += _entries(field, name, components[model.jnt_type[i]])
    return found


def clipped(entries: Sequence[Entry], low: float, high: float) -> list[Entry]:
    """The same, held between two bounds."""
    return [Entry(f"clip({name}, {low:g}, {high:g})", unit) for name, unit in entries]


def mapped(function: str, entries: Sequence[Entry]) -> list[Entry]:
    """A function, such as cos, of each: without a unit."""
    return [Entry(f"{function}({name})") for name, _ in entries]


def unnamed(what: str, count: int) -> list[Entry]:
    """`count` entries of which nothing is known: obs[0], obs[1], ..."""
    return [Entry(f"{what}[{i}]") for i in range(count)]


def actuators(model: mujoco.MjModel) -> list[Entry]:
    """The actuators by their names, or by the joints that they move."""
    found = []
    for i in range(model.nu):
        moves_a_joint = model.actuator_trntype[i] == mujoco.mjtTrn.mjTRN_JOINT
        named = mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_ACTUATOR, i)
        if not named and moves_a_joint:
            named = _name(model, "joint", int(model.actuator_trnid[i, 0]))
        found.append(Entry(named or f"actuator{i}"))
    return found


def _name(model: mujoco.MjModel, kind: str, i: int) -> str:
    # Not model.body(i).name, which makes a view of all of its arrays.
    kinds = {"body": mujoco.mjtObj.mjOBJ_BODY, "joint": mujoco.mjtObj.mjOBJ_JOINT}
    return mujoco.mj_id2name(model, kinds[kind], i) or f"{kind}{i}"


def _entries(field: str, name: str, components: Sequence[tuple[str, str]]) -> list[Entry]:
    return [
        Entry(f"{field}.{name}.{part}" if part else f"{field}.{name}", unit)
        for part, unit in components
    ]
