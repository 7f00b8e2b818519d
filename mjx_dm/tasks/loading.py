"""Tasks from Python files of a user's own, and the copies of them that runs keep.

A file names its tasks in TASKS, {name: Task or function of options -> Task}, and is named by its
path, FILE.py, or FILE.py:NAME where TASKS holds several.
"""

import dataclasses
import inspect
import re
import sys
import types
from pathlib import Path
from typing import Any

import mujoco

from mjx_dm.config import ConfigError
from mjx_dm.tasks.checking import check, in_one_line, line_in
from mjx_dm.tasks.libraries import LibraryTask
from mjx_dm.tasks.making import Mjcf
from mjx_dm.tasks.task import Task

FOLDER = "task"
"""Of a run, or beside a policy: the copies of the files that its task was read from."""

_EXAMPLE = 'TASKS = {"MyRobot": mjx_dm.make_task(MODEL, observe, reward)}'


def names_a_file(name: str) -> bool:
    """Whether a task's name is FILE.py or FILE.py:NAME."""
    return re.fullmatch(r".+\.py(:[^/]*)?", name) is not None


def load(name: str, **options: Any) -> Task:
    """The task of FILE.py, or of FILE.py:NAME, checked; with what its files hold in `files`.

    Raises ConfigError with one sentence where anything is wrong with the file or its task.
    """
    path, chosen = _split(name)
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"The task's file {path} cannot be read ({error.strerror}): give its path; the task of "
            f"a policy may also lie in a folder {FOLDER} beside the policy."
        ) from error
    tasks = _tasks_of(path, source)
    if not chosen and len(tasks) > 1:
        named = ", ".join(f"{path.name}:{key}" for key in tasks)
        raise ConfigError(f"{path} holds several tasks; give one: {named}.")
    chosen = chosen or next(iter(tasks))
    if chosen not in tasks:
        raise ConfigError(f"{path} has no task {chosen!r} in TASKS; it has: {', '.join(tasks)}.")
    task = _made(path, chosen, tasks[chosen], options)
    check(task, path.name)
    return dataclasses.replace(task, files={path.name: source} | _files_of_model(task, path))


def keep(task: Task | LibraryTask, directory: Path) -> Path | None:
    """Copies the files that `task` was read from into `directory`/task, where they are not yet.

    Returns that folder, None where the task is of no file. Raises OSError where it cannot.
    """
    for name, contents in task.files.items():
        path = directory / FOLDER / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(contents)
    return directory / FOLDER if task.files else None


def kept(name: str, directory: Path) -> str:
    """The name of the copy in `directory`/task where there is one, else `name` itself."""
    if not names_a_file(name):
        return name
    path, chosen = _split(name)
    copy = directory / FOLDER / path.name
    if not copy.is_file():
        return name
    return f"{copy}:{chosen}" if chosen else str(copy)


def changed(task: Task | LibraryTask, name: str) -> list[str]:
    """The files of `task`, a copy of the one called `name`, that read otherwise there now."""
    there = _split(name)[0].parent if names_a_file(name) else Path()
    return [
        str(there / file)
        for file, contents in task.files.items()
        if (there / file).is_file() and (there / file).read_bytes() != contents
    ]


def _split(name: str) -> tuple[Path, str]:
    path, _, chosen = name.rpartition(".py")
    return Path(f"{path}.py"), chosen.removeprefix(":")


def _tasks_of(path: Path, source: bytes) -> dict[str, Any]:
    # Not imported: that would leave compiled files beside the user's, and read them again.
    module = types.ModuleType(f"mjx_dm_task_{path.stem}")
    module.__file__ = str(path.absolute())
    sys.modules[module.__name__] = module  # dataclasses look their module up there
    try:
        exec(compile(source, module.__file__, "exec"), module.__dict__)
    except SyntaxError as error:
        raise ConfigError(f"{path}, line {error.lineno}: SyntaxError: {error.msg}.") from error
    except ConfigError as error:
        raise ConfigError(f"{path}, line {line_in(error, module.__file__)}: {error}") from error
    except Exception as error:  # whatever the user's file raises
        hint = "; it may import what is installed, not files beside it"
        missing = hint if isinstance(error, ModuleNotFoundError) else ""
        line = line_in(error, module.__file__)
        raise ConfigError(f"{path}, line {line}: {in_one_line(error)}{missing}.") from error
    tasks = getattr(module, "TASKS", None)
    if tasks is None:
        raise ConfigError(f"{path} defines no TASKS; end it with {_EXAMPLE}.")
    if not isinstance(tasks, dict) or not tasks or not all(isinstance(x, str) for x in tasks):
        raise ConfigError(
            f"TASKS of {path} must be a dict of names and tasks that is not empty: {_EXAMPLE}."
        )
    return tasks


def _made(path: Path, name: str, entry: Any, options: dict[str, Any]) -> Task:
    """The entry of TASKS as a task of that name, a function called with `options`."""
    where = f"{name} of {path}"
    if isinstance(entry, Task) and options:
        raise ConfigError(f"{where} has no option {next(iter(options))!r}: it is no function.")
    if not isinstance(entry, Task) and callable(entry):
        parameters = inspect.signature(entry).parameters
        for option in options:
            if option not in parameters:
                known = ", ".join(parameters) or "it has none"
                raise ConfigError(f"{where} has no option {option!r}; its options: {known}.")
        try:
            entry = entry(**options)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error
        except Exception as error:  # whatever the user's function raises
            line = line_in(error, str(path.absolute()))
            raise ConfigError(f"{path}, line {line}, in {name}: {in_one_line(error)}.") from error
    if not isinstance(entry, Task):
        raise ConfigError(
            f"{where} is of type {type(entry).__name__} and must be a Task, as mjx_dm.make_task "
            "gives it, or a function that returns one."
        )
    return dataclasses.replace(entry, name=name, options=options or entry.options)


def _files_of_model(task: Task, path: Path) -> dict[str, bytes]:
    """The model's file and what it includes, meshes too, as far as they lie beside `path` or below:
    path from there -> contents."""
    if not isinstance(task.spec, Mjcf) or task.spec.file is None:
        return {}
    folder = path.absolute().parent
    found = (Path(x).absolute() for x in mujoco.mju_getXMLDependencies(str(task.spec.file)))
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in found
        if file.is_relative_to(folder)
    }
