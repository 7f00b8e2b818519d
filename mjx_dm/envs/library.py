"""The worlds of Brax's and MuJoCo Playground's environments, in their own simulation."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mjx_dm.envs.episodes import MAX_OBS, MAX_SPEED, Outcome, Physics, Starts, Worlds, is_sound
from mjx_dm.tasks.libraries import LibraryTask
from mjx_dm.tasks.libraries.task import split_obs
from mjx_dm.tasks.task import Fields


class LibraryEnv(Worlds):
    """`num_envs` worlds of a LibraryTask, whose state is the `physics` of an EnvState.

    An episode begins at a random start of the library's own, drawn anew for every world and
    episode, where the libraries' `AutoResetWrapper` goes back to the first one. What the
    environment calls done is a termination, and the time limit a truncation, as their
    `EpisodeWrapper` tells them apart. A world whose observation, reward or speed is not finite, or
    beyond MAX_OBS and MAX_SPEED, is reset and not learned from.
    """

    task: LibraryTask

    def __init__(
        self,
        task: LibraryTask,
        num_envs: int,
        seed: int = 0,
        max_episode_steps: int | None = None,
    ):
        super().__init__(num_envs, seed, max_episode_steps or task.max_episode_steps)
        self.task = task

    def advance(self, physics: Physics, carried: Fields, action: Float[Array, "N act"]) -> Outcome:
        """What a step leads to in every world, before any is reset."""
        with jax.named_scope("physics"):
            after = jax.vmap(self.task.advance)(physics, action)
        obs, privileged = _seen(after)
        reward = jnp.asarray(after.reward, jnp.float32)
        valid = is_sound(obs, reward, action)
        if privileged is not None:
            valid &= jnp.all(jnp.abs(privileged) < MAX_OBS, -1)
        if self.task.pose is not None:
            valid &= jnp.all(jnp.abs(self.task.pose(after).qvel) < MAX_SPEED, -1)
        return Outcome(
            physics=after,
            carried=carried,
            obs=obs,
            reward=jnp.where(valid, reward, 0.0),
            terminated=(after.done > 0) & valid,
            valid=valid,
            failed=jnp.zeros_like(valid),
            infos={
                name: jnp.where(valid, x, 0.0).astype(jnp.float32)
                for name, x in after.metrics.items()
                if jnp.shape(x) == valid.shape
            },
            privileged=privileged,
        )

    def draw_two(self, first: Array, second: Array) -> tuple[Starts, Starts]:
        """As two calls of `draw_starts`, compiled once: a library's reset takes long to compile."""
        both = jax.lax.map(self.draw_starts, jnp.stack([first, second]))
        one, other = (jax.tree.map(lambda x, i=i: x[i], both) for i in (0, 1))
        return one, other

    def draw_starts(self, key: Array) -> Starts:
        """A fresh start of every world; consumes `key`."""
        start = jax.vmap(self.task.start)(jax.random.split(key, self.num_envs))
        start = jax.tree.map(_own, start)
        obs, privileged = _seen(start)
        return Starts(
            physics=start,
            carried={},
            obs=_own(obs),
            used=jnp.zeros(self.num_envs, jnp.bool_),
            privileged=None if privileged is None else _own(privileged),
        )


def _seen(state: Any) -> tuple[Array, Array | None]:
    obs, privileged = split_obs(state.obs)
    return obs.astype(jnp.float32), None if privileged is None else privileged.astype(jnp.float32)


def _own(x: Array) -> Array:
    """`x` in a buffer of its own, since the state is donated and no buffer may be donated twice;
    and of a type that a step cannot change, which a Python number's may."""
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jnp.copy(x)
    return jnp.copy(jax.lax.convert_element_type(x, x.dtype))
