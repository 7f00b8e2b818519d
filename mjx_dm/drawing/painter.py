"""Frames drawn with OpenGL, in a process where MuJoCo has it."""

import itertools
from collections.abc import Iterator

import mujoco
import numpy as np
from jaxtyping import Float, UInt8

from mjx_dm.drawing.camera import CROWD, View
from mjx_dm.drawing.scene import FLOOR_GROUP, SUN, SUNLIGHT
from mjx_dm.drawing.shot import Shot, Tile
from mjx_dm.drawing.text import write_on

# Sides of a curved limb; a robot of hundreds is small, and each side costs.
SIDES, SIDES_OF_A_CROWD = 32, 12
GEOMS_OF_A_CROWD = 60_000
HORIZON = 15.0  # how much farther than the robot the floor goes on
LINE = 245  # white, nearly
DARK = 0.45  # of an episode that is over


class Painter:
    """Draws pictures of `height` times `width` pixels of a scene_model, with MuJoCo's OpenGL.

    Edges are smoothed by the card's own samples, or by drawing at twice the size where it has none.
    """

    def __init__(self, model: mujoco.MjModel, width: int, height: int, robots: int = 1) -> None:
        self._model, self._data = model, mujoco.MjData(model)
        self._size = width, height
        self._sun = model.light(SUN).id
        crowd = robots >= CROWD
        quality = model.vis.quality
        quality.numslices = quality.numstacks = SIDES_OF_A_CROWD if crowd else SIDES
        # Two texels a pixel, nearly; in software they cost as pixels do.
        quality.shadowsize = int(2 ** np.ceil(np.log2(1.5 * max(width, height)))) * (1 + crowd)
        self._room = GEOMS_OF_A_CROWD if crowd else 10_000
        self._scale = 1
        self._renderer = self._make()
        if model.vis.quality.offsamples and not self._renderer._mjr_context.offSamples:
            self._renderer.close()
            self._scale = 2
            self._renderer = self._make()
        self._options, self._copies = mujoco.MjvOption(), mujoco.MjvOption()
        self._options.geomgroup[FLOOR_GROUP], self._copies.geomgroup[FLOOR_GROUP] = 1, 0

    def _make(self) -> mujoco.Renderer:
        width, height = (self._scale * x for x in self._size)
        screen = self._model.vis.global_
        screen.offwidth, screen.offheight = width, height
        return mujoco.Renderer(self._model, height, width, max_geom=self._room)

    def show_contacts(self) -> None:
        """Draws the points and the forces of contacts from here on."""
        for flag in (mujoco.mjtVisFlag.mjVIS_CONTACTPOINT, mujoco.mjtVisFlag.mjVIS_CONTACTFORCE):
            self._options.flags[flag] = True

    def picture(
        self,
        qpos: Float[np.ndarray, "N nq"],
        view: View,
        place: Float[np.ndarray, "N 3"] | None = None,
        camera: str | None = None,
        qvel: Float[np.ndarray, "N nv"] | None = None,
        ctrl: Float[np.ndarray, "N nu"] | None = None,
    ) -> UInt8[np.ndarray, "height width 3"]:
        """N robots in one scene, from the model's camera, or from `view` where it is None."""
        model, data, scene = self._model, self._data, self._renderer.scene
        # What the light's shadows cover goes where the robot goes.
        model.light_pos[self._sun] = view.lookat - 2 * view.distance * SUNLIGHT
        model.stat.extent = HORIZON * view.distance / model.vis.map.zfar
        self._renderer._mjr_context.shadowClip = 0.8 * view.distance
        for robot, position in enumerate(qpos):
            data.qpos[:] = position
            data.qvel[:] = 0.0 if qvel is None else qvel[robot]
            if ctrl is not None:
                data.ctrl[:] = ctrl[robot]
            if robot == 0:
                mujoco.mj_forward(model, data)
                seen = _free(view) if camera is None else _fixed(model.camera(camera).id)
                # First, for a floor without end is laid around the camera of the frame before.
                mujoco.mjv_updateCamera(model, data, seen, scene)
                self._renderer.update_scene(data, seen, self._options)
                first, end = 0, scene.ngeom
            else:
                mujoco.mj_kinematics(model, data)
                first = scene.ngeom
                mujoco.mjv_addGeoms(
                    model, data, self._copies, mujoco.MjvPerturb(),
                    mujoco.mjtCatBit.mjCAT_ALL, scene,
                )  # fmt: skip
                end = scene.ngeom
            if place is not None and place[robot].any():
                for geom in itertools.islice(scene.geoms, first, end):
                    if geom.type != mujoco.mjtGeom.mjGEOM_PLANE:
                        geom.pos[:] += place[robot]
        drawn = self._renderer.render()
        if self._scale == 1:
            return drawn
        width, height = self._size
        return drawn.reshape(height, 2, width, 2, 3).mean((1, 3)).astype(np.uint8)

    def close(self) -> None:
        """Gives OpenGL's memory back."""
        self._renderer.close()


def frames_of(shot: Shot) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """The frames of a shot, one by one."""
    robots = max(x.qpos.shape[1] for x in shot.tiles)
    painter = Painter(shot.model, shot.width, shot.height, robots)
    if shot.contacts:
        painter.show_contacts()
    views = shot.views()
    rows = -(-len(shot.tiles) // shot.columns)
    try:
        for frame in range(shot.frames):
            whole = np.zeros((rows, shot.height, shot.columns, shot.width, 3), np.uint8)
            for number, (tile, view) in enumerate(zip(shot.tiles, views, strict=True)):
                row, column = divmod(number, shot.columns)
                whole[row, :, column] = _drawn(painter, shot, tile, view, frame)
            if len(shot.tiles) > 1:  # a line between two
                whole[:, -1], whole[:, :, :, -1] = LINE, LINE
            yield whole.reshape(rows * shot.height, shot.columns * shot.width, 3)
    finally:
        painter.close()


def _drawn(
    painter: Painter, shot: Shot, tile: Tile, view: list[View], frame: int
) -> UInt8[np.ndarray, "height width 3"]:
    at = min(frame, len(tile.qpos) - 1)
    picture = painter.picture(
        tile.qpos[at],
        view[at],
        tile.moved[at],
        shot.camera,
        None if tile.qvel is None else tile.qvel[at],
        None if tile.ctrl is None else tile.ctrl[at],
    )
    if tile.ends is not None and frame >= tile.ends:
        picture = (picture * DARK).astype(np.uint8)
    return write_on(picture, tile.captions[at]) if tile.captions else picture


def _free(view: View) -> mujoco.MjvCamera:
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FREE
    camera.lookat[:] = view.lookat
    camera.distance, camera.azimuth, camera.elevation = view[1:]
    return camera


def _fixed(number: int) -> mujoco.MjvCamera:
    camera = mujoco.MjvCamera()
    camera.type, camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, number
    return camera
