"""Two settings beside each other, some seeds of each: what differs, and how sure that is.

python benchmarks/compare_runs.py --a cpu_runs/a_seed*.json --b cpu_runs/b_seed*.json --out ab.json

Runs are JSON files of benchmarks/export_run.py. They are compared at the evaluations that all
have, by environment steps. Per setting: the interquartile mean over the seeds with a 95% bootstrap
interval (Agarwal et al. 2021; rliable's aggregate_iqm is the same trimmed mean). Between them: the
difference of the means, b - a, with Welch's 95% interval, which is the stricter with few seeds.
--plot FILE.png draws every run, whole.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from scipy import stats

from mjx_dm.host import variable

with variable("MPLBACKEND", None):  # figures here have a backend of their own
    import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from mjx_dm.config import Config
from mjx_dm.files import write_json
from mjx_dm.report.intervals import bootstrapped
from mjx_dm.runs.plots import BLUE, STYLE, VERMILION
from mjx_dm.settings import flat

THRESHOLDS = (2000, 5000)
# The run's own evaluations end on whole launches, up to this many steps late.
LAUNCH = 3200
# Settings that change how long a run is and what is written of it, not what it learns.
_OF_LENGTH = {
    "preset", "run_dir", "resume", "env_steps", "minutes", "chunk_iterations",
    "checkpoint_minutes", "keep_checkpoints", "save_replay", "replay_minutes", "eval_every",
    "eval_episodes",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Options:
    """Compare runs of two settings."""

    a: list[Path]
    b: list[Path]
    out: Path
    names: tuple[str, str] = ("a", "b")
    plot: Path | None = None
    repeats: bool = False
    """Let a seed that was run twice under the same settings count as two runs."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = tyro.cli(Options, args=arguments)
    for path in filter(None, (options.out, options.plot)):
        if not path.parent.is_dir():
            return _complain(f"{path} cannot be written: there is no folder {path.parent}.")
    try:
        groups = [_curves(paths, options.repeats) for paths in (options.a, options.b)]
    except ValueError as error:
        return _complain(str(error))
    if min(map(len, groups)) < 2:
        return _complain("give at least two runs of each setting.")
    steps = shared_steps([curve for group in groups for curve in group])
    if not steps:
        return _complain("these runs share no environment step at which all were scored.")
    report: dict[str, Any] = {"names": options.names, "env_steps": steps, "rows": []}
    for name, measure in measures(steps).items():
        a, b = ([measure(curve) for curve in group] for group in groups)
        if np.all(np.isfinite(a + b)):
            report["rows"].append({"what": name, **compare(a, b)})
    write_json(options.out, report)
    if options.plot:
        _draw(options.plot, options.names, groups)
    _print(report)
    return 0


def _curves(paths: list[Path], repeats: bool) -> list[dict[int, float]]:
    """The curve of every run. Raises ValueError where one seed would count twice."""
    curves = []
    seen: dict[str, Path] = {}
    for path in paths:
        curve, settings = _read(path)
        if settings in seen and not repeats:
            raise ValueError(
                f"{seen[settings]} and {path} are one seed under the same settings and would "
                "count it twice; leave one out, or give --repeats if both are meant."
            )
        if settings:
            seen[settings] = path
        curves.append(curve)
    return curves


def _read(path: Path) -> tuple[dict[int, float], str]:
    """Return by environment steps, these rounded to where the evaluation was due, and the settings
    with the seed, as far as they change what is learned ("" where they were not written)."""
    try:
        report = json.loads(path.read_text())
        scores = {row["env_steps"]: row["eval_return"] for row in report["evaluations"]}
        settings = ""
        if "config" in report:
            told = report["config"]
            # Groups of settings, which older files had one of. What a file does not tell of was as
            # it is by default.
            groups = [value for value in told.values() if isinstance(value, dict)]
            whole = flat(Config()) | told
            for group in groups:
                whole |= group
            kept = {
                name: value
                for name, value in whole.items()
                if name not in _OF_LENGTH and not isinstance(value, dict)
            }
            settings = json.dumps(kept, sort_keys=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a file of benchmarks/export_run.py.") from error
    curve = {(steps + LAUNCH) // 10_000 * 10_000: score for steps, score in scores.items()}
    return curve, settings


def shared_steps(curves: list[dict[int, float]]) -> list[int]:
    """The environment steps at which every run was scored."""
    return sorted(set.intersection(*(set(curve) for curve in curves)))


def measures(steps: list[int]) -> dict[str, Any]:
    """Name -> a function of one run's curve."""
    returns = {f"return at {x:,}": (lambda curve, x=x: curve[x]) for x in steps}
    passed = {
        f"env steps to {x:,}": (lambda curve, x=x: steps_to(curve, steps, x)) for x in THRESHOLDS
    }
    return (
        returns | {"mean of the returns": lambda c: float(np.mean([c[x] for x in steps]))} | passed
    )


def steps_to(curve: dict[int, float], steps: list[int], threshold: float) -> float:
    """Environment steps to the first return of `threshold`, on straight lines between evaluations.

    NaN where it was not reached: no number would be fair, and the row is left out.
    """
    before = (0, 0.0)
    for x in steps:
        if curve[x] >= threshold:
            return before[0] + (x - before[0]) * (threshold - before[1]) / (curve[x] - before[1])
        before = (x, curve[x])
    return float("nan")


def compare(a: list[float], b: list[float]) -> dict[str, Any]:
    """IQM and interval of each, the difference of the means with its interval."""
    welch = stats.ttest_ind(b, a, equal_var=False).confidence_interval()
    return {
        "a": _iqm(a),
        "b": _iqm(b),
        "difference": float(np.mean(b) - np.mean(a)),
        "interval": [float(welch.low), float(welch.high)],
    }


def _iqm(values: list[float]) -> dict[str, Any]:
    middle = bootstrapped(np.array(values), of_middle=True)
    return {"seeds": values, "iqm": middle.value, "interval": [middle.low, middle.high]}


def _draw(path: Path, names: tuple[str, str], groups: list[list[dict[int, float]]]) -> None:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.0, 4.0), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        for name, colour, curves in zip(names, (BLUE, VERMILION), groups, strict=True):
            for i, curve in enumerate(curves):
                label = None if i else f"{name}, {len(curves)} runs"
                axes.plot(list(curve), list(curve.values()), color=colour, lw=1.2, label=label)
        axes.set_title("Return in Humanoid-v4")
        axes.set_xlabel("environment steps")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_ylim(bottom=0)
        axes.legend(loc="lower right")
        figure.savefig(path, format="png")


def _print(report: dict[str, Any]) -> None:
    first, second = report["names"]
    print(f"| | {first} | {second} | {second} - {first} |\n|---|---:|---:|---:|")
    for row in report["rows"]:
        cells = [f"{row[x]['iqm']:,.0f} ({_range(row[x]['interval'])})" for x in "ab"]
        change = f"{row['difference']:+,.0f} ({_range(row['interval'])})"
        print(f"| {row['what']} | {' | '.join(cells)} | {change} |")


def _complain(sentence: str) -> int:
    print(f"compare_runs.py: {sentence}", file=sys.stderr)
    return 2


def _range(interval: list[float]) -> str:
    return " to ".join(f"{x:,.0f}" for x in interval)


if __name__ == "__main__":
    sys.exit(main())
