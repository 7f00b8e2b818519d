"""What can be wrong with a task, told before anything is compiled, each in one sentence."""

import traceback
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from mjx_dm.config import ConfigError
from mjx_dm.tasks.making import Mjcf
from mjx_dm.tasks.task import Task

READABLE = (
    "xpos", "xquat", "xmat", "xipos", "ximat", "xanchor", "xaxis", "geom_xpos", "geom_xmat",
    "site_xpos", "site_xmat", "subtree_com", "cinert", "cvel", "cdof", "sensordata", "qacc",
    "qfrc_actuator", "qfrc_bias", "qfrc_passive", "qfrc_constraint", "actuator_force",
    "actuator_length", "actuator_velocity", "ten_length", "ten_velocity", "cfrc_ext",
)  # fmt: skip
"""The fields of MjData that `reads` may name: those that every engine computes alike."""
IN_FIELDS = ("qpos", "qvel", *READABLE)

# Steps under random actions that are looked at for numbers that are not finite.
STEPS = 5


def check(task: Task, where: str | None = None) -> None:
    """Traces the task's functions, then plays a few steps in C under random actions.

    where: the file that the sentences name; the task's name where it is left out. Raises
    ConfigError with one sentence about the first thing that is wrong.
    """
    _Check(task, where or task.name).all()


