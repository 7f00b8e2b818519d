"""Tasks in batches as Gymnasium vector environments, for trainers built on Gymnasium.

Importing this module registers them: `gymnasium.make_vec("mjx_dm/Ant-v5", num_envs=64)`.
"""

from typing import Any

import gymnasium
import jax
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Array, Bool, Float64
from numpy.typing import ArrayLike

from mjx_dm.envs.batch import EnvState, make_env
from mjx_dm.tasks import get_task, task_names
from mjx_dm.tasks.task import Task

NAMESPACE = "mjx_dm"


class BatchVectorEnv(VectorEnv):
    """`num_envs` worlds of a task, stepped by one call of one compiled program.

    task: a name or a Task; other keyword arguments are options of the task, as Gymnasium's own
    environment takes them. engine: mujoco, mjx, warp or auto. physics: exact (v4 is the same),
    fast or auto. Spaces, rewards and ends of episodes are those of the Gymnasium environment;
    states are carried in float32. A world whose episode ends is reset in the same step
    (`AutoresetMode.SAME_STEP`): its last observation is in `infos["final_obs"]`, its last infos in
    `infos["final_info"]`.

    The infos are Gymnasium's numbers and the reward's terms. `final_info` has one more, "broken":
    True where a world's state was no longer finite. Such a world is truncated with reward 0, and
    its `final_obs` is the observation it was reset to; keep the transition out of learning.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(
        self,
        num_envs: int = 1,
        task: str | Task = "Humanoid-v4",
        engine: str = "mujoco",
        physics: str = "v4",
        max_episode_steps: int | None = None,
        **options: Any,
    ):
        self._env = make_env(
            num_envs,
            get_task(task, **options),
            engine=engine,
            physics=physics,
            max_episode_steps=max_episode_steps,
        )
        self.num_envs = num_envs
        spaces = self._env.spaces
        self.single_observation_space = Box(-np.inf, np.inf, (spaces.obs_size,), np.float64)
        low, high = (np.array(x, np.float32) for x in (spaces.action_low, spaces.action_high))
        self.single_action_space = Box(low, high, dtype=np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._reset = jax.jit(self._env.reset)
        self._step = jax.jit(self._env.step_with_info)
        self._state: EnvState | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float64[np.ndarray, "N obs"], dict[str, Any]]:
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
        Float64[np.ndarray, "N obs"],
        Float64[np.ndarray, "N"],
        Bool[np.ndarray, "N"],
        Bool[np.ndarray, "N"],
        dict[str, Any],
    ]:
        """One step in every world.

        Actions (N, act) in the actuators' units; what is outside the box is charged unclipped.

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


def register() -> None:
    """Registers every task as "mjx_dm/NAME" with Gymnasium."""
    for name in task_names():
        gymnasium.register(
            id=f"{NAMESPACE}/{name}",
            vector_entry_point="mjx_dm.envs.vector:BatchVectorEnv",
            kwargs={"task": name},
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
