"""The program of a run mixes no types by accident: traced with JAX's strict promotion."""

import jax
import optax
import pytest

from mjx_dm.config import replace
from mjx_dm.presets import PRESETS
from mjx_dm.training import program as training
from mjx_dm.training.worlds import make_worlds

# Between them: both learners, critics, proposals and kinds of temperature, and every option of the
# replay and of what the learner is shown.
CASES = {
    "density matching": ("smoke", {"weight_entropy": 0.3, "mirror": "on"}),
    "published": ("published", {"actor_batch_size": 16, "log_std_bonus": 0.1}),
    "sac": (
        "smoke",
        {"learner": "sac", "num_steps": 3, "normalize_reward": True, "obs_dtype": "bfloat16"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_run_promotes_no_type(name, monkeypatch):
    correct = optax.tree.bias_correction

    def by_optax(*arguments):
        # Optax itself raises a float to the power of an int32.
        with jax.numpy_dtype_promotion("standard"):
            return correct(*arguments)

    monkeypatch.setattr(optax.tree, "bias_correction", by_optax)
    preset, settings = CASES[name]
    config = replace(PRESETS[preset], engine="mujoco", num_envs=4, batch_size=16, **settings)
    with jax.numpy_dtype_promotion("strict"):
        env = make_worlds(config)
        state = jax.eval_shape(lambda key: training.init(config, env, key), jax.random.key(0))
        after, _ = jax.eval_shape(training.make_chunk(config, env), state)
    assert after == state
