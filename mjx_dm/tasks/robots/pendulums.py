"""InvertedPendulum and InvertedDoublePendulum, as in `gymnasium/envs/mujoco/inverted_*.py`."""

from functools import partial

import jax
import jax.numpy as jnp
import mujoco
from jaxtyping import Array, Bool, Float

from mjx_dm.tasks.gymnasium_model import gymnasium_spec, reset_near
from mjx_dm.tasks.layout import Entry, clipped, mapped, of
from mjx_dm.tasks.task import Fields, Task


def pendulum_v4() -> Task:
    """Balance a pole on a cart; the step that loses it is paid too."""
    return _pendulum("v4", {}, 0.01)


def pendulum_v5(*, reset_noise_scale: float = 0.01) -> Task:
    """Balance a pole on a cart."""
    return _pendulum("v5", {"reset_noise_scale": reset_noise_scale}, reset_noise_scale)


def double_pendulum_v4() -> Task:
    """Balance two poles, one on the other, on a cart; constraint forces are observed."""
    return _double("v4", {}, 10.0, 0.1)


def double_pendulum_v5(*, healthy_reward: float = 10.0, reset_noise_scale: float = 0.1) -> Task:
    """Balance two poles, one on the other, on a cart."""
    return _double("v5", dict(locals()), healthy_reward, reset_noise_scale)


def _pendulum(version: str, options: dict, noise: float) -> Task:
    def observe(fields: Fields) -> Float[Array, "obs"]:
        return jnp.concatenate([fields["qpos"], fields["qvel"]])

    def terminated(after: Fields) -> Bool[Array, ""]:
        return jnp.abs(after["qpos"][1]) > 0.2

    def reward(before: Fields, after: Fields, action: Array):
        unpaid = terminated(after) & (version == "v5")
        paid = jnp.where(unpaid, 0.0, jnp.float32(1.0))
        return paid, {"reward_survive": paid}

    return Task(
        name=f"InvertedPendulum-{version}",
        spec=partial(gymnasium_spec, "inverted_pendulum.xml"),
        frame_skip=2,
        observe=observe,
        layout=lambda model: of(model, "qpos") + of(model, "qvel"),
        reward=reward,
        reset=reset_near("inverted_pendulum.xml", noise),
        terminated=terminated,
        gym_id=f"InvertedPendulum-{version}",
        options=options,
    )


def _double(version: str, options: dict, bonus: float, noise: float) -> Task:
    def observe(fields: Fields) -> Float[Array, "obs"]:
        qpos, forces = fields["qpos"], jnp.clip(fields["qfrc_constraint"], -10, 10)
        angles = jnp.sin(qpos[1:]), jnp.cos(qpos[1:])
        forces = forces if version == "v4" else forces[:1]
        return jnp.concatenate([qpos[:1], *angles, jnp.clip(fields["qvel"], -10, 10), forces])

    def layout(model: mujoco.MjModel) -> list[Entry]:
        cart, *angles = of(model, "qpos")
        velocities = clipped(of(model, "qvel"), -10.0, 10.0)
        forces = clipped(of(model, "qfrc_constraint"), -10.0, 10.0)
        poles = mapped("sin", angles) + mapped("cos", angles)
        return [cart, *poles, *velocities, *(forces if version == "v4" else forces[:1])]

    def terminated(after: Fields) -> Bool[Array, ""]:
        return after["site_xpos"][0, 2] <= 1.0

    def reward(before: Fields, after: Fields, action: Array):
        x, _, y = after["site_xpos"][0]
        _, v1, v2 = after["qvel"]
        unpaid = terminated(after) & (version == "v5")
        paid = jnp.where(unpaid, 0.0, jnp.float32(bonus))
        terms = {
            "reward_survive": paid,
            "distance_penalty": -(0.01 * x**2 + (y - 2.0) ** 2),
            "velocity_penalty": -(0.001 * v1**2 + 0.005 * v2**2),
        }
        return sum(terms.values(), jnp.zeros(())), terms

    def reset(key: Array) -> tuple[Float[Array, "3"], Float[Array, "3"]]:
        qpos_key, qvel_key = jax.random.split(key)
        qpos = jax.random.uniform(qpos_key, (3,), minval=-noise, maxval=noise)
        return qpos, noise * jax.random.normal(qvel_key, (3,))

    return Task(
        name=f"InvertedDoublePendulum-{version}",
        spec=partial(gymnasium_spec, "inverted_double_pendulum.xml"),
        frame_skip=5,
        observe=observe,
        layout=layout,
        reward=reward,
        reset=reset,
        terminated=terminated,
        reads=("qfrc_constraint", "site_xpos"),
        gym_id=f"InvertedDoublePendulum-{version}",
        options=options,
    )


TASKS = {
    "InvertedPendulum-v4": pendulum_v4,
    "InvertedPendulum-v5": pendulum_v5,
    "InvertedDoublePendulum-v4": double_pendulum_v4,
    "InvertedDoublePendulum-v5": double_pendulum_v5,
}
