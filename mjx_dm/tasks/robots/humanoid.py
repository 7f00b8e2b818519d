"""Humanoid and HumanoidStandup, as in `gymnasium/envs/mujoco/humanoid*_v4.py` and `_v5.py`."""

from functools import partial

import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Bool, Float

from mjx_dm.tasks.gymnasium_model import gymnasium_model, gymnasium_spec, inside, reset_near, way
from mjx_dm.tasks.layout import Entry, of
from mjx_dm.tasks.task import Fields, Task

Range = tuple[float, float]
_UNBOUNDED_BELOW = (-np.inf, 10.0)
_STEP_SECONDS = 0.015
_SUBSTEP_SECONDS = 0.003


def humanoid_v4(
    *,
    forward_reward_weight: float = 1.25,
    ctrl_cost_weight: float = 0.1,
    healthy_reward: float = 5.0,
    terminate_when_unhealthy: bool = True,
    healthy_z_range: Range = (1.0, 2.0),
    reset_noise_scale: float = 0.01,
    exclude_current_positions_from_observation: bool = True,
) -> Task:
    """Run forward; 376 observations, of which some, of the world body, are always 0."""
    options = dict(locals())

    def reward(before: Fields, after: Fields, action: Array):
        velocity = _velocity(before, after)[0]
        healthy = _is_healthy(after, healthy_z_range) | terminate_when_unhealthy
        terms = {
            "reward_linvel": forward_reward_weight * velocity,
            "reward_quadctrl": -ctrl_cost_weight * jnp.sum(jnp.square(action)),
            "reward_alive": jnp.where(healthy, jnp.float32(healthy_reward), 0.0),
        }
        return _sum(terms), terms

    def info(before: Fields, after: Fields) -> Fields:
        position, velocity = after["subtree_com"][0, :2], _velocity(before, after)
        forward = {"forward_reward": forward_reward_weight * velocity[0]}
        return way(position, velocity) | forward

    first = 2 if exclude_current_positions_from_observation else 0

    def observe(fields: Fields) -> Float[Array, "obs"]:
        parts = ("cinert", "cvel", "qfrc_actuator", "cfrc_ext")
        bodies = (fields[name].reshape(-1) for name in parts)
        return jnp.concatenate([fields["qpos"][first:], fields["qvel"], *bodies])

    def layout(model: mujoco.MjModel) -> list[Entry]:
        parts = ("qvel", "cinert", "cvel", "qfrc_actuator", "cfrc_ext")
        return of(model, "qpos")[first:] + [entry for name in parts for entry in of(model, name)]

    return _humanoid(
        "Humanoid-v4",
        "humanoid.xml",
        options,
        observe=observe,
        layout=layout,
        reward=reward,
        info=info,
        physics="fast",
        terminated=partial(_fell, healthy_z_range, terminate_when_unhealthy),
        carries=("subtree_com",),
    )


def humanoid_v5(
    *,
    forward_reward_weight: float = 1.25,
    ctrl_cost_weight: float = 0.1,
    contact_cost_weight: float = 5e-7,
    contact_cost_range: Range = _UNBOUNDED_BELOW,
    healthy_reward: float = 5.0,
    terminate_when_unhealthy: bool = True,
    healthy_z_range: Range = (1.0, 2.0),
    reset_noise_scale: float = 0.01,
    exclude_current_positions_from_observation: bool = True,
    include_cinert_in_observation: bool = True,
    include_cvel_in_observation: bool = True,
    include_qfrc_actuator_in_observation: bool = True,
    include_cfrc_ext_in_observation: bool = True,
) -> Task:
    """Run forward; a price on contact forces, and none of the world body's observations."""
    options = dict(locals())

    def reward(before: Fields, after: Fields, action: Array):
        impact = contact_cost_weight * jnp.sum(jnp.square(after["cfrc_ext"]))
        terms = {
            "reward_survive": jnp.where(
                _is_healthy(after, healthy_z_range), jnp.float32(healthy_reward), 0.0
            ),
            "reward_forward": forward_reward_weight * _velocity(before, after)[0],
            "reward_ctrl": -ctrl_cost_weight * jnp.sum(jnp.square(action)),
            "reward_contact": -jnp.clip(impact, *contact_cost_range),
        }
        return _sum(terms), terms

    def info(before: Fields, after: Fields) -> Fields:
        return way(after["qpos"][:2], _velocity(before, after))

    return _humanoid(
        "Humanoid-v5",
        "humanoid.xml",
        options,
        **_seen_v5(options),
        reward=reward,
        info=info,
        physics="fast",
        terminated=partial(_fell, healthy_z_range, terminate_when_unhealthy),
        carries=("subtree_com",),
    )


def standup_v4() -> Task:
    """Get up from lying on the back; episodes end by time alone."""
    task = humanoid_v4()

    def reward(before: Fields, after: Fields, action: Array):
        terms = _standup_terms(after, action, 1.0, 0.1, 5e-7, _UNBOUNDED_BELOW)
        return _sum(terms) + 1.0, terms

    return _humanoid(
        "HumanoidStandup-v4",
        "humanoidstandup.xml",
        {},
        observe=task.observe,
        layout=task.layout,
        reward=reward,
    )


