"""The page: a scene of viser, the panel beside it, and the loop that keeps both up to date."""

import contextlib
import copy
import io
import socket
import time
from typing import Any

import mujoco
import numpy as np
import viser
from mjviser import ViserMujocoScene

from mjx_dm.view import charts
from mjx_dm.view.choices import Choices, Switch
from mjx_dm.view.simulation import Simulation

FRAME_SECONDS, PANEL_SECONDS, POLL_SECONDS = 1 / 30, 0.25, 2.0
FIELD_OF_VIEW = 45.0  # degrees from bottom to top
SPEEDS = {"1/8": 0.125, "1/4": 0.25, "1/2": 0.5, "1": 1.0, "2": 2.0}
# Where the camera stands as seen from the robot.
SIDES = {
    "side": (0.25, -1.0, 0.3),
    "front": (1.0, -0.25, 0.3),
    "behind": (-1.0, -0.25, 0.3),
    "above": (0.0, -0.1, 1.0),
}


class Page:
    """A server of viser that shows `simulation`, from its start to `close`.

    Raises OSError where `host` is no address of this machine.
    """

    def __init__(
        self, simulation: Simulation, choices: Choices, switch: Switch, host: str, port: int
    ):
        self.simulation, self.choices, self.switch = simulation, choices, switch
        self._is_closed = False
        # It would wait for ever at an address that is not this machine's.
        socket.create_server((host, 0)).close()
        # It says on its own where it listens, at any address.
        with contextlib.redirect_stdout(io.StringIO()):
            self.server = viser.ViserServer(
                host=host, port=port, label=simulation.task.name, verbose=False
            )
        self.address = f"http://{host}:{self.server.get_port()}"
        self.server.gui.configure_theme(show_share_button=False, show_logo=False)
        # It takes colours and sizes of the model for its own.
        model = copy.copy(simulation.model)
        _colour_materials(model)
        self.scene = ViserMujocoScene(self.server, model, num_envs=1)
        self._radius = simulation.radius()
        _add_floor(self.server, model, simulation.data)
        self._add_panel()
        self._look_from("side")

    def run(self) -> None:
        """Plays and draws until it is interrupted, or closed by another thread."""
        before = now = time.monotonic()
        panel_at = poll_at = now
        shown: tuple[Any, ...] = ()
        while not self._is_closed:
            now = time.monotonic()
            self.simulation.advance(now - before)
            before = now
            with self.simulation.lock:
                state = (self.simulation.episode, self.simulation.steps, self.scene.needs_update)
                if state != shown:
                    self.scene.needs_update, shown = False, (*state[:2], False)
                    self.scene.update_from_mjdata(self.simulation.data)
            self._history.take(self.simulation)
            if now >= panel_at:
                self._show_panel()
                panel_at = now + PANEL_SECONDS
            if now >= poll_at:
                self.switch.poll()
                self._offer()
                poll_at = now + POLL_SECONDS
            time.sleep(max(0.0, FRAME_SECONDS - (time.monotonic() - now)))

    @property
    def told(self) -> str:
        """What stands at the head of the panel, HTML."""
        return str(self._status.content)

    def close(self) -> None:
        """Ends the server."""
        self._is_closed = True
        with contextlib.redirect_stdout(io.StringIO()):  # it says so
            self.server.stop()

    # The panel ------------------------------------------------------------------------------------

    def _add_panel(self) -> None:
        gui, simulation = self.server.gui, self.simulation
        self._status = gui.add_html("")
        self._play = gui.add_button("Pause", icon=viser.Icon.PLAYER_PAUSE)
        self._play.on_click(lambda _: self._set_playing(not simulation.is_playing))
        reset = gui.add_button("Reset", icon=viser.Icon.REFRESH)
        reset.on_click(lambda _: simulation.reset())
        speed = gui.add_button_group("Speed", tuple(SPEEDS))
        speed.on_click(lambda _: setattr(simulation, "speed", SPEEDS[speed.value]))
        names = self.choices.names()
        self._choice = gui.add_dropdown(
            "Checkpoint", names, initial_value=self.switch.chosen, hint="newest follows a training"
        )
        self._choice.on_update(lambda _: self.switch.choose(self._choice.value))
        self._add_push()
        self._add_camera()
        self._history = charts.History()
        with gui.add_folder("Reward"):
            self._reward = charts.RewardChart(gui)
        with gui.add_folder("Mixture"):
            self._mixture = charts.MixtureChart(gui)

    def _add_push(self) -> None:
        gui, directions = self.server.gui, self.simulation.directions()
        if not directions:
            return
        with gui.add_folder("Push"):
            strength = gui.add_slider(
                "Strength", 0.1, 3.0, 0.1, 0.5, hint="in weights of the robot, for 0.2 s"
            )
            towards = gui.add_button_group("Towards", tuple(directions))
            towards.on_click(
                lambda _: self.simulation.push(directions[towards.value], strength.value)
            )

    def _add_camera(self) -> None:
        gui = self.server.gui
        with gui.add_folder("Camera", expand_by_default=False):
            follow = gui.add_checkbox("Follow the robot", True)
            side = gui.add_button_group("From", tuple(SIDES))

        def set_following(_: Any) -> None:
            self.scene.camera_tracking_enabled, self.scene.needs_update = follow.value, True

        follow.on_update(set_following)
        side.on_click(lambda _: self._look_from(side.value))

    def _look_from(self, side: str) -> None:
        """Points all cameras at the robot, or at where it stands when it is not followed."""
        distance = 1.25 * self._radius / np.sin(np.deg2rad(FIELD_OF_VIEW) / 2)
        towards = np.array(SIDES[side]) / np.linalg.norm(SIDES[side])
        with self.simulation.lock:
            place = self.simulation.data.xpos[self.simulation.root].copy()
        if self.scene.camera_tracking_enabled:
            place[:] = 0.0
        clients = self.server.get_clients().values()
        cameras: list[Any] = [self.server.initial_camera, *(client.camera for client in clients)]
        for camera in cameras:
            camera.position = tuple(place + distance * towards)
            camera.look_at = tuple(place)
            camera.fov = np.deg2rad(FIELD_OF_VIEW)

    def _set_playing(self, is_playing: bool) -> None:
        with self.simulation.lock:
            if is_playing and self.simulation.fault:
                self.simulation.reset()
            self.simulation.is_playing = is_playing

    def _offer(self) -> None:
        names = tuple(self.choices.names())
        if names != tuple(self._choice.options) and self._choice.value in names:
            self._choice.options = names

    def _show_panel(self) -> None:
        simulation = self.simulation
        label = "Pause" if simulation.is_playing else "Play"
        if self._play.label != label:
            self._play.label = label
            self._play.icon = (
                viser.Icon.PLAYER_PAUSE if simulation.is_playing else viser.Icon.PLAYER_PLAY
            )
        self._status.content = charts.status(simulation, self.switch.status)
        self._reward.show(self._history)
        self._mixture.show(self._history)


def _colour_materials(model: mujoco.MjModel) -> None:
    """Gives every material the mean colour of its texture, which only meshes are drawn with."""
    role = int(mujoco.mjtTextureRole.mjTEXROLE_RGB)
    for material, texture in enumerate(model.mat_texid[:, role]):
        if texture >= 0 and model.tex(texture).nchannel[0] >= 3:
            colour = model.tex(texture).data.mean((0, 1))[:3] / 255
            model.mat_rgba[material, :3] *= colour


def _add_floor(server: viser.ViserServer, model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """Squares below a robot whose model has no floor, so that its moves are seen."""
    if (model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE).any() or not model.ngeom:
        return
    lowest = float((data.geom_xpos[:, 2] - model.geom_rbound).min())
    server.scene.add_grid(
        "/fixed_bodies/squares", infinite_grid=True, fade_distance=50.0, position=(0, 0, lowest)
    )
