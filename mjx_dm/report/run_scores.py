"""The score of each of several runs: read where it is there already, else played."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mjx_dm.checkpoints.policy import Policy, load_policy
from mjx_dm.checkpoints.policy_file import NAME
from mjx_dm.evaluation.evaluate import evaluate
from mjx_dm.evaluation.score import Evaluation
from mjx_dm.files import read_json, write_json
from mjx_dm.report.across import RunScore
from mjx_dm.report.scores import rule_report
from mjx_dm.tasks import LibraryTask
from mjx_dm.tasks.task import Task

# Where a run is written, how it was started and what it is called: not what it learns.
_OF_START = {"preset", "run_dir", "resume", "seed", "version", "task", "task_options"} | {
    "task_version", "spaces",
}  # fmt: skip


def scores_of(
    paths: Sequence[Path], rule: str, episodes: int, seed: int, say: Callable[[str], None]
) -> list[RunScore]:
    """The scores of run directories, folders with a policy.json or files of that name.

    `say` is told of each in a line. What is played is kept in the eval.json of a run that has
    none. Raises CheckpointError where one holds no policy, NoScore where one has no score.
    """
    policies = {path: load_policy(path, rule) for path in paths}
    found = []
    for path, policy in policies.items():
        task = policy.own_task()
        folder = path.parent if path.is_file() else path
        eval_json = folder / "eval" / "eval.json"
        played = stored(eval_json, policy, task, episodes, seed)
        if played is not None:
            say(f"{path}: read from {eval_json}")
        else:
            say(f"{path}: playing {episodes} episodes")
            played = evaluate(policy, task, episodes=episodes, seed=seed)
            if not eval_json.exists():  # else it may hold more than was asked for now
                report = rule_report(played, policy, rule)
                _keep(eval_json, {**report, "rules": [report]})
        found.append(RunScore(path, int(policy.env_steps), played, *settings_of(path)))
    return found


def stored(
    eval_json: Path, policy: Policy, task: Task | LibraryTask, episodes: int, seed: int
) -> Evaluation | None:
    """The score that an eval.json holds of these episodes, None where it does not.

    It is of this policy under its action rule, in the same environment and with the same versions
    of everything, and has at least the episodes asked for: an episode's return depends on its seed
    alone.
    """
    if isinstance(task, LibraryTask):
        played_by: dict[str, Any] = {
            "gym_id": None,
            "simulation": task.simulation,
            "packages": task.packages,
        }
    else:
        played_by = {"gym_id": task.gym_id}
    try:
        raw = read_json(eval_json)
        for entry in raw["rules"]:
            asked = (policy.checkpoint, policy.action_rule)
            if (entry["checkpoint"], entry["action_rule"]) != asked:
                continue
            found = Evaluation(
                returns=tuple(map(float, entry["returns"][:episodes])),
                lengths=tuple(map(int, entry["lengths"][:episodes])),
                seed=seed,
                task=task.name,
                options=task.options,
                **played_by,
                terminated=tuple(map(bool, entry["terminated"][:episodes])),
                speeds=tuple(map(float, entry.get("speeds", [])[:episodes])),
            )
            told = found.to_json()
            same = all(
                told.get(x) == entry.get(x)
                for x in ("env", "task", "options", "simulation", "versions")
            )
            is_whole = entry["seeds"][:episodes] == told["seeds"] and len(told["seeds"]) == episodes
            if same and is_whole and np.isfinite(found.returns).all():
                return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # it is played anew
    return None


def settings_of(path: Path) -> tuple[int | None, dict[str, Any] | None]:
    """Seed and other settings of a run directory, a folder with a policy.json or a policy.json.

    They are compared as they stand in the file, whatever version wrote it.
    """
    kept = path / NAME if path.is_dir() else path.with_suffix(".json")
    try:
        raw = read_json(kept)["settings"] if kept.exists() else read_json(path / "config.json")
        found: dict[str, Any] = {}
        for name, value in raw.items():
            found |= value if isinstance(value, dict) else {name: value}
        seed = found.get("seed")
        settings = {name: x for name, x in found.items() if name not in _OF_START}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None, None
    return (seed if isinstance(seed, int) else None), settings or None


def _keep(path: Path, report: dict[str, Any]) -> None:
    """For the next time; where the folder cannot be written to, it is played again then."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        write_json(path, report)
