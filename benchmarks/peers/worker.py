"""A contender's side: a process of its own that works when it is told to. Standard library only,
since every environment of a peer runs it.

It says that it is ready, with what there is to tell of it. Then every line that it gets is a number
of seconds to work for, and every answer how much was done in how long, and in how many seconds of
the processor.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Of the lines that are answers; a library may print what it likes.
MARK = "peer: "


def serve(launch: Callable[[], int], **about: Any) -> None:
    """Answers until the input ends. `launch` works once, and returns how much it did."""
    launch()
    _say(about)
    for line in sys.stdin:
        seconds, work = float(line), 0
        start, cpu_start = time.perf_counter(), _cpu_seconds()
        while time.perf_counter() - start < seconds:
            work += launch()
        took, busy = time.perf_counter() - start, _cpu_seconds() - cpu_start
        _say({"work": work, "seconds": took, "cpu_seconds": busy})


def _cpu_seconds() -> float:
    """Of all threads of this process and, on Linux, of its children."""
    total = time.process_time()
    for listed in Path("/proc/self/task").glob("*/children"):
        for child in listed.read_text().split():
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            # utime and stime, in ticks: proc_pid_stat(5).
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def _say(answer: dict[str, Any]) -> None:
    print(MARK + json.dumps(answer), flush=True)
