"""What a run scored, as one JSON file: python benchmarks/export_run.py RUN_DIR OUT.json

The settings and every evaluation, with what the launch at its step told of the learner: the form of
the files in benchmarks/results/cpu_runs, of which those of changed copies have further columns.
"""

import math
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from mjx_dm import config
from mjx_dm.config import ConfigError
from mjx_dm.files import write_json
from mjx_dm.records import METRICS, read_metrics

OF_EVALUATION = (
    "train_seconds", "wall_seconds", "eval_return", "eval_return_std", "eval_episodes",
)  # fmt: skip
OF_LAUNCH = (
    "updates", "episode_return", "mean_sigma", "effective_components", "q_error", "policy_kl",
)  # fmt: skip


def main(
    run_dir: Annotated[Path, tyro.conf.Positional],
    out: Annotated[Path, tyro.conf.Positional],
    name: str = "",
    note: str = "",
) -> int:
    """Exports run_dir to out; returns the exit status."""
    try:
        if not out.parent.is_dir():
            raise ConfigError(f"{out} cannot be written: there is no folder {out.parent}.")
        settings = config.replace(config.load(run_dir / "config.json"), run_dir="")
        metrics = read_metrics(run_dir / METRICS)
    except (ConfigError, OSError, ValueError) as error:
        print(f"export_run.py: {error}", file=sys.stderr)
        return 2
    report = {
        "name": name or out.stem,
        "note": note,
        "config": config.to_json(settings),
        "evaluations": evaluations(metrics),
    }
    write_json(out, report)
    return 0


def evaluations(metrics: dict[str, list]) -> list[dict[str, Any]]:
    """One row for each step that was evaluated, in order.

    On an accelerator launches go on while episodes are played, and the score is written after them.
    """
    rows: dict[int, dict[str, Any]] = {}
    launches: dict[int, dict[str, float]] = {}
    for i, step in enumerate(metrics["step"]):
        values = {key: column[i] for key, column in metrics.items()}
        if not math.isnan(values["updates"]):
            launches[step] = values
        else:
            launch = launches[max(at for at in launches if at <= step)]
            row = {key: _short(values[key]) for key in OF_EVALUATION if key in values}
            of_launch = {k: _short(launch[k]) for k in OF_LAUNCH if k in launch}
            rows[step] = {"env_steps": step} | row | of_launch
    return list(rows.values())


def _short(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 3)


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
