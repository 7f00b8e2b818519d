"""The program of a run mixes no types by accident: traced with JAX's strict promotion."""

import jax
import pytest

from mjx_dm.config import replace
from mjx_dm.presets import PRESETS
from mjx_dm.training import program as training
from mjx_dm.training.worlds import make_worlds

PENDULUM = "InvertedPendulum-v5"
# Between them: both learners, critics, proposals and kinds of temperature, and every option of the
# replay and of what the learner is shown.
CASES = {
    "density matching": ("smoke", {"mirror": "on", "proposal": "tilted"}),
    "published": ("published", {"task": PENDULUM, "actor_batch_size": 16, "log_std_bonus": 0.1}),
    "sac": (
        "smoke",
        {
            "task": PENDULUM,
            "learner": "sac",
            "num_steps": 3,
            "normalize_reward": True,
            "obs_dtype": "bfloat16",
        },
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_run_promotes_no_type(name):
    preset, settings = CASES[name]
    config = replace(PRESETS[preset], engine="mujoco", num_envs=4, batch_size=16, **settings)
    with jax.numpy_dtype_promotion("strict"):
        env = make_worlds(config)
        state = jax.eval_shape(lambda key: training.init(config, env, key), jax.random.key(0))
        after, _ = jax.eval_shape(training.make_chunk(config, env), state)
    assert after == state
