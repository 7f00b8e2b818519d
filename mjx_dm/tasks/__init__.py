"""Robots as values: what engines, environments, learner and evaluation need to know of one.

A module of `mjx_dm.tasks.robots` names its tasks in TASKS, {name: function of options -> Task}, and
is found by itself.
"""

import ast
import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from mjx_dm.config import ConfigError
from mjx_dm.tasks import robots
from mjx_dm.tasks.task import Fields, Task

__all__ = ["Fields", "Task", "get_task", "parse_options", "task_names"]


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

    `get_task("Ant-v5", contact_cost_weight=0.0)`. A Task is given back as it is. Raises
    ConfigError where the name or an option is unknown or the task cannot run here.
    """
    if isinstance(name, Task):
        return name
    make = _tasks().get(name)
    if make is None:
        raise ConfigError(f"--task {name} is unknown; choose from {', '.join(task_names())}.")
    known = inspect.signature(make).parameters
    for option in options:
        if option not in known:
            names = ", ".join(known) or "it has none"
            raise ConfigError(f"{name} has no option {option!r}; its options: {names}.")
    return make(**options)


def parse_options(texts: Iterable[str]) -> dict[str, Any]:
    """Options of a task from NAME=VALUE texts; values are Python literals, else strings.

    Raises ConfigError where one is not understood.
    """
    options: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise ConfigError(f"--task-options {text} is not understood; give NAME=VALUE.")
        try:
            options[name] = ast.literal_eval(value)
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            options[name] = {"inf": math.inf, "-inf": -math.inf}.get(value, value)
    return options
