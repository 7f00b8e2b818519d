"""Every robot against the installed Gymnasium's environment of the same name."""

import functools
import inspect
import warnings

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.envs.registration import load_env_creator
from scipy import stats

from mjx_dm.config import ConfigError
from mjx_dm.tasks import get_task, task_names
from mjx_dm.tasks.gymnasium_model import reset_near

NAMES = [name for name in task_names() if name != "Pusher-v4"]


@functools.cache
def peer_of(name, **options):
    """Gymnasium's environment, without its time limit."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is out of date.*")
        return gymnasium.make(name, **options).unwrapped


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def test_sizes_box_and_times_are_gymnasiums(name):
    task, peer = get_task(name), peer_of(name)
    assert (task.name, task.gym_id) == (name, name)
    assert task.spaces.obs_size == peer.observation_space.shape[0]
    assert task.spaces.action_size == peer.action_space.shape[0]
    assert task.spaces.action_low == tuple(map(float, peer.model.actuator_ctrlrange[:, 0]))
    np.testing.assert_array_equal(np.float32(task.spaces.action_low), peer.action_space.low)
    np.testing.assert_array_equal(np.float32(task.spaces.action_high), peer.action_space.high)
    assert task.frame_skip == peer.frame_skip
    assert task.step_seconds == pytest.approx(peer.dt)
    assert task.max_episode_steps == gymnasium.spec(name).max_episode_steps


def test_the_model_is_gymnasiums_number_for_number(name):
    ours, theirs = get_task(name).model, peer_of(name).model
    for a, b in ((ours, theirs), (ours.opt, theirs.opt)):
        for field in (f for f in dir(a) if not f.startswith("_")):
            value = getattr(a, field)
            if isinstance(value, np.ndarray | int | float):
                np.testing.assert_array_equal(value, getattr(b, field), err_msg=field)


def test_options_and_their_defaults_are_gymnasiums(name):
    make = load_env_creator(gymnasium.spec(name).entry_point).__init__
    defaults = {
        option: parameter.default
        for option, parameter in inspect.signature(make).parameters.items()
        if parameter.kind != parameter.VAR_KEYWORD
    }
    for no_option in ("self", "xml_file", "frame_skip", "default_camera_config", "main_body"):
        defaults.pop(no_option, None)
    assert dict(get_task(name).options) == defaults


def fields_of(task, data):
    return {
        field: jnp.asarray(getattr(data, field), jnp.float32).reshape(shape.shape)
        for field, shape in task.field_shapes.items()
    }


OPTIONS = [
    ("Ant-v4", {"use_contact_forces": True, "contact_cost_weight": 0.1}),
    ("Ant-v5", {"contact_cost_weight": 0.0, "include_cfrc_ext_in_observation": False}),
    ("Ant-v5", {"contact_cost_weight": 0.1, "contact_force_range": (-0.5, 0.2)}),
    ("Ant-v5", {"healthy_z_range": (2.0, 3.0), "terminate_when_unhealthy": False}),
    ("HalfCheetah-v4", {"exclude_current_positions_from_observation": False}),
    ("HalfCheetah-v5", {"ctrl_cost_weight": 2.0, "forward_reward_weight": 0.5}),
    ("Hopper-v4", {"healthy_z_range": (2.0, 3.0)}),
    ("Hopper-v5", {"healthy_z_range": (2.0, 3.0)}),
    ("Hopper-v5", {"healthy_state_range": (-1e-6, 1e-6), "terminate_when_unhealthy": False}),
    ("Walker2d-v4", {"healthy_angle_range": (1.0, 2.0), "terminate_when_unhealthy": False}),
    ("Walker2d-v5", {"healthy_reward": 3.0}),
    ("Swimmer-v5", {"exclude_current_positions_from_observation": False}),
    ("Humanoid-v4", {"healthy_z_range": (2.0, 3.0), "terminate_when_unhealthy": False}),
    ("Humanoid-v4", {"exclude_current_positions_from_observation": False}),
    ("Humanoid-v5", {"include_cinert_in_observation": False}),
    ("Humanoid-v5", {"include_cvel_in_observation": False, "contact_cost_weight": 1e-3}),
    ("Humanoid-v5", {"include_qfrc_actuator_in_observation": False}),
    ("Humanoid-v5", {"include_cfrc_ext_in_observation": False, "healthy_reward": 2.0}),
    ("HumanoidStandup-v5", {"impact_cost_weight": 1e-3, "impact_cost_range": (0.5, 1.0)}),
    ("HumanoidStandup-v5", {"uph_cost_weight": 2.0, "ctrl_cost_weight": 0.3}),
    ("InvertedDoublePendulum-v5", {"healthy_reward": 3.0}),
    ("Reacher-v5", {"reward_dist_weight": 3.0, "reward_control_weight": 0.2}),
    ("Pusher-v5", {"reward_near_weight": 2.0, "reward_dist_weight": 3.0}),
]


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_options_do_what_they_do_in_gymnasium(name, options):
    """The task's functions of Gymnasium's own fields, of the second step from a reset."""
    task, peer = get_task(name, **options), peer_of(name, **options)
    peer.reset(seed=0)
    rng = np.random.default_rng(0)
    action = rng.uniform(task.spaces.action_low, task.spaces.action_high).astype(np.float32)
    peer.step(action)
    before = fields_of(task, peer.data)
    obs, reward, terminated, _, info = peer.step(action)
    after = fields_of(task, peer.data)

    assert task.spaces.obs_size == len(obs) == peer.observation_space.shape[0]
    # float32 of forces of up to 1e3 N; a position of 1 m, rounded by 6e-8, over steps of 8 ms.
    np.testing.assert_allclose(task.observe(after), obs, rtol=1e-6, atol=1e-6)
    ours, terms = task.reward(before, after, jnp.asarray(action))
    np.testing.assert_allclose(ours, reward, rtol=1e-5, atol=5e-5)
    assert bool(task.terminated(after)) == terminated
    found = task.info(before, after) | terms
    numbers = {key: value for key, value in info.items() if np.ndim(value) == 0}
    for key, value in numbers.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=5e-5, err_msg=key)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        (
            "Humanoid-v9",
            {},
            "--task Humanoid-v9 is unknown .Humanoid-v5 is near it.; choose from A",
        ),
        ("Ant-v5", {"gravity": 0.0}, "Ant-v5 has no option 'gravity'; its options: forward_rew"),
        ("Reacher-v4", {"gravity": 0.0}, "Reacher-v4 has no option 'gravity'; .*it has none"),
        ("Hopper-v4", {"version": "v5"}, "Hopper-v4 has no option 'version'"),
        ("Pusher-v4", {}, "Pusher-v4 needs mujoco<3, .* take Pusher-v5"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(name, options, sentence):
    with pytest.raises(ConfigError, match=sentence) as refusal:
        get_task(name, **options)
    assert "\n" not in str(refusal.value) and str(refusal.value).endswith(".")


def test_a_task_is_given_back_as_it_is():
    task = get_task("Hopper-v5")
    assert get_task(task) is task


# Seeded, so that what passes once passes again.
OURS, THEIRS = 2000, 400
HALF_NORMAL = ("Ant", "HalfCheetah", "InvertedDoublePendulum")


@functools.cache
def drawn(name):
    """Starts (draws, nq + nv) of ours and of Gymnasium's."""
    task, peer = get_task(name), peer_of(name)
    ours = jax.jit(jax.vmap(task.reset))(jax.random.split(jax.random.key(0), OURS))
    theirs = []
    peer.reset(seed=0)
    for _ in range(THEIRS):
        peer.reset_model()
        theirs.append(np.concatenate([peer.data.qpos, peer.data.qvel]))
    return np.concatenate(ours, -1), np.stack(theirs).astype(np.float32)


