"""A pendulum that hangs and is to stand: its motor is too weak to lift it at once.

python train.py --task examples/pendulum.py --num-envs 8 --env-steps 30000 --random-steps 2000 \
  --actor-widths 64 64 --critic-widths 64 64 --reward-scale 1 --actor-average 0.01
"""

import jax
import jax.numpy as jnp

import mjx_dm

MODEL = """
<mujoco>
  <option timestep="0.01"/>
  <worldbody>
    <body>
      <joint name="hinge" type="hinge" axis="0 1 0" damping="0.05"/>
      <geom type="capsule" fromto="0 0 0 0 0 -0.5" size="0.03" mass="0.1"/>
      <geom type="sphere" pos="0 0 -0.5" size="0.08" mass="1"/>
    </body>
  </worldbody>
  <actuator><motor joint="hinge" gear="2" ctrlrange="-1 1"/></actuator>
</mujoco>
"""


def observe(fields):
    angle, speed = fields["qpos"][0], fields["qvel"][0]
    return jnp.stack([jnp.cos(angle), jnp.sin(angle), speed])


def reward(before, after, action):
    upright = (1 - jnp.cos(after["qpos"][0])) / 2  # 0 where it hangs, 1 where it stands
    return upright - 0.01 * jnp.sum(action**2), {"upright": upright}


def reset(key):
    return jax.random.uniform(key, (1,), minval=-0.5, maxval=0.5), jnp.zeros(1)


TASKS = {"Pendulum": mjx_dm.make_task(MODEL, observe, reward, reset=reset, max_episode_steps=200)}
