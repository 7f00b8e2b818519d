"""Scores over runs: seeds of the same settings together, and how likely one beats another."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mjx_dm.config import ConfigError
from mjx_dm.evaluation.score import Evaluation
from mjx_dm.report.intervals import Estimate, bootstrapped, chance_of_more
from mjx_dm.report.scores import ends_of

_MOST_NAMED = 3


class RunScore(NamedTuple):
    """The score of one run.

    settings: name -> value, of everything that it was asked for but its seed and its task; None
        where it tells none.
    """

    path: Path
    env_steps: int
    evaluation: Evaluation
    seed: int | None
    settings: Mapping[str, Any] | None

    @property
    def task(self) -> str:
        return self.evaluation.gym_id or self.evaluation.task

    @property
    def task_with_options(self) -> str:
        options = self.evaluation.to_json().get("options", {})
        return f"{self.task} with {json.dumps(options, sort_keys=True)}"


class Group(NamedTuple):
    """Runs of one task that differ in their seed alone; the statistics are over the runs' means.

    With one task a group, rliable's stratified bootstrap is the bootstrap over its runs.
    """

    task: str
    label: str
    runs: list[RunScore]
    mean: Estimate
    middle: Estimate

    @property
    def means(self) -> np.ndarray:
        """Mean returns of the runs (N,)."""
        return np.array([run.evaluation.mean for run in self.runs])


def grouped(runs: Sequence[RunScore]) -> list[Group]:
    """The runs by task and settings. Raises ConfigError where a seed would count twice."""
    found: dict[tuple[str, str], list[RunScore]] = {}
    for run in runs:
        settings = (
            str(run.path) if run.settings is None else json.dumps(run.settings, sort_keys=True)
        )
        found.setdefault((run.task_with_options, settings), []).append(run)
    for group in found.values():
        seen: dict[int, RunScore] = {}
        for run in group:
            if run.seed is None:
                continue
            if run.seed in seen:
                raise ConfigError(
                    f"--across: {seen[run.seed].path} and {run.path} are one seed of the same "
                    "settings, which would count twice: leave one out."
                )
            seen[run.seed] = run
    groups = []
    made_with = {run.task_with_options: run.task for run in runs}
    for (task, _), group in found.items():
        peers = [some[0] for (of, _), some in found.items() if of == task]
        means = np.array([run.evaluation.mean for run in group])
        estimates = bootstrapped(means), bootstrapped(means, of_middle=True)
        is_alone = list(made_with.values()).count(group[0].task) == 1
        title = group[0].task if is_alone else task
        groups.append(Group(title, _label(group[0], peers), group, *estimates))
    return groups


def report(groups: Sequence[Group]) -> dict[str, Any]:
    """The groups and how they compare, for across.json."""
    return {
        "groups": [
            {
                "task": group.task,
                "settings": group.label,
                "seeds": [run.seed for run in group.runs],
                "mean": group.mean.value,
                "mean_interval": ends_of(group.mean),
                "iqm": group.middle.value,
                "iqm_interval": ends_of(group.middle),
                "runs": [
                    {
                        "path": str(run.path),
                        "seed": run.seed,
                        "env_steps": run.env_steps,
                        "mean": run.evaluation.mean,
                        "std": run.evaluation.std,
                        "falls": sum(run.evaluation.terminated),
                    }
                    for run in group.runs
                ],
            }
            for group in groups
        ],
        "comparisons": [
            {
                "task": a.task,
                "a": a.label,
                "b": b.label,
                "probability_a_above_b": chance.value,
                "interval": ends_of(chance),
            }
            for a, b, chance in comparisons(groups)
        ],
    }


def comparisons(groups: Sequence[Group]) -> list[tuple[Group, Group, Estimate]]:
    """For each task of which there are two groups: both, and the probability that a run of the
    first is above one of the second."""
    found = []
    for task in dict.fromkeys(group.task for group in groups):
        of_task = [group for group in groups if group.task == task]
        if len(of_task) == 2:
            a, b = of_task
            found.append((a, b, chance_of_more(a.means, b.means)))
    return found


def _label(run: RunScore, peers: Sequence[RunScore]) -> str:
    """What sets the settings of `run` apart from those of the others of its task."""
    if run.settings is None:
        return run.path.name
    known = [peer.settings for peer in peers if peer.settings is not None]
    if len(known) < 2:
        return "the same settings"
    names = dict.fromkeys(name for settings in known for name in settings)
    apart = [x for x in names if len({json.dumps(one.get(x)) for one in known}) > 1]
    if len(apart) > _MOST_NAMED:
        return f"as in {run.path}"
    return ", ".join(f"{x} {_word(run.settings.get(x))}" for x in apart)


def _word(value: Any) -> str:
    if value is None:
        return "none"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
