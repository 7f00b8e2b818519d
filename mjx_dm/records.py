"""What a run has recorded: its metrics.jsonl, read."""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

METRICS = "metrics.jsonl"


def read_metrics(path: str | os.PathLike) -> dict[str, list]:
    """Reads a `metrics.jsonl`: name -> one value per record, NaN where it has none.

    All lists have the same length and order, that of `"step"` (ints). A half-written last line is
    left out.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line other than the last is not a record.
    """
    found = [record for _, record in records(Path(path))]
    names = dict.fromkeys(name for record in found for name in record)
    columns: dict[str, list] = {"step": []}
    for name in names:
        values = [record.get(name) for record in found]
        columns[name] = [math.nan if value is None else value for value in values]
    return columns


def wall_seconds(metrics: dict[str, list], step: int) -> float:
    """What the run had taken when it was last heard of at `step` or before."""
    seconds = metrics.get("wall_seconds", [math.nan] * len(metrics["step"]))
    known = zip(metrics["step"], seconds, strict=True)
    return max((s for at, s in known if at <= step and not math.isnan(s)), default=0.0)


def records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (line, record); a broken line is an error unless nothing follows it."""
    broken = None
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            if broken is not None:
                raise ValueError(f"Line {broken} of {path} is not a metrics record: remove it.")
            try:
                record = json.loads(line)
                is_record = line.endswith("\n") and isinstance(record["step"], int)
            except (ValueError, TypeError, KeyError):
                is_record = False
            if is_record:
                yield line, record
            else:
                broken = number
