"""What takes the place of a model's own settings, engine by engine."""

import dataclasses
import functools

import mujoco
import numpy as np
import pytest

from mjx_dm.tasks import get_task
from mjx_dm.tasks.physics import PHYSICS, model_for, name_of

EULER, RK4 = mujoco.mjtIntegrator.mjINT_EULER, mujoco.mjtIntegrator.mjINT_RK4
NEWTON, PGS = mujoco.mjtSolver.mjSOL_NEWTON, mujoco.mjtSolver.mjSOL_PGS


@pytest.mark.parametrize(
    ("asked", "humanoid", "hopper"),
    [
        ("exact", "exact", "exact"),
        ("v4", "exact", "exact"),
        ("fast", "fast", "fast"),
        ("auto", "fast", "exact"),
    ],
)
def test_v4_is_exact_and_auto_the_tasks_choice(asked, humanoid, hopper):
    assert name_of(get_task("Humanoid-v4"), asked) == humanoid
    assert name_of(get_task("Hopper-v5"), asked) == hopper


@pytest.mark.parametrize(
    ("engine", "physics", "settings"),
    [
        ("mujoco", "exact", (RK4, PGS, 50, 50)),
        ("mujoco", "v4", (RK4, PGS, 50, 50)),
        ("mujoco", "fast", (EULER, NEWTON, 10, 20)),
        ("mjx", "exact", (RK4, NEWTON, 10, 20)),
        ("mjx", "fast", (EULER, NEWTON, 4, 4)),
        ("warp", "exact", (RK4, NEWTON, 10, 20)),
        ("warp", "fast", (EULER, NEWTON, 4, 8)),
    ],
)
def test_integrator_and_solver(engine, physics, settings):
    opt = model_for(get_task("Humanoid-v4"), engine, physics).opt
    assert (opt.integrator, opt.solver, opt.iterations, opt.ls_iterations) == settings


def test_the_c_engine_runs_the_model_itself_under_exact_physics():
    task = get_task("Hopper-v5")
    assert model_for(task, "mujoco", "exact") is task.model


@pytest.mark.parametrize("name", ["Humanoid-v4", "Ant-v5", "HalfCheetah-v5"])
@pytest.mark.parametrize(("engine", "physics"), PHYSICS)
def test_nothing_else_of_a_robot_changes(name, engine, physics):
    task = get_task(name)
    changed = model_for(task, engine, physics)
    for group in ("body", "jnt", "dof", "geom", "actuator", "qpos"):
        for field in (f for f in dir(task.model) if f.startswith(f"{group}_")):
            np.testing.assert_array_equal(
                getattr(changed, field), getattr(task.model, field), err_msg=field
            )
    np.testing.assert_array_equal(changed.opt.gravity, task.model.opt.gravity)
    assert changed.opt.timestep == task.model.opt.timestep


def test_mjx_alone_solves_a_bounded_number_of_contacts_and_only_where_the_task_says_so():
    def bound(name, engine, physics="fast"):
        model = model_for(get_task(name), engine, physics)
        names = [model.numeric(i).name for i in range(model.nnumeric)]
        if "max_contact_points" not in names:
            return None
        return model.numeric("max_contact_points").data.tolist()

    assert bound("Humanoid-v4", "mjx") == bound("Humanoid-v4", "mjx", "exact") == [16]
    assert bound("Humanoid-v4", "mujoco") is bound("Humanoid-v4", "warp") is None
    assert bound("Ant-v5", "mjx") is None


def test_the_humanoids_tendons_exert_no_force_and_are_left_out():
    task = get_task("Humanoid-v4")
    assert task.model.ntendon == 2
    assert model_for(task, "mujoco", "exact").ntendon == 2
    assert model_for(task, "mjx", "exact").ntendon == 0


def strung(tendon="", parts="", reads=()):
    """A task of two hinges that a tendon couples."""
    text = f"""<mujoco>
      <worldbody><body><joint name="a" axis="0 1 0"/><geom size="0.1"/>
        <body pos="0 0 1"><joint name="b" axis="0 1 0"/><geom size="0.1"/></body></body></worldbody>
      <tendon><fixed name="t" {tendon}>
        <joint joint="a" coef="1"/><joint joint="b" coef="1"/></fixed></tendon>{parts}
      <actuator><motor joint="a"/></actuator></mujoco>"""
    return dataclasses.replace(
        get_task("Hopper-v5"),
        spec=functools.partial(mujoco.MjSpec.from_string, text),
        reads=reads,
    )


@pytest.mark.parametrize(
    ("left", "tendon", "parts", "reads"),
    [
        (0, "", "", ()),
        (0, "", '<sensor><jointpos joint="a"/></sensor>', ("sensordata",)),
        (1, 'stiffness="1"', "", ()),
        (1, 'damping="1"', "", ()),
        (1, 'frictionloss="1"', "", ()),
        (1, 'limited="true" range="0 1"', "", ()),
        (1, "", '<actuator><motor tendon="t"/></actuator>', ()),
        (1, "", '<equality><tendon tendon1="t"/></equality>', ()),
        (1, "", '<sensor><tendonpos tendon="t"/></sensor>', ()),
        (1, "", '<sensor><tendonvel tendon="t"/></sensor>', ()),
        (1, "", "", ("ten_length",)),
    ],
)
def test_tendons_are_left_out_only_where_they_are_idle_and_unseen(left, tendon, parts, reads):
    task = strung(tendon, parts, reads)
    assert task.model.ntendon == 1
    changed = model_for(task, "mjx", "fast")
    assert changed.ntendon == left
    assert changed.nsensor == task.model.nsensor
