"""Every engine against Gymnasium's Humanoid-v4, from the same states with the same actions."""

import contextlib

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_dm import parity
from mjx_dm.envs import make_env
from mjx_dm.humanoid import EPISODE_STEPS

# Both compile for minutes on a CPU.
ENGINES = ["mujoco", *(pytest.param(e, marks=[pytest.mark.slow, pytest.mark.gpu]) for e in ("warp", "mjx"))]


@pytest.fixture(scope="module", params=ENGINES)
def measured(request):
    """(engine, its report by kind of start)."""
    allow = contextlib.nullcontext()
    if request.param == "warp":
        pytest.importorskip("warp")
    # MJX's own code promotes ranks.
    if request.param != "mujoco":
        allow = jax.numpy_rank_promotion("allow")
    worlds, steps = (4, 60) if request.param == "mujoco" else (2, 20)
    with allow:
        return request.param, parity.measure(request.param, parity.make_case(worlds, steps))
