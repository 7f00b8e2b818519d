"""The memory plan against the arrays themselves, and its refusal."""

import jax
import pytest

from mjx_dm.config import ConfigError, replace
from mjx_dm.presets import PRESETS
from mjx_dm.runs import memory
from mjx_dm.runs.memory import GIB, Plan
from mjx_dm.training import program as training
from mjx_dm.training.worlds import make_worlds

CONFIG = replace(PRESETS["smoke"], engine="mujoco", chunk_iterations=2)


@pytest.mark.slow
def test_the_plan_counts_the_bytes_that_are_allocated():
    env = make_worlds(CONFIG)
    init = jax.jit(lambda key: training.init(CONFIG, env, key))
    shapes = jax.eval_shape(init, jax.random.key(0))
    compiled = jax.jit(training.make_chunk(CONFIG, env), donate_argnums=0).lower(shapes).compile()
    plan = memory.plan(shapes, compiled)
    state = init(jax.random.key(0))
    leaves = [x for x in jax.tree.leaves(state) if x is not state.key]
    # The key's data are 8 bytes, or 16 where another generator is the default.
    assert 0 <= plan.total - plan.temporary - sum(x.nbytes for x in leaves) <= 16
    # 1024 rows of 376 + 17 + 2 floats and a flag.
    assert plan.replay == 1024 * (395 * 4 + 1) + 4
    assert plan.temporary > 0


def test_a_run_that_does_not_fit_is_refused_with_what_would():
    config = replace(CONFIG, replay_size=10_000_000)
    plan = Plan(worlds=GIB, replay=16 * GIB, learner=GIB, temporary=GIB)
    memory.check(config, plan, 19 * GIB)
    with pytest.raises(ConfigError) as refusal:
        memory.check(config, plan, 11 * GIB)
    said = str(refusal.value)
    assert "needs 19.00 GiB" in said and "there are 11.00 GiB" in said
    # 8 of 16 GiB, less a twentieth for what no plan foresees.
    assert "--replay-size 4750000 would fit" in said


def test_a_run_whose_worlds_alone_do_not_fit_is_refused_too():
    plan = Plan(worlds=10 * GIB, replay=GIB, learner=0, temporary=0)
    with pytest.raises(ConfigError, match="less than --num-envs 8"):
        memory.check(CONFIG, plan, 5 * GIB)
