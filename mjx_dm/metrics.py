"""What the host loop writes while it trains: metrics.jsonl, TensorBoard events, progress.

Nothing here touches a device: values arrive as numbers, already fetched.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import tensorboardX
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

METRICS = "metrics.jsonl"
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
        purge_step = None
        if resume is False:
            _move_aside(path)
            purge_step = 0
        elif path.exists():
            _drop_after(path, math.inf if resume is True else resume)
        if resume is not False and resume is not True:
            purge_step = resume + 1
        self._file = path.open("a", encoding="utf-8")
        # tensorboardX names files by the second: without a suffix, two within one overwrite.
        self._tensorboard = tensorboardX.SummaryWriter(
            str(run_dir / TENSORBOARD),
            purge_step=purge_step,
            flush_secs=10,
            filename_suffix=f".{time.time_ns()}",
        )

    def write(self, step: int, values: Mapping[str, Any]) -> None:
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def read_metrics(path: str | os.PathLike) -> dict[str, list]:
    """Reads a `metrics.jsonl`: name -> one value per record, NaN where it has none.

    All lists have the same length and order, that of `"step"` (ints). A half-written last line is
    left out.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line other than the last is not a record.
    """
    records = [record for _, record in _records(Path(path))]
    names = dict.fromkeys(name for record in records for name in record)
    columns: dict[str, list] = {"step": []}
    for name in names:
        values = [record.get(name) for record in records]
        columns[name] = [math.nan if value is None else value for value in values]
    return columns


class Progress:
    """Progress for people: a live display on a terminal, a line every few seconds elsewhere.

    Args:
        total_env_steps: where the run ends, counted as `update`'s env_steps.
        interval: least seconds between two lines of plain text; the first update and the last are
            always written.
        console: where to write; standard output by default.
        clock: seconds, for `interval`.
    """

    def __init__(
        self,
        total_env_steps: int,
        *,
        interval: float = 5.0,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total = total_env_steps
        self._interval = interval
        self._console = console or Console()
        self._clock = clock
        self._live = Live(console=self._console, refresh_per_second=4)
        self._last_line_at = -math.inf
        self._pending: str | None = None

    def __enter__(self) -> "Progress":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()
        self._write_pending()

    def update(
        self,
        env_steps: int,
        steps_per_second: float,
        updates: int,
        episode_return: float | None,
        episode_length: float | None,
    ) -> None:
        """Shows where the run is; a return or length of None or NaN (no episode yet) is a dash."""
        facts = [
            f"{_number(steps_per_second)} steps/s",
            f"{_number(updates)} updates",
            f"return {_number(episode_return)}",
            f"length {_number(episode_length)}",
            f"ETA {_duration(_ratio(self._total - env_steps, steps_per_second))}",
        ]
        share = min(1.0, env_steps / self._total) if self._total > 0 else 1.0
        facts.insert(0, f"{share:4.0%}  {_number(env_steps)} of {_number(self._total)} env steps")
        line = " | ".join(facts)
        if self._console.is_terminal:
            display = Table.grid(expand=True)
            display.add_row(ProgressBar(total=1.0, completed=share))
            display.add_row(Text(line))
            self._live.update(display)
            return
        self._pending = line
        if self._clock() - self._last_line_at >= self._interval:
            self._write_pending()

    def say(self, text: str) -> None:
        """Writes a message above the live display, or a line of its own."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _write_pending(self) -> None:
        if self._pending is not None:
            self.say(self._pending)
            self._pending = None
            self._last_line_at = self._clock()


# Files --------------------------------------------------------------------------------------------


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
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


def _drop_after(path: Path, step: float) -> None:
    """Rewrites `path` atomically with the whole lines up to and including `step`."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as kept:
        kept.writelines(line for line, record in _records(path) if record["step"] <= step)
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


# Words for people ---------------------------------------------------------------------------------


def _number(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:,.0f}"


def _ratio(left: float, rate: float) -> float:
    return max(left, 0) / rate if math.isfinite(rate) and rate > 0 else math.nan


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"
