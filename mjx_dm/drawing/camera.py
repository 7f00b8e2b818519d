"""Where to look from, so that a robot fills the picture all through a film."""

from typing import NamedTuple

import mujoco
import numpy as np

from mjx_dm.drawing.scene import FLOOR_GROUP, corners, posed

ROOM = 1.12  # how much wider than the robot the view is
# Of the times at which the robot stays in the picture: one that is flung far off may leave it.
INSIDE = 0.98
CROWD = 20  # robots that are looked down on
SMOOTH_SECONDS = 0.25  # over which the camera follows
MOST_POSES = 2000  # looked at to find a view


class View(NamedTuple):
    """MuJoCo's free camera: lookat (3,) in m, distance in m, azimuth and elevation in degrees."""

    lookat: np.ndarray
    distance: float
    azimuth: float
    elevation: float


def views(
    model: mujoco.MjModel,
    qpos: np.ndarray,
    place: np.ndarray,
    aspect: float,
    frames_per_second: float,
) -> list[View]:
    """A view for every frame: one that follows a robot that can go anywhere, else one for all.

    qpos: (T, N, nq), N robots in every frame. place: (T, N, 3), how far each is moved, in m.
    aspect: width over height. frames_per_second: of simulated time.
    """
    runner = runner_of(model)
    geoms = _shown(model, runner)
    data = mujoco.MjData(model)
    count = len(qpos)
    every = -(-qpos.shape[0] * qpos.shape[1] // MOST_POSES)
    seen = list(range(0, count, every))
    boxes: list[np.ndarray] = []
    middles: list[np.ndarray] = []
    for frame in seen:
        points: list[np.ndarray] = []
        centres: list[np.ndarray] = []
        for position, shift in zip(qpos[frame], place[frame], strict=True):
            data.qpos[:] = position
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            centres.append(data.subtree_com[runner] + shift)
            points.append(corners(model, data, geoms) + shift if len(geoms) else centres[-1][None])
        boxes.append(np.concatenate(points))
        middles.append((np.min(centres, 0) + np.max(centres, 0)) / 2)
    low, high = np.min([x.min(0) for x in boxes], 0), np.max([x.max(0) for x in boxes], 0)
    if runner:
        known = np.array(middles)
        path = np.stack([np.interp(range(count), seen, x) for x in known.T], 1)
        path = _smooth(path, SMOOTH_SECONDS * frames_per_second)
        path[:, 2] = (low[2] + high[2]) / 2
    else:
        path = np.tile((low + high) / 2, (count, 1))
    azimuth, elevation = side_of(model, crowd=qpos.shape[1] >= CROWD)
    right, up, ahead = axes(azimuth, elevation)
    slope = np.tan(np.deg2rad(model.vis.global_.fovy) / 2)
    needed = []
    for frame, box in zip(seen, boxes, strict=True):
        box = box - path[frame]
        across = np.maximum(np.abs(box @ right) / aspect, np.abs(box @ up))
        needed.append(float((ROOM * across / slope - box @ ahead).max()))
    distance = float(np.quantile(needed, INSIDE))
    return [View(lookat, distance, azimuth, elevation) for lookat in path]


def axes(azimuth: float, elevation: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right, up and ahead (3,) of a view."""
    a, e = np.deg2rad(azimuth), np.deg2rad(elevation)
    right = np.array([np.sin(a), -np.cos(a), 0.0])
    ahead = np.array([np.cos(a) * np.cos(e), np.sin(a) * np.cos(e), np.sin(e)])
    return right, np.cross(right, ahead), ahead


def _smooth(path: np.ndarray, frames: float) -> np.ndarray:
    """`path` (T, 3) under a Gaussian of so many frames; its ends go on as straight as they were."""
    reach = min(int(3 * frames), len(path) - 1)
    if reach < 1:
        return path
    padded = np.pad(path, ((reach, reach), (0, 0)), mode="reflect", reflect_type="odd")
    weight = np.exp(-0.5 * (np.arange(-reach, reach + 1) / frames) ** 2)
    weight /= weight.sum()
    return np.stack([np.convolve(x, weight, mode="valid") for x in padded.T], 1)


def side_of(model: mujoco.MjModel, crowd: bool) -> tuple[float, float]:
    """Azimuth and elevation: a robot of the plane from its side or from above, others from ahead
    and beside."""
    hinges = np.flatnonzero(model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE)
    axis = np.abs(posed(model).xaxis[hinges])
    if len(hinges) and (axis[:, 2] > 0.99).all():
        return 90.0, -60.0
    if len(hinges) and (axis[:, 1] > 0.99).all() and not _is_free(model):
        return (90.0, -8.0) if not crowd else (70.0, -24.0)
    return (125.0, -12.0) if not crowd else (125.0, -22.0)


def _is_free(model: mujoco.MjModel) -> bool:
    return bool((model.jnt_type == mujoco.mjtJoint.mjJNT_FREE).any())


def runner_of(model: mujoco.MjModel) -> int:
    """The first body that moves, where it can go anywhere; else 0, the world."""
    if not model.njnt:
        return 0
    first = int(model.jnt_bodyid[0])
    for joint in np.flatnonzero(model.jnt_bodyid == first):
        kind = model.jnt_type[joint]
        slides = kind == mujoco.mjtJoint.mjJNT_SLIDE and not model.jnt_limited[joint]
        if slides or kind == mujoco.mjtJoint.mjJNT_FREE:
            return first
    return 0


def _shown(model: mujoco.MjModel, root: int) -> np.ndarray:
    """Ids of the geoms with an end of `root` and all that hangs on it, which are drawn."""
    family = {root}
    for body in range(root + 1, model.nbody):
        if model.body_parentid[body] in family:
            family.add(body)
    endless = [mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_HFIELD]
    shown = np.isin(model.geom_bodyid, list(family)) & ~np.isin(model.geom_type, endless)
    shown &= (model.geom_group < 3) & (model.geom_group != FLOOR_GROUP)
    return np.flatnonzero(shown)
