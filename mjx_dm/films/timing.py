"""The states of an episode at the times of a film's frames."""

from typing import NamedTuple

import mujoco
import numpy as np
from jaxtyping import Float, Int

from mjx_dm.films.trace import Episode


class Frames(NamedTuple):
    """The states at F frames: positions between two steps are on the way from one to the next.

    step: the last state at or before each frame. seconds: since the episode's start.
    """

    qpos: Float[np.ndarray, "F nq"]
    step: Int[np.ndarray, "F"]
    seconds: Float[np.ndarray, "F"]


def frames_of(
    model: mujoco.MjModel,
    episode: Episode,
    step_seconds: float,
    frames_per_second: float,
    most: int,
    last: bool = False,
) -> Frames:
    """At most `most` frames of an episode: its first, or its last.

    frames_per_second: of the robot's time, slow motion included.
    """
    states = len(episode.qpos)
    length = (states - 1) * step_seconds
    # A hair more, for a frame that falls on the last state.
    count = min(int(length * frames_per_second + 1e-6) + 1, most)
    start = max(0.0, length - (count - 1) / frames_per_second) if last else 0.0
    seconds = start + np.arange(count) / frames_per_second
    at = np.minimum(seconds / step_seconds + 1e-9, states - 1)
    step = at.astype(int)
    return Frames(_between(model, episode.qpos, at), step, seconds)


def _between(
    model: mujoco.MjModel, qpos: Float[np.ndarray, "T nq"], at: Float[np.ndarray, "F"]
) -> Float[np.ndarray, "F nq"]:
    """Positions at the fractional steps `at`, along the shortest way between two."""
    found = np.empty((len(at), model.nq))
    way = np.empty(model.nv)
    for frame, where in enumerate(at):
        step = int(where)
        found[frame] = qpos[step]
        if where - step > 1e-6:
            here, there = found[frame].copy(), qpos[step + 1].astype(float)
            mujoco.mj_differentiatePos(model, way, 1.0, here, there)
            mujoco.mj_integratePos(model, found[frame], way, where - step)
    return found


def moments(qpos: Float[np.ndarray, "F nq"], count: int) -> list[int]:
    """`count` frames, in order, whose poses differ most from each other, so that motion shows.

    The first two coordinates are left out: where a robot has got to is no pose.
    """
    pose = qpos[:, 2:] if qpos.shape[1] > 2 else qpos
    pose = (pose - pose.mean(0)) / (pose.std(0) + 1e-6)
    chosen = [0]
    nearest = np.linalg.norm(pose - pose[0], axis=1)
    while len(chosen) < min(count, len(pose)):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(pose - pose[chosen[-1]], axis=1))
    return sorted(chosen)
