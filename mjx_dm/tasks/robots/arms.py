"""Reacher and Pusher, as in `gymnasium/envs/mujoco/reacher_v*.py` and `pusher_v*.py`."""

from functools import partial

import jax
import jax.numpy as jnp
import mujoco
from jaxtyping import Array, Float

from mjx_dm.config import ConfigError
from mjx_dm.tasks.gymnasium_model import gymnasium_model, gymnasium_spec
from mjx_dm.tasks.layout import Entry, mapped, of
from mjx_dm.tasks.task import Fields, Task


def reacher_v4() -> Task:
    """Reach a target with a two-jointed arm; the reward looks at the state before the step."""
    return _reacher("v4", {}, 1.0, 1.0)


def reacher_v5(*, reward_dist_weight: float = 1.0, reward_control_weight: float = 1.0) -> Task:
    """Reach a target with a two-jointed arm."""
    return _reacher("v5", dict(locals()), reward_dist_weight, reward_control_weight)


def pusher_v4() -> Task:
    """Gymnasium has Pusher-v4 for MuJoCo 2 alone."""
    raise ConfigError("Pusher-v4 needs mujoco<3, by Gymnasium's own account: take Pusher-v5.")


def pusher_v5(
    *,
    reward_near_weight: float = 0.5,
    reward_dist_weight: float = 1.0,
    reward_control_weight: float = 0.1,
) -> Task:
    """Push a cylinder to its goal with a seven-jointed arm."""
    options = dict(locals())
    spec = partial(gymnasium_spec, "pusher_v5.xml")
    model = gymnasium_model("pusher_v5.xml")
    start = jnp.asarray(model.qpos0, jnp.float32)
    tips, thing, goal = (model.body(name).id for name in ("tips_arm", "object", "goal"))

    def observe(fields: Fields) -> Float[Array, "obs"]:
        xpos = fields["xpos"]
        places = xpos[tips], xpos[thing], xpos[goal]
        return jnp.concatenate([fields["qpos"][:7], fields["qvel"][:7], *places])

    def layout(model: mujoco.MjModel) -> list[Entry]:
        xpos = of(model, "xpos")
        places = [entry for i in (tips, thing, goal) for entry in xpos[3 * i : 3 * i + 3]]
        return of(model, "qpos")[:7] + of(model, "qvel")[:7] + places

    def reward(before: Fields, after: Fields, action: Array):
        xpos = after["xpos"]
        terms = {
            "reward_dist": -reward_dist_weight * jnp.linalg.norm(xpos[thing] - xpos[goal]),
            "reward_ctrl": -reward_control_weight * jnp.sum(jnp.square(action)),
            "reward_near": -reward_near_weight * jnp.linalg.norm(xpos[thing] - xpos[tips]),
        }
        return sum(terms.values(), jnp.zeros(())), terms

    def reset(key: Array) -> tuple[Float[Array, "11"], Float[Array, "11"]]:
        place_key, qvel_key = jax.random.split(key)

        def draw(key: Array) -> Float[Array, "2"]:
            low, high = jnp.array([-0.3, -0.2]), jnp.array([0.0, 0.2])
            return jax.random.uniform(key, (2,), minval=low, maxval=high)

        place = _draw_until(draw, lambda place: jnp.linalg.norm(place) > 0.17, place_key)
        qvel = jax.random.uniform(qvel_key, (11,), minval=-0.005, maxval=0.005)
        return start.at[-4:-2].set(place).at[-2:].set(0.0), qvel.at[-4:].set(0.0)

    return Task(
        name="Pusher-v5",
        spec=spec,
        frame_skip=5,
        observe=observe,
        layout=layout,
        reward=reward,
        reset=reset,
        reads=("xpos",),
        max_episode_steps=100,
        gym_id="Pusher-v5",
        options=options,
    )


def _reacher(version: str, options: dict, dist_weight: float, control_weight: float) -> Task:
    spec = partial(gymnasium_spec, "reacher.xml")
    model = gymnasium_model("reacher.xml")
    fingertip, target = (model.body(name).id for name in ("fingertip", "target"))

    def offset(fields: Fields) -> Float[Array, "3"]:
        return fields["xpos"][fingertip] - fields["xpos"][target]

    def observe(fields: Fields) -> Float[Array, "obs"]:
        qpos, far = fields["qpos"], offset(fields)
        far = far if version == "v4" else far[:2]
        angles = jnp.cos(qpos[:2]), jnp.sin(qpos[:2])
        return jnp.concatenate([*angles, qpos[2:], fields["qvel"][:2], far])

    def layout(model: mujoco.MjModel) -> list[Entry]:
        qpos, axes = of(model, "qpos"), "xyz" if version == "v4" else "xy"
        far = [Entry(f"xpos.fingertip.{x} - xpos.target.{x}", "m") for x in axes]
        angles = mapped("cos", qpos[:2]) + mapped("sin", qpos[:2])
        return angles + qpos[2:] + of(model, "qvel")[:2] + far

    def reward(before: Fields, after: Fields, action: Array):
        far = offset(before if version == "v4" else after)
        terms = {
            "reward_dist": -dist_weight * jnp.linalg.norm(far),
            "reward_ctrl": -control_weight * jnp.sum(jnp.square(action)),
        }
        return terms["reward_dist"] + terms["reward_ctrl"], terms

    def reset(key: Array) -> tuple[Float[Array, "4"], Float[Array, "4"]]:
        arm_key, goal_key, qvel_key = jax.random.split(key, 3)
        arm = jax.random.uniform(arm_key, (2,), minval=-0.1, maxval=0.1)

        def draw(key: Array) -> Float[Array, "2"]:
            return jax.random.uniform(key, (2,), minval=-0.2, maxval=0.2)

        goal = _draw_until(draw, lambda goal: jnp.linalg.norm(goal) < 0.2, goal_key)
        qvel = jax.random.uniform(qvel_key, (4,), minval=-0.005, maxval=0.005)
        return jnp.concatenate([arm, goal]), qvel.at[2:].set(0.0)

    return Task(
        name=f"Reacher-{version}",
        spec=spec,
        frame_skip=2,
        observe=observe,
        layout=layout,
        reward=reward,
        reset=reset,
        reads=("xpos",),
        carries=("xpos",) if version == "v4" else (),
        max_episode_steps=50,
        gym_id=f"Reacher-{version}",
        options=options,
    )


def _draw_until(draw, accepts, key: Array) -> Array:
    """The first of 32 draws that is accepted; that none is has odds below 1e-20 here."""
    draws = jax.vmap(draw)(jax.random.split(key, 32))
    return draws[jnp.argmax(jax.vmap(accepts)(draws))]


TASKS = {
    "Reacher-v4": reacher_v4,
    "Reacher-v5": reacher_v5,
    "Pusher-v4": pusher_v4,
    "Pusher-v5": pusher_v5,
}
