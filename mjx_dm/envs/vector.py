"""Humanoid-v4 in batches as a Gymnasium vector environment, for trainers built on Gymnasium.

Importing this module registers it: `gymnasium.make_vec("mjx_dm/Humanoid-v4", num_envs=64)`.
"""

from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Array, Bool, Float, Float64
from numpy.typing import ArrayLike

from mjx_dm.envs.batch import EnvState, make_env
from mjx_dm.tasks import humanoid
from mjx_dm.types import ACTION_SIZE, OBS_SIZE

NAME = "mjx_dm/Humanoid-v4"


class HumanoidVectorEnv(VectorEnv):
    """`num_envs` worlds of Humanoid-v4, stepped by one call of one compiled program.

    engine: mujoco, mjx, warp or auto. physics: v4 (Gymnasium's) or fast. Spaces, rewards and
    ends of episodes are Humanoid-v4's; states are carried in float32. A world whose episode ends
    is reset in the same step (`AutoresetMode.SAME_STEP`): its last observation is in
    `infos["final_obs"]`, its last infos in `infos["final_info"]`.

    The infos are Humanoid-v4's, without y_position, y_velocity and distance_from_origin, which
    the engines do not report. `final_info` has one more, "broken": True where a world's state
    was no longer finite. Such a world is truncated with reward 0, and its `final_obs` is the
    observation it was reset to; keep the transition out of learning.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(
        self,
        num_envs: int = 1,
        engine: str = "mujoco",
        physics: str = "v4",
        max_episode_steps: int = humanoid.EPISODE_STEPS,
    ):
        self._env = make_env(
            num_envs, engine=engine, physics=physics, max_episode_steps=max_episode_steps
        )
        self.num_envs = num_envs
        self.single_observation_space = Box(-np.inf, np.inf, (OBS_SIZE,), np.float64)
        limit = humanoid.ACTION_LIMIT
        self.single_action_space = Box(-limit, limit, (ACTION_SIZE,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._reset = jax.jit(self._env.reset)
        self._step = jax.jit(self._step_worlds)
        self._state: EnvState | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float64[np.ndarray, "N 376"], dict[str, Any]]:
        """Begins an episode in every world. Without `seed` the random stream goes on.

        Raises ValueError for `options["reset_mask"]`: worlds are reset all at once or by
        themselves.
        """
        super().reset(seed=seed)
        if options and "reset_mask" in options:
            raise ValueError(
                "reset_mask is not supported: worlds reset themselves in the step that ends them."
            )
        self._state = self._reset(jax.random.key(int(self.np_random.integers(2**31))))
        return _float64(self._state.obs), {}

    def step(
        self, actions: ArrayLike
    ) -> tuple[
        Float64[np.ndarray, "N 376"],
        Float64[np.ndarray, "N"],
        Bool[np.ndarray, "N"],
        Bool[np.ndarray, "N"],
        dict[str, Any],
    ]:
        """One step of 0.015 s in every world.

        Actions (N, 17) in v4 units; what is outside ±0.4 is charged unclamped.

        Raises ResetNeeded before the first `reset`, ValueError for a wrong shape.
        """
        if self._state is None:
            raise gymnasium.error.ResetNeeded("Call reset() before step().")
        actions = np.asarray(actions, np.float32)
        if actions.shape != self.action_space.shape:
            raise ValueError(f"actions must be {self.action_space.shape}, got {actions.shape}.")
        self._state, info = self._step(self._state, actions)

        state = self._state
        terminated, truncated = np.array(state.terminated), np.array(state.truncated)
        done = terminated | truncated
        info = {name: _float64(x) for name, x in info.items()}
        infos: dict[str, Any] = {**_masked(info, ~done)}
        if done.any():
            final_obs = np.full(self.num_envs, None, object)
            last = _float64(state.final_obs)
            for i in np.flatnonzero(done):
                final_obs[i] = last[i]
            infos |= {
                "final_obs": final_obs,
                "_final_obs": done,
                "final_info": _masked(info | {"broken": ~np.asarray(state.valid)}, done),
                "_final_info": done.copy(),
            }
        return _float64(state.obs), _float64(state.reward), terminated, truncated, infos

    def close_extras(self, **kwargs: Any) -> None:
        """Lets go of the worlds; the next step needs a reset."""
        self._state = None

    def _step_worlds(
        self, state: EnvState, action: Float[Array, "N 17"]
    ) -> tuple[EnvState, dict[str, Float[Array, "N"]]]:
        after = self._env.step(state, action)
        # Taken back from the reward: worlds that ended have been moved already.
        cost = humanoid.CONTROL_COST_WEIGHT * jnp.sum(jnp.square(action), -1)
        cost = jnp.where(after.valid, cost, 0.0)
        forward = jnp.where(after.valid, after.reward - humanoid.HEALTHY_REWARD + cost, 0.0)
        velocity = forward / humanoid.FORWARD_REWARD_WEIGHT
        return after, {
            "reward_linvel": forward,
            "reward_quadctrl": -cost,
            "reward_alive": jnp.where(after.valid, humanoid.HEALTHY_REWARD, 0.0),
            "x_position": state.physics.com_x + velocity * humanoid.STEP_SECONDS,
            "x_velocity": velocity,
            "forward_reward": forward,
        }


def register(name: str = NAME) -> None:
    """Makes `gymnasium.make_vec(name, num_envs=..., engine=..., physics=...)` work."""
    gymnasium.register(
        id=name,
        vector_entry_point="mjx_dm.envs.vector:HumanoidVectorEnv",
        max_episode_steps=humanoid.EPISODE_STEPS,
    )


def _masked(infos: dict[str, np.ndarray], mask: Bool[np.ndarray, "N"]) -> dict[str, np.ndarray]:
    """Gymnasium's form: zero where not `mask`, `mask` under "_name"; {} where it is all False."""
    if not mask.any():
        return {}
    values = {name: np.where(mask, x, x.dtype.type(0)) for name, x in infos.items()}
    return values | {f"_{name}": mask.copy() for name in infos}


def _float64(x: Array) -> np.ndarray:
    """A copy for the caller to keep."""
    return np.array(x, np.float64)


register()
