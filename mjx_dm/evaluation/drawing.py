"""A robot's model made for pictures, and frames of it by casting rays."""

from collections.abc import Iterator

import mujoco
import numpy as np

from mjx_dm.config import ConfigError
from mjx_dm.evaluation.opengl import CAMERA
from mjx_dm.tasks.libraries import LibraryTask
from mjx_dm.tasks.task import Task, compiled

FIELD_OF_VIEW = 45.0  # degrees from bottom to top, as MuJoCo's own free camera has
# How much wider than the robot at its start the view is, for what it will do.
ROOM_TO_RUN, ROOM_TO_REACH = 1.5, 1.15
ZENITH, RIM = np.array([60.0, 110.0, 165.0]), np.array([190.0, 215.0, 240.0])  # of the sky


def drawing_model(task: Task | LibraryTask, width: int, height: int) -> mujoco.MjModel:
    """The task's model with endless floors and a camera CAMERA; for pictures, not for physics.

    The camera is task.camera, else the model's own "track", else one that follows a robot that
    can go anywhere, and shows all there is where none can. Raises ConfigError where the model has
    no camera of the name task.camera.
    """
    spec = task.spec()
    own = "track" if task.camera is None else task.camera
    camera = spec.camera(own)
    if camera is None and task.camera is not None:
        names = ", ".join(x.name for x in spec.cameras if x.name) or "none"
        raise ConfigError(f"{task.name} has no camera {own!r} to be filmed with; it has: {names}.")
    if camera is None:
        _place_camera(spec, task.model, width / height)
    else:
        camera.name = CAMERA
    if not any(x.type == mujoco.mjtTexture.mjTEXTURE_SKYBOX for x in spec.textures):
        spec.add_texture(
            type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
            builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
            rgb1=RIM / 255,
            rgb2=ZENITH / 255,
            width=100,
            height=100,
        )
    model = compiled(spec)
    floors = _floors(model)
    # A floor that ends for the eye does not for the physics: a good policy runs past its edge.
    model.geom_size[floors, :2] = 0.0
    for material in set(model.geom_matid[floors]) - {-1}:
        # Squares of 1 m: as many repeats as the file has would blur on a floor without end.
        model.mat_texrepeat[material] = 0.5
        model.mat_texuniform[material] = 1
        texture = model.mat_texid[material, mujoco.mjtTextureRole.mjTEXROLE_RGB]
        if texture >= 0:  # grey squares in place of black ones
            squares = model.tex(texture)
            squares.data[:] = 90 + squares.data // 3
    model.vis.headlight.ambient[:] = 0.35  # more light on the body
    model.vis.global_.offwidth, model.vis.global_.offheight = width, height
    # Multisampling costs a software OpenGL most of its speed.
    model.vis.quality.offsamples = 0
    return model


