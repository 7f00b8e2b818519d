"""How a run or a measurement is told to stop."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# Ctrl-C, kill and time limits, a terminal that closes, Slurm's --signal=USR1. Windows has two.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
# How long the main thread sleeps at most before it looks for signals that came to another one.
WAKE_SECONDS = 0.2
# What a shell says of a program that wrote to a pipe whose reader has gone.
CLOSED_PIPE = 13


class Stop(threading.Event):
    """Set once a run is to stop; `number` is the signal that said so."""

    def __init__(self) -> None:
        super().__init__()
        self.number: int | None = None

    def by(self, number: int) -> None:
        """Stops, for the signal of that number."""
        self.number = number
        self.set()


@contextmanager
def stop_on_signal(say: Callable[[str], None]) -> Iterator[Stop]:
    """The first SIGINT, SIGTERM, SIGHUP or SIGUSR1 stops, and says so; a second one acts as usual.

    Signals that whoever started the program has it ignore (nohup: SIGHUP) stay ignored. In a thread
    other than the first, where Python allows no handlers, signals are left alone.
    """
    stop = Stop()
    previous: dict[int, Any] = {}

    def handle(number: int, _: Any) -> None:
        stop.by(number)
        _restore(previous)
        # The signal may have come while a line was being written.
        with contextlib.suppress(RuntimeError):
            say(
                "Stopping: what is being simulated or scored ends, and the run is saved; a second "
                "signal ends it at once."
            )

    if threading.current_thread() is threading.main_thread():
        for name in _NAMES:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                previous[number] = signal.signal(number, handle)
    try:
        yield stop
    finally:
        _restore(previous)


def is_interrupt(error: BaseException) -> bool:
    """Whether `error` is Ctrl-C, or what XLA makes of one that comes while the C engine steps: an
    error of its own with Python's in its text."""
    return isinstance(error, KeyboardInterrupt) or "KeyboardInterrupt" in str(error)


def _restore(previous: dict[int, Any]) -> None:
    for number, handler in previous.items():
        # None: it was set by a program around this one, and Python cannot put it back.
        signal.signal(number, signal.SIG_DFL if handler is None else handler)
