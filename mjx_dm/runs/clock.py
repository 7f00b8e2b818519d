"""Where the wall-clock time of a run goes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class WallClock:
    """Seconds since it was made, `before` included, and what they were spent on.

    Args:
        before: seconds that a resumed run took until it was saved.
        clock: seconds.
    """

    def __init__(self, before: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.before = before
        self._clock, self._began = clock, clock()
        self._spent: dict[str, float] = {}

    def seconds(self) -> float:
        """Wall-clock seconds of the run so far, those before it was resumed included."""
        return self.before + self._clock() - self._began

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Counts the time inside for `what`."""
        start = self._clock()
        try:
            yield
        finally:
            self.spent(what, self._clock() - start)

    def spent(self, what: str, seconds: float) -> None:
        """Counts `seconds` for `what`."""
        self._spent[what] = self._spent.get(what, 0.0) + seconds

    def split(self) -> dict[str, float]:
        """What the seconds since it was made were spent on, the rest as "other"."""
        total = self._clock() - self._began
        return self._spent | {"other": max(0.0, total - sum(self._spent.values()))}

    def __str__(self) -> str:
        """The seconds since it was made: "308 s: training 165 s, other 143 s"."""
        parts = self.split()
        what = ", ".join(f"{what} {s:.0f} s" for what, s in parts.items())
        return f"{sum(parts.values()):.0f} s: {what}"
