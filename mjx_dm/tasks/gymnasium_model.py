"""What the tasks of Gymnasium's MuJoCo robots share: their models and ways to reset."""

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float

from mjx_dm.tasks.task import Fields, compiled


def gymnasium_spec(file: str) -> mujoco.MjSpec:
    """The model of the installed Gymnasium in that file of its assets."""
    found = importlib.util.find_spec("gymnasium")
    assert found is not None and found.origin is not None, "gymnasium is not installed"
    assets = Path(found.origin).parent / "envs" / "mujoco" / "assets"
    return mujoco.MjSpec.from_file(str(assets / file))


@functools.cache
def gymnasium_model(file: str) -> mujoco.MjModel:
    """The same, compiled once; not to be changed."""
    return compiled(gymnasium_spec(file))


def reset_near(
    file: str, noise: float, velocity: str = "uniform"
) -> Callable[[Array], tuple[Float[Array, "nq"], Float[Array, "nv"]]]:
    """Starts at the model's qpos0 plus U(-noise, noise), with velocities of the same or, where
    `velocity` is normal, of N(0, noise^2)."""
    model = gymnasium_model(file)
    start, num_velocities = np.asarray(model.qpos0, np.float32), model.nv

    def reset(key: Array) -> tuple[Float[Array, "nq"], Float[Array, "nv"]]:
        qpos_key, qvel_key = jax.random.split(key)
        moved = jax.random.uniform(qpos_key, start.shape, minval=-noise, maxval=noise)
        if velocity == "normal":
            speed = noise * jax.random.normal(qvel_key, (num_velocities,))
        else:
            speed = jax.random.uniform(qvel_key, (num_velocities,), minval=-noise, maxval=noise)
        return jnp.asarray(start) + moved, speed

    return reset


def way(position: Float[Array, "2"], velocity: Float[Array, "2"]) -> Fields:
    """Gymnasium's names for where a robot is in the plane, in m, and how fast, in m/s."""
    return {
        "x_position": position[0],
        "y_position": position[1],
        "distance_from_origin": jnp.linalg.norm(position),
        "x_velocity": velocity[0],
        "y_velocity": velocity[1],
    }


def inside(low: float, x: Float[Array, ""], high: float) -> Array:
    """Whether low < x < high."""
    return (low < x) & (x < high)
