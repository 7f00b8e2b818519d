"""All the films that a command line asks for, each with its picture, its GIF and its sentence."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mjx_dm.checkpoints.manifest import CheckpointError
from mjx_dm.checkpoints.policy import Policy
from mjx_dm.config import ConfigError
from mjx_dm.drawing import mp4
from mjx_dm.drawing.opengl import draw
from mjx_dm.drawing.shot import Shot, Tile
from mjx_dm.evaluation.evaluate import Evaluation, NoScore
from mjx_dm.evaluation.transfer import Phase, untold
from mjx_dm.films.episodes import episode_shot, poster
from mjx_dm.films.many import training_shot, wall_shot
from mjx_dm.films.naming import Title
from mjx_dm.films.options import EPISODES, FilmOptions
from mjx_dm.films.trace import Trace
from mjx_dm.films.worlds import worlds_shot
from mjx_dm.tasks import LibraryTask
from mjx_dm.tasks.task import Task

Say = Callable[[str], object]


class Played(NamedTuple):
    """A policy in its task: its `evaluation`, the `trace` of those episodes, and its run."""

    policy: Policy
    task: Task | LibraryTask
    trace: Trace
    evaluation: Evaluation
    run_dir: Path


def make_films(
    played: Played,
    options: FilmOptions,
    out: Path,
    say: Say,
    complain: Say,
    phase: Phase = untold,
) -> list[Path]:
    """Writes each film of `options` into `out`, and beside it a picture, and a GIF if asked for;
    returns the films that were made.

    say, complain, phase: are told each film, in one sentence each film that could not be made, and
    what goes on.
    """
    task = played.task
    if isinstance(task, LibraryTask) and not task.is_filmed:
        say(f"There is no video: {task.name} has no MuJoCo model to be drawn with.")
        return []
    made = []
    for kind in dict.fromkeys(options.film):
        try:
            with phase(f"Playing for {kind}"):
                name, shot, picture = _film(kind, played, options)
            path = out / name
            say(f"Drawing {kind}: {shot.frames} frames, {shot.size[0]}x{shot.size[1]}, to {path}")
            with phase(f"Drawing {kind}"):
                draw([(shot, path), (picture, path.with_suffix(".png"))])
            if options.gif:
                mp4.small_gif(path, path.with_suffix(".gif"))
        except (OSError, RuntimeError, ConfigError, CheckpointError, NoScore) as error:
            said = " ".join(str(error).split()).rstrip(".")
            complain(f"The scores stand, but no video could be written ({kind}): {said}.")
            continue
        say(f"Video ({kind}): {path}")
        made.append(path)
    return made


def _film(kind: str, played: Played, options: FilmOptions) -> tuple[str, Shot, Shot]:
    """The file's name, the film, and the picture that goes beside it."""
    policy, task, trace, evaluation, run_dir = played
    steps, seed = int(policy.env_steps), evaluation.seed
    if kind in EPISODES:
        number = episode_of(kind, evaluation)
        shot = episode_shot(task, trace.episode(number), options, last=kind == "worst")
        return f"{Title(kind, steps, seed + number).stem}.mp4", shot, poster(shot)
    if kind == "wall":
        shot = wall_shot(policy, task, trace, seed, options)
    elif kind == "training":
        shot = training_shot(run_dir, task, seed, options)
    else:
        shot = worlds_shot(policy, task, seed, options)
    return f"{Title(kind, steps).stem}.mp4", shot, _middle(shot)


def episode_of(kind: str, evaluation: Evaluation) -> int:
    """The number of the best, median or worst episode."""
    if kind == "median":
        return evaluation.median_episode
    choose = np.argmax if kind == "best" else np.argmin
    return int(choose(evaluation.returns))


def _middle(shot: Shot) -> Shot:
    """One frame of a film, from its middle."""
    return dataclasses.replace(shot, tiles=tuple(_frame(x, shot.frames // 2) for x in shot.tiles))


def _frame(tile: Tile, frame: int) -> Tile:
    at = min(frame, len(tile.qpos) - 1)
    cut: dict[str, Any] = {
        name: None if (x := getattr(tile, name)) is None else x[at : at + 1]
        for name in ("qpos", "place", "qvel", "ctrl")
    }
    over = tile.ends is not None and frame >= tile.ends
    return Tile(**cut, captions=tile.captions[at : at + 1], ends=0 if over else None)
