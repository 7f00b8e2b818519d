"""What was asked of a run: its settings against the preset's, and the commands that repeat it."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mjx_dm import settings
from mjx_dm.config import Config
from mjx_dm.presets import PRESETS
from mjx_dm.report.run import Run
from mjx_dm.report.scores import rule_of

# Where a run is written and how it was started, not what it is.
_OF_START = ("preset", "run_dir", "resume")
# Runs that differ in nothing else are the same, told apart by chance alone.
_OF_SEED = (*_OF_START, "seed")


class Setting(NamedTuple):
    """A setting as the command line spells it, in the run and in its preset."""

    flag: str
    value: str
    preset: str


def changed_settings(config: Config) -> list[Setting]:
    """The settings that differ from those of the run's preset."""
    preset = settings.flat(PRESETS.get(config.run.preset, Config()))
    return [
        Setting(settings.flag(name), _in_words(value), _in_words(preset[name]))
        for name, value in settings.flat(config).items()
        if value != preset[name] and name not in _OF_START
    ]


def variant_of(run: Run) -> tuple[Any, ...]:
    """Equal for runs that differ in their seed alone; a run without settings is like no other."""
    if run.config is None:
        return (str(run.directory),)
    found = settings.flat(run.config)
    return tuple(value for name, value in found.items() if name not in _OF_SEED)


def labels(variants: Sequence[Run]) -> list[str]:
    """What tells variants, given by one run of each, apart: "num_envs 8, actor_lr 0.001"."""
    known = [settings.flat(run.config) for run in variants if run.config]
    apart = [
        name
        for name in (known[0] if known else ())
        if name not in _OF_SEED and len({str(one[name]) for one in known}) > 1
    ]
    found = []
    for run in variants:
        if run.config is None or not apart:
            found.append(run.name)
            continue
        own = settings.flat(run.config)
        found.append(", ".join(f"{name} {_in_words(own[name])}" for name in apart))
    return found


def train_command(run: Run) -> str | None:
    """The command that trains the same again beside it; None where the settings are unknown."""
    if run.config is None:
        return None
    preset = settings.flat(PRESETS.get(run.config.run.preset, Config()))
    words = ["python", "train.py", "--preset", run.config.run.preset]
    for name, value in settings.flat(run.config).items():
        if name not in _OF_START and value != preset[name]:
            words += _argument(name, value)
    return shlex.join([*words, "--run-dir", f"{run.directory}-again"])


def eval_command(run: Run) -> str:
    """The command that plays its episodes again: those of its newest eval.json, if there is one."""
    played = next((score for score in run.scores if score.seeds), None)
    if played is None:
        policy = run.directory / "best" if (run.directory / "best").is_dir() else run.directory
        return shlex.join(["python", "eval_render.py", str(policy)])
    policy = run.directory / "best" if played.place.startswith("best") else run.directory
    words = ["python", "eval_render.py", str(policy), "--episodes", str(played.episodes)]
    words += ["--seed", played.seeds.partition("–")[0], "--action-rule", rule_of(played)]
    return shlex.join(words)


def page_command(runs: Sequence[Path], out: Path) -> str:
    """The command that writes the page again."""
    return shlex.join(["python", "-m", "mjx_dm.report", *map(str, runs), "--out", str(out)])


def _argument(name: str, value: Any) -> list[str]:
    flag = settings.flag(name)
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if isinstance(value, tuple):
        return [flag, *map(str, value)]
    return [flag, str(value)]


def _in_words(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
