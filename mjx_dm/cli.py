"""train.py: a command line, checked, then one call."""

import os
import sys
import threading
from pathlib import Path

import tyro

from mjx_dm import config as configs
from mjx_dm import settings
from mjx_dm.checkpoints.manifest import CheckpointError, SaveError, complete
from mjx_dm.config import Config, ConfigError
from mjx_dm.ending import called, complain
from mjx_dm.presets import preset_in
from mjx_dm.runs.signals import is_interrupt
from mjx_dm.validation import new_directory, of_learner, validate

# For the help, tyro parses this package's source, which in two threads at once is a SystemError of
# CPython 3.11.
_PARSING = threading.Lock()


def train_main(arguments: list[str] | None = None) -> int:
    """Trains; returns the exit status: 0 done, 1 failed or not all saved, 2 bad input, 128 + n
    stopped by signal n and saved (130 Ctrl-C, 143 kill), or stopped by a second one at once."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--list-tasks" in arguments:
        return _list_tasks()
    try:
        config = parse(arguments)
    except ConfigError as error:
        return complain("train.py", error, 2)

    # Before JAX is imported: a second run of a program then starts without compiling, but for the C
    # engine's, since JAX keeps no program that calls back to Python.
    cache = os.path.join(os.path.expanduser("~"), ".cache", "mjx_dm", "jax")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", cache)
    try:
        from mjx_dm.runs import loop as run

        stopped_by = run.run(config).stopped_by
    except (FloatingPointError, OSError, SaveError) as error:
        return complain("train.py", error, 1)
    except (ConfigError, CheckpointError) as error:
        return complain("train.py", error, 2)
    except (KeyboardInterrupt, RuntimeError, MemoryError) as error:
        if is_interrupt(error):
            return complain("train.py", _about_interruption(config.directory), 130)
        if "RESOURCE_EXHAUSTED" in str(error) or isinstance(error, MemoryError):
            return complain("train.py", _about_memory(config, error), 1)
        raise
    return 0 if stopped_by is None else 128 + stopped_by


def _list_tasks() -> int:
    """Prints every task with its sizes; one that cannot run here with the reason."""
    from rich.console import Console
    from rich.table import Table

    from mjx_dm.groups import LIBRARIES
    from mjx_dm.tasks import get_task, task_names
    from mjx_dm.tasks.libraries import library_names

    refused = []
    table = Table("task", "obs", "actions", "box", "step, s", "steps", "physics")
    for name in sorted(task_names()):
        try:
            task = get_task(name)
        except ConfigError as error:
            refused.append(str(error))
            continue
        spaces = task.spaces
        table.add_row(
            name,
            str(spaces.obs_size),
            str(spaces.action_size),
            f"±{max(spaces.action_high):g}",
            f"{task.step_seconds:g}",
            str(task.max_episode_steps),
            task.physics,
        )
    console = Console()
    console.print(table)
    for library in LIBRARIES:
        try:
            console.print(*library_names(library), highlight=False)
        except ConfigError as error:
            refused.append(str(error))
    for reason in refused:
        console.print(reason, highlight=False)
    console.print("A robot of your own: --task my_robot.py (docs/your-robot.md).", highlight=False)
    return 0


def parse(arguments: list[str]) -> Config:
    """The configuration that the command line asks for, checked; raises ConfigError."""
    config = _parse(arguments, preset_in(arguments, Config().run.preset))
    directory = config.directory
    if config.run.resume:
        return _resumed(arguments, directory)
    of_learner(validate(config))
    if not config.hosts.distributed:  # where the first process may have made it already
        new_directory(config)
    return configs.replace(config, run_dir=str(directory))


def _resumed(arguments: list[str], directory: Path) -> Config:
    """The settings saved in `directory`, but for what the command line may change in a run."""
    if (directory / "policy.json").exists() and not (directory / "config.json").exists():
        raise ConfigError(
            f"{directory} holds a policy and no run: --resume goes on with the --run-dir that it "
            f"came from, and --init-from {directory} begins a new run with it."
        )
    if not directory.exists():
        raise ConfigError(f"There is no run directory {directory} to resume.")
    saved = configs.load(directory / "config.json")
    saved = configs.replace(saved, run_dir=str(directory), resume=True)
    config = validate(_parse(arguments, saved))
    before = settings.flat(saved)
    for name, value in settings.flat(config).items():
        if value != before[name] and name not in configs.MAY_CHANGE_ON_RESUME:
            raise ConfigError(
                f"A resumed run keeps {settings.flag(name)} as in {directory / 'config.json'}; "
                "leave it out, or begin a new run in another --run-dir."
            )
    return config


def _parse(arguments: list[str], default: Config) -> Config:
    flat = tyro.conf.OmitArgPrefixes[Config]
    with _PARSING:
        return tyro.cli(flat, args=arguments, default=default, prog=called("train.py"))


def _about_memory(config: Config, error: BaseException) -> str:
    """What to do where a device has no more memory."""
    return (
        f"there is not enough memory ({' '.join(str(error).split())[:200]}); "
        f"{_newest(config.directory)}. Less than --num-envs {config.physics.num_envs} and "
        f"--replay-size {config.replay.replay_size} takes less, in a new run."
    )


def _about_interruption(directory: Path) -> str:
    """What there is to go on from after an interruption."""
    if not complete(directory / "checkpoints"):
        return "interrupted before there was anything to save."
    return f"interrupted; {_newest(directory)}: go on with --resume."


def _newest(directory: Path) -> str:
    newest = max(complete(directory / "checkpoints"), default=None)
    if newest is None:
        return f"there is no checkpoint in {directory / 'checkpoints'}"
    return (
        f"the newest checkpoint in {directory / 'checkpoints'} is that of {newest:,} "
        "environment steps"
    )
