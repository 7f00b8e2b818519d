"""Several loggers as one, none of whose faults reaches the run."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

# Until a logger that failed is tried again; twice as long after each further fault.
_RETRY_SECONDS = 60.0


@runtime_checkable
class Logger(Protocol):
    """Where numbers and films go. Methods may raise anything."""

    def scalars(self, step: int, values: Mapping[str, float | int], seconds: float | int) -> None:
        """Adds `values` of an environment step at a Unix time."""

    def film(self, step: int, path: Path) -> None:
        """Adds an MP4 file of the policy at an environment step."""

    def close(self) -> None:
        """Writes what is left. Nothing follows."""


class Loggers:
    """Hands everything to each logger, which is made when it is first needed.

    Args:
        makers: by what each writes to, in words.
        say: told once for each that fails, in a sentence.
    """

    def __init__(
        self, makers: Mapping[str, Callable[[], Logger]], say: Callable[[str], None]
    ) -> None:
        self._all = [_Guarded(place, make, say) for place, make in makers.items()]

    def scalars(self, step: int, values: Mapping[str, float | int], seconds: float | int) -> None:
        """Adds `values` of an environment step at a Unix time, where that can be."""
        for logger in self._all:
            logger.attempt("scalars", step, values, seconds)

    def film(self, step: int, path: Path) -> None:
        """Adds an MP4 file, where that can be."""
        for logger in self._all:
            logger.attempt("film", step, path)

    def close(self) -> None:
        """Closes each that was needed."""
        for logger in self._all:
            logger.close()


class _Guarded:
    """One logger; `place` is what it writes to."""

    def __init__(self, place: str, make: Callable[[], Logger], say: Callable[[str], None]) -> None:
        self._place, self._make, self._say = place, make, say
        self._logger: Logger | None = None
        self._is_told = False
        self._next_try, self._wait = -1.0, _RETRY_SECONDS

    def attempt(self, method: str, *values: Any) -> None:
        if time.monotonic() < self._next_try:
            return
        try:
            self._logger = self._logger or self._make()
            getattr(self._logger, method)(*values)
        except Exception as error:  # whatever another package meets, training goes on
            self._fail(error)

    def close(self) -> None:
        if self._logger is None:
            return
        try:
            self._logger.close()
        except Exception as error:  # whatever another package meets, training goes on
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._next_try = time.monotonic() + self._wait
        self._wait *= 2
        if not self._is_told:
            self._is_told = True
            reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            self._say(
                f"{self._place} cannot be written ({' '.join(reason.split())[:200]}): training "
                "goes on, and it lacks some of what metrics.jsonl has."
            )
