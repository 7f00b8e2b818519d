"""How a run or a measurement is told to stop."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_on_signal(say: Callable[[str], None]) -> Iterator[threading.Event]:
    """The first SIGINT or SIGTERM sets the event, and says so; a second one acts as usual."""
    stop = threading.Event()
    previous: dict[int, Any] = {}

    def handle(number: int, _: Any) -> None:
        stop.set()
        signal.signal(number, previous[number])
        say(
            "Stopping: what is being simulated or scored ends, and the run is saved; a second "
            "signal ends it at once."
        )

    for chosen in (signal.SIGINT, signal.SIGTERM):
        previous[chosen] = signal.signal(chosen, handle)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def is_interrupt(error: BaseException) -> bool:
    """Whether `error` is Ctrl-C, or what XLA makes of one that comes while the C engine steps: an
    error of its own with Python's in its text."""
    return isinstance(error, KeyboardInterrupt) or "KeyboardInterrupt" in str(error)
