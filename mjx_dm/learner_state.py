"""What learning changes, as networks and as vectors."""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

Params = Any


class LearnerState(NamedTuple):
    """Everything that learning changes. `updates` counts gradient updates.

    `average_actor` follows `actor` slowly and is what is scored; `average_worlds` is the share of
    worlds in which it acts. The optimisers see the parameters as one vector.
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


def vector(tree: Any) -> Float[Array, "P"]:
    """All leaves of `tree`, one after another."""
    return ravel_pytree(tree)[0]


def as_vectors(state: LearnerState) -> tuple[LearnerState, AsTrees]:
    """`state` with every network's parameters as one vector `(P,)`, and the way back.

    What is done to each parameter alike (norms, Adam, averages) is then one kernel for all.
    """
    actor, actor_tree = ravel_pytree(state.actor)
    critic, critic_tree = ravel_pytree(state.critic)

    def as_trees(vectors: LearnerState) -> LearnerState:
        return vectors._replace(
            actor=actor_tree(vectors.actor),
            average_actor=actor_tree(vectors.average_actor),
            critic=critic_tree(vectors.critic),
            target_critic=critic_tree(vectors.target_critic),
        )

    return state._replace(
        actor=actor,
        average_actor=vector(state.average_actor),
        critic=critic,
        target_critic=vector(state.target_critic),
    ), as_trees
