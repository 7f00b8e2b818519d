"""Films of several episodes at once: a wall of one policy's, and one start under several."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mjx_dm.checkpoints.manifest import complete
from mjx_dm.checkpoints.policy import Policy, export_policy, load_policy
from mjx_dm.checkpoints.policy_file import NAME
from mjx_dm.config import ConfigError
from mjx_dm.drawing.scene import scene_model
from mjx_dm.drawing.shot import Shot
from mjx_dm.evaluation.acting import Act, Acts
from mjx_dm.evaluation.evaluate import evaluate
from mjx_dm.films.episodes import tile_of
from mjx_dm.films.options import WALL, FilmOptions
from mjx_dm.films.trace import Episode, Trace
from mjx_dm.tasks import LibraryTask
from mjx_dm.tasks.task import Task

# Of policies side by side: as many as fill a row, or two.
AGES = {2: 2, 3: 3, 4: 2, 6: 3}


def wall_shot(
    policy: Act | Acts, task: Task | LibraryTask, trace: Trace, seed: int, options: FilmOptions
) -> Shot:
    """Sixteen episodes, those of the seeds from `seed` on; played anew where `trace` has fewer."""
    count = WALL * WALL
    if any(i not in trace for i in range(count)):
        trace = Trace(task, rewards=options.overlay)
        evaluate(policy, task, episodes=count, seed=seed, on_step=trace)
    episodes = [trace.episode(i) for i in range(count)]
    return _shot(task, episodes, [""] * count, WALL, WALL, options)


def training_shot(run_dir: Path, task: Task | LibraryTask, seed: int, options: FilmOptions) -> Shot:
    """The episode of `seed` under the policies that a run has kept, the youngest first.

    Raises ConfigError where they are fewer than two.
    """
    policies = kept_policies(run_dir)
    if len(policies) < 2:
        held = f"that of {policies[0].env_steps:,} steps alone" if policies else "none"
        raise ConfigError(
            f"--film training shows policies of several ages, and {run_dir} holds {held}: give a "
            "run directory with more checkpoints (train.py --keep-checkpoints)."
        )
    episodes = []
    for policy in policies:
        trace = Trace(task, rewards=options.overlay)
        evaluate(policy, task, episodes=1, seed=seed, on_step=trace)
        episodes.append(trace.episode(0))
    columns = AGES[len(policies)]
    rows = len(policies) // columns
    titles = [f"{x.env_steps:,} steps" for x in policies]
    return _shot(task, episodes, titles, columns, rows, options)


def kept_policies(run_dir: Path) -> list[Policy]:
    """The policies of a run's checkpoints and of its best/, by age: as many as fill rows.

    Raises CheckpointError where one is damaged.
    """
    run_dir = run_dir.parent if run_dir.name == "best" else run_dir
    found: dict[int, Policy] = {}
    if (run_dir / "best" / NAME).exists():
        best = load_policy(run_dir / "best")
        found[best.env_steps] = best
    steps = sorted(complete(run_dir / "checkpoints")) if (run_dir / "checkpoints").is_dir() else []
    ages = sorted({*steps, *found})
    count = max((x for x in AGES if x <= len(ages)), default=len(ages))
    chosen = np.linspace(0, len(ages) - 1, count).round().astype(int)
    policies = []
    for age in (ages[i] for i in chosen):
        if age not in found:
            with tempfile.TemporaryDirectory() as folder:
                export_policy(run_dir, Path(folder), age)
                # Loaded whole: the folder may go. A user's task stays beside the run.
                found[age] = load_policy(folder)
        policies.append(found[age])
    return policies


def _shot(
    task: Task | LibraryTask,
    episodes: Sequence[Episode],
    titles: Sequence[str],
    columns: int,
    rows: int,
    options: FilmOptions,
) -> Shot:
    """Episodes from their beginning, side by side in a frame of the options' size."""
    width, height = 2 * (options.width // columns // 2), 2 * (options.height // rows // 2)
    model = scene_model(task, width, height, options.camera)
    tiles = tuple(
        tile_of(task, model, episode, options, title)
        for episode, title in zip(episodes, titles, strict=True)
    )
    return Shot(
        model, tiles, width, height, columns, options.fps, options.slow,
        options.camera or task.camera, options.contacts,
    )  # fmt: skip
