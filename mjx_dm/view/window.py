"""MuJoCo's own window in place of a page, where there is a display."""

import copy
import time
import warnings
from typing import Any

import glfw
import mujoco
import mujoco.viewer
import numpy as np

from mjx_dm.drawing.camera import side_of
from mjx_dm.drawing.scene import floors
from mjx_dm.view.choices import Switch
from mjx_dm.view.simulation import Simulation

FRAME_SECONDS, POLL_SECONDS = 1 / 60, 2.0
ROOM = 1.1  # how much wider than the robot the view is
KEYS = "Space: play or pause; R: reset; Left, Right: slower, faster; Up, Down: push"
_SPEEDS = (0.125, 0.25, 0.5, 1.0, 2.0)


def has_display() -> bool:
    """Whether a window can be opened here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", glfw.GLFWError)
        return bool(glfw.init())


def run(simulation: Simulation, switch: Switch) -> None:
    """Opens the window, and plays until it is closed."""
    keys = Keys(simulation)
    with mujoco.viewer.launch_passive(
        without_edge(simulation.model),
        simulation.data,
        key_callback=keys,
        show_left_ui=False,
        show_right_ui=False,
    ) as viewer:
        _follow(viewer.cam, simulation)
        play_in(viewer, simulation, switch)


def play_in(viewer: Any, simulation: Simulation, switch: Switch) -> None:
    """Keeps a handle of launch_passive up to date until its window is closed."""
    before = poll_at = time.monotonic()
    while viewer.is_running():
        now = time.monotonic()
        with viewer.lock():
            simulation.advance(now - before)
        before = now
        viewer.sync()
        if now >= poll_at:
            switch.poll()
            poll_at = now + POLL_SECONDS
        time.sleep(max(0.0, FRAME_SECONDS - (time.monotonic() - now)))


def without_edge(model: mujoco.MjModel) -> mujoco.MjModel:
    """A copy of `model` to be drawn, whose floor has no edge: a good policy runs past it."""
    drawn = copy.copy(model)
    ground = floors(drawn)
    drawn.geom_size[ground, :2] = 0.0
    tiles = np.unique(drawn.geom_matid[ground])
    tiles = tiles[tiles >= 0]
    drawn.mat_texuniform[tiles], drawn.mat_texrepeat[tiles] = True, 0.5  # squares of 1 m
    drawn.mat_reflectance[tiles] = 0.0
    return drawn


def _follow(camera: mujoco.MjvCamera, simulation: Simulation) -> None:
    """Lets the window's camera follow the robot, which it sees whole."""
    camera.type = mujoco.mjtCamera.mjCAMERA_TRACKING
    camera.trackbodyid = simulation.root
    camera.azimuth, camera.elevation = side_of(simulation.model, crowd=False)
    half_angle = np.deg2rad(simulation.model.vis.global_.fovy) / 2
    camera.distance = ROOM * simulation.radius() / np.sin(half_angle)
    camera.lookat[:] = simulation.data.subtree_com[simulation.root]


class Keys:
    """What a key of the window does, by GLFW's number."""

    def __init__(self, simulation: Simulation, strength: float = 0.5) -> None:
        self._simulation, self._strength = simulation, strength

    def __call__(self, key: int) -> None:
        simulation = self._simulation
        directions = list(simulation.directions().values())
        if key == glfw.KEY_SPACE:
            simulation.is_playing = not simulation.is_playing
        elif key == glfw.KEY_R:
            simulation.reset()
        elif key in (glfw.KEY_LEFT, glfw.KEY_RIGHT):
            at = _SPEEDS.index(simulation.speed) + (1 if key == glfw.KEY_RIGHT else -1)
            simulation.speed = _SPEEDS[min(max(at, 0), len(_SPEEDS) - 1)]
        elif key in (glfw.KEY_UP, glfw.KEY_DOWN) and directions:
            simulation.push(directions[0 if key == glfw.KEY_UP else 1], self._strength)
