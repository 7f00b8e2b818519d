"""What a run is: all of its settings, and their file. Imports no JAX."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from mjx_dm import settings
from mjx_dm.files import read_json
from mjx_dm.groups import (
    LIBRARIES,
    CriticSettings,
    HostSettings,
    NetworkSettings,
    PhysicsSettings,
    PolicySettings,
    ReplaySettings,
    RunSettings,
    TaskSettings,
    TemperatureSettings,
)
from mjx_dm.settings import ConfigError, replace

__all__ = ["Config", "ConfigError", "load", "replace", "to_json"]

# Of config.json. An unknown version is refused.
VERSION = 2
# What a run writes into its config.json beside the settings.
OF_TASK = ("spaces", "task_version")

# How one of several processes is started; what is not saved with the run, in its place.
OF_ONE_LAUNCH: dict[str, Any] = {
    "distributed": False, "coordinator": "", "process_id": None, "num_processes": None,
}  # fmt: skip
# What does not change the state's shapes or what the weights mean.
MAY_CHANGE_ON_RESUME = {
    "env_steps", "minutes", "engine", "chunk_iterations", "checkpoint_minutes", "keep_checkpoints",
    "save_replay", "replay_minutes", "eval_every", "eval_episodes", "matmul_precision",
    "max_episode_steps", "threads", "log", "devices", "distributed", "coordinator", "process_id",
    "num_processes",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Config:
    """One training run."""

    task: TaskSettings = TaskSettings()
    physics: PhysicsSettings = PhysicsSettings()
    replay: ReplaySettings = ReplaySettings()
    networks: NetworkSettings = NetworkSettings()
    policy: PolicySettings = PolicySettings()
    critic: CriticSettings = CriticSettings()
    temperatures: TemperatureSettings = TemperatureSettings()
    run: RunSettings = RunSettings()
    hosts: HostSettings = HostSettings()

    @property
    def directory(self) -> Path:
        """The run directory."""
        return Path(self.run.run_dir or f"runs/{self.run.preset}")


def to_json(config: Config) -> dict[str, Any]:
    """The settings as JSON values, by group, with the version of their form."""
    return {"version": VERSION} | settings.to_json(config)


def library_of(task: str) -> str | None:
    """The one of LIBRARIES that the task's name begins with, if any: "brax" of brax:ant."""
    library, colon, _ = task.partition(":")
    return library if colon and library in LIBRARIES else None


def load(path: Path) -> Config:
    """The settings in the `config.json` of a run. Raises ConfigError if it cannot be read."""
    try:
        raw = read_json(path)
        if not isinstance(raw, dict):
            raise ValueError("it holds no settings")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not the config.json of a run: {error}.") from error
    version = raw.pop("version", 1)
    if version != VERSION:
        raise ConfigError(
            f"{path} has version {json.dumps(version)} and this mjx_dm reads version {VERSION}: "
            "use the mjx_dm that wrote it, or begin a new run."
        )
    try:
        groups = {name: value for name, value in raw.items() if name not in OF_TASK}
        return settings.from_json(Config, groups)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{path} is not the config.json of a run: {error}.") from error
