"""Tasks in batches as Gymnasium vector environments, for trainers built on Gymnasium.

Importing this module registers them: `gymnasium.make_vec("mjx_dm/Ant-v5", num_envs=64)`.
"""

import copy
from collections.abc import Sequence
from typing import Any

import gymnasium
import jax
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Array, Bool, Float64, UInt8, UInt32
from numpy.typing import ArrayLike

from mjx_dm.config import ConfigError
from mjx_dm.device import in_float32
from mjx_dm.envs.batch import EnvState, make_env
from mjx_dm.envs.rendering import Renderer
from mjx_dm.tasks import get_task, task_names
from mjx_dm.tasks.task import Task

NAMESPACE = "mjx_dm"
OF_PROCESS = ("_task", "_env", "_reset", "_step", "_renderer")


class BatchVectorEnv(VectorEnv):
    """`num_envs` worlds of a task, stepped by one call of one compiled program.

    task: a name or a Task; other keyword arguments are options of the task, as Gymnasium's own
    environment takes them. engine: mujoco, mjx, warp or auto. physics: exact (v4 is the same),
    fast or auto. Spaces, rewards and ends of episodes are those of the Gymnasium environment;
    states are carried in float32. A world whose episode ends is reset in the same step
    (`AutoresetMode.SAME_STEP`): its last observation is in `infos["final_obs"]`, its last infos in
    `infos["final_info"]`.

    It may be pickled and copied: the copy goes on from the same states to the same ones.
    `render_mode` "rgb_array" draws frames of `height` times `width` pixels with MuJoCo's OpenGL.

    The infos are Gymnasium's numbers and the reward's terms. `final_info` has one more, "broken":
    True where a world's state was no longer finite. Such a world is truncated with reward 0, and
    its `final_obs` is the observation it was reset to; keep the transition out of learning.
    """

    metadata: dict[str, Any] = {
        "render_modes": ["rgb_array"],
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        task: str | Task = "Humanoid-v4",
        engine: str = "mujoco",
        physics: str = "v4",
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        width: int = 480,
        height: int = 480,
        **options: Any,
    ):
        modes = self.metadata["render_modes"]
        if render_mode not in (None, *modes):
            raise ConfigError(
                f"render_mode {render_mode!r} is unknown; choose from {', '.join(modes)}."
            )
        self._named, self._size = (task, options), (height, width)
        self._how: dict[str, Any] = {
            "num_envs": num_envs,
            "engine": engine,
            "physics": physics,
            "max_episode_steps": max_episode_steps,
        }
        self._make()
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.metadata = self.metadata | {"render_fps": round(1 / self._task.step_seconds)}
        spaces = self._env.spaces
        self.single_observation_space = Box(-np.inf, np.inf, (spaces.obs_size,), np.float64)
        low, high = (np.array(x, np.float32) for x in (spaces.action_low, spaces.action_high))
        self.single_action_space = Box(low, high, dtype=np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._state: EnvState | None = None

    def _make(self) -> None:
        """What belongs to this process: the engine, its threads and the programs."""
        task, options = self._named
        self._task = get_task(task, **options)
        self._env = make_env(task=self._task, **self._how)
        self._reset = jax.jit(self._begin)
        self._step = jax.jit(self._env.step_with_info)
        self._renderer: Renderer | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What pickle and deepcopy take: the worlds as they stand, and how they were made."""
        return {name: x for name, x in vars(self).items() if name not in OF_PROCESS}

    def __setstate__(self, kept: dict[str, Any]) -> None:
        vars(self).update(kept)
        if not self.closed:
            self._make()

    _spec: EnvSpec | None = None

    @property
    # An attribute in Gymnasium, a property here: whoever sets it gets the time limit right.
    def spec(self) -> EnvSpec | None:  # type: ignore[override]
        """What `make_vec` made it from, with the time limit that it has."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = copy.copy(spec)
        if self._spec is not None:
            self._spec.max_episode_steps = self._env.max_episode_steps

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Float64[np.ndarray, "N obs"], dict[str, Any]]:
        """Begins an episode in every world.

        The first state of world i is that of `seed[i]`, or of `seed` + i where it is one number, in
        whatever batch the world is; the states that worlds are reset to later are drawn from all
        seeds together. Without `seed`, or where one of them is None, the random stream goes on.

        Raises ValueError for another number of seeds than worlds, and for `options["reset_mask"]`:
        worlds are reset all at once or by themselves. ClosedEnvironmentError after `close`.
        """
        if self.closed:
            raise gymnasium.error.ClosedEnvironmentError("The worlds were closed: make new ones.")
        if options and "reset_mask" in options:
            raise ValueError(
                "reset_mask is not supported: worlds reset themselves in the step that ends them."
            )
        of_worlds = self._draw_seeds(seed)
        if seed is not None:
            self._np_random = np.random.default_rng(of_worlds.ravel())
            self._np_random_seed = int(seed) if isinstance(seed, (int, np.integer)) else -1
        of_batch = self.np_random.integers(2**32, size=2, dtype=np.uint32)
        self._state = self._reset(of_worlds, of_batch)
        return _float64(self._state.obs), {}

    def _draw_seeds(self, seed: int | Sequence[int | None] | None) -> UInt32[np.ndarray, "N 2"]:
        """64 bits of each world."""
        seeds: Sequence[int | None]
        if seed is None:
            seeds = [None] * self.num_envs
        elif isinstance(seed, (int, np.integer)):
            seeds = range(int(seed), int(seed) + self.num_envs)
        else:
            seeds = list(seed)
        if len(seeds) != self.num_envs:
            raise ValueError(f"{len(seeds)} seeds were given for {self.num_envs} worlds.")
        own = (self.np_random if x is None else seeding.np_random(int(x))[0] for x in seeds)
        return np.stack([x.integers(2**32, size=2, dtype=np.uint32) for x in own])

    @in_float32
    def _begin(self, of_worlds: UInt32[Array, "N 2"], of_batch: UInt32[Array, "2"]) -> EnvState:
        keys, key = (
            jax.random.wrap_key_data(x, impl="threefry2x32") for x in (of_worlds, of_batch)
        )
        qpos, qvel = jax.vmap(self._task.reset)(keys)
        return self._env.set_state(self._env.reset(key), qpos, qvel)

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

        Raises ResetNeeded before the first `reset` and after `close`, ValueError for a wrong
        shape.
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

    def render(self) -> tuple[UInt8[np.ndarray, "height width 3"], ...] | None:
        """A frame of every world as it stands; None, with a warning, without `render_mode`.

        Raises ResetNeeded before the first `reset`, gymnasium.error.DependencyNotInstalled where
        MuJoCo finds no OpenGL.
        """
        if self.render_mode is None:
            gymnasium.logger.warn(
                'Nothing is drawn without make_vec(..., render_mode="rgb_array").'
            )
            return None
        if self._state is None:
            raise gymnasium.error.ResetNeeded("Call reset() before render().")
        if self._renderer is None:
            self._renderer = Renderer(self._task, *self._size)
        return self._renderer.frames(np.asarray(self._state.physics.qpos))

    def close_extras(self, **kwargs: Any) -> None:
        """Lets go of the worlds, their threads and OpenGL."""
        self._state = None
        made = {name: vars(self).pop(name, None) for name in OF_PROCESS}
        if made["_renderer"] is not None:
            made["_renderer"].close()


def register() -> None:
    """Registers every task as "mjx_dm/NAME" with Gymnasium."""
    for name in task_names():
        gymnasium.register(
            id=f"{NAMESPACE}/{name}",
            vector_entry_point="mjx_dm.envs.vector:BatchVectorEnv",
            kwargs={"task": name},
            max_episode_steps=getattr(gymnasium.registry.get(name), "max_episode_steps", None),
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
