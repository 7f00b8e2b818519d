"""What TensorStore still writes after a save has failed, of which nobody is to be told."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class _ButForLateWrites:
    """A hook for errors that nobody can catch: `before`, for all but those of late writes."""

    before: Callable[[Any], Any]

    def __call__(self, error: Any) -> None:
        # No object: it was raised in a thread of C++.
        is_late = error.object is None and isinstance(error.exc_value, RuntimeError)
        if not (is_late and str(error.exc_value) == "Event loop is closed"):
            self.before(error)


def let_pass() -> None:
    """Has Python print nothing of them from now on.

    Orbax closes its event loop where the first of many writes fails. The others end later, in
    threads of TensorStore's, which cannot tell the loop; each would print a traceback.
    """
    if not isinstance(sys.unraisablehook, _ButForLateWrites):
        sys.unraisablehook = _ButForLateWrites(sys.unraisablehook)
