"""Videos of episodes, with OpenGL where it can be had and by casting rays elsewhere."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import mujoco
import numpy as np

from mjx_dm.evaluation import mp4
from mjx_dm.evaluation.drawing import drawing_model, ray_frames
from mjx_dm.evaluation.evaluate import Act, Acts, evaluate
from mjx_dm.evaluation.opengl import NoDisplay, draw_with_gl, find_gl, gl_advice
from mjx_dm.tasks import LibraryTask, any_task
from mjx_dm.tasks.libraries.task import Pose
from mjx_dm.tasks.task import Task

MOST_FRAMES_PER_SECOND = 35.0

Drawer = Literal["auto", "gl", "rays"]


class Trace:
    """The positions of every episode that is played: give it to evaluate as on_step.

    qpos: episode index -> list of (nq,) float64, the state after the reset and after each step.
    """

    def __init__(self) -> None:
        self.qpos: dict[int, list[np.ndarray]] = {}

    def __call__(self, episode: int, data: mujoco.MjData | Pose) -> None:
        self.qpos.setdefault(episode, []).append(np.array(data.qpos))


def record_episode(
    policy: Act | Acts,
    path: str | Path,
    task: str | Task | LibraryTask = "Humanoid-v4",
    *,
    seed: int = 0,
    max_seconds: float = 15.0,
    width: int = 640,
    height: int = 480,
    drawer: Drawer = "auto",
) -> int:
    """Play the episode that evaluate(policy, task, episodes=1, seed=seed) plays, write it as MP4.

    Returns the number of frames. Raises what evaluate and write_video raise.
    """
    task, trace = any_task(task), Trace()
    evaluate(policy, task, episodes=1, seed=seed, on_step=trace)
    return write_video(
        trace.qpos[0],
        path,
        task,
        max_seconds=max_seconds,
        width=width,
        height=height,
        drawer=drawer,
    )


def write_video(
    qpos: Sequence[np.ndarray] | np.ndarray,
    path: str | Path,
    task: str | Task | LibraryTask = "Humanoid-v4",
    *,
    max_seconds: float = 15.0,
    width: int = 640,
    height: int = 480,
    drawer: Drawer = "auto",
) -> int:
    """Write positions (T, nq), one per environment step, as an MP4 at real-time speed.

    drawer: "gl", "rays" (no OpenGL needed, plainer), or "auto": gl where find_gl finds one.
    width, height: pixels, both even (libx264's chroma needs it).

    Returns the number of frames, each of steps_per_frame(task) steps. Raises NoDisplay where
    drawer is "gl" and there is none, ValueError for odd sizes and for another robot's positions,
    ConfigError where the task has no camera of the name that it gives, or no model to draw. The
    file appears whole or
    not at all.
    """
    if width % 2 or height % 2:
        raise ValueError(f"Video width and height must be even, got {width}x{height}.")
    task = any_task(task)
    every, rate = steps_per_frame(task), frames_per_second(task)
    shown = np.asarray(qpos, np.float64)[::every][: max(1, round(max_seconds * rate))]
    if shown.shape[1:] != (task.model.nq,):
        raise ValueError(
            f"{task.name} has positions (T, {task.model.nq}), not an array of {shown.shape}."
        )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.stem}.unfinished.mp4")
    backend = find_gl() if drawer != "rays" else None
    if drawer == "gl" and backend is None:
        raise NoDisplay(gl_advice())
    model = drawing_model(task, width, height)
    try:
        if backend is None or not draw_with_gl(model, shown, unfinished, rate, backend):
            if drawer == "gl":
                raise NoDisplay(f"OpenGL ({backend}) failed while drawing. {gl_advice()}")
            mp4.encode(ray_frames(model, shown), unfinished, width, height, rate)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return len(shown)


def steps_per_frame(task: Task | LibraryTask) -> int:
    """Environment steps from one frame to the next: as few as 35 frames a second allow."""
    return math.ceil(1.0 / (MOST_FRAMES_PER_SECOND * task.step_seconds))


def frames_per_second(task: Task | LibraryTask) -> float:
    """So many that video time is simulated time."""
    return 1.0 / (steps_per_frame(task) * task.step_seconds)
