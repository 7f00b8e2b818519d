"""Limits of time that a busy machine does not reach."""

import contextlib
import subprocess
import time
from pathlib import Path


class Limit:
    """`seconds` of a process from now on, less those that it waits for a core.

    A machine that is shared takes many times as long as one that is not; a process that hangs
    waits for no core. To be asked again and again: what a thread waited before it ended is known
    from the time before.
    """

    def __init__(self, process: subprocess.Popen, seconds: float) -> None:
        self.process, self.ends = process, time.monotonic() + seconds
        self._in_line = in_line(process.pid)

    def is_over(self) -> bool:
        now = in_line(self.process.pid)
        self.ends += max((x - self._in_line.get(i, 0.0) for i, x in now.items()), default=0.0)
        self._in_line = now
        return time.monotonic() > self.ends


def give(process: subprocess.Popen, seconds: float) -> None:
    """Waits until a process has had so long, or has ended."""
    limit = Limit(process, seconds)
    while process.poll() is None and not limit.is_over():
        time.sleep(0.1)


def communicate(process: subprocess.Popen, seconds: float) -> tuple[str, str]:
    """What a process wrote until it ended, which may take `seconds`."""
    limit = Limit(process, seconds)
    while True:
        try:
            return process.communicate(timeout=0.1)
        except subprocess.TimeoutExpired:
            assert not limit.is_over(), f"it does not end within {seconds} s of its own time"


def in_line(pid: int) -> dict[str, float]:
    """Seconds that each thread of a process has waited for a core; Linux alone tells."""
    waits = {}
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError, IndexError):  # a thread that has ended
            waits[path.parent.name] = int(path.read_text().split()[1]) / 1e9
    return waits
