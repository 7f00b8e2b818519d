"""TensorBoard's event files, written in the thread that trains.

tensorboardX writes them in a thread of its own, which dies of a full disk, and whoever adds the
eleventh value after that waits for ever.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

_FLUSH_SECONDS = 10.0
_RETRY_SECONDS = 60.0


class Events:
    """The events of a run in `folder`, in one file, or in another after each fault of the disk.

    What cannot be written is left out, and `say` told once. Steps from `purge_step` on that earlier
    files hold are void.
    """

    def __init__(self, folder: Path, purge_step: int | None, say: Callable[[str], None]) -> None:
        self._folder, self._purge_step, self._say = folder, purge_step, say
        self._is_told = False
        self._file: EventsWriter | None = None
        self._next_try = self._next_flush = time.monotonic()

    def write(self, step: int, values: Mapping[str, float | int], seconds: float | int) -> None:
        """Adds the scalars `values` of a step at a Unix time."""
        now = time.monotonic()
        if self._file is None and now < self._next_try:
            return
        try:
            self._file = self._file or self._open()
            scalars = [Summary.Value(tag=name, simple_value=x) for name, x in values.items()]
            event = Event(step=step, wall_time=seconds, summary=Summary(value=scalars))
            self._file.write_event(event)
            if now >= self._next_flush:
                self._file.flush()
                self._next_flush = now + _FLUSH_SECONDS
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """Flushes and closes the file."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                self._give_up(error)

    def _open(self) -> EventsWriter:
        self._folder.mkdir(parents=True, exist_ok=True)
        # Files are named by the second: without a suffix, two within one overwrite.
        file = EventsWriter(str(self._folder / "events"), f".{time.time_ns()}")
        if self._purge_step is not None:
            start = SessionLog(status=SessionLog.START)
            file.write_event(Event(step=self._purge_step, wall_time=time.time(), session_log=start))
            self._purge_step = None
        return file

    def _give_up(self, error: OSError) -> None:
        self._next_try = time.monotonic() + _RETRY_SECONDS
        file, self._file = self._file, None
        if file is not None:
            # Its buffer holds what the disk did not take, and would fail again.
            with contextlib.suppress(OSError):
                file.close()
        if not self._is_told:
            self._say(
                f"{self._folder} cannot be written ({error.strerror}): training goes on, and "
                f"TensorBoard lacks some of what {self._folder.parent} has in metrics.jsonl."
            )
        self._is_told = True
