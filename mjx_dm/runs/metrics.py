"""What a run records while it trains: metrics.jsonl, and what its loggers are handed.

Nothing here touches a device: values arrive as numbers, already fetched. A fault of the disk never
reaches the run: what cannot be written is told once and tried again.
"""

import collections
import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, SupportsIndex

from mjx_dm import host
from mjx_dm.config import Config
from mjx_dm.records import METRICS, records
from mjx_dm.runs.loggers import open_loggers

# Records that wait for a disk that is full; at a line a second, more than a day.
_MOST_WAITING = 100_000


class MetricsWriter:
    """Appends each record to `metrics.jsonl`, flushed at once, and hands it to the loggers.

    A record that cannot be written waits in memory, in its place, until the disk takes it.

    Args:
        run_dir: the run's directory; made if absent.
        resume: False begins a curve (a `metrics.jsonl` already there is moved aside under its
            time of writing, not overwritten). The env step that was restored drops every line
            after it, so that the curve has one value per step. True goes on after the last line.
        say: told once, in a sentence, that a file cannot be written, and that it can be again.
        config: which loggers there are besides TensorBoard; None for none.

    Raises:
        OSError: the files cannot be opened.
        ValueError: on resume, a line other than the last is not a record.
    """

    def __init__(
        self,
        run_dir: str | os.PathLike,
        resume: bool | int = False,
        say: Callable[[str], None] = lambda text: None,
        config: Config | None = None,
    ) -> None:
        run_dir = Path(run_dir)
        run_dir.mkdir(parents=True, exist_ok=True)
        self._path, self._say = run_dir / METRICS, say
        if resume is False:
            _move_aside(self._path)
            purge_step: int | None = 0
        else:
            last = None if resume is True else resume
            _drop_after(self._path, last)
            purge_step = None if last is None else last + 1
        self._file = self._path.open("ab", buffering=0)
        self._whole = self._file.seek(0, os.SEEK_END)
        self._waiting: collections.deque[bytes] = collections.deque(maxlen=_MOST_WAITING)
        self._is_told = False
        self._loggers = open_loggers(run_dir, config, say, purge_step)

    def write(self, step: SupportsIndex, values: Mapping[str, Any]) -> None:
        """Writes one record: `{"step": step, "time": Unix seconds, **values}`.

        Args:
            step: env steps so far.
            values: numbers, NumPy scalars or arrays of one element. Integers stay integers; a
                non-finite value becomes null and is left out of the loggers.

        Raises:
            TypeError: a value is not a single number.
            ValueError: a value is called "step" or "time".
        """
        if reserved := {"step", "time"} & set(values):
            raise ValueError(f"The metric name {min(reserved)!r} is taken by the record itself.")
        numbers = {name: _to_number(name, value) for name, value in values.items()}
        record = {"step": int(step), "time": (now := round(time.time(), 3)), **numbers}
        self._waiting.append((json.dumps(record, allow_nan=False) + "\n").encode())
        self._write_waiting()
        known = {name: x for name, x in numbers.items() if x is not None}
        self._loggers.scalars(int(step), known, now)

    def close(self) -> None:
        """Flushes and closes everything; calling it again does nothing."""
        if not self._file.closed:
            self._write_waiting()
            if self._waiting:
                self._say(f"{len(self._waiting)} records of {self._path} are lost.")
            self._file.close()
            self._loggers.close()

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _write_waiting(self) -> None:
        if not self._waiting:
            return
        data = memoryview(b"".join(self._waiting))
        try:
            while data:  # a disk that is nearly full takes a part and no error
                data = data[self._file.write(data) :]
        except OSError as error:
            # Half a line would spoil the one that follows.
            with contextlib.suppress(OSError):
                self._file.truncate(self._whole)
            if not self._is_told:
                self._say(
                    f"{self._path} cannot be written ({error.strerror}): training goes on, and "
                    "the records wait in memory until it can."
                )
            self._is_told = True
            return
        self._whole += sum(map(len, self._waiting))
        self._waiting.clear()
        if self._is_told:
            self._say(f"{self._path} is written again, and nothing of it is missing.")
        self._is_told = False


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
    host.fsync(temporary)
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
