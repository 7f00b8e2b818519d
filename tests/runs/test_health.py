"""A run whose numbers are not finite says so, and what there is to go on from."""

import json
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest

from mjx_dm.checkpoints import saving
from mjx_dm.groups import CriticSettings
from mjx_dm.runs import health


class State(NamedTuple):
    weights: jax.Array
    count: jax.Array
    key: jax.Array


def state(weight=1.0):
    return State(jnp.array([0.0, weight]), jnp.zeros((), jnp.int32), jax.random.key(0))


@pytest.mark.parametrize(("weight", "sound"), [(1e38, True), (jnp.inf, False), (jnp.nan, False)])
def test_only_what_is_finite_is_sound(weight, sound):
    assert bool(health.all_finite(state(weight))) is sound


def test_a_critic_that_presses_against_its_support_is_told_of():
    critic = CriticSettings(value_max=120.0)
    assert health.about_support(critic, {"mass_at_value_max": 0.01, "critic_loss": 3.0}) is None
    assert health.about_support(critic, {"mass_at_value_max": math.nan}) is None
    said = health.about_support(critic, {"mass_at_value_min": 0.0, "mass_at_value_max": 0.3})
    assert said and "30% of" in said and "beyond --value-max 120 count" in said
    said = health.about_support(critic, {"mass_at_value_min": 0.2})
    assert said and "--value-min -20" in said


def test_the_report_names_the_arrays_the_newest_checkpoint_and_the_last_metrics(tmp_path):
    said = health.report(tmp_path, 3000, state(jnp.nan))
    assert "there is no intact checkpoint before that" in said
    saving.save(tmp_path / "checkpoints", 1000, {"x": jnp.ones(2)})
    newest = saving.save(tmp_path / "checkpoints", 2000, {"x": jnp.ones(2)})
    (tmp_path / "metrics.jsonl").write_text('{"step": 2500, "critic_loss": 1e30}\n')
    said = health.report(tmp_path, 3000, state(jnp.nan))
    assert "not finite after 3000 environment steps (first weights)" in said
    assert str(newest) in said and "--init-from" in said and said.count("\n") == 0
    report = json.loads((tmp_path / health.REPORT).read_text())
    assert report["not_finite"] == {".weights": "1 of 2"}
    assert report["newest_checkpoint"] == str(newest)
    assert report["metrics"] == [{"step": 2500, "critic_loss": 1e30}]
