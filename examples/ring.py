"""A puck between goals that are all as good: it starts in the middle and has to reach any of them.

Starts lie within 1 cm of the middle, as make_task has it without a reset. The ways to the WAYS
goals are worth the same, so that a best policy may take each of them: optimal at the start is not
one action but WAYS, as far from each other as can be. A policy has kept all ways where the episodes
that it plays by samples (action rule `sample`) end in all goals; `info` tells in which. Optimal is
to go straight to a goal at sqrt(TIME / EFFORT) = 0.7 m/s, which is less than the motors can do, so
that no direction is dearer: a return of 3.4. The mean of a mixture that keeps opposite ways is to
stay, which returns -20: score such a policy by samples.

python train.py --task examples/ring.py --num-envs 16 --env-steps 50000 --random-steps 4000 \
  --actor-widths 64 64 --critic-widths 64 64 --reward-scale 1 --actor-average 0.01
"""

import jax.numpy as jnp

import mjx_dm

WAYS = 4
RADIUS, NEAR = 1.0, 0.15  # of the ring, and of a goal, m
TIME, EFFORT = 2.0, 4.0  # what a second costs, and a second with all of a motor's force
ANGLES = 2 * jnp.pi * (jnp.arange(WAYS) + 0.5) / WAYS
GOAL_X, GOAL_Y = RADIUS * jnp.cos(ANGLES), RADIUS * jnp.sin(ANGLES)

MODEL = """
<mujoco>
  <option timestep="0.01" gravity="0 0 0"/>
  <worldbody>
    <body>
      <joint name="x" type="slide" axis="1 0 0" damping="1"/>
      <joint name="y" type="slide" axis="0 1 0" damping="1"/>
      <geom type="cylinder" size="0.08 0.03" mass="0.1"/>
    </body>
  </worldbody>
  <actuator><motor joint="x" ctrlrange="-1 1"/><motor joint="y" ctrlrange="-1 1"/></actuator>
</mujoco>
"""


def distances(fields):
    x, y = fields["qpos"]
    return jnp.hypot(GOAL_X - x, GOAL_Y - y)


def observe(fields):
    return jnp.concatenate([fields["qpos"], fields["qvel"]])


def reward(before, after, action):
    progress = jnp.min(distances(before)) - jnp.min(distances(after))
    cost = TIME + EFFORT * jnp.sum(action**2)
    return 10 * progress - 0.05 * cost  # a step is 0.05 s


def terminated(after):
    return jnp.min(distances(after)) < NEAR


def info(before, after):
    goal = jnp.where(terminated(after), jnp.argmin(distances(after)), -1)
    return {"goal": goal.astype(jnp.float32)}


TASKS = {
    "Ring": mjx_dm.make_task(MODEL, observe, reward, terminated, info=info, max_episode_steps=200)
}