def ray_frames(model: mujoco.MjModel, qpos: np.ndarray) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) uint8 of positions (T, nq), by casting one ray per pixel.

    `model` is one of drawing_model. A flat sky, chequered floors, a headlight.
    """
    data = mujoco.MjData(model)
    height, width = model.vis.global_.offheight, model.vis.global_.offwidth
    camera, floors, colour = model.camera(CAMERA).id, _floors(model), _colours(model)
    half = np.tan(np.deg2rad(model.cam_fovy[camera]) / 2)
    row, column = np.mgrid[0:height, 0:width] + 0.5
    sight = np.stack(
        [
            (column - width / 2) / (height / 2) * half,
            (height / 2 - row) / (height / 2) * half,
            -np.ones_like(row),
        ],
        axis=-1,
    ).reshape(-1, 3)
    sight /= np.linalg.norm(sight, axis=1, keepdims=True)
    count = len(sight)
    geom, distance, normal = np.empty(count, np.int32), np.empty(count), np.empty(3 * count)
    fade = np.minimum(2 * np.arange(height) / height, 1)[:, None]
    sky = (ZENITH * (1 - fade) + RIM * fade).repeat(width, axis=0)
    horizon, sky = sky[-1].astype(np.float32), sky.astype(np.uint8)
    tile = np.array([[30, 50, 75], [56, 82, 108]], np.float32)
    # The groups that OpenGL draws too.
    groups = np.array([1, 1, 1, 0, 0, 0], np.uint8)
    for position in qpos:
        data.qpos[:] = position
        mujoco.mj_forward(model, data)
        eye = data.cam_xpos[camera]
        ray = sight @ data.cam_xmat[camera].reshape(3, 3).T
        mujoco.mj_multiRay(
            model, data, eye, ray.ravel(), groups, True, -1, geom, distance, normal, count, 1e3
        )
        picture = sky.copy()
        is_floor = np.isin(geom, floors)
        ground = np.flatnonzero(is_floor)
        far = distance[ground, None].astype(np.float32)
        square = np.floor(eye[:2] + ray[ground, :2] * far).astype(np.int32).sum(1) & 1
        haze = np.minimum(far / 60, 1)
        picture[ground] = tile[square] * (1 - haze) + horizon * haze
        limbs = np.flatnonzero((geom >= 0) & ~is_floor)
        facing = np.abs((ray[limbs] * normal.reshape(-1, 3)[limbs]).sum(1, keepdims=True))
        picture[limbs] = colour[geom[limbs]] * (0.35 + 0.65 * facing)
        yield picture.reshape(height, width, 3)


def _floors(model: mujoco.MjModel) -> np.ndarray:
    """Ids of the planes that lie flat and stay where they are."""
    upright = _posed(model).geom_xmat[:, 8] > 0.999
    still = model.body_weldid[model.geom_bodyid] == 0
    return np.flatnonzero((model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE) & upright & still)


def _colours(model: mujoco.MjModel) -> np.ndarray:
    """Every geom's colour (ngeom, 3) from 0 to 255: its own, or its material's where it has none.

    As mjv_updateScene has it, which takes MuJoCo's default grey for none.
    """
    rgba = model.geom_rgba.copy()
    unset = (rgba == [0.5, 0.5, 0.5, 1.0]).all(1) & (model.geom_matid >= 0)
    rgba[unset] = model.mat_rgba[model.geom_matid[unset]]
    return 255 * rgba[:, :3]


def _place_camera(spec: mujoco.MjSpec, model: mujoco.MjModel, aspect: float) -> None:
    """Adds CAMERA to `spec`, whose compiled model is `model`, so far off that the robot fits.

    A robot that can go anywhere is followed; else all there is is shown from where it stands.
    """
    data = _posed(model)
    runner = _runner(model)
    low, high = _box(model, data, runner)
    middle, half = (low + high) / 2, (high - low) / 2
    # One that moves in a horizontal plane is seen from above.
    hinges = np.flatnonzero(model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE)
    is_flat = len(hinges) and (np.abs(data.xaxis[hinges, 2]) > 0.99).all()
    azimuth = np.deg2rad(model.vis.global_.azimuth)
    elevation = np.deg2rad(-80.0 if is_flat else -25.0)
    right = np.array([np.sin(azimuth), -np.cos(azimuth), 0.0])
    ahead = np.array([-right[1] * np.cos(elevation), right[0] * np.cos(elevation), 0.0])
    ahead[2] = np.sin(elevation)
    up = np.cross(right, ahead)
    seen = max(np.abs(up) @ half, np.abs(right) @ half / aspect)
    seen *= ROOM_TO_RUN if runner else ROOM_TO_REACH
    distance = seen / np.tan(np.deg2rad(FIELD_OF_VIEW) / 2) + np.abs(ahead) @ half
    turn, eye = np.empty(4), middle - distance * ahead
    mujoco.mju_mat2Quat(turn, np.stack([right, up, -ahead], axis=1).ravel())
    # Into the frame of the body that carries it.
    back = np.empty(4)
    mujoco.mju_negQuat(back, data.xquat[runner])
    place, pose = np.empty(3), np.empty(4)
    mujoco.mju_rotVecQuat(place, eye - data.xpos[runner], back)
    mujoco.mju_mulQuat(pose, back, turn)
    carrier = spec.bodies[runner]
    mode = mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM if runner else mujoco.mjtCamLight.mjCAMLIGHT_FIXED
    carrier.add_camera(name=CAMERA, pos=place, quat=pose, mode=mode, fovy=FIELD_OF_VIEW)


def _runner(model: mujoco.MjModel) -> int:
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


def _box(model: mujoco.MjModel, data: mujoco.MjData, root: int) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner (3,) of the geoms of `root` and all that hangs on it."""
    family = {root}
    for body in range(root + 1, model.nbody):
        if model.body_parentid[body] in family:
            family.add(body)
    unbounded = [mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_HFIELD]
    shown = np.isin(model.geom_bodyid, list(family)) & ~np.isin(model.geom_type, unbounded)
    if not shown.any():
        return np.full(3, -0.5), np.full(3, 0.5)
    turn = data.geom_xmat[shown].reshape(-1, 3, 3)
    middle, half = np.split(model.geom_aabb[shown], 2, axis=1)
    middle = data.geom_xpos[shown] + np.einsum("nij,nj->ni", turn, middle)
    half = np.einsum("nij,nj->ni", np.abs(turn), half)
    return (middle - half).min(0), (middle + half).max(0)


def _posed(model: mujoco.MjModel) -> mujoco.MjData:
    """The robot as it starts."""
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return data