def standup_v5(
    *,
    uph_cost_weight: float = 1.0,
    ctrl_cost_weight: float = 0.1,
    impact_cost_weight: float = 5e-7,
    impact_cost_range: Range = _UNBOUNDED_BELOW,
    reset_noise_scale: float = 0.01,
    exclude_current_positions_from_observation: bool = True,
    include_cinert_in_observation: bool = True,
    include_cvel_in_observation: bool = True,
    include_qfrc_actuator_in_observation: bool = True,
    include_cfrc_ext_in_observation: bool = True,
) -> Task:
    """Get up from lying on the back, without the world body's observations.

    Gymnasium takes `uph_cost_weight` and pays the height with a weight of 1 all the same.
    """
    options = dict(locals())

    def reward(before: Fields, after: Fields, action: Array):
        weights = ctrl_cost_weight, impact_cost_weight, impact_cost_range
        terms = _standup_terms(after, action, 1.0, *weights)
        return _sum(terms) + 1.0, terms

    start = float(gymnasium_model("humanoidstandup.xml").qpos0[2])

    def info(before: Fields, after: Fields) -> Fields:
        x, y, z = after["qpos"][:3]
        return {"x_position": x, "y_position": y, "z_distance_from_origin": z - start}

    return _humanoid(
        "HumanoidStandup-v5",
        "humanoidstandup.xml",
        options,
        **_seen_v5(options),
        reward=reward,
        info=info,
    )


def _humanoid(name, file, options, physics="exact", **functions) -> Task:
    noise = options.get("reset_noise_scale", 0.01)
    return Task(
        name=name,
        spec=partial(gymnasium_spec, file),
        frame_skip=5,
        reset=reset_near(file, noise),
        reads=("cinert", "cvel", "qfrc_actuator", "cfrc_ext", "subtree_com"),
        gym_id=name,
        options=options,
        physics=physics,
        # With the floor there are 29 contacts, between bodies 109. At most 14 and 10 were seen at
        # once, in heaps; 2 and 4 while it runs.
        mjx_contacts=16,
        warp_room=(24, 64),
        # The hips' y hinges have armatures of 0.008 and 0.010 kg m², the knees 0 and 1 N m/rad.
        unequal=("dof_armature", "jnt_stiffness"),
        **functions,
    )


def _velocity(before: Fields, after: Fields) -> Float[Array, "2"]:
    """Of the centre of mass along x and y, in m/s."""
    return (after["subtree_com"][0, :2] - before["subtree_com"][0, :2]) / _STEP_SECONDS


def _is_healthy(after: Fields, healthy_z_range: Range) -> Bool[Array, ""]:
    return inside(healthy_z_range[0], after["qpos"][2], healthy_z_range[1])


def _fell(healthy_z_range: Range, terminates: bool, after: Fields) -> Bool[Array, ""]:
    return ~_is_healthy(after, healthy_z_range) & terminates


def _seen_v5(options: dict) -> dict:
    """`observe` and `layout`: all but the world body's."""
    first = 2 if options["exclude_current_positions_from_observation"] else 0
    # Rows of the field that are left out, and the numbers in a row.
    skipped = {"cinert": (1, 10), "cvel": (1, 6), "qfrc_actuator": (6, 1), "cfrc_ext": (1, 6)}
    chosen = [name for name in skipped if options[f"include_{name}_in_observation"]]

    def observe(fields: Fields) -> Float[Array, "obs"]:
        parts = [fields[name][skipped[name][0] :].reshape(-1) for name in chosen]
        return jnp.concatenate([fields["qpos"][first:], fields["qvel"], *parts])

    def layout(model: mujoco.MjModel) -> list[Entry]:
        found = of(model, "qpos")[first:] + of(model, "qvel")
        for name in chosen:
            rows, row = skipped[name]
            found += of(model, name)[rows * row :]
        return found

    return {"observe": observe, "layout": layout}


def _standup_terms(after, action, height_weight, ctrl_weight, impact_weight, impact_range):
    impact = impact_weight * jnp.sum(jnp.square(after["cfrc_ext"]))
    return {
        "reward_linup": height_weight * after["qpos"][2] / _SUBSTEP_SECONDS,
        "reward_quadctrl": -ctrl_weight * jnp.sum(jnp.square(action)),
        "reward_impact": -jnp.clip(impact, *impact_range),
    }


def _sum(terms: dict[str, Array]) -> Float[Array, ""]:
    first, *others = terms.values()
    return sum(others, first)


TASKS = {
    "Humanoid-v4": humanoid_v4,
    "Humanoid-v5": humanoid_v5,
    "HumanoidStandup-v4": standup_v4,
    "HumanoidStandup-v5": standup_v5,
}
