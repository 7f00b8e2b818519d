"""The learner's matrix products: bfloat16 on a CPU."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_dm.config import LearnerConfig
from mjx_dm.learner import density_matching as learner
from mjx_dm.learner import products
from mjx_dm.types import Transition

ROWS = (((1,), (0,)), ((), ()))


def factors(*leading):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(*leading, 64)).astype(np.float32)
    return x, rng.normal(size=(64, 48)).astype(np.float32)


def rounded(x):
    """The nearest bfloat16, as float64."""
    return np.asarray(jnp.asarray(x, jnp.bfloat16)).astype(np.float64)


@pytest.mark.parametrize("leading", [(32,), (4, 8)])
def test_products_and_gradients_are_those_of_rounded_factors(leading):
    x, w = factors(*leading)
    slope = np.random.default_rng(1).normal(size=(*leading, 48)).astype(np.float32)
    dimensions = (((x.ndim - 1,), (0,)), ((), ()))

    @jax.jit
    def both(x, w, slope):
        with jax.default_matmul_precision("bfloat16"):
            out, back = jax.vjp(lambda *of: products.dot_general(*of, dimensions), x, w)
            return out, *back(slope)

    out, of_x, of_w = both(x, w, slope)
    x, w, slope = rounded(x), rounded(w), rounded(slope)
    np.testing.assert_allclose(out, x @ w, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(of_x, slope @ w.T, rtol=1e-4, atol=1e-4)
    flat = x.reshape(-1, 64).T @ slope.reshape(-1, 48)
    np.testing.assert_allclose(of_w, flat, rtol=1e-4, atol=1e-4)


def test_nothing_is_rounded_unless_asked():
    x, w = map(jnp.asarray, factors(32))
    np.testing.assert_allclose(products.dot_general(x, w, ROWS), x @ w, rtol=1e-5, atol=1e-5)
    with jax.default_matmul_precision("bfloat16"):
        asked = products.dot_general(x, w, ROWS)
    assert np.abs(asked - x @ w).max() > 1e-3


@pytest.fixture(scope="module")
def update():
    """precision -> (the metrics of one update, its compiled program)."""
    config = LearnerConfig(
        batch_size=64, actor_batch_size=64, actor_widths=(64, 64), critic_widths=(64, 64)
    )
    made = learner.make_learner(config)
    rng = np.random.default_rng(0)
    batch = Transition(
        obs=jnp.asarray(rng.normal(size=(64, 376)), jnp.float32),
        action=jnp.asarray(rng.uniform(-1, 1, (64, 17)), jnp.float32),
        reward=jnp.asarray(rng.normal(size=64), jnp.float32),
        discount=jnp.ones(64),
        next_obs=jnp.asarray(rng.normal(size=(64, 376)), jnp.float32),
        valid=jnp.ones(64, jnp.bool_),
    )
    state = made.init(jax.random.key(0))

    def run(precision):
        with jax.default_matmul_precision(precision):
            lowered = jax.jit(made.update).lower(state, batch, jax.random.key(1))
        program = lowered.compile(products.compiler_options(precision))
        return jax.device_get(program(state, batch, jax.random.key(1))[1]), program.as_text()

    return {precision: run(precision) for precision in ("default", "bfloat16")}


def test_an_update_from_bfloat16_is_near_that_from_float32(update):
    exact, near = (update[precision][0] for precision in ("default", "bfloat16"))
    for name in exact:
        assert near[name] == pytest.approx(exact[name], rel=0.03, abs=0.03), name
    assert any(near[name] != exact[name] for name in exact)


def test_the_compiler_keeps_all_but_the_weighing_of_actions_in_bfloat16(update):
    text = update["bfloat16"][1]
    kinds = dict(re.findall(r"%([\w.\-]+) = (\w+)\[", text))
    of_dots = [kinds[name] for name in re.findall(r" dot\(%([\w.\-]+),", text)]
    # Of float32 are the expectations over the atoms (4), and Q of the proposed actions, through
    # state, action, a hidden layer and the atoms.
    assert of_dots.count("f32") == 4 + 4
    assert of_dots.count("bf16") >= 25
