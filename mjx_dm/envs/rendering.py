"""Frames of worlds as they stand, drawn in this process with MuJoCo's OpenGL."""

import os
import warnings

import gymnasium
import numpy as np
from jaxtyping import Float, UInt8

from mjx_dm.drawing.camera import views
from mjx_dm.drawing.painter import Painter
from mjx_dm.drawing.scene import scene_model
from mjx_dm.tasks.task import Task


class Renderer:
    """Draws a task's robot in frames of `height` times `width` pixels, as films show it.

    The camera is the task's, else one that follows the robot. MUJOCO_GL names the OpenGL to draw
    with, as MuJoCo read it when it was first imported. Raises
    gymnasium.error.DependencyNotInstalled where that cannot be had, ConfigError where the model has
    no camera of the name that the task gives.
    """

    def __init__(self, task: Task, height: int, width: int) -> None:
        self._camera, self._aspect, self._distance = task.camera, width / height, 0.0
        self._model = scene_model(task, width, height)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of GLFW, where there is no display
                self._painter = Painter(self._model, width, height)
        except Exception as error:  # of the OpenGL library's, whatever it is
            chosen = os.environ.get("MUJOCO_GL")
            tried = f"with MUJOCO_GL={chosen}" if chosen else "without MUJOCO_GL"
            raise gymnasium.error.DependencyNotInstalled(
                f"MuJoCo finds no OpenGL {tried}: where there is no display, set MUJOCO_GL=egl "
                "before Python starts; on Debian and Ubuntu, apt-get install libegl1 libgl1 brings "
                "it."
            ) from error

    def frames(
        self, qpos: Float[np.ndarray, "N nq"]
    ) -> tuple[UInt8[np.ndarray, "height width 3"], ...]:
        """One frame for each row of positions."""
        return tuple(self._frame(row[None]) for row in qpos)

    def _frame(self, qpos: Float[np.ndarray, "1 nq"]) -> UInt8[np.ndarray, "height width 3"]:
        view = views(self._model, qpos[None], np.zeros((1, 1, 3)), self._aspect, 1.0)[0]
        # Never nearer again, so that the camera does not swing to and fro with the limbs.
        self._distance = max(self._distance, view.distance)
        view = view._replace(distance=self._distance)
        return self._painter.picture(qpos, view, camera=self._camera)

    def close(self) -> None:
        """Gives OpenGL's memory back."""
        self._painter.close()
