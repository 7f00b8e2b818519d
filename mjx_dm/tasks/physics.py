"""A task's model under the physics that an engine is asked for."""

from typing import NamedTuple

import mujoco

from mjx_dm.tasks.fields import needs_rne
from mjx_dm.tasks.task import Task, compiled


class Solver(NamedTuple):
    """What takes the place of a model's own settings; None leaves its integrator."""

    integrator: mujoco.mjtIntegrator | None
    solver: mujoco.mjtSolver
    iterations: int
    ls_iterations: int


_EULER, _NEWTON = mujoco.mjtIntegrator.mjINT_EULER, mujoco.mjtSolver.mjSOL_NEWTON

# MJX and Warp have no PGS; Newton solves the same convex problem to its minimum. How few
# iterations are enough for a policy to keep its return: tests/tasks/test_fast_physics.py.
PHYSICS: dict[tuple[str, str], Solver | None] = {
    ("mujoco", "exact"): None,
    ("mjx", "exact"): Solver(None, _NEWTON, 10, 20),
    ("warp", "exact"): Solver(None, _NEWTON, 10, 20),
    ("mujoco", "fast"): Solver(_EULER, _NEWTON, 10, 20),
    ("mjx", "fast"): Solver(_EULER, _NEWTON, 4, 4),
    ("warp", "fast"): Solver(_EULER, _NEWTON, 4, 8),
}


def name_of(task: Task, physics: str) -> str:
    """exact or fast: "v4" is another name of exact, "auto" the task's own choice."""
    return {"v4": "exact", "auto": task.physics}.get(physics, physics)


def model_for(task: Task, engine: str, physics: str) -> mujoco.MjModel:
    """`task`'s model for `engine` (mujoco, mjx or warp) under `physics` (exact, v4, fast, auto)."""
    settings = PHYSICS[engine, name_of(task, physics)]
    if settings is None:
        return task.model
    spec = task.spec()
    if settings.integrator is not None:
        spec.option.integrator = settings.integrator
    spec.option.solver = settings.solver
    spec.option.iterations = settings.iterations
    spec.option.ls_iterations = settings.ls_iterations
    if engine == "mujoco":
        _sense_forces(spec, task)
    if engine == "mjx" and task.mjx_contacts is not None:
        spec.add_numeric(name="max_contact_points", data=[task.mjx_contacts])
    seen = any(s.objtype == mujoco.mjtObj.mjOBJ_TENDON for s in spec.sensors)
    if not seen and not any(name.startswith("ten_") for name in task.reads):
        _drop_idle_tendons(spec)
    return compiled(spec)


def _sense_forces(spec: mujoco.MjSpec, task: Task) -> None:
    """A force sensor, which has MuJoCo compute external forces in every step, also on its own
    threads, where mj_rnePostConstraint cannot be called."""
    if needs_rne(task) and "sensordata" not in task.reads:
        body = spec.worldbody.first_body()
        site = body.add_site(name="mjx_dm_forces")
        spec.add_sensor(
            type=mujoco.mjtSensor.mjSENS_FORCE,
            objtype=mujoco.mjtObj.mjOBJ_SITE,
            objname=site.name,
        )


def _drop_idle_tendons(spec: mujoco.MjSpec) -> None:
    """Tendons that exert no force cost MJX kernels in every substep."""
    if any(a.trntype == mujoco.mjtTrn.mjTRN_TENDON for a in spec.actuators) or spec.equalities:
        return
    model = compiled(spec.copy())
    forces = (
        model.tendon_stiffness,
        model.tendon_damping,
        model.tendon_frictionloss,
        model.tendon_armature,
        model.tendon_limited,
        model.tendon_actfrclimited,
    )
    if not any(x.any() for x in forces):
        for tendon in list(spec.tendons):
            spec.delete(tendon)
