"""Ant, as in `gymnasium/envs/mujoco/ant_v4.py` and `ant_v5.py`."""

from functools import partial

import jax.numpy as jnp
import mujoco
from jaxtyping import Array, Bool, Float

from mjx_dm.tasks.gymnasium_model import gymnasium_spec, reset_near, way
from mjx_dm.tasks.layout import Entry, clipped, of
from mjx_dm.tasks.task import Fields, Task

Range = tuple[float, float]
_STEP_SECONDS = 0.05


def ant_v4(
    *,
    ctrl_cost_weight: float = 0.5,
    use_contact_forces: bool = False,
    contact_cost_weight: float = 5e-4,
    healthy_reward: float = 1.0,
    terminate_when_unhealthy: bool = True,
    healthy_z_range: Range = (0.2, 1.0),
    contact_force_range: Range = (-1.0, 1.0),
    reset_noise_scale: float = 0.1,
    exclude_current_positions_from_observation: bool = True,
) -> Task:
    """Run forward on four legs; contact forces count only with `use_contact_forces`."""
    options = dict(locals())
    skipped = 2 if exclude_current_positions_from_observation else 0

    def observe(fields: Fields) -> Float[Array, "obs"]:
        parts = [fields["qpos"][skipped:], fields["qvel"]]
        if use_contact_forces:
            parts.append(jnp.clip(fields["cfrc_ext"], *contact_force_range).reshape(-1))
        return jnp.concatenate(parts)

    def layout(model: mujoco.MjModel) -> list[Entry]:
        forces = clipped(of(model, "cfrc_ext"), *contact_force_range)
        seen = of(model, "qpos")[skipped:] + of(model, "qvel")
        return seen + (forces if use_contact_forces else [])

    def reward(before: Fields, after: Fields, action: Array):
        healthy = _is_healthy(after, healthy_z_range) | terminate_when_unhealthy
        forward = _velocity(before, after)[0]
        survive = jnp.where(healthy, jnp.float32(healthy_reward), 0.0)
        cost = ctrl_cost_weight * jnp.sum(jnp.square(action))
        total = forward + survive - cost
        if use_contact_forces:  # Gymnasium reports it in the place of the control cost
            cost = _contact_cost(after, contact_cost_weight, contact_force_range)
            total = total - cost
        return total, {
            "reward_forward": forward,
            "reward_ctrl": -cost,
            "reward_survive": survive,
        }

    def info(before: Fields, after: Fields) -> Fields:
        position, velocity = after["xpos"][1, :2], _velocity(before, after)
        return way(position, velocity) | {"forward_reward": velocity[0]}

    reads = ("xpos", "cfrc_ext") if use_contact_forces else ("xpos",)
    functions = {"observe": observe, "layout": layout, "reward": reward, "info": info}
    return _ant("Ant-v4", options, reads, **functions)


def ant_v5(
    *,
    forward_reward_weight: float = 1.0,
    ctrl_cost_weight: float = 0.5,
    contact_cost_weight: float = 5e-4,
    healthy_reward: float = 1.0,
    terminate_when_unhealthy: bool = True,
    healthy_z_range: Range = (0.2, 1.0),
    contact_force_range: Range = (-1.0, 1.0),
    reset_noise_scale: float = 0.1,
    exclude_current_positions_from_observation: bool = True,
    include_cfrc_ext_in_observation: bool = True,
) -> Task:
    """Run forward on four legs, seeing contact forces and paying for them."""
    options = dict(locals())
    skipped = 2 if exclude_current_positions_from_observation else 0

    def observe(fields: Fields) -> Float[Array, "obs"]:
        parts = [fields["qpos"][skipped:], fields["qvel"]]
        if include_cfrc_ext_in_observation:
            parts.append(jnp.clip(fields["cfrc_ext"][1:], *contact_force_range).reshape(-1))
        return jnp.concatenate(parts)

    def layout(model: mujoco.MjModel) -> list[Entry]:
        forces = clipped(of(model, "cfrc_ext")[6:], *contact_force_range)
        seen = of(model, "qpos")[skipped:] + of(model, "qvel")
        return seen + (forces if include_cfrc_ext_in_observation else [])

    def reward(before: Fields, after: Fields, action: Array):
        terms = {
            "reward_forward": forward_reward_weight * _velocity(before, after)[0],
            "reward_ctrl": -ctrl_cost_weight * jnp.sum(jnp.square(action)),
            "reward_contact": -_contact_cost(after, contact_cost_weight, contact_force_range),
            "reward_survive": jnp.where(
                _is_healthy(after, healthy_z_range), jnp.float32(healthy_reward), 0.0
            ),
        }
        return sum(terms.values(), jnp.zeros(())), terms

    def info(before: Fields, after: Fields) -> Fields:
        return way(after["qpos"][:2], _velocity(before, after))

    functions = {"observe": observe, "layout": layout, "reward": reward, "info": info}
    return _ant("Ant-v5", options, ("xpos", "cfrc_ext"), **functions)


def _ant(name: str, options: dict, reads: tuple[str, ...], **functions) -> Task:
    def terminated(after: Fields) -> Bool[Array, ""]:
        healthy = _is_healthy(after, options["healthy_z_range"])
        return ~healthy & options["terminate_when_unhealthy"]

    return Task(
        name=name,
        spec=partial(gymnasium_spec, "ant.xml"),
        frame_skip=5,
        reset=reset_near("ant.xml", options["reset_noise_scale"], velocity="normal"),
        terminated=terminated,
        reads=reads,
        carries=("xpos",),
        gym_id=name,
        options=options,
        **functions,
    )


def _velocity(before: Fields, after: Fields) -> Float[Array, "2"]:
    """Of the torso along x and y, in m/s."""
    return (after["xpos"][1, :2] - before["xpos"][1, :2]) / _STEP_SECONDS


def _is_healthy(after: Fields, healthy_z_range: Range) -> Bool[Array, ""]:
    low, high = healthy_z_range
    return (low <= after["qpos"][2]) & (after["qpos"][2] <= high)


def _contact_cost(after: Fields, weight: float, force_range: Range) -> Float[Array, ""]:
    return weight * jnp.sum(jnp.square(jnp.clip(after["cfrc_ext"], *force_range)))


TASKS = {"Ant-v4": ant_v4, "Ant-v5": ant_v5}
