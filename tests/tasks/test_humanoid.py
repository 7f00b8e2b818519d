"""The task's constants and formulas against Gymnasium's own."""

import inspect
import warnings

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from gymnasium.envs.mujoco.humanoid_v4 import HumanoidEnv

from mjx_dm.tasks import humanoid
from mjx_dm.types import ACTION_SIZE, NQ, NV, OBS_PARTS, OBS_SIZE


@pytest.fixture(scope="module")
def gymnasium_env():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Humanoid-v4 is out of date.*")
        return gymnasium.make("Humanoid-v4")


@pytest.fixture(scope="module", params=humanoid.PHYSICS, ids="-".join)
def setting(request):
    """(what was asked for, the model)."""
    physics = humanoid.PHYSICS[request.param]
    return physics, humanoid.load_model(physics)


def test_sizes_are_gymnasiums(gymnasium_env):
    model = gymnasium_env.unwrapped.model
    assert (
        gymnasium_env.observation_space.shape[0],
        gymnasium_env.action_space.shape[0],
    ) == (OBS_SIZE, ACTION_SIZE)
    assert (model.nq, model.nv) == (NQ, NV)


def test_constants_are_gymnasiums(gymnasium_env):
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(HumanoidEnv.__init__).parameters.items()
    }
    assert defaults["forward_reward_weight"] == humanoid.FORWARD_REWARD_WEIGHT
    assert defaults["ctrl_cost_weight"] == humanoid.CONTROL_COST_WEIGHT
    assert defaults["healthy_reward"] == humanoid.HEALTHY_REWARD
    assert defaults["healthy_z_range"] == humanoid.HEALTHY_Z
    assert defaults["reset_noise_scale"] == humanoid.RESET_NOISE
    assert gymnasium_env.spec.max_episode_steps == humanoid.EPISODE_STEPS
    assert gymnasium_env.unwrapped.frame_skip == humanoid.FRAME_SKIP
    assert pytest.approx(gymnasium_env.unwrapped.dt) == humanoid.STEP_SECONDS


