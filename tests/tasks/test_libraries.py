"""Tasks of other libraries by name: what they are, and what is said where they cannot be."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from brax import envs as brax_envs
from toys import STEP

from mjx_dm.config import ConfigError
from mjx_dm.envs import brax as exported
from mjx_dm.tasks import any_task, get_task
from mjx_dm.tasks.libraries import library_names


@pytest.mark.usefixtures("rail")
def test_a_task_of_brax_has_its_sizes_its_box_and_its_time_limit():
    task = any_task("brax:rail")
    assert task.spaces == (2, 1, (-1.0,), (1.0,), 3)
    assert (task.max_episode_steps, task.step_seconds, task.version) == (1000, 0.05, 1)
    assert any_task(task) is task
    assert any_task("brax:rail", privileged=False).spaces.privileged_size is None


@pytest.mark.usefixtures("rail")
def test_a_repeated_action_adds_up_its_rewards_and_shortens_the_episode():
    once, thrice = any_task("brax:rail"), any_task("brax:rail", action_repeat=3, episode_length=10)
    assert (thrice.max_episode_steps, thrice.step_seconds) == (4, pytest.approx(0.15))
    start = once.start(jax.random.key(0))
    by_ones, rewards = start, []
    for _ in range(3):
        by_ones = once.advance(by_ones, jnp.ones(1))
        rewards.append(by_ones.reward)
    together = thrice.advance(start, jnp.ones(1))
    assert together.reward == pytest.approx(float(sum(rewards)), rel=1e-6)
    assert together.pipeline_state.q == pytest.approx(start.pipeline_state.q + 3 * STEP)


@pytest.mark.usefixtures("rail")
def test_its_model_can_be_drawn_and_its_poses_fit_it():
    task = any_task("brax:rail")
    assert task.model.nq == 1 and task.is_filmed
    assert task.pose(task.start(jax.random.key(0))).qpos.shape == (1,)


@pytest.mark.usefixtures("rail")
@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("brax:raill", {}, "--task brax:raill is unknown; near it are brax:rail"),
        ("brax:rail", {"wind": 1}, "brax:rail has no option 'wind'; its options: privileged,"),
        ("brax:rail", {"episode_length": 0}, "episode_length must be a whole number from 1 on"),
        ("brax:fast", {}, "brax:fast cannot be made with its own options: 'Fast' object has no"),
        pytest.param(
            "brax:inverted_pendulum",
            {"backend": "bullet"},
            "brax:inverted_pendulum cannot be made with backend=bullet: backend should be in",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_brax_cannot_make_is_told_in_a_sentence(name, options, sentence):
    with pytest.raises(ConfigError) as caught:
        any_task(name, **options)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_this_programs_own_tasks_are_not_taken_for_braxs():
    assert "humanoid_v4_mjx" in brax_envs._envs, exported
    assert "brax:humanoid_v4_mjx" not in library_names("brax")


def test_a_task_of_a_library_is_no_task_of_this_program():
    with pytest.raises(ConfigError, match="brax:ant is simulated by brax itself"):
        get_task("brax:ant")


def test_without_playground_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco_playground", None)
    monkeypatch.delitem(sys.modules, "mjx_dm.tasks.libraries.playground", raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'mjx-dm\[playground\]'"):
        any_task("playground:CartpoleBalance")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("Cartpole", {}, "near it are playground:CartpoleSwingup"),
        ("CartpoleBalance", {"wind": 1}, "does not take wind=1; its options and their defaults: "),
        ("CartpoleBalance", {"sim_dt": "x"}, "does not take sim_dt=x"),
        ("Go1JoystickFlatTerrain", {}, "needs mujoco_menagerie, which Playground clones"),
    ],
)
def test_what_playground_cannot_make_is_told_in_a_sentence(name, options, sentence, monkeypatch):
    pytest.importorskip("mujoco_playground")
    from mujoco_playground._src import mjx_env

    def fails(*_):
        raise subprocess.CalledProcessError(128, "git")

    monkeypatch.setattr(mjx_env, "ensure_menagerie_exists", fails)
    with pytest.raises(ConfigError) as caught:
        any_task(f"playground:{name}", **options)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.usefixtures("broadcasts")
def test_playgrounds_configuration_is_overridden_by_name():
    pytest.importorskip("mujoco_playground")
    task = any_task("playground:CartpoleBalance", action_repeat=4, episode_length=100)
    assert (task.max_episode_steps, task.step_seconds) == (25, pytest.approx(0.04))
    assert task.simulation == "playground (jax)" and task.model.nq == 2
