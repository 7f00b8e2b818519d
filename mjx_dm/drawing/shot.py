"""What is to be drawn: values that travel to the process that draws."""

from dataclasses import dataclass

import mujoco
import numpy as np
from jaxtyping import Float

from mjx_dm.drawing.camera import View, views


@dataclass(frozen=True)
class Tile:
    """One picture within every frame: N robots in one scene, T frames.

    qpos: where they are. place: how far each is moved from there, in m; None for not at all.
    qvel, ctrl: what contact forces follow from; None where none are drawn.
    captions: the lines of text on each frame, none where it is empty.
    ends: frames until the episode is over; what follows is shown darker.
    """

    qpos: Float[np.ndarray, "T N nq"]
    place: Float[np.ndarray, "T N 3"] | None = None
    qvel: Float[np.ndarray, "T N nv"] | None = None
    ctrl: Float[np.ndarray, "T N nu"] | None = None
    captions: tuple[tuple[str, ...], ...] = ()
    ends: int | None = None

    @property
    def moved(self) -> Float[np.ndarray, "T N 3"]:
        """`place`, zeros where it is None."""
        return np.zeros((*self.qpos.shape[:2], 3)) if self.place is None else self.place


@dataclass(frozen=True)
class Shot:
    """A film, or a picture where it has one frame: tiles, row by row, of one size.

    model: one of scene_model. width, height: pixels of a tile. rate: frames a second.
    slow: how many seconds of film a second of the robot's takes.
    camera: of the model; None follows the robot.
    """

    model: mujoco.MjModel
    tiles: tuple[Tile, ...]
    width: int
    height: int
    columns: int = 1
    rate: float = 30.0
    slow: float = 1.0
    camera: str | None = None
    contacts: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the whole frame, in pixels."""
        rows = -(-len(self.tiles) // self.columns)
        return self.width * self.columns, self.height * rows

    @property
    def frames(self) -> int:
        """As many as the longest tile has; shorter ones stay at their last."""
        return max(len(x.qpos) for x in self.tiles)

    def views(self) -> list[list[View]]:
        """For every tile a view for every frame."""
        aspect, simulated = self.width / self.height, self.rate * self.slow
        return [views(self.model, x.qpos, x.moved, aspect, simulated) for x in self.tiles]
