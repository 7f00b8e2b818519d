"""The task: Gymnasium's Humanoid-v4 as pure functions, and the physics it may run under.

Source: `gymnasium/envs/mujoco/humanoid_v4.py` and the `humanoid.xml` beside it, which is loaded
from the installed package.
"""

import importlib.util
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Bool, Float

from mjx_dm.types import ACTION_SIZE, NQ, NV, OBS_SIZE, Spaces

FRAME_SKIP = 5
STEP_SECONDS = 0.015
EPISODE_STEPS = 1000
ACTION_LIMIT = 0.4
SPACES = Spaces(OBS_SIZE, ACTION_SIZE, (-0.4,) * ACTION_SIZE, (0.4,) * ACTION_SIZE)
HEALTHY_Z = (1.0, 2.0)
HEALTHY_REWARD = 5.0
FORWARD_REWARD_WEIGHT = 1.25
CONTROL_COST_WEIGHT = 0.1
RESET_NOISE = 0.01
# What MJX solves of each kind of contact, the deepest first: with the floor there are 29, between
# bodies 109. At most 14 and 10 were seen at once, in heaps; 2 and 4 while it runs.
MJX_CONTACTS = 16


class Physics(NamedTuple):
    """How the model is integrated and which of its contacts exist.

    contacts: all (Humanoid-v4's own), legs (the floor with every body, one leg with the other),
    floor (the floor with every body) or feet (the floor with the feet).
    """

    integrator: mujoco.mjtIntegrator
    solver: mujoco.mjtSolver
    iterations: int
    ls_iterations: int
    contacts: str = "all"


_RK4, _EULER = mujoco.mjtIntegrator.mjINT_RK4, mujoco.mjtIntegrator.mjINT_EULER
_PGS, _NEWTON = mujoco.mjtSolver.mjSOL_PGS, mujoco.mjtSolver.mjSOL_NEWTON

# MJX has no PGS; Newton solves the same convex problem to its minimum. Two iterations are too few:
# policies that run at 11,000 fall under them (docs/environment.md, "Cheaper physics").
PHYSICS: dict[tuple[str, str], Physics] = {
    ("mujoco", "v4"): Physics(_RK4, _PGS, 50, 50),
    ("mjx", "v4"): Physics(_RK4, _NEWTON, 10, 20),
    ("warp", "v4"): Physics(_RK4, _NEWTON, 10, 20),
    ("mujoco", "fast"): Physics(_EULER, _NEWTON, 10, 20),
    ("mjx", "fast"): Physics(_EULER, _NEWTON, 4, 4),
    ("warp", "fast"): Physics(_EULER, _NEWTON, 4, 8),
}


def load_model(physics: Physics) -> mujoco.MjModel:
    """The humanoid of the installed Gymnasium under `physics`."""
    spec = mujoco.MjSpec.from_file(str(_model_file()))
    spec.option.integrator = physics.integrator
    spec.option.solver = physics.solver
    spec.option.iterations = physics.iterations
    spec.option.ls_iterations = physics.ls_iterations
    spec.add_numeric(name="max_contact_points", data=[MJX_CONTACTS])  # MJX alone heeds it
    for tendon in spec.tendons:  # they exert no force, and cost MJX seven kernels a substep
        spec.delete(tendon)
    if physics.contacts != "all":
        for geom in spec.geoms:
            geom.contype, geom.conaffinity = _contact_bits(geom.name, physics.contacts)
    return spec.compile()


def observe(
    qpos: Float[Array, "24"],
    qvel: Float[Array, "23"],
    cinert: Float[Array, "14 10"],
    cvel: Float[Array, "14 6"],
    qfrc_actuator: Float[Array, "23"],
    cfrc_ext: Float[Array, "14 6"],
) -> Float[Array, "376"]:
    """One world's 376 observations, in the order of `types.OBS_PARTS`."""
    bodies = cinert.reshape(-1), cvel.reshape(-1)
    return jnp.concatenate([qpos[2:], qvel, *bodies, qfrc_actuator, cfrc_ext.reshape(-1)])


def reward(
    com_x_before: Float[Array, "*B"], com_x_after: Float[Array, "*B"], action: Float[Array, "*B 17"]
) -> Float[Array, "*B"]:
    """5 + 1.25 dx/dt - 0.1 |a|^2; v4 pays the 5 on the terminal step too, `a` unclamped."""
    velocity = (com_x_after - com_x_before) / STEP_SECONDS
    cost = CONTROL_COST_WEIGHT * jnp.sum(jnp.square(action), -1)
    return HEALTHY_REWARD + FORWARD_REWARD_WEIGHT * velocity - cost


def terminated(qpos: Float[Array, "*B 24"]) -> Bool[Array, "*B"]:
    """True where the torso height is not inside (1, 2) m."""
    height = qpos[..., 2]
    return ~((HEALTHY_Z[0] < height) & (height < HEALTHY_Z[1]))


def random_state(key: Array, num_envs: int) -> tuple[Float[Array, "N 24"], Float[Array, "N 23"]]:
    """Fresh initial (qpos, qvel): the model's start plus U(-0.01, 0.01). Consumes `key`."""
    qpos_key, qvel_key = jax.random.split(key)

    def noise(key: Array, size: int) -> Array:
        return jax.random.uniform(key, (num_envs, size), minval=-RESET_NOISE, maxval=RESET_NOISE)

    return jnp.asarray(_START)[None] + noise(qpos_key, NQ), noise(qvel_key, NV)


def _contact_bits(geom: str, contacts: str) -> tuple[int, int]:
    """(contype, conaffinity): two geoms may touch where a contype meets a conaffinity."""
    if geom == "floor":
        return 0, 1
    if contacts == "feet":
        return int("foot" in geom), 0
    if contacts == "legs" and any(part in geom for part in ("thigh", "shin", "foot")):
        return (3, 0) if "left" in geom else (1, 2)
    return 1, 0


def _model_file() -> Path:
    spec = importlib.util.find_spec("gymnasium")
    assert spec is not None and spec.origin is not None, "gymnasium is not installed"
    return Path(spec.origin).parent / "envs" / "mujoco" / "assets" / "humanoid.xml"


_START = np.zeros(NQ, np.float32)
_START[2], _START[3] = 1.4, 1.0
assert ACTION_SIZE == NV - 6
