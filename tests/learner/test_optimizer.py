"""The optimiser that the settings describe, against its formula in NumPy."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mjx_dm.config import Config, replace
from mjx_dm.learner.actor_critic import adam

RATE = 0.01
START = {"a": [0.3, -2.0], "b": [1.5]}
# Norms of 13 and 0.13. Adam's step does not depend on a scale that all gradients share.
GRADIENTS = [{"a": [3.0, -4.0], "b": [12.0]}, {"a": [0.12, 0.03], "b": [-0.04]}]


def expected(max_grad_norm):
    """Kingma and Ba 2015, algorithm 1, after clipping by the norm of all leaves."""
    x = np.concatenate(list(START.values()))
    m = v = 0.0
    for t, tree in enumerate(GRADIENTS, 1):
        grad = np.concatenate(list(tree.values()))
        grad = grad * min(1.0, max_grad_norm / np.linalg.norm(grad))
        m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2
        step = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        x = x - RATE * step
    return x


@pytest.mark.parametrize("max_grad_norm", [1.0, float("inf")])
def test_weights_move_by_clipped_gradients(max_grad_norm):
    optimizer = adam(replace(Config(), max_grad_norm=max_grad_norm), RATE)
    params = {name: jnp.asarray(x) for name, x in START.items()}
    state = optimizer.init(params)
    for tree in GRADIENTS:
        grads = {name: jnp.asarray(x) for name, x in tree.items()}
        steps, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, steps)
    found = np.concatenate([params["a"], params["b"]])
    np.testing.assert_allclose(found, expected(max_grad_norm), rtol=1e-5)
