"""Limits of time that a busy machine does not reach."""

import contextlib
import subprocess
import time
from pathlib import Path


class Limit:
    """`seconds` of a process from now on, less those that it waits for a core.

    A machine that is shared takes many times as long as one that is not; a process that hangs
    waits for no core.
    """

    def __init__(self, process: subprocess.Popen, seconds: float) -> None:
        self.process, self.seconds = process, seconds
        self.begun, self.before = time.monotonic(), in_line(process.pid)

    def is_over(self) -> bool:
        passed = time.monotonic() - self.begun
        return passed - (in_line(self.process.pid) - self.before) > self.seconds


def communicate(process: subprocess.Popen, seconds: float) -> tuple[str, str]:
    """What a process wrote until it ended, which may take `seconds`."""
    limit = Limit(process, seconds)
    while True:
        try:
            return process.communicate(timeout=0.2)
        except subprocess.TimeoutExpired:
            assert not limit.is_over(), f"it does not end within {seconds} s of its own time"


def in_line(pid: int) -> float:
    """Seconds that a process has waited for a core: of its threads the one that waited longest.

    0 where the system does not tell, as Linux alone does.
    """
    waits = [0]
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # a thread that has ended
            waits.append(int(path.read_text().split()[1]))
    return max(waits) / 1e9
