"""Films of one episode, and the picture of its motion that goes with them."""

from pathlib import Path

import mujoco
import numpy as np
from jaxtyping import Float

from mjx_dm.drawing.camera import axes, runner_of, side_of
from mjx_dm.drawing.opengl import draw
from mjx_dm.drawing.scene import corners, scene_model
from mjx_dm.drawing.shot import Shot, Tile
from mjx_dm.evaluation.acting import Act, Acts
from mjx_dm.evaluation.evaluate import evaluate
from mjx_dm.films.options import FilmOptions
from mjx_dm.films.timing import Frames, frames_of, moments
from mjx_dm.films.trace import Episode, Trace
from mjx_dm.tasks import LibraryTask, any_task
from mjx_dm.tasks.task import Task

SPEED_SECONDS = 0.2  # over which a speed is an average
POSES, POSES_SECONDS = 5, 2.0  # in a poster, and the time that they are taken from
FLATTEST = 4.0  # a poster's width over its height, at most


def record_episode(
    policy: Act | Acts,
    path: str | Path,
    task: str | Task | LibraryTask = "Humanoid-v4",
    *,
    seed: int = 0,
    options: FilmOptions | None = None,
) -> int:
    """Play the episode that evaluate(policy, task, episodes=1, seed=seed) plays, write it as MP4.

    Returns the number of frames. Raises what evaluate and drawing.opengl.draw raise, ConfigError
    where the model has no such camera, ValueError for options that cannot be.
    """
    options = options or FilmOptions()
    if problem := options.problem():
        raise ValueError(problem)
    task = any_task(task)
    trace = Trace(task, rewards=options.overlay)
    evaluate(policy, task, episodes=1, seed=seed, on_step=trace)
    shot = episode_shot(task, trace.episode(0), options)
    draw([(shot, Path(path))])
    return shot.frames


def episode_shot(
    task: Task | LibraryTask, episode: Episode, options: FilmOptions, last: bool = False
) -> Shot:
    """The film of an episode's first `options.seconds`, or of its last."""
    width, height = options.width, options.height
    model = scene_model(task, width, height, options.camera)
    return Shot(
        model,
        (tile_of(task, model, episode, options, last=last),),
        width,
        height,
        rate=options.fps,
        slow=options.slow,
        camera=options.camera or task.camera,
        contacts=options.contacts,
    )


def tile_of(
    task: Task | LibraryTask,
    model: mujoco.MjModel,
    episode: Episode,
    options: FilmOptions,
    title: str = "",
    last: bool = False,
) -> Tile:
    """An episode as a film shows it, under a `title` where one is given."""
    frames = frames_of(
        model, episode, task.step_seconds, options.frames_per_second, options.frames, last
    )
    qpos = frames.qpos
    if options.contacts:  # whose forces would be those of no state between two steps
        qpos = episode.qpos[frames.step].astype(float)
    lines = overlay(model, task, episode, frames) if options.overlay else [()] * len(frames.step)
    head = (title,) if title else ()
    return Tile(
        qpos[:, None],
        qvel=episode.qvel[frames.step][:, None] if options.contacts else None,
        ctrl=episode.ctrl[frames.step][:, None] if options.contacts else None,
        captions=tuple((*head, *x) for x in lines),
        ends=len(frames.step),
    )


def overlay(
    model: mujoco.MjModel, task: Task | LibraryTask, episode: Episode, frames: Frames
) -> list[tuple[str, ...]]:
    """For every frame its lines: time, speed, return so far, and the last step's reward by term."""
    runner, dt = runner_of(model), task.step_seconds
    lines: list[list[str]] = [[f"time\t{x:.2f} s"] for x in frames.seconds]
    if runner:
        middle = _centres(model, episode.qpos, runner)[:, :2]
        half = max(1, round(SPEED_SECONDS / dt / 2))
        for line, step in zip(lines, frames.step, strict=True):
            first, end = max(0, step - half), min(len(middle) - 1, step + half)
            way = np.linalg.norm(middle[end] - middle[first])
            line.append(f"speed\t{way / max((end - first) * dt, 1e-9):.1f} m/s")
    if episode.reward is not None:
        total = np.concatenate([[0.0], np.cumsum(episode.reward, dtype=float)])
        for line, step in zip(lines, frames.step, strict=True):
            line.append(f"return\t{total[step]:,.0f}")
            for name, term in episode.terms.items():
                value = term[step - 1] if step else 0.0
                line.append(f"{name.removeprefix('reward_').replace('_', ' ')}\t{value:.2f}")
    return [tuple(x) for x in lines]


def poster(shot: Shot) -> Shot:
    """Some poses of an episode's film, in order from left to right, as a picture of its motion."""
    model, qpos = shot.model, shot.tiles[0].qpos[:, 0]
    reach = round(POSES_SECONDS * shot.rate * shot.slow)
    first = max(0, (len(qpos) - reach) // 2)
    within = qpos[first : first + reach]
    poses = within[moments(within, POSES)]
    right, up, _ = axes(*side_of(model, crowd=False))
    runner = runner_of(model)
    place = np.zeros((1, len(poses), 3))
    place[0, :, :2] = -_centres(model, poses, runner)[:, :2] if runner else 0.0
    points = [x + y for x, y in zip(_boxes(model, poses), place[0], strict=True)]
    step = 1.08 * max(float(np.ptp(x @ right)) for x in points)
    place[0] += np.outer((np.arange(len(poses)) - (len(poses) - 1) / 2) * step, right)
    wide = step * len(poses) / max(float(np.ptp(x @ up)) for x in points)
    aspect = float(np.clip(wide, shot.width / shot.height, FLATTEST))
    height = min(shot.height, 2 * round(shot.width / aspect / 2))
    return Shot(model, (Tile(poses[None], place),), shot.width, height)


def _centres(
    model: mujoco.MjModel, qpos: Float[np.ndarray, "T nq"], body: int
) -> Float[np.ndarray, "T 3"]:
    """The centre of mass of `body` and all that hangs on it, in m."""
    data, found = mujoco.MjData(model), np.empty((len(qpos), 3))
    for row, position in enumerate(qpos):
        data.qpos[:] = position
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        found[row] = data.subtree_com[body]
    return found


def _boxes(model: mujoco.MjModel, qpos: Float[np.ndarray, "T nq"]) -> list[np.ndarray]:
    """The corners of all that has an end, for every pose."""
    data, found = mujoco.MjData(model), []
    geoms = np.flatnonzero(~np.isin(model.geom_type, [0, 1]))
    for position in qpos:
        data.qpos[:] = position
        mujoco.mj_kinematics(model, data)
        found.append(corners(model, data, geoms))
    return found
