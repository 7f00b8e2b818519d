"""Brax's environments: `brax:NAME`, with the options of its constructor."""

import inspect
from typing import Any

from brax import envs

from mjx_dm.config import ConfigError
from mjx_dm.tasks.libraries.task import LibraryTask, Pose, describe, without_advice

# Of brax.envs.create, whose defaults these are, and of PipelineEnv.
_OF_EPISODES = {"episode_length": 1000, "action_repeat": 1}
_OF_PIPELINE = ("backend", "n_frames", "debug")


def names() -> list[str]:
    """All that are registered with Brax, but for this program's own tasks."""
    return [name for name, make in envs._envs.items() if not _is_ours(make)]


def load(name: str, options: dict[str, Any]) -> LibraryTask:
    """The environment of that name in `names`, with backend=spring, episode_length=500 and such.

    Raises ConfigError where an option is unknown or Brax refuses it.
    """
    make: Any = envs._envs[name]
    known = [x for x in inspect.signature(make).parameters if x != "kwargs"]
    known += [x for x in (*_OF_PIPELINE, *_OF_EPISODES) if x not in known]
    for option in options:
        if option not in known:
            raise ConfigError(
                f"brax:{name} has no option {option!r}; its options: {', '.join(known)}."
            )
    of_episodes = {x: options.get(x, default) for x, default in _OF_EPISODES.items()}
    try:
        with without_advice():
            env = make(**{x: value for x, value in options.items() if x not in _OF_EPISODES})
        backend = getattr(env, "_backend", None)
        return describe(
            env,
            name=f"brax:{name}",
            simulation=f"brax ({backend})" if backend else "brax",
            options=options,
            step_seconds=float(env.dt),
            packages=("brax", "mujoco-mjx"),
            pose=_pose if hasattr(env, "sys") else None,
            model=getattr(getattr(env, "sys", None), "mj_model", None),
            assets={},
            **of_episodes,
        )
    except ConfigError:
        raise
    except Exception as error:  # whatever an environment raises
        asked = " ".join(f"{x}={value}" for x, value in options.items()) or "its own options"
        raise ConfigError(
            f"brax:{name} cannot be made with {asked}: {str(error).splitlines()[0]}"
        ) from error


def _pose(state: Any) -> Pose:
    return Pose(state.pipeline_state.q, state.pipeline_state.qd)


def _is_ours(make: Any) -> bool:
    return getattr(make, "func", make).__module__.startswith("mjx_dm.")
