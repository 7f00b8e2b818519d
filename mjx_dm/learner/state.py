"""What learning changes, and how the updates see it: as networks or as vectors."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

Params = Any


class LearnerState(NamedTuple):
    """Everything that learning changes. `updates` counts gradient updates.

    `average_actor` follows `actor` slowly and is what is scored; `average_worlds` is the share of
    worlds in which it acts.
    """

    actor: Params
    average_actor: Params
    critic: Params
    target_critic: Params
    actor_optimizer: optax.OptState
    critic_optimizer: optax.OptState
    log_temperature: Float[Array, ""]
    log_alpha: Float[Array, ""]
    updates: Int[Array, ""]


# Gives the networks of a state of vectors their shapes back.
AsTrees = Callable[[LearnerState], LearnerState]


def joins() -> bool:
    """Whether the updates see every network's parameters as one vector.

    What is done to each parameter alike (norms, Adam, averages) is then one kernel for all, where a
    kernel costs a launch. A CPU launches for nothing, and would copy the parameters to and fro.
    """
    return jax.default_backend() != "cpu"


def vector(tree: Any) -> Float[Array, "P"]:
    """All leaves of `tree`, one after another."""
    return ravel_pytree(tree)[0]


def as_vectors(state: LearnerState) -> tuple[LearnerState, AsTrees]:
    """`state` with every network's parameters and moments as one vector `(P,)`, where that `joins`,
    and the way back."""
    if not joins():
        return state, lambda trees: trees
    actor_tree, critic_tree = (ravel_pytree(x)[1] for x in (state.actor, state.critic))
    return _reshape(state, vector, vector), lambda v: _reshape(v, actor_tree, critic_tree)


def _reshape(
    state: LearnerState, actor: Callable[[Any], Any], critic: Callable[[Any], Any]
) -> LearnerState:
    return state._replace(
        actor=actor(state.actor),
        average_actor=actor(state.average_actor),
        critic=critic(state.critic),
        target_critic=critic(state.target_critic),
        actor_optimizer=_reshape_moments(state.actor_optimizer, actor),
        critic_optimizer=_reshape_moments(state.critic_optimizer, critic),
    )


def _reshape_moments(state: optax.OptState, shape: Callable[[Any], Any]) -> optax.OptState:
    def is_adam(x: Any) -> bool:
        return isinstance(x, optax.ScaleByAdamState)

    return jax.tree.map(
        lambda x: x._replace(mu=shape(x.mu), nu=shape(x.nu)) if is_adam(x) else x,
        state,
        is_leaf=is_adam,
    )
