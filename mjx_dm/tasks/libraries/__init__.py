"""Environments of other libraries, by name: `brax:ant`, `playground:CartpoleBalance`.

They bring their own simulation, resets and rewards, and no library is imported before one of its
names is asked for.
"""

import difflib
import importlib
from typing import Any

from mjx_dm.config import ConfigError, library_of
from mjx_dm.groups import LIBRARIES
from mjx_dm.tasks.libraries.task import LibraryTask

__all__ = ["LibraryTask", "library_names", "library_task"]

_PACKAGES = {"brax": "brax", "playground": "mujoco_playground"}


def library_names(library: str) -> list[str]:
    """The tasks of one of LIBRARIES, "brax:ant" and such. Raises ConfigError where it is not
    installed."""
    return [f"{library}:{name}" for name in _module(library).names()]


def library_task(name: str, options: dict[str, Any]) -> LibraryTask:
    """The task of that name.

    Raises ConfigError where the library is not installed, it has no such environment or the
    environment cannot be made.
    """
    library = library_of(name)
    assert library is not None, f"{name} is of no library"
    module, own = _module(library), name.partition(":")[2]
    known = module.names()
    if own not in known:
        near = difflib.get_close_matches(own, known, n=3, cutoff=0.4) or sorted(known)
        raise ConfigError(
            f"--task {name} is unknown; near it are {', '.join(f'{library}:{x}' for x in near)}."
        )
    return module.load(own, options)


def _module(library: str) -> Any:
    assert library in LIBRARIES, library
    try:
        return importlib.import_module(f"mjx_dm.tasks.libraries.{library}")
    except ModuleNotFoundError as error:
        if error.name != _PACKAGES[library]:
            raise
        raise ConfigError(
            f"Tasks of {library} need the package {library}, which is not installed: pip install "
            f"'mjx-dm[{library}]' brings it."
        ) from error
