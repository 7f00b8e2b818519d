"""What learning changes, and the form in which updates hold it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from mjx_dm.device import platform

Params = Any


class LearnerState(NamedTuple):
    """Everything that learning changes. `updates` counts gradient updates.

    `average_actor` follows `actor` slowly and is what is scored. `log_temperature` is None where
    the learner has no T.
    """

    actor: Params
    average_actor: Params
    critic: Params
    target_critic: Params
    actor_optimizer: optax.OptState
    critic_optimizer: optax.OptState
    log_temperature: Float[Array, ""] | None
    log_alpha: Float[Array, ""]
    updates: Int[Array, ""]


# The state in the form that updates advance: what `Learner.pack` made, opaque to everybody else.
Carry = Any


def vector(tree: Any) -> Float[Array, "P"]:
    """All leaves of `tree`, one after another."""
    return ravel_pytree(tree)[0]


class Form(NamedTuple):
    """How updates hold a `LearnerState`: as it is, or with every network and its moments joined.

    What is done to each parameter alike (norms, Adam, averages) is then one kernel for all, where a
    kernel costs a launch. `gradient` joins a gradient as the parameters are.
    """

    pack: Callable[[LearnerState], Carry]
    unpack: Callable[[Carry], LearnerState]
    gradient: Callable[[Params], Params]


def form(shapes: Callable[[], LearnerState]) -> Form:
    """Vectors `(P,)` on an accelerator; on a CPU, which launches for nothing and would copy the
    parameters to and fro, the state as it is. `shapes` gives the shapes of a state."""
    if platform() == "cpu":
        return Form(_same, _same, _same)
    start = shapes()
    actor, critic = _as_tree(start.actor), _as_tree(start.critic)
    return Form(
        pack=lambda state: _reshape(state, vector, vector),
        unpack=lambda carry: _reshape(carry, actor, critic),
        gradient=vector,
    )


def _same(x: Any) -> Any:
    return x


def _as_tree(shapes: Params) -> Callable[[Array], Params]:
    """From a vector back to the tree of these shapes."""
    found: list[Callable[[Array], Params]] = []

    def join(tree: Params) -> Array:
        joined, back = ravel_pytree(tree)
        found.append(back)
        return joined

    jax.eval_shape(join, shapes)
    return found[0]


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
