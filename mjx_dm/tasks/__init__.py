"""Robots as values: what engines, environments, learner and evaluation need to know of one.

A module of `mjx_dm.tasks.robots` names its tasks in TASKS, {name: function of options -> Task}, and
is found by itself. A file of a user's own is named by its path: `loading`.
"""

import ast
import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import cache
from typing import Any

from mjx_dm.config import ConfigError, library_of
from mjx_dm.tasks import loading, robots
from mjx_dm.tasks.checking import check
from mjx_dm.tasks.libraries import LibraryTask, library_task
from mjx_dm.tasks.making import make_task
from mjx_dm.tasks.task import Fields, Task

__all__ = [
    "Fields", "LibraryTask", "Task", "any_task", "check", "get_task", "make_task", "parse_options",
    "task_names",
]  # fmt: skip


@cache
def _tasks() -> dict[str, Callable[..., Task]]:
    found: dict[str, Callable[..., Task]] = {}
    for module in pkgutil.iter_modules(robots.__path__):
        found |= importlib.import_module(f"{robots.__name__}.{module.name}").TASKS
    return found


def task_names() -> list[str]:
    """The names that `get_task` knows."""
    return sorted(_tasks())


def get_task(name: str | Task, **options: Any) -> Task:
    """The task of that name, with options of Gymnasium's constructor of that environment.

    `get_task("Ant-v5", contact_cost_weight=0.0)`; `get_task("path/my_robot.py")`, or
    `"path/my_robot.py:NAME"`, for one of a Python file's TASKS. A Task is given back as it is.
    Raises ConfigError where the name or an option is unknown or the task cannot run here.
    """
    if isinstance(name, Task):
        return name
    if loading.names_a_file(name):
        return loading.load(name, **options)
    if library := library_of(name):
        raise ConfigError(
            f"{name} is simulated by {library} itself: it is trained, scored, filmed and measured "
            "under its name, and has no Task."
        )
    make = _tasks().get(name)
    if make is None:
        near = get_close_matches(name, task_names(), 1)
        said = f" ({near[0]} is near it)" if near else ""
        raise ConfigError(
            f"--task {name} is unknown{said}; choose from {', '.join(task_names())}, or give a "
            "Python file: my_robot.py."
        )
    known = inspect.signature(make).parameters
    for option in options:
        if option not in known:
            names = ", ".join(known) or "it has none"
            raise ConfigError(f"{name} has no option {option!r}; its options: {names}.")
    return make(**options)


def any_task(name: str | Task | LibraryTask, **options: Any) -> Task | LibraryTask:
    """The task of that name, of this program as `get_task` has it, or an environment of Brax
    (brax:ant) or MuJoCo Playground (playground:CartpoleBalance) with its own options.

    Raises ConfigError where it is unknown, an option is, or it cannot run here.
    """
    if isinstance(name, LibraryTask):
        return name
    if isinstance(name, str) and library_of(name):
        return library_task(name, options)
    return get_task(name, **options)


def parse_options(texts: Iterable[str]) -> dict[str, Any]:
    """Options of a task from NAME=VALUE texts; values are Python literals, else strings.

    Raises ConfigError where one is not understood.
    """
    options: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not all(part.isidentifier() for part in name.split(".")):
            raise ConfigError(f"--task-options {text} is not understood; give NAME=VALUE.")
        try:
            options[name] = ast.literal_eval(value)
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            options[name] = {"inf": math.inf, "-inf": -math.inf}.get(value, value)
    return options
