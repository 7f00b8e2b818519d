"""Train Humanoid-v4: python train.py --preset cpu --run-dir runs/mine."""

import os
import sys
from dataclasses import replace

import tyro

from mjx_dm import config as configs
from mjx_dm.config import PRESETS, Config, ConfigError


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 0 done, 1 failed, 2 bad input."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        config = parse(arguments)
    except ConfigError as error:
        return _complain(error, 2)

    # Before JAX is imported: a second run of the same program starts without compiling.
    cache = os.path.join(os.path.expanduser("~"), ".cache", "mjx_dm", "jax")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", cache)
    from mjx_dm import run

    try:
        run.train(config)
    except run.CheckpointError as error:
        return _complain(error, 2)
    except (FloatingPointError, OSError) as error:
        return _complain(error, 1)
    return 0


def parse(arguments: list[str]) -> Config:
    """The configuration that the command line asks for, checked; raises ConfigError."""
    name = _preset(arguments)
    if name not in PRESETS:
        raise ConfigError(f"--preset {name} is unknown; choose from {', '.join(PRESETS)}.")
    config = tyro.cli(Config, args=arguments, default=PRESETS[name], prog="train.py")
    configs.validate(config)
    directory = config.directory
    if not config.resume:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise ConfigError(
                f"The run directory {directory} exists already; give another --run-dir, or go on "
                "with --resume."
            )
        return replace(config, run_dir=str(directory))
    saved = configs.load(directory / "config.json")
    # A resumed run keeps its settings, but for how long it goes on.
    return replace(saved, run_dir=str(directory), resume=True, env_steps=config.env_steps,
                   minutes=config.minutes)  # fmt: skip


def _preset(arguments: list[str]) -> str:
    for i, argument in enumerate(arguments):
        if argument == "--preset" and i + 1 < len(arguments):
            return arguments[i + 1]
        if argument.startswith("--preset="):
            return argument.removeprefix("--preset=")
    return Config.preset


def _complain(error: Exception, status: int) -> int:
    print(f"train.py: {error}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
