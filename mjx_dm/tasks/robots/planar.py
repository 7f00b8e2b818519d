"""HalfCheetah, Hopper, Walker2d and Swimmer, as in `gymnasium/envs/mujoco/*_v4.py` and `_v5.py`."""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Bool, Float

from mjx_dm.tasks.gymnasium_model import gymnasium_model, gymnasium_spec, inside, reset_near, way
from mjx_dm.tasks.layout import Entry, clipped, of
from mjx_dm.tasks.task import Fields, Task

Range = tuple[float, float]


def half_cheetah(
    version: str,
    *,
    forward_reward_weight: float = 1.0,
    ctrl_cost_weight: float = 0.1,
    reset_noise_scale: float = 0.1,
    exclude_current_positions_from_observation: bool = True,
) -> Task:
    """Run forward; episodes end by time alone."""
    options = _options(locals())
    reward, info = _forward(
        options, 0.05, names=("reward_run" if version == "v4" else "reward_forward", "reward_ctrl")
    )
    return Task(
        name=f"HalfCheetah-{version}",
        spec=partial(gymnasium_spec, "half_cheetah.xml"),
        frame_skip=5,
        **_positions_and_velocities(1, options),
        reward=reward,
        reset=reset_near("half_cheetah.xml", reset_noise_scale, velocity="normal"),
        info=info,
        gym_id=f"HalfCheetah-{version}",
        options=options,
    )


def hopper(
    version: str,
    *,
    forward_reward_weight: float = 1.0,
    ctrl_cost_weight: float = 1e-3,
    healthy_reward: float = 1.0,
    terminate_when_unhealthy: bool = True,
    healthy_state_range: Range = (-100.0, 100.0),
    healthy_z_range: Range = (0.7, np.inf),
    healthy_angle_range: Range = (-0.2, 0.2),
    reset_noise_scale: float = 5e-3,
    exclude_current_positions_from_observation: bool = True,
) -> Task:
    """Hop forward on one leg without falling."""
    options = _options(locals())

    def is_healthy(after: Fields) -> Bool[Array, ""]:
        state = jnp.concatenate([after["qpos"], after["qvel"]])[2:]
        low, high = healthy_state_range
        return jnp.all((low < state) & (state < high)) & _is_upright(after, options)

    return _legged("Hopper", version, "hopper.xml", options, is_healthy)


def walker2d(
    version: str,
    *,
    forward_reward_weight: float = 1.0,
    ctrl_cost_weight: float = 1e-3,
    healthy_reward: float = 1.0,
    terminate_when_unhealthy: bool = True,
    healthy_z_range: Range = (0.8, 2.0),
    healthy_angle_range: Range = (-1.0, 1.0),
    reset_noise_scale: float = 5e-3,
    exclude_current_positions_from_observation: bool = True,
) -> Task:
    """Walk forward on two legs without falling."""
    options = _options(locals())
    file = "walker2d.xml" if version == "v4" else "walker2d_v5.xml"
    return _legged("Walker2d", version, file, options, partial(_is_upright, options=options))


def swimmer(
    version: str,
    *,
    forward_reward_weight: float = 1.0,
    ctrl_cost_weight: float = 1e-4,
    reset_noise_scale: float = 0.1,
    exclude_current_positions_from_observation: bool = True,
) -> Task:
    """Swim forward in a viscous fluid; episodes end by time alone."""
    options = _options(locals())
    name = "reward_fwd" if version == "v4" else "reward_forward"
    reward, _ = _forward(options, 0.04, names=(name, "reward_ctrl"))

    def info(before: Fields, after: Fields) -> Fields:
        position = after["qpos"][:2]
        velocity = (position - before["qpos"][:2]) / 0.04
        forward = {"forward_reward": forward_reward_weight * velocity[0]}
        return way(position, velocity) | (forward if version == "v4" else {})

    return Task(
        name=f"Swimmer-{version}",
        spec=partial(gymnasium_spec, "swimmer.xml"),
        frame_skip=4,
        **_positions_and_velocities(2, options),
        reward=reward,
        reset=reset_near("swimmer.xml", reset_noise_scale),
        info=info,
        gym_id=f"Swimmer-{version}",
        options=options,
    )


def _legged(
    robot: str, version: str, file: str, options: dict, is_healthy: Callable[[Fields], Array]
) -> Task:
    start = float(gymnasium_model(file).qpos0[1])
    terminates, bonus = options["terminate_when_unhealthy"], options["healthy_reward"]
    run, forward_info = _forward(options, 0.008, names=("reward_forward", "reward_ctrl"))

    def reward(before: Fields, after: Fields, action: Array):
        total, terms = run(before, after, action)
        # v4 pays the step that ends an episode too.
        paid = is_healthy(after) | (terminates and version == "v4")
        terms["reward_survive"] = jnp.where(paid, jnp.float32(bonus), 0.0)
        return total + terms["reward_survive"], terms

    def info(before: Fields, after: Fields) -> Fields:
        found = forward_info(before, after)
        if version != "v4":
            found["z_distance_from_origin"] = after["qpos"][1] - start
        return found

    return Task(
        name=f"{robot}-{version}",
        spec=partial(gymnasium_spec, file),
        frame_skip=4,
        **_positions_and_velocities(1, options, clip=10.0),
        reward=reward,
        reset=reset_near(file, options["reset_noise_scale"]),
        terminated=lambda after: ~is_healthy(after) & terminates,
        info=info,
        gym_id=f"{robot}-{version}",
        options=options,
    )


def _options(given: dict) -> dict:
    return {name: value for name, value in given.items() if name != "version"}


def _positions_and_velocities(hidden: int, options: dict, clip: float = np.inf) -> dict:
    """`observe` and `layout`: qpos, without its first `hidden` where the options leave them out,
    and qvel."""
    first = hidden if options["exclude_current_positions_from_observation"] else 0

    def observe(fields: Fields) -> Float[Array, "obs"]:
        velocity = fields["qvel"]
        if np.isfinite(clip):
            velocity = jnp.clip(velocity, -clip, clip)
        return jnp.concatenate([fields["qpos"][first:], velocity])

    def layout(model: mujoco.MjModel) -> list[Entry]:
        velocity = of(model, "qvel")
        if np.isfinite(clip):
            velocity = clipped(velocity, -clip, clip)
        return of(model, "qpos")[first:] + velocity

    return {"observe": observe, "layout": layout}


def _forward(options: dict, step_seconds: float, names: tuple[str, str]):
    """Reward and info of running along x, for a price on control."""

    def velocity(before: Fields, after: Fields) -> Float[Array, ""]:
        return (after["qpos"][0] - before["qpos"][0]) / step_seconds

    def reward(before: Fields, after: Fields, action: Array):
        forward = options["forward_reward_weight"] * velocity(before, after)
        cost = options["ctrl_cost_weight"] * jnp.sum(jnp.square(action))
        return forward - cost, dict(zip(names, (forward, -cost), strict=True))

    def info(before: Fields, after: Fields) -> Fields:
        return {"x_position": after["qpos"][0], "x_velocity": velocity(before, after)}

    return reward, info


def _is_upright(after: Fields, options: dict) -> Bool[Array, ""]:
    (low, high), (left, right) = options["healthy_z_range"], options["healthy_angle_range"]
    return inside(low, after["qpos"][1], high) & inside(left, after["qpos"][2], right)


TASKS = {
    f"{name}-{version}": partial(make, version)
    for name, make in (
        ("HalfCheetah", half_cheetah),
        ("Hopper", hopper),
        ("Walker2d", walker2d),
        ("Swimmer", swimmer),
    )
    for version in ("v4", "v5")
}
