"""The command line of the bench, and what of it cannot run."""

import dataclasses
import tempfile
from pathlib import Path

from mjx_dm.config import Config, ConfigError, library_of, replace
from mjx_dm.presets import PRESETS
from mjx_dm.validation import validate

PARTS = ("physics", "rollout", "replay", "update", "whole")


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure physics, rollout, replay, learner updates and the whole loop on this machine."""

    parts: tuple[str, ...] = PARTS
    """Any of: physics rollout replay update whole."""
    engines: tuple[str, ...] = ("auto",)
    """Any of: auto mujoco mjx warp."""
    task: str = "Humanoid-v4"
    """Whose worlds; train.py --list-tasks shows the names. Or a Python file: my_robot.py."""
    task_options: tuple[str, ...] = ()
    """Options of the task, NAME=VALUE each."""
    physics: tuple[str, ...] = ("fast",)
    """Any of: exact fast."""
    num_envs: tuple[int, ...] = (256,)
    """World counts. The programs of one world count at a time are held in memory."""
    batch_size: tuple[int, ...] = ()
    """Batch sizes of update and sample; the preset's if left out. The whole loop keeps the
    preset's."""
    preset: str = "cpu"
    """Whose networks, replay and updates per step the loop uses."""
    learner: str = "density_matching"
    """What the loop learns by: density_matching or sac."""
    replay_size: int | None = None
    """Transitions that each replay holds, four bytes a number; the preset's if left out."""
    steps: int = 20
    """Steps of all worlds, or updates, in one launch. The diagnostics that training makes once a
    launch are left out."""
    seconds: float = 0.5
    """Least time that a case runs in a round: its program is launched until it has passed."""
    rounds: int = 9
    """Times that every case is measured."""
    quick: bool = False
    """64 and 256 worlds, a small replay and short rounds, where not given otherwise: under two
    minutes on 2 CPU cores."""
    json: Path | None = None
    """Where the figures are written, anew after every round."""
    plot: Path | None = None
    """Where steps/s over worlds are drawn, as PNG."""
    compare: tuple[Path, Path] | None = None
    """Measure nothing: print the ratios B/A of two files that --json wrote."""
    profile: Path | None = None
    """Measure nothing: write a profiler trace of --steps steps of the first whole loop here."""


QUICK = Options(
    quick=True, num_envs=(64, 256), replay_size=200_000, steps=10, seconds=0.25, rounds=7
)


def loop_config(options: Options, engine: str, physics: str, num_envs: int) -> Config:
    """The settings of a whole loop that learns from its first step on."""
    preset = PRESETS[options.preset]
    return replace(
        preset,
        task=options.task,
        task_options=options.task_options,
        learner=options.learner,
        engine=engine,
        physics="auto" if library_of(options.task) else physics,
        num_envs=num_envs,
        chunk_iterations=options.steps,
        random_steps=2 * num_envs,
        replay_size=options.replay_size or preset.replay.replay_size,
    )


def with_batch(config: Config, batch_size: int) -> Config:
    """`config` with another batch size; the policy's share of the batch stays what it was."""
    share = config.policy.actor_batch_size / config.replay.batch_size
    return replace(
        config, batch_size=batch_size, actor_batch_size=max(round(share * batch_size), 1)
    )


def batch_sizes(options: Options) -> tuple[int, ...]:
    """Transitions per update, each once, in the order given."""
    asked = options.batch_size or (PRESETS[options.preset].replay.batch_size,)
    return tuple(dict.fromkeys(asked))


def problem(options: Options) -> str | None:
    """One sentence about what cannot run, or None."""
    if options.preset not in PRESETS:
        return f"--preset {options.preset} is unknown; choose from {', '.join(PRESETS)}."
    for part in options.parts:
        if part not in PARTS:
            return f"--parts {part} is unknown; choose from {', '.join(PARTS)}."
    for flag in ("parts", "engines", "physics", "num_envs"):
        if not getattr(options, flag):
            return f"--{_spelled(flag)} needs at least one value."
    for flag in ("num_envs", "batch_size", "replay_size", "steps", "rounds", "seconds"):
        value = getattr(options, flag)
        for number in value if isinstance(value, tuple) else (value,):
            if number is not None and not 0 < number < float("inf"):
                return f"--{_spelled(flag)} {number} must be greater than 0."
    try:
        for engine in options.engines:
            for physics in options.physics:
                for num_envs in options.num_envs:
                    config = loop_config(options, engine, physics, num_envs)
                    for size in batch_sizes(options):
                        validate(with_batch(config, size))
    except ConfigError as error:
        return str(error)
    if options.plot and options.plot.suffix != ".png":
        return f"--plot {options.plot} must end in .png."
    if options.plot and not _DRAWN & set(options.parts) and len(batch_sizes(options)) < 2:
        return "--plot draws physics, rollout, whole or several --batch-size; give one of them."
    for path in (options.json, options.plot):
        if path and (reason := _unwritable(path.parent)):
            return f"{path} cannot be written: {reason}."
        if path and path.is_dir():
            return f"{path} cannot be written: it is a folder."
    if options.profile and (reason := _unwritable(options.profile)):
        return f"{options.profile} cannot be written: {reason}."
    return None


_DRAWN = {"physics", "rollout", "whole"}


def _unwritable(folder: Path) -> str | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or type(error).__name__


def _spelled(flag: str) -> str:
    return flag.replace("_", "-")