def test_v4_physics_of_the_c_engine_are_gymnasiums(gymnasium_env):
    ours = humanoid.load_model(humanoid.PHYSICS["mujoco", "v4"])
    theirs = gymnasium_env.unwrapped.model
    for name in ("integrator", "solver", "iterations", "ls_iterations", "timestep", "gravity"):
        np.testing.assert_array_equal(getattr(ours.opt, name), getattr(theirs.opt, name))
    for name in ("geom_contype", "geom_conaffinity", "body_mass", "qpos0", "actuator_gear"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_load_model_applies_every_setting(setting):
    physics, model = setting
    assert model.opt.integrator == physics.integrator
    assert model.opt.solver == physics.solver
    assert model.opt.iterations == physics.iterations
    assert model.opt.ls_iterations == physics.ls_iterations


def test_a_step_lasts_its_substeps(setting):
    _, model = setting
    assert model.opt.timestep * humanoid.FRAME_SKIP == pytest.approx(humanoid.STEP_SECONDS)


def test_action_limit_is_the_models(setting):
    _, model = setting
    limit = np.tile([-humanoid.ACTION_LIMIT, humanoid.ACTION_LIMIT], (17, 1))
    np.testing.assert_allclose(model.actuator_ctrlrange, limit)


def pairs_that_may_touch(contacts):
    """Pairs of body names, the floor's being world, after the masks of the model's geoms."""
    model = humanoid.load_model(humanoid.PHYSICS["mujoco", "fast"]._replace(contacts=contacts))
    body = [model.body(model.geom_bodyid[i]).name for i in range(model.ngeom)]
    return {
        frozenset((body[i], body[j]))
        for i in range(model.ngeom)
        for j in range(i)
        if model.geom_contype[i] & model.geom_conaffinity[j]
        or model.geom_contype[j] & model.geom_conaffinity[i]
    }


BODIES = ["torso", "lwaist", "pelvis"] + [
    f"{side}_{part}"
    for side in ("left", "right")
    for part in ("thigh", "shin", "foot", "upper_arm", "lower_arm")
]
WITH_FLOOR = {frozenset(("world", body)) for body in BODIES}
BETWEEN_LEGS = {
    frozenset((f"left_{a}", f"right_{b}"))
    for a in ("thigh", "shin", "foot")
    for b in ("thigh", "shin", "foot")
}


@pytest.mark.parametrize(
    ("contacts", "expected"),
    [
        ("floor", WITH_FLOOR),
        ("legs", WITH_FLOOR | BETWEEN_LEGS),
        ("feet", {frozenset(("world", "left_foot")), frozenset(("world", "right_foot"))}),
    ],
)
def test_contacts_leave_only_the_pairs_they_name(contacts, expected):
    assert pairs_that_may_touch(contacts) == expected


def test_all_contacts_let_everything_touch():
    everything = {frozenset((a, b)) for a in ["world", *BODIES] for b in BODIES if a != b}
    assert everything <= pairs_that_may_touch("all")


def test_the_tendons_that_are_left_out_exert_no_force(gymnasium_env):
    model = gymnasium_env.unwrapped.model
    forces = ("stiffness", "damping", "frictionloss", "armature", "limited")
    assert not any(getattr(model, f"tendon_{name}").any() for name in forces)
    assert (model.actuator_trntype == mujoco.mjtTrn.mjTRN_JOINT).all()
    ours = humanoid.load_model(humanoid.PHYSICS["mjx", "v4"])
    assert (model.ntendon, ours.ntendon) == (2, 0)


def test_observation_is_in_gymnasiums_order():
    rng = np.random.default_rng(0)
    shapes = [(24,), (23,), (14, 10), (14, 6), (23,), (14, 6)]
    qpos, *others = (rng.normal(size=s).astype(np.float32) for s in shapes)
    expected = [qpos[2:], *(x.ravel() for x in others)]
    obs = humanoid.observe(*map(jnp.asarray, (qpos, *others)))
    np.testing.assert_array_equal(obs, np.concatenate(expected))
    assert list(OBS_PARTS.values()) == list(map(len, expected))


def test_reward_pays_speed_and_charges_the_action_unclamped():
    before, after = jnp.array([0.0, 1.0]), jnp.array([0.03, 0.97])
    action = jnp.stack([jnp.zeros(17), jnp.full(17, 2.0)])
    # 5 + 1.25 * 2 m/s; 5 - 1.25 * 2 m/s - 0.1 * 17 * 4.
    expected = [7.5, -4.3]
    # A millimetre of float32 at 1 m is 1e-7, 1e-5 once divided by 0.015 s.
    np.testing.assert_allclose(humanoid.reward(before, after, action), expected, atol=1e-4)


def test_terminated_at_and_outside_the_open_bounds():
    height = [0.5, 1.0, np.nextafter(np.float32(1), 2), 1.4, np.nextafter(np.float32(2), 1), 2, 3]
    qpos = np.zeros((7, 24), np.float32)
    qpos[:, 2] = height
    expected = [True, True, False, False, False, True, True]
    assert humanoid.terminated(jnp.asarray(qpos)).tolist() == expected


def test_terminated_where_the_height_is_not_a_number():
    assert humanoid.terminated(jnp.full((1, 24), jnp.nan)).all()


def test_random_states_draw_every_number_within_a_hundredth_of_the_models_start(gymnasium_env):
    qpos, qvel = humanoid.random_state(jax.random.key(0), 2000)
    drawn = np.concatenate([np.asarray(qpos) - gymnasium_env.unwrapped.model.qpos0, qvel], 1)
    # float32 around 1.4 rounds by 1e-7.
    assert np.abs(drawn).max() <= 0.01 + 2e-7
    # Uniform: the 2,000 draws of each number come within 2% of both ends (missed once in 1e17).
    assert (drawn.min(0) < -0.0096).all() and (drawn.max(0) > 0.0096).all()
    assert len(np.unique(drawn[0])) == 47
    # 5 standard errors of a correlation of 2,000 draws are 0.11; there are 1,081 pairs.
    assert np.abs(np.corrcoef(drawn.T) - np.eye(47)).max() < 0.13
