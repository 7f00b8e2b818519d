"""Frames of worlds as they stand, drawn in this process with MuJoCo's OpenGL."""

import os
import warnings

import gymnasium
import mujoco
import numpy as np
from jaxtyping import Float, UInt8

from mjx_dm.config import ConfigError
from mjx_dm.tasks.task import Task, compiled


class Renderer:
    """Draws a task's robot in frames of `height` times `width` pixels.

    The camera is the task's, else the model's own "track", else MuJoCo's free one. MUJOCO_GL names
    the OpenGL to draw with, as MuJoCo read it when it was first imported. Raises
    gymnasium.error.DependencyNotInstalled where that cannot be had, ConfigError where the model has
    no camera of the name that the task gives.
    """

    def __init__(self, task: Task, height: int, width: int) -> None:
        spec = task.spec()
        names = [x.name for x in spec.cameras]
        wanted = "track" if task.camera is None else task.camera
        if wanted not in names and task.camera is not None:
            raise ConfigError(f"{task.name} has no camera {wanted!r}; it has: {', '.join(names)}.")
        self._camera: str | int = wanted if wanted in names else -1
        self._model = compiled(spec)
        self._model.vis.global_.offwidth, self._model.vis.global_.offheight = width, height
        self._data = mujoco.MjData(self._model)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of GLFW, where there is no display
                self._renderer = mujoco.Renderer(self._model, height, width)
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
        return tuple(self._frame(row) for row in qpos)

    def _frame(self, qpos: Float[np.ndarray, "nq"]) -> UInt8[np.ndarray, "height width 3"]:
        self._data.qpos[:] = qpos
        mujoco.mj_forward(self._model, self._data)
        self._renderer.update_scene(self._data, camera=self._camera)
        return self._renderer.render()

    def close(self) -> None:
        """Gives OpenGL's memory back."""
        self._renderer.close()
