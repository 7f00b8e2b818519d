"""The layout of an observation says what stands where: its names, computed, are the observation."""

import dataclasses
import re

import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_dm.config import ConfigError
from mjx_dm.tasks import get_task, layout, task_names
from mjx_dm.tasks.layout import Entry

NAME = re.compile(r"[a-z_]+\.\w+(?:\.\w+)?")
FUNCTIONS = {"clip": np.clip, "cos": np.cos, "sin": np.sin}
FAMILIES = {"Ant-v5", "Humanoid-v5", "InvertedDoublePendulum-v4", "Reacher-v4", "Walker2d-v5"}
NAMES = [
    pytest.param(name, marks=() if name in FAMILIES else pytest.mark.slow)
    for name in task_names()
    if name != "Pusher-v4"
]


def computed(task, fields):
    """The observation by its layout's formulas."""
    known = {
        entry.name: float(value)
        for field, array in fields.items()
        if field not in ("subtree_com", "site_xpos")
        for entry, value in zip(layout.of(task.model, field), array.reshape(-1), strict=True)
    }

    def value(entry):
        formula = NAME.sub(lambda found: repr(known[found.group()]), entry.name)
        return eval(formula, dict(FUNCTIONS))

    return np.array([value(entry) for entry in task.observations])


def some_fields(task):
    rng = np.random.default_rng(0)
    shapes = task.field_shapes.items()
    return {name: jnp.asarray(rng.normal(size=x.shape, scale=8), jnp.float32) for name, x in shapes}


@pytest.mark.parametrize("name", NAMES)
def test_the_names_of_a_robot_computed_are_its_observation(name):
    task = get_task(name)
    fields = some_fields(task)
    np.testing.assert_allclose(computed(task, fields), task.observe(fields), rtol=1e-5)
    assert len({entry.name for entry in task.observations}) == task.spaces.obs_size
    assert len(task.actions) == task.spaces.action_size


def test_options_that_change_what_is_seen_change_its_names():
    shown = {"exclude_current_positions_from_observation": False}
    for task in (
        get_task("Humanoid-v5", include_cinert_in_observation=False, **shown),
        get_task("Ant-v4", use_contact_forces=True, **shown),
    ):
        fields = some_fields(task)
        np.testing.assert_allclose(computed(task, fields), task.observe(fields), rtol=1e-5)
        assert task.observations[0] == Entry("qpos.root.x", "m")


def test_names_are_those_of_the_model():
    task = get_task("Humanoid-v4")
    model, data = task.model, mujoco.MjData(task.model)
    rng = np.random.default_rng(0)
    for field in ("qpos", "qvel", "cinert"):
        getattr(data, field)[:] = rng.normal(size=getattr(data, field).shape)

    def at(field, name):
        names = [entry.name for entry in layout.of(model, field)]
        return getattr(data, field).reshape(-1)[names.index(name)]

    knee = model.joint("left_knee")
    assert at("qpos", "qpos.left_knee") == data.qpos[knee.qposadr[0]]
    assert at("qvel", "qvel.left_knee") == data.qvel[knee.dofadr[0]]
    assert at("qvel", "qvel.root.wz") == data.qvel[5]
    assert at("cinert", "cinert.torso.mass") == data.cinert[model.body("torso").id, 9]


def test_a_layout_of_another_length_is_refused_by_name():
    task = dataclasses.replace(get_task("Reacher-v5"), layout=lambda model: [("angle", "rad")])
    with pytest.raises(ConfigError, match="layout of Reacher-v5 names 1 entries, and .* has 10"):
        assert task.observations


def test_a_robot_without_a_layout_has_numbered_observations():
    own = get_task("examples/ring.py")
    assert own.observations[:2] == [Entry("obs[0]"), Entry("obs[1]")]
    assert len(own.observations) == own.spaces.obs_size