def test_starts_are_drawn_as_gymnasiums_are(name):
    ours, theirs = drawn(name)
    assert ours.shape[1] == theirs.shape[1]
    nq = get_task(name).model.nq
    for i, (a, b) in enumerate(zip(ours.T, theirs.T, strict=True)):
        # Normal for uniform of the same width, or 1.4 times the width, gives less than 1e-6.
        assert stats.ks_2samp(a, b).pvalue > 1e-4, f"number {i}"
        if name.startswith(HALF_NORMAL) and i >= nq:
            assert np.std(a) == pytest.approx(0.1, rel=0.08)  # 5 standard errors
        else:
            # 400 draws come within 3% of both ends (missed once in 2e5); rounding in float32.
            room = 0.03 * np.ptp(b) + 2e-7
            assert b.min() - room <= a.min() and a.max() <= b.max() + room, f"number {i}"


def test_every_number_of_a_start_is_drawn_by_itself():
    ours, _ = drawn("Humanoid-v4")
    moved = ours[:, ours.std(0) > 0]
    assert moved.shape == ours.shape and len(np.unique(moved[0])) == moved.shape[1]
    # 5 standard errors of a correlation of 2,000 draws are 0.11; there are some 1,000 pairs.
    assert np.abs(np.corrcoef(moved.T) - np.eye(moved.shape[1])).max() < 0.13


