"""The file that a measurement leaves: machine, settings, and each case's rounds."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mjx_dm import host
from mjx_dm.bench.cases import Case
from mjx_dm.bench.measure import Failure
from mjx_dm.bench.options import Options, batch_sizes
from mjx_dm.config import ConfigError, library_of
from mjx_dm.tasks import get_task

FORMAT_VERSION = 2
# What makes two measurements of one case different, besides the machine.
SETTINGS = (
    "task", "task_options", "preset", "learner", "replay_size", "steps", "seconds", "rounds",
)  # fmt: skip
_ASKED = (*SETTINGS, "parts", "engines", "physics", "num_envs")


def report(
    options: Options, machine: dict[str, Any], seen: Sequence[Case], failures: Sequence[Failure]
) -> dict[str, Any]:
    """Everything that has been measured so far, as JSON can hold it.

    Rates are in the row's `unit`; `rates` are the rounds, `q1` and `q3` their quartiles. Memory in
    MiB: `state_mib` and `temporary_mib` of the program by the compiler's account, `peak_mib` the
    most that the device (on a CPU the process) has held so far.
    """
    asked = {k: v for k, v in dataclasses.asdict(options).items() if k in _ASKED}
    return {
        "format": FORMAT_VERSION,
        "machine": machine,
        "options": asked | {"batch_size": batch_sizes(options)},
        "physics_steps_per_env_step": _frame_skip(options.task),
        "peak_mib": peak_mib(),
        "cases": [_row(case) for case in seen if case.rates],
        "failed": [failure._asdict() for failure in failures],
    }


def _frame_skip(task: str) -> int | None:
    """None where another library simulates, and counts for itself."""
    return None if library_of(task) else get_task(task).frame_skip


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, quartiles, least and greatest of `values`."""
    least, q1, median, q3, greatest = np.percentile(values, [0, 25, 50, 75, 100]).tolist()
    return {"median": median, "q1": q1, "q3": q3, "min": least, "max": greatest}


def read(path: Path) -> dict[str, Any]:
    """A report that the bench wrote. Raises ConfigError with one sentence if it is none."""
    try:
        content = json.loads(path.read_text())
        rows = content["cases"]
        for row in rows:
            if not (isinstance(row["part"], str) and isinstance(row["unit"], str)):
                raise TypeError("a case has no part or no unit")
            for key in ("median", "q1", "q3"):
                if not 0 < float(row[key]) < math.inf:
                    raise ValueError(f"{key} of a case is {row[key]}")
        if not isinstance(content["machine"], dict) or not isinstance(content["options"], dict):
            raise TypeError("machine and options are no objects")
        return content
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except KeyError as error:
        raise ConfigError(f"{path} was not written by --json: it has no {error}.") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} was not written by --json: {error}.") from error


def peak_mib() -> float | None:
    """Most memory held so far, in MiB: by the device's account, or the process's own on a CPU
    (None on Windows)."""
    held = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    if held is None:
        held = host.peak_memory()
    return None if held is None else held / 2**20


def _row(case: Case) -> dict[str, Any]:
    row = {"part": case.part, **case.settings, "unit": case.unit, **spread(case.rates)}
    for name, values in case.shares.items():
        if values:
            row[name] = spread(values)
    return row | {
        "rounds": len(case.rates),
        "rates": case.rates,
        "compile_seconds": case.compile_seconds,
        "state_mib": case.state_mib,
        "temporary_mib": case.temporary_mib,
    }
