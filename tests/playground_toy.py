"""An environment of Playground's own kind that needs no download: a slider that is pushed.

As its walking robots do, it shows the policy `state` and the critics `privileged_state`, where the
push stands.
"""

import jax
import jax.numpy as jp
import mujoco
from ml_collections import config_dict
from mujoco import mjx
from mujoco_playground import MjxEnv, State
from mujoco_playground._src import mjx_env

RAIL = """
<mujoco>
  <option timestep="0.02"><flag contact="disable"/></option>
  <worldbody>
    <body>
      <joint name="slide" type="slide" axis="1 0 0" damping="1"/>
      <geom size="0.1" mass="1"/>
    </body>
  </worldbody>
  <actuator><motor joint="slide" ctrlrange="-1 1"/></actuator>
</mujoco>
"""


def default_config():
    return config_dict.create(
        ctrl_dt=0.02, sim_dt=0.02, episode_length=100, action_repeat=1, impl="jax"
    )


class HiddenPush(MjxEnv):
    """Reward: less the square of the position; a push of every episode's own acts on the slider."""

    def __init__(self, config, config_overrides=None):
        super().__init__(config, config_overrides)
        self._mj_model = mujoco.MjModel.from_xml_string(RAIL)
        self._mjx_model = mjx.put_model(self._mj_model, impl=self._config.impl)

    def reset(self, rng):
        place_key, push_key = jax.random.split(rng)
        qpos = jax.random.uniform(place_key, (1,), minval=-0.5, maxval=0.5)
        data = mjx_env.make_data(self._mj_model, qpos=qpos, impl=self._config.impl)
        push = jax.random.uniform(push_key, (1,), minval=-0.5, maxval=0.5)
        data = mjx.forward(self._mjx_model, data.replace(qfrc_applied=push))
        zero = jp.zeros(())
        return State(data, self._obs(data, push), zero, zero, {}, {"push": push})

    def step(self, state, action):
        data = mjx_env.step(self._mjx_model, state.data, action, self.n_substeps)
        reward = -(data.qpos[0] ** 2)
        return state.replace(data=data, obs=self._obs(data, state.info["push"]), reward=reward)

    def _obs(self, data, push):
        state = jp.concatenate([data.qpos, data.qvel])
        return {"state": state, "privileged_state": jp.concatenate([state, push])}

    @property
    def xml_path(self):
        return ""

    @property
    def action_size(self):
        return 1

    @property
    def mj_model(self):
        return self._mj_model

    @property
    def mjx_model(self):
        return self._mjx_model