@pytest.mark.parametrize("version", ["v4", "v5"])
def test_the_reachers_goal_lies_within_its_circle(version):
    """Of uniform draws from the square a fifth lie outside; those are drawn again."""
    ours, _ = drawn(f"Reacher-{version}")
    assert 0.19 < np.linalg.norm(ours[:, 2:4], axis=1).max() < 0.2
    assert not ours[:, 6:8].any()


def test_the_pushers_cylinder_lies_away_from_its_goal():
    ours, _ = drawn("Pusher-v5")
    assert 0.17 < np.linalg.norm(ours[:, 7:9], axis=1).min() < 0.18
    assert not ours[:, 9:11].any() and not ours[:, -4:].any()


def test_reset_noise_is_the_option():
    key = jax.random.key(0)
    calm, wild = (get_task("Ant-v5", reset_noise_scale=x).reset(key) for x in (0.0, 0.2))
    usual = reset_near("ant.xml", 0.1, velocity="normal")(key)
    np.testing.assert_array_equal(calm[0], np.float32(get_task("Ant-v5").model.qpos0))
    for none, some, twice in zip(calm, usual, wild, strict=True):
        np.testing.assert_allclose(twice - none, 2 * (some - none), atol=2e-7)


def height(name, heights):
    """Whether an episode is over, at heights of the torso."""
    task = get_task(name)
    found = []
    for z in heights:
        qpos = jnp.zeros(task.model.nq).at[2].set(z)
        found.append(bool(task.terminated({"qpos": qpos, "qvel": jnp.zeros(task.model.nv)})))
    return found


@pytest.mark.parametrize("name", ["Humanoid-v4", "Humanoid-v5"])
def test_the_humanoid_is_well_between_its_bounds_and_not_at_them(name):
    inside = np.nextafter(np.float32(1), 2), 1.4, np.nextafter(np.float32(2), 1)
    assert (
        height(name, [0.5, 1.0, *inside, 2.0, 3.0, jnp.nan])
        == [True] * 2 + [False] * 3 + [True] * 3
    )


@pytest.mark.parametrize("name", ["Ant-v4", "Ant-v5"])
def test_the_ant_is_well_at_its_bounds_too(name):
    low, high = np.float32(0.2), np.float32(1.0)
    outside = np.nextafter(low, 0), np.nextafter(high, 2), jnp.nan
    assert height(name, [low, 0.5, high, *outside]) == [False] * 3 + [True] * 3
