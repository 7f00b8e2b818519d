"""Steps of all worlds on MuJoCo's own threads, which never wait for Python's lock."""

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
from mujoco.batch import Batch, SimulationError

from mjx_dm.tasks.fields import needs_rne
from mjx_dm.tasks.task import Task

BAD_STATE = slice(mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQACC + 1)
_STATE = ("qpos", "qvel", "qacc_warmstart")


def can_step(task: Task, model: mujoco.MjModel) -> bool:
    """Whether `NativeSteps` leaves every field as mj_step and mj_rnePostConstraint do.

    External forces need a force sensor in the model (`mjx_dm.tasks.physics` adds it), and an
    integrator of one stage: under RK4 Gymnasium's call sees the last stage, a sensor the first.
    """
    if not needs_rne(task):
        return True
    has_sensor = bool(np.any(model.sensor_type == mujoco.mjtSensor.mjSENS_FORCE))
    return has_sensor and model.opt.integrator != mujoco.mjtIntegrator.mjINT_RK4


class NativeSteps:
    """`num_envs` worlds of `model` on `threads` threads; one caller at a time."""

    def __init__(self, task: Task, model: mujoco.MjModel, num_envs: int, threads: int):
        self.batch = Batch(model, num_envs, threads)
        self._frame_skip = task.frame_skip
        # Rows of float64 that the batch reads and writes; the state alone may be written.
        self._state = [self.batch.bind(name) for name in _STATE]
        self._control = self.batch.bind("ctrl")
        self._read = [self.batch.bind(name) for name in task.reads]
        self._bad = self.batch.warning[:, BAD_STATE, 1]

    def advance(self, results: Sequence[Any], failed: Any, before: Sequence[np.ndarray]) -> None:
        """Fills `results`, arrays (N, ...): qpos, qvel, qacc_warmstart and what the task reads.
        `before` holds the first three and the action; `failed` (N,) is True after a bad state."""
        for row, value in zip((*self._state, self._control), before, strict=True):
            row[:] = value
        raised = np.zeros(0, np.int32)
        try:
            self.batch.step(nstep=self._frame_skip)
        except SimulationError as error:
            raised = error.ids
        for value, row in zip(results, (*self._state, *self._read), strict=True):
            value[:] = row
        # MuJoCo warns, starts the world anew and raises nothing.
        np.any(self._bad, axis=1, out=failed)
        self.batch.warning[:] = 0
        failed[raised] = True
