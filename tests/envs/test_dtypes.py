"""Worlds hold float32, whatever JAX is told of precision, and mix no types by accident."""

import jax
import jax.numpy as jnp
import pytest

from mjx_dm.device import float32, in_float32
from mjx_dm.envs.batch import make_env
from mjx_dm.tasks import task_names


@pytest.fixture
def strict():
    """As JAX_ENABLE_X64=1 and JAX_NUMPY_DTYPE_PROMOTION=strict have it."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        yield


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("name", [name for name in task_names() if name.endswith("v5")])
def test_a_step_of_a_task_is_in_float32(name):
    env = make_env(2, name, engine="mujoco")
    state = jax.eval_shape(env.reset, jax.random.key(0))
    action = jax.ShapeDtypeStruct((2, env.spaces.action_size), jnp.float64)
    after = jax.eval_shape(env.step, state, action)
    types = jax.tree.map(lambda x: x.dtype, after)
    assert types == jax.tree.map(lambda x: x.dtype, state), "it can be carried through a scan"
    found = set(jax.tree.leaves(types)) - {after.key.dtype}
    assert found == {jnp.dtype(x) for x in ("float32", "int32", "bool")}


@pytest.mark.usefixtures("strict")
def test_float32_ends_with_its_block():
    with float32():
        assert jnp.zeros(()).dtype == jnp.float32
    assert in_float32(jnp.zeros)(()).dtype == jnp.float32
    assert jnp.zeros(()).dtype == jnp.float64
