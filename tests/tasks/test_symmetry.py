"""A robot seen in a mirror is the robot: read off its model, shown by its physics."""

import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_dm.tasks import get_task, make_task
from mjx_dm.tasks.symmetry import NoSymmetry, symmetry


def played(task, model, qpos, qvel, actions):
    """What is observed after each of `actions` (T, act), in MuJoCo's C engine."""
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = qpos, qvel
    seen = []
    for action in actions:
        data.ctrl[:] = action
        mujoco.mj_step(model, data, nstep=task.frame_skip)
        mujoco.mj_rnePostConstraint(model, data)
        fields = {name: jnp.asarray(getattr(data, name)) for name in task.field_shapes}
        seen.append(np.asarray(task.observe(fields)))
    return np.stack(seen)


def both_ways(task, model, steps):
    """What is seen in worlds that start and act as each other's reflections, the first turned.

    The observation begins with qpos, less what is left out of it, and qvel.
    """
    rng, s = np.random.default_rng(0), symmetry(task)
    hidden = 2 if model.jnt_type[0] == mujoco.mjtJoint.mjJNT_FREE else 1
    hidden = 2 if "Swimmer" in task.name else hidden
    qpos = model.qpos0 + rng.uniform(-0.01, 0.01, model.nq)
    qvel = rng.uniform(-0.3, 0.3, model.nv)
    actions = rng.uniform(
        *np.array([task.spaces.action_low, task.spaces.action_high]), (steps, model.nu)
    )
    seen = np.concatenate([qpos[hidden:], qvel])
    size = len(seen)
    other = seen[s.obs.source[:size]] * s.obs.sign[:size]
    there = np.concatenate([[qpos[0], -qpos[1]][:hidden], other])
    one = played(task, model, qpos, qvel, actions)
    two = played(
        task,
        model,
        there[: model.nq],
        there[model.nq :],
        actions[:, s.action.source] * s.action.sign,
    )
    return one[:, s.obs.source] * s.obs.sign, two


def equal_sides(name):
    task = get_task(name)
    model = task.spec().compile()
    if name.startswith("Humanoid"):
        model.dof_armature[model.joint("right_hip_y").dofadr] = 0.010
        model.jnt_stiffness[model.joint("right_knee").id] = 1.0
        mujoco.mj_setConst(model, mujoco.MjData(model))
    return task, model


STEPS = {"Humanoid-v4": 40, "Humanoid-v5": 3, "Ant-v5": 20, "Walker2d-v5": 20, "Swimmer-v5": 20}


@pytest.mark.parametrize(("name", "steps"), STEPS.items())
def test_a_reflected_world_goes_the_reflected_way(name, steps):
    """With contacts; the humanoid's solver stops before it has converged, by up to 1e-4."""
    one, other = both_ways(*equal_sides(name), steps)
    scale = np.maximum(1.0, np.abs(one).max(0))
    np.testing.assert_allclose(one / scale, other / scale, atol=2e-4)
    assert np.abs(one - one[0]).max() > 0.1 or steps < 10, "it has moved"


def test_the_real_humanoid_is_as_good_as_symmetric():
    """Over one step, from a random velocity: 0.02 rad/s at most, of velocities that reach 9."""
    task = get_task("Humanoid-v4")
    (one,), (other,) = both_ways(task, task.model, 1)
    assert 1e-4 < np.abs(one - other).max() < 0.02
    assert np.abs(one[22:45]).max() > 5.0


@pytest.mark.parametrize("name", ["Humanoid-v4", "Ant-v4"])
def test_twice_reflected_is_not_at_all(name):
    s = symmetry(get_task(name))
    for exchange in s:
        x = jnp.asarray(
            np.random.default_rng(0).normal(size=(3, len(exchange.source))), jnp.float32
        )
        assert np.any(exchange(x) != x)
        np.testing.assert_array_equal(exchange(exchange(x)), x)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("HalfCheetah-v5", "it has no left and right"),
        ("Hopper-v4", "it has no left and right"),
        ("Walker2d-v4", "left and right differ in geom_friction"),
        ("Pusher-v5", "nothing lies opposite its body"),
        ("HumanoidStandup-v4", "left and right differ in jnt_range"),
    ],
)
def test_a_robot_without_a_mirror_image_says_why(name, reason):
    with pytest.raises(NoSymmetry, match=reason):
        symmetry(get_task(name))


def test_a_reward_that_tells_left_from_right_has_no_symmetry():
    import dataclasses

    ant = get_task("Ant-v5")
    sideways = dataclasses.replace(
        ant, reward=lambda before, after, action: (after["qpos"][1], {"y": after["qpos"][1]})
    )
    with pytest.raises(NoSymmetry, match="its reward tells left from right"):
        symmetry(sideways)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ("", None),
        ('<geom name="wall" pos="0 2 0" size="0.1"/>', "nothing lies opposite its geom wall"),
        ('</worldbody><option gravity="0 1 0"/><worldbody>', "gravity or wind points to one side"),
    ],
)
def test_a_world_that_tells_left_from_right_has_no_symmetry(changed, reason):
    sled = make_task(
        f"""<mujoco><worldbody>{changed}<body><joint name="x" type="slide" axis="1 0 0"/>
        <joint name="y" type="slide" axis="0 1 0"/><geom size="0.1"/></body></worldbody>
        <actuator><motor joint="x" ctrlrange="-1 1"/><motor joint="y" ctrlrange="-1 1"/></actuator>
        </mujoco>""",
        lambda fields: fields["qpos"],
        lambda before, after, action: after["qpos"][0],
    )
    if reason is None:
        np.testing.assert_array_equal(symmetry(sled).action.sign, [1, -1])
    else:
        with pytest.raises(NoSymmetry, match=reason):
            symmetry(sled)
