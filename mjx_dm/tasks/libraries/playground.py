"""MuJoCo Playground's environments: `playground:NAME`, with overrides of their configuration."""

import subprocess
from typing import Any

from mujoco_playground import registry

from mjx_dm.config import ConfigError
from mjx_dm.tasks.libraries.task import LibraryTask, Pose, describe, without_advice


def names() -> list[str]:
    """All that are registered with Playground's suites."""
    suites = (registry.dm_control_suite, registry.locomotion, registry.manipulation)
    return [name for suite in suites for name in suite.ALL_ENVS]


def load(name: str, options: dict[str, Any]) -> LibraryTask:
    """The environment of that name in `names`; `options` override its configuration, where
    "noise_config.level" is a name too. `impl` is MJX's "jax" unless it is given: Playground's own
    is "warp".

    Raises ConfigError where an override is unknown or of another type, the robot's files cannot be
    had, or Playground does not run here.
    """
    config = registry.get_default_config(name)
    known = config.to_dict()
    overrides = {"impl": "jax"} | options if "impl" in known else options
    try:
        config.copy_and_resolve_references().lock().update_from_flattened_dict(overrides)
    except (KeyError, TypeError, ValueError) as error:
        asked = " ".join(f"{x}={value}" for x, value in options.items())
        raise ConfigError(
            f"playground:{name} does not take {asked}; its options and their defaults: "
            f"{', '.join(f'{x}={value}' for x, value in _flat(known).items())}."
        ) from error
    try:
        with without_advice():
            env = registry.load(name, config_overrides=overrides)
        return describe(
            env,
            name=f"playground:{name}",
            simulation=f"playground ({overrides['impl']})" if "impl" in overrides else "playground",
            options=options,
            episode_length=env._config.get("episode_length", 1000),
            action_repeat=env._config.get("action_repeat", 1),
            step_seconds=float(env.dt),
            packages=("playground", "mujoco-mjx"),
            pose=_pose,
            model=env.mj_model,
            assets=getattr(env, "_model_assets", {}),
        )
    except ConfigError:
        raise
    except subprocess.CalledProcessError as error:
        raise ConfigError(
            f"playground:{name} needs mujoco_menagerie, which Playground clones from GitHub when "
            "it is first used, and that failed; the tasks of dm_control_suite need it not."
        ) from error
    except Exception as error:  # whatever an environment raises
        raise ConfigError(
            f"playground:{name} does not run here: {str(error).splitlines()[0]}"
        ) from error


def _pose(state: Any) -> Pose:
    return Pose(state.data.qpos, state.data.qvel)


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found
