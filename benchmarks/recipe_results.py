"""The table and the figure of docs/results.md: python benchmarks/recipe_results.py

Reads every run in benchmarks/results/recipe, one JSON file of export_run.py a seed, and the
published returns in benchmarks/results/published.json. The table is printed; the figure goes to
docs/results.png. Return is the CPU Gymnasium environment's, mean action.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from mjx_dm.report.intervals import bootstrapped
from mjx_dm.runs.plots import BLUE, STYLE, VERMILION

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "benchmarks/results/recipe"
MARKS = (100_000, 200_000, 300_000, 1_000_000)
# An evaluation is at the first whole launch after the step at which it was due.
LATE = 0.05
NAMES = {
    "density_matching": "density matching",
    "tilted": "density matching, `--proposal tilted`",
    "sac": "SAC",
}
COLOURS = {"density_matching": BLUE, "tilted": "#009E73", "sac": VERMILION}


class Run(NamedTuple):
    """One seed: environment steps, minutes of training and returns of its evaluations."""

    task: str
    learner: str
    seed: int
    steps: np.ndarray
    minutes: np.ndarray
    returns: np.ndarray

    def at(self, mark: int) -> float | None:
        """The return of the evaluation that was due at `mark` steps; None where there is none."""
        near = (self.steps >= mark) & (self.steps <= mark * (1 + LATE))
        return float(self.returns[near][0]) if near.any() else None


def main() -> int:
    """Prints the table and draws the figure; returns the exit status."""
    runs = sorted(map(read, RUNS.glob("*.json")), key=lambda run: (run.task, run.learner, run.seed))
    if not runs:
        print(f"recipe_results.py: there are no runs in {RUNS}.", file=sys.stderr)
        return 2
    published = json.loads((ROOT / "benchmarks/results/published.json").read_text())
    print(table(runs, published))
    print()
    print(aggregate(runs, published))
    draw(ROOT / "docs/results.png", runs, published)
    return 0


def read(path: Path) -> Run:
    """The run in a file of export_run.py."""
    report = json.loads(path.read_text())
    config, rows = report["config"], report["evaluations"]
    policy = config["policy"]
    is_tilted = policy["learner"] == "density_matching" and policy["proposal"] == "tilted"
    return Run(
        task=config["task"]["task"],
        learner="tilted" if is_tilted else policy["learner"],
        seed=config["run"]["seed"],
        steps=np.array([row["env_steps"] for row in rows]),
        minutes=np.array([row["train_seconds"] for row in rows]) / 60,
        returns=np.array([row["eval_return"] for row in rows]),
    )


def grouped(runs: list[Run]) -> Iterator[tuple[str, str, list[Run]]]:
    """Task, learner and their seeds."""
    groups: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.task, run.learner].append(run)
    for (task, learner), seeds in groups.items():
        yield task, learner, seeds


def table(runs: list[Run], published: dict[str, Any]) -> str:
    """Markdown: a row for each task and learner, a column for each mark, and what is published."""
    shown = [mark for mark in MARKS if any(run.at(mark) is not None for run in runs)]
    heads = [_steps(mark) for mark in shown]
    lines = [
        f"| robot | learner | {' | '.join(heads)} "
        "| FlashSAC at the same steps | highest published at 1M |",
        f"|---|---|{'---:|' * (len(shown) + 2)}",
    ]
    for task, learner, seeds in grouped(runs):
        cells = [_cell([run.at(mark) for run in seeds]) for mark in shown]
        marks = published["flashsac"].get(task, {})
        beside = ", ".join(f"{marks[x]:,}" for x in map(str, shown) if x in marks)
        name, best = _best(published, task)
        lines.append(
            f"| {task} | {NAMES[learner]} | {' | '.join(cells)} | {beside} | {best:,} ({name}) |"
        )
    return "\n".join(lines)


def aggregate(runs: list[Run], published: dict[str, Any]) -> str:
    """The interquartile mean, over robots and seeds, of the return at a mark over the highest
    published at 1M, with a 95% bootstrap interval (Agarwal et al. 2021)."""
    lines = []
    for learner in NAMES:
        for mark in MARKS:
            scores = [
                found / _best(published, run.task)[1]
                for run in runs
                if run.learner == learner and (found := run.at(mark)) is not None
            ]
            robots = {run.task for run in runs if run.learner == learner and run.at(mark)}
            if len(scores) < 3:
                continue
            middle = bootstrapped(np.array(scores), of_middle=True)
            lines.append(
                f"{NAMES[learner]} at {_steps(mark)}: {middle.value:.2f} "
                f"({middle.low:.2f} to {middle.high:.2f}) of the highest published return at "
                f"1M steps, {len(scores)} runs of {len(robots)} robots"
            )
    return "\n".join(lines)


def draw(path: Path, runs: list[Run], published: dict[str, Any]) -> None:
    """One panel a robot: the mean over seeds, the band from the least to the most."""
    tasks = sorted({run.task for run in runs})
    with matplotlib.rc_context(STYLE):
        rows = -(-len(tasks) // 3)
        figure = Figure(figsize=(10, 3.0 * rows), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(rows, 3, squeeze=False).ravel()
        for axes in panels[len(tasks) :]:
            axes.set_axis_off()
        for axes, task in zip(panels[: len(tasks)], tasks, strict=True):
            last = 0
            for of, learner, seeds in grouped(runs):
                if of != task:
                    continue
                steps = np.unique(np.concatenate([run.steps for run in seeds]))
                # Where every seed has been scored.
                first, end = max(x.steps[0] for x in seeds), min(x.steps[-1] for x in seeds)
                steps = steps[(steps >= first) & (steps <= end)]
                curves = np.stack([np.interp(steps, run.steps, run.returns) for run in seeds])
                colour, label = COLOURS[learner], f"{learner.replace('_', ' ')} ({len(seeds)})"
                axes.plot(steps, curves.mean(0), color=colour, label=label)
                band = curves.min(0), curves.max(0)
                axes.fill_between(steps, *band, color=colour, alpha=0.2, lw=0)
                last = max(last, steps[-1])
            marks = {int(x): y for x, y in published["flashsac"].get(task, {}).items()}
            shown = {x: y for x, y in marks.items() if x <= last * 1.05}
            if shown:
                axes.plot(list(shown), list(shown.values()), "k^", ms=5, label="FlashSAC")
            axes.set_title(task)
            axes.set_xlabel("environment steps")
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            axes.set_ylim(bottom=0)
            axes.legend(loc="lower right", fontsize=7)
        figure.savefig(path, format="png", dpi=110)


def _best(published: dict[str, Any], task: str) -> tuple[str, int]:
    return max(published["at_1M"][task].items(), key=lambda item: item[1])


def _cell(found: list[float | None]) -> str:
    values = [x for x in found if x is not None]
    if not values:
        return ""
    spread = f" ± {np.std(values, ddof=1):,.0f}" if len(values) > 1 else ""
    return f"{np.mean(values):,.0f}{spread} ({len(values)})"


def _steps(mark: int) -> str:
    return f"{mark / 1e6:g}M"


if __name__ == "__main__":
    sys.exit(main())
