"""What a run records while it trains: metrics.jsonl and TensorBoard events.

Nothing here touches a device: values arrive as numbers, already fetched.
"""

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, SupportsIndex

import tensorboardX

from mjx_dm.records import METRICS, records

TENSORBOARD = "tensorboard"


class MetricsWriter:
    """Appends each record to `metrics.jsonl`, flushed at once, and to TensorBoard events.

    Args:
        run_dir: the run's directory; made if absent.
        resume: False begins a curve (a `metrics.jsonl` already there is moved aside under its
            time of writing, not overwritten). The env step that was restored drops every line
            after it, so that the curve has one value per step. True goes on after the last line.

    Raises:
        OSError: the files cannot be written.
        ValueError: on resume, a line other than the last is not a record.
    """

    def __init__(self, run_dir: str | os.PathLike, resume: bool | int = False) -> None:
        run_dir = Path(run_dir)
        run_dir.mkdir(parents=True, exist_ok=True)
        path = run_dir / METRICS
        if resume is False:
            _move_aside(path)
            purge_step: int | None = 0
        else:
            last = None if resume is True else resume
            _drop_after(path, last)
            purge_step = None if last is None else last + 1
        self._file = path.open("a", encoding="utf-8")
        # tensorboardX names files by the second: without a suffix, two within one overwrite.
        self._tensorboard = tensorboardX.SummaryWriter(
            str(run_dir / TENSORBOARD),
            purge_step=purge_step,
            flush_secs=10,
            filename_suffix=f".{time.time_ns()}",
        )

    def write(self, step: SupportsIndex, values: Mapping[str, Any]) -> None:
        """Writes one record: `{"step": step, "time": Unix seconds, **values}`.

        Args:
            step: env steps so far.
            values: numbers, NumPy scalars or arrays of one element. Integers stay integers; a
                non-finite value becomes null and is left out of TensorBoard.

        Raises:
            TypeError: a value is not a single number.
            ValueError: a value is called "step" or "time".
        """
        if reserved := {"step", "time"} & set(values):
            raise ValueError(f"The metric name {min(reserved)!r} is taken by the record itself.")
        numbers = {name: _to_number(name, value) for name, value in values.items()}
        record = {"step": int(step), "time": round(time.time(), 3), **numbers}
        self._file.write(json.dumps(record, allow_nan=False) + "\n")
        self._file.flush()
        for name, number in numbers.items():
            if number is not None:
                self._tensorboard.add_scalar(name, number, int(step))

    def close(self) -> None:
        """Flushes and closes both files; calling it again does nothing."""
        if not self._file.closed:
            self._file.close()
            self._tensorboard.close()

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


# Files --------------------------------------------------------------------------------------------


def _drop_after(path: Path, last: int | None) -> None:
    """Rewrites `path` atomically with its whole lines, up to and including the step `last`."""
    if not path.exists():
        return
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as kept:
        for line, record in records(path):
            if last is None or record["step"] <= last:
                kept.write(line)
        kept.flush()
        os.fsync(kept.fileno())
    os.replace(temporary, path)


def _move_aside(path: Path) -> None:
    if path.exists():
        written = time.strftime("%Y%m%d-%H%M%S", time.localtime(path.stat().st_mtime))
        os.replace(path, path.with_name(f"{path.stem}-{written}{path.suffix}"))


def _to_number(name: str, value: Any) -> int | float | None:
    number = value.item() if getattr(value, "size", None) == 1 else value
    if not isinstance(number, (bool, int, float)):
        raise TypeError(f"The metric {name} is a {type(value).__name__}, not a single number.")
    return number if math.isfinite(number) else None
