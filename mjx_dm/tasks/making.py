"""A robot of one's own in a few lines: `make_task` of a model and two to four functions."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array

from mjx_dm.config import ConfigError
from mjx_dm.tasks.task import Fields, Task, compiled, never

# Of every number of a start, where the task gives no reset: m, rad, m/s, rad/s.
START_NOISE = 0.01


@dataclasses.dataclass(frozen=True)
class Mjcf:
    """A model in MuJoCo's XML: its text, or the file that it stands in."""

    text: str = ""
    file: Path | None = None

    def __call__(self) -> mujoco.MjSpec:
        """The model, as `Task.spec` gives it. Raises ValueError with MuJoCo's words."""
        if self.file is None:
            return mujoco.MjSpec.from_string(self.text)
        return mujoco.MjSpec.from_file(str(self.file))


def make_task(
    model: str | Path | Callable[[], mujoco.MjSpec],
    observe: Callable[[Fields], Any],
    reward: Callable[[Fields, Fields, Array], Any],
    terminated: Callable[[Fields], Any] = never,
    reset: Callable[[Array], Any] | None = None,
    *,
    name: str = "Robot",
    frame_skip: int = 5,
    reads: str | Sequence[str] = (),
    carries: str | Sequence[str] | None = None,
    **others: Any,
) -> Task:
    """A task of one's own, for `TASKS` of a file that `train.py --task FILE.py` is given.

    model: MJCF as text, a file of it (a relative path is one below the folder of the Python file
        that defines `observe`), or a function that makes an MjSpec.
    observe: fields -> observation (obs,).
    reward: (before, after, action (act,)) -> reward, or (reward, {term: value}).
    terminated: fields -> whether the episode is over for good; without it time alone ends one.
    reset: key -> (qpos (nq,), qvel (nv,)); None starts at the model's first keyframe, or at its
        qpos0 where it has none, plus U(-0.01, 0.01) in every number.
    name: what the task is called; TASKS of a file gives its own.
    frame_skip: physics steps to an environment step.
    reads: the fields of MjData, besides qpos and qvel, that the functions look at.
    carries: those of `reads` that `before` holds; None carries all.
    others: any other field of `Task`, such as max_episode_steps, info, physics or camera.

    Numbers are made float32. Raises ConfigError where a path is not below the folder.
    """
    spec = model if callable(model) else _mjcf(model, _folder_of(observe))
    return Task(
        name=name,
        spec=spec,
        frame_skip=frame_skip,
        observe=_float32(observe),
        reward=_with_terms(reward),
        reset=_near_start(spec) if reset is None else _float32(reset),
        terminated=_as_array(terminated),
        reads=_names(reads),
        carries=_names(reads if carries is None else carries),
        **others,
    )


def _names(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _mjcf(model: str | Path, folder: Path) -> Mjcf:
    if isinstance(model, str) and model.lstrip().startswith("<"):
        return Mjcf(text=model)
    path = Path(model)
    if not path.is_absolute() and ".." in path.parts:
        raise ConfigError(
            f"The model {path} lies outside {folder}: move it beside the Python file, or below, or "
            "give an absolute path."
        )
    return Mjcf(file=folder / path)


def _folder_of(function: Callable[..., Any]) -> Path:
    """Where the file of `function` lies; the working directory where it has none."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    file = Path(code.co_filename if code else "")
    return file.parent if file.is_file() else Path()


def _near_start(spec: Callable[[], mujoco.MjSpec]) -> Callable[[Array], tuple[Array, Array]]:
    @functools.cache
    def start() -> tuple[np.ndarray, np.ndarray]:
        model = compiled(spec())
        if model.nkey:
            return model.key_qpos[0].astype(np.float32), model.key_qvel[0].astype(np.float32)
        return model.qpos0.astype(np.float32), np.zeros(model.nv, np.float32)

    def reset(key: Array) -> tuple[Array, Array]:
        qpos, qvel = start()
        qpos_key, qvel_key = jax.random.split(key)

        def near(x: np.ndarray, key: Array) -> Array:
            noise = jax.random.uniform(key, x.shape, minval=-START_NOISE, maxval=START_NOISE)
            return noise + x

        return near(qpos, qpos_key), near(qvel, qvel_key)

    return reset


def _numbers(tree: Any) -> Any:
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def _float32(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def cast(*arguments: Any) -> Any:
        return _numbers(function(*arguments))

    return cast


def _with_terms(reward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(reward)
    def graded(*arguments: Any) -> Any:
        given = reward(*arguments)
        value, terms = given if isinstance(given, tuple) and len(given) == 2 else (given, {})
        return _numbers(value), _numbers(terms)

    return graded


def _as_array(terminated: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(terminated)
    def ended(after: Fields) -> Any:
        given = terminated(after)
        return jnp.asarray(given) if isinstance(given, bool | np.bool_) else given

    return ended
