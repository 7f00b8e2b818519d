"""A learner of a policy and twin critics; how the policy learns from them is a rule."""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from mjx_dm.collectives import ALONE, Devices
from mjx_dm.config import Config
from mjx_dm.learner.critic import TwinCritic
from mjx_dm.learner.protocol import Learner, Metrics
from mjx_dm.learner.state import Carry, LearnerState, Params, form
from mjx_dm.types import Spaces, Transition

# What every update reports; a rule adds names of its own.
NAMES = (
    "actor_grad_norm", "actor_loss", "alpha", "critic_grad_norm", "critic_loss", "entropy",
    "q_mean", "target_mean",
)  # fmt: skip


class Rule(NamedTuple):
    """How a policy acts and learns, where the critics are given. All consume the keys they get.

    act(state, obs, key) -> action `(N, A)`. bootstrap(state, critic, obs, key) -> (a', bonus): the
    action `(B, A)` that a target takes, and what its entropy is worth `(B,)`; `critic` are the
    parameters in learning. loss(actor, state, obs, key) -> (loss, metrics) is that of the policy,
    with its gradient in `actor` alone. duals(state, metrics) -> (fields of the state, metrics) sets
    the temperatures after an update that reported `metrics`.

    log_temperature is where T starts, None for a rule without one; `names` are those of its metrics
    that NAMES lacks.
    """

    act: Callable[[LearnerState, Array, Array], Array]
    bootstrap: Callable[[LearnerState, Params, Array, Array], tuple[Array, Array | float]]
    loss: Callable[[Params, LearnerState, Array, Array], tuple[Array, Metrics]]
    duals: Callable[[LearnerState, Metrics], tuple[dict[str, Array], Metrics]]
    log_temperature: Float[Array, ""] | None
    names: tuple[str, ...]


def actor_critic(
    config: Config,
    spaces: Spaces,
    policy: nn.Module,
    critic: TwinCritic,
    rule: Rule,
    devices: Devices = ALONE,
) -> Learner:
    """The learner that fits `policy` and `critic` by Adam: the critics, their targets, then the
    policy on the first `actor_batch_size` states of the batch, and its slow average.

    On several devices a batch is what all of them have: gradients, losses and what a rule reports
    are means over it before anything moves by them, so that all move alike.
    """
    actor_optimizer = adam(config, config.policy.actor_lr)
    critic_optimizer = adam(config, config.critic.critic_lr)
    names = tuple(sorted((*NAMES, *rule.names)))

    def init(key: Array) -> LearnerState:
        actor_key, critic_key = jax.random.split(key)
        actor_params = policy.init(actor_key, jnp.zeros((1, spaces.obs_size)))
        critic_params = critic.init(critic_key)
        return LearnerState(
            actor=actor_params,
            average_actor=jax.tree.map(jnp.copy, actor_params),
            critic=critic_params,
            target_critic=jax.tree.map(jnp.copy, critic_params),
            actor_optimizer=actor_optimizer.init(actor_params),
            critic_optimizer=critic_optimizer.init(critic_params),
            log_temperature=rule.log_temperature,
            log_alpha=jnp.log(jnp.asarray(max(config.temperatures.alpha, 1e-30), jnp.float32)),
            updates=jnp.zeros((), jnp.int32),
        )

    held = form(lambda: jax.eval_shape(init, jax.random.key(0)))

    def critic_loss(params: Params, state: LearnerState, batch: Transition, key: Array):
        next_action, bonus = rule.bootstrap(state, params, batch.next_obs, key)
        return critic.loss(params, state.target_critic, batch, next_action, bonus)

    def update_critic(carry: Carry, batch: Transition, key: Array) -> tuple[Carry, Metrics]:
        state = held.unpack(carry)
        with jax.named_scope("critic"):
            (loss, info), grads = jax.value_and_grad(critic_loss, has_aux=True)(
                state.critic, state, batch, key
            )
            valid = jnp.sum(batch.valid.astype(jnp.float32))
            info, (grads, loss) = devices.means(info, (held.gradient(grads), loss), valid)
            steps, optimizer = critic_optimizer.update(grads, carry.critic_optimizer, carry.critic)
            moved = optax.apply_updates(carry.critic, steps)
        updates, targets = state.updates + 1, config.critic
        rate = jnp.where(updates % targets.polyak_every == 0, targets.polyak, 0.0)
        return carry._replace(
            critic=moved,
            critic_optimizer=optimizer,
            target_critic=optax.incremental_update(moved, carry.target_critic, rate),
            updates=updates,
        ), info | {"critic_loss": loss, "critic_grad_norm": optax.tree.norm(grads)}

    def update_policy(
        carry: Carry, obs: Float[Array, "B obs"], key: Array
    ) -> tuple[Carry, Metrics]:
        state = held.unpack(carry)
        with jax.named_scope("actor"):
            (loss, info), grads = jax.value_and_grad(rule.loss, has_aux=True)(
                state.actor, state, obs, key
            )
            grads, loss, info = devices.mean((held.gradient(grads), loss, info))
            steps, optimizer = actor_optimizer.update(grads, carry.actor_optimizer, carry.actor)
            moved = optax.apply_updates(carry.actor, steps)
        duals, of_duals = rule.duals(state, info)
        return carry._replace(
            actor=moved,
            average_actor=optax.incremental_update(
                moved, carry.average_actor, config.policy.actor_average
            ),
            actor_optimizer=optimizer,
            **duals,
        ), info | of_duals | {"actor_loss": loss, "actor_grad_norm": optax.tree.norm(grads)}

    def update_both(carry: Carry, batch: Transition, key: Array) -> tuple[Carry, Metrics]:
        critic_key, policy_key = jax.random.split(key)
        carry, of_critic = update_critic(carry, batch, critic_key)
        states = batch.obs[: config.policy.actor_batch_size]
        carry, of_policy = update_policy(carry, states, policy_key)
        return carry, of_policy | of_critic

    def update(state: LearnerState, batch: Transition, key: Array) -> tuple[LearnerState, Metrics]:
        carry, metrics = update_both(held.pack(state), batch, key)
        return held.unpack(carry), metrics

    def updates(carry: Carry, batches: Transition, keys: Array) -> tuple[Carry, Metrics]:
        def step(carry: Carry, inputs: tuple[Transition, Array]) -> tuple[Carry, Array]:
            carry, metrics = update_both(carry, *inputs)
            # One row a step costs one kernel, a dict of scalars one for each.
            return carry, jnp.stack([metrics[name] for name in names])

        carry, rows = jax.lax.scan(step, carry, (batches, keys))
        return carry, dict(zip(names, jnp.mean(rows, 0), strict=True))

    return Learner(init, rule.act, update, held.pack, held.unpack, updates, names)


def adam(config: Config, learning_rate: float) -> optax.GradientTransformation:
    """Adam on gradients that are shortened to `max_grad_norm`."""
    init, update = optax.chain(
        optax.clip_by_global_norm(config.networks.max_grad_norm), optax.adam(learning_rate)
    )

    def promoting(*arguments):
        # Optax raises a float to the power of an int32, which JAX_NUMPY_DTYPE_PROMOTION=strict
        # would refuse.
        with jax.numpy_dtype_promotion("standard"):
            return update(*arguments)

    return optax.GradientTransformation(init, promoting)