class _Check:
    def __init__(self, task: Task, where: str) -> None:
        self.task, self.where = task, where

    def all(self) -> None:
        self.model()
        self.fields()
        self.shapes()
        self.numbers()

    def fail(self, part: str, what: str) -> ConfigError:
        return ConfigError(f"{self.where}, {part}: {what}.")

    def model(self) -> None:
        spec = self.task.spec
        if isinstance(spec, Mjcf) and spec.file is not None and not spec.file.is_file():
            raise self.fail("model", f"there is no file {spec.file}")
        try:
            model = self.task.model
        except Exception as error:  # MuJoCo's, or whatever the user's function raises
            raise self.fail("model", f"MuJoCo cannot take it: {in_one_line(error)}") from error
        if not model.nu:
            raise self.fail("model", "it has no actuator; add <actuator><motor joint=.../> to it")
        for i in range(model.nu):
            name = f"its actuator {model.actuator(i).name or i}"
            low, high = model.actuator_ctrlrange[i]
            if not model.actuator_ctrllimited[i] or not low < high:
                raise self.fail("model", f'{name} has no ctrlrange; give it ctrlrange="-1 1"')
            if model.actuator_actnum[i] > 0:
                raise self.fail(
                    "model",
                    f"{name} has an activation of its own (dyntype), which the engines do not "
                    "carry from step to step; take one without",
                )
        names = [camera.name for camera in spec().cameras]
        if self.task.camera is not None and self.task.camera not in names:
            known = ", ".join(filter(None, names)) or "it has none"
            raise self.fail(
                "camera", f"the model has no camera {self.task.camera!r}; its cameras: {known}"
            )
        for name in ("frame_skip", "max_episode_steps"):
            value = getattr(self.task, name)
            if not isinstance(value, int) or value < 1:
                raise self.fail(name, f"it must be a whole number of at least 1, not {value!r}")

    def fields(self) -> None:
        for part, names, known in (
            ("reads", self.task.reads, READABLE),
            ("carries", self.task.carries, self.task.reads),
        ):
            for name in names:
                if name not in known:
                    choice = ", ".join(known) or "none, for reads is empty"
                    raise self.fail(part, f"the field {name!r} is unknown; choose from {choice}")

    def shapes(self) -> None:
        """What the functions give, by tracing them."""
        task, model = self.task, self.task.model
        after = task.field_shapes
        before = {name: after[name] for name in ("qpos", "qvel", *task.carries)}
        action = jax.ShapeDtypeStruct((model.nu,), jnp.float32)
        starts = self.trace("reset", task.reset, jax.eval_shape(lambda: jax.random.key(0)))
        if not isinstance(starts, tuple) or len(starts) != 2:
            raise self.gives("reset", "(qpos, qvel)", starts)
        for name, start, size in zip(("qpos", "qvel"), starts, (model.nq, model.nv), strict=True):
            if not _is(start, (size,)):
                raise self.gives("reset", f"{name} of shape ({size},)", start)
        obs = self.trace("observe", task.observe, after)
        if getattr(obs, "ndim", None) != 1 or not _is(obs, obs.shape) or not obs.size:
            raise self.gives("observe", "one row of numbers, of shape (obs,)", obs)
        given = self.trace("reward", task.reward, before, after, action)
        if not isinstance(given, tuple) or len(given) != 2 or not isinstance(given[1], dict):
            raise self.gives("reward", "a number, or (number, {term: number})", given)
        for name, value in {"": given[0], **given[1]}.items():
            if not _is(value, ()):
                term = f"its term {name!r}" if name else "the reward"
                raise self.gives("reward", f"one number, of shape (), for {term}", value)
        told = self.trace("info", task.info, before, after)
        if not isinstance(told, dict) or any(
            getattr(x, "shape", None) != () for x in told.values()
        ):
            raise self.gives("info", "{name: number}", told)
        ended = self.trace("terminated", task.terminated, after)
        if not _is(ended, (), jnp.bool_):
            raise self.gives("terminated", "one bool, of shape ()", ended)

    def trace(self, part: str, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return jax.eval_shape(function, *arguments)
        except Exception as error:  # whatever the user's function raises
            line = line_in(error, self.where)
            place = f"line {line}, in {part}" if line else part
            raise self.fail(place, f"{in_one_line(error)}{self.advice(error)}") from error

    def advice(self, error: Exception) -> str:
        name = error.args[0] if isinstance(error, KeyError) and error.args else None
        if name in READABLE and name in self.task.reads:
            return f"; name it in carries for before to hold it: carries=({name!r},)"
        if name in READABLE:
            return f"; name it in reads for the engines to compute it: reads=({name!r},)"
        if isinstance(name, str) and (near := get_close_matches(name, IN_FIELDS, 1)):
            return f"; near it is {near[0]}"
        if isinstance(error, jax.errors.TracerBoolConversionError):
            return "; write jnp.where(...) for if, and &, | and ~ for and, or and not"
        return ""

    def gives(self, part: str, wanted: str, found: Any) -> ConfigError:
        return self.fail(part, f"it must give {wanted}, and gives {_in_words(found)}")

    def numbers(self) -> None:
        """What they give at a start and in the first steps from there."""
        task, model = self.task, self.task.model
        data, rng = mujoco.MjData(model), np.random.default_rng(0)
        qpos, qvel = (np.asarray(x) for x in jax.jit(task.reset)(jax.random.key(0)))
        for name, value in (("qpos", qpos), ("qvel", qvel)):
            if not np.isfinite(value).all():
                raise self.fail("reset", f"its {name} is not finite: {value}")
        data.qpos[:], data.qvel[:] = qpos, qvel
        mujoco.mj_forward(model, data)
        observe, reward = jax.jit(task.observe), jax.jit(task.reward)
        after = self.read(data)
        for step in range(STEPS + 1):
            obs = np.asarray(observe(after))
            if not np.isfinite(obs).all():
                bad = int(np.flatnonzero(~np.isfinite(obs))[0])
                raise self.fail("observe", f"number {bad} is {obs[bad]} after {step} steps")
            before = {name: after[name] for name in ("qpos", "qvel", *task.carries)}
            action = rng.uniform(*model.actuator_ctrlrange.T).astype(np.float32)
            data.ctrl[:] = action
            mujoco.mj_step(model, data, nstep=task.frame_skip)
            mujoco.mj_rnePostConstraint(model, data)
            if any(warning.number for warning in data.warning[_BAD]):
                raise self.fail("model", f"the physics break in step {step} under random actions")
            after = self.read(data)
            value, terms = reward(before, after, action)
            for name, number in {"the reward": value, **terms}.items():
                if not np.isfinite(number):
                    term = name if number is value else f"its term {name!r}"
                    raise self.fail("reward", f"{term} is {number} in step {step}")

    def read(self, data: mujoco.MjData) -> dict[str, np.ndarray]:
        names = self.task.field_shapes
        return {name: np.array(getattr(data, name), np.float32) for name in names}


def in_one_line(error: Exception) -> str:
    """The error's kind and its words, without the last stop; of JAX's, the first sentence."""
    words = str(error) if not isinstance(error, KeyError) else str(error.args[0])
    if isinstance(error, jax.errors.JAXTypeError | jax.errors.JAXIndexError):
        words = words.partition("\n")[0]
    words = " ".join(words.split())[:300].rstrip(".")
    # MuJoCo's own are Errors, too.
    plain = isinstance(error, ValueError) and "Error" in words[:12]
    return words if plain or not words else f"{type(error).__name__}: {words}"


def line_in(error: Exception, file: str) -> int | None:
    """The line of `file`, a path or the end of one, that raised it or called what did."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((x.lineno for x in reversed(frames) if x.filename.endswith(file)), None)


_BAD = slice(mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQACC + 1)


def _is(x: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> bool:
    return isinstance(x, jax.ShapeDtypeStruct) and x.shape == shape and x.dtype == dtype


def _in_words(x: Any) -> str:
    if isinstance(x, jax.ShapeDtypeStruct):
        return f"{x.dtype} of shape {x.shape}"
    if isinstance(x, dict):
        return f"{{{', '.join(f'{name!r}: {_in_words(value)}' for name, value in x.items())}}}"
    if isinstance(x, tuple):
        return f"({', '.join(map(_in_words, x))})"
    return "None" if x is None else f"a {type(x).__name__}"
