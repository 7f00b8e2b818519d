"""Train Humanoid-v4: python train.py --preset cpu --run-dir runs/mine."""

import os
import sys
from dataclasses import fields, replace
from pathlib import Path

import tyro

from mjx_dm import config as configs
from mjx_dm.checkpoints.manifest import CheckpointError, SaveError, complete
from mjx_dm.config import Config, ConfigError
from mjx_dm.presets import preset_in
from mjx_dm.runs.signals import is_interrupt
from mjx_dm.validation import validate


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 0 done, 1 failed, 2 bad input."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        config = parse(arguments)
    except ConfigError as error:
        return _complain(error, 2)

    # Before JAX is imported: a second run of a program then starts without compiling, but for the C
    # engine's, since JAX keeps no program that calls back to Python.
    cache = os.path.join(os.path.expanduser("~"), ".cache", "mjx_dm", "jax")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", cache)
    try:
        from mjx_dm.runs import loop as run

        run.train(config)
    except (FloatingPointError, OSError, SaveError) as error:
        return _complain(error, 1)
    except (ConfigError, CheckpointError) as error:
        return _complain(error, 2)
    except (KeyboardInterrupt, RuntimeError) as error:
        if not is_interrupt(error):
            raise
        return _complain(_about_interruption(config.directory), 130)
    return 0


def parse(arguments: list[str]) -> Config:
    """The configuration that the command line asks for, checked; raises ConfigError."""
    config = _parse(arguments, preset_in(arguments, Config.preset))
    directory = config.directory
    if config.resume:
        return _resumed(arguments, directory)
    validate(config)
    if directory.exists() and not directory.is_dir():
        raise ConfigError(f"The run directory {directory} is a file; give another --run-dir.")
    if directory.exists() and any(directory.iterdir()):
        raise ConfigError(
            f"The run directory {directory} exists already; give another --run-dir (make demo "
            "takes RUN=runs/other), or go on with --resume."
        )
    return replace(config, run_dir=str(directory))


def _resumed(arguments: list[str], directory: Path) -> Config:
    """The settings saved in `directory`, but for what the command line may change in a run."""
    saved = replace(configs.load(directory / "config.json"), run_dir=str(directory), resume=True)
    config = validate(_parse(arguments, saved))
    for field in fields(Config):
        name, value = field.name, getattr(config, field.name)
        if value != getattr(saved, name) and name not in configs.MAY_CHANGE_ON_RESUME:
            flag = "the learner's settings" if name == "learner" else f"--{name.replace('_', '-')}"
            raise ConfigError(
                f"A resumed run keeps {flag} as in {directory / 'config.json'}; leave it out, or "
                "begin a new run in another --run-dir."
            )
    return config


def _parse(arguments: list[str], default: Config) -> Config:
    return tyro.cli(Config, args=arguments, default=default, prog="train.py")


def _about_interruption(directory: Path) -> str:
    newest = max(complete(directory / "checkpoints"), default=None)
    if newest is None:
        return "interrupted before there was anything to save."
    return (
        f"interrupted; the newest checkpoint in {directory / 'checkpoints'} is that of {newest:,} "
        "environment steps: go on with --resume."
    )


def _complain(error: Exception | str, status: int) -> int:
    print(f"train.py: {error}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
