"""What explains a run, measured once per launch on one batch: it costs the updates nothing."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from mjx_dm.config import Config
from mjx_dm.learner import losses, networks
from mjx_dm.learner.critic import TwinCritic
from mjx_dm.learner.gmm import GMM
from mjx_dm.learner.protocol import Metrics
from mjx_dm.learner.state import LearnerState, Params
from mjx_dm.types import Spaces, Transition

DORMANT = 0.025


def diagnose(
    config: Config,
    spaces: Spaces,
    before: LearnerState,
    after: LearnerState,
    batch: Transition,
    steps: Float[Array, "B"],
    key: Array,
) -> Metrics:
    """Scalars about the learner `after` the updates of a launch, on a batch of B transitions that
    span many steps of the newest behaviour; `steps` is sum_i discount^i over those of each.

    policy_kl: KL(before || after) of the policy, nats, by one sample a state. actor_norm,
    critic_norm: of the matrices, without biases.
    dead_units_actor, dead_units_critic: the share of hidden units whose mean activity is at most
    0.025 of their layer's (Sokar et al. 2023). q_error: the mean of min Q(s, a) less the reward
    that followed, the entropy that Q is promised with it (alpha times the policy's of now, in every
    step) and the critic's own view of what came after, in scaled reward: positive where Q promises
    too much. Of a mixture also sigma_spread: the standard deviation of log sigma over the
    components, weighted as they are; clipped_share: of sampled action coordinates outside the legal
    box. Consumes `key`.
    """
    action_key, next_key = jax.random.split(key)
    limit = 1.0 if config.policy.bounded else jnp.inf
    policy, critic = networks.policy_network(config, spaces), TwinCritic(config, spaces)
    obs, next_obs = spaces.of_policy(batch.obs), spaces.of_policy(batch.next_obs)
    old, _ = _apply(policy, before.actor, obs)
    new, actor_seen = _apply(policy, after.actor, obs)
    out, critic_seen = critic.watched(after.critic, batch.obs, batch.action[:, None])
    following, _ = _apply(policy, after.actor, next_obs)
    next_action = jnp.clip(following.sample(next_key), -limit, limit)
    next_out = critic.out(after.critic, batch.next_obs, next_action[:, None])
    promised, later = (jnp.min(critic.values(x), 0)[:, 0] for x in (out, next_out))
    found = losses.td_target(
        config.critic.reward_scale * batch.reward, batch.discount, later, config.critic.discount
    )
    if config.temperatures.alpha > 0:
        # One for every action that a target bootstraps from: not for the one that was taken.
        bonuses = steps - 1.0 + config.critic.discount * batch.discount
        bonuses = bonuses / config.replay.num_steps
        entropy = -jnp.mean(following.log_prob(next_action))
        found = found + jnp.exp(after.log_alpha) * entropy * bonuses
    action = old.sample(action_key)
    of_mixture = {}
    if isinstance(new, GMM):
        of_mixture["sigma_spread"] = jnp.mean(_sigma_spread(new))
        of_mixture["clipped_share"] = jnp.mean(jnp.abs(action) > limit)
    return of_mixture | {
        "policy_kl": jnp.mean(old.log_prob(action) - new.log_prob(action)),
        "q_error": losses.valid_mean(promised - found, batch.valid.astype(jnp.float32)),
        "actor_norm": _matrix_norm(after.actor),
        "critic_norm": _matrix_norm(after.critic),
        "dead_units_actor": dead_units(actor_seen),
        "dead_units_critic": dead_units([x for layer in critic_seen for x in layer]),
    }


def dead_units(activations: list[Float[Array, "..."]]) -> Float[Array, ""]:
    """Share of units, the last axis of each `(..., units)`, that are dormant."""
    dead = []
    for layer in activations:
        activity = jnp.mean(jnp.abs(layer), tuple(range(layer.ndim - 1)))
        dead.append(activity <= DORMANT * jnp.mean(activity))
    return jnp.mean(jnp.concatenate(dead))


def _matrix_norm(params: Params) -> Float[Array, ""]:
    """The biases of a categorical critic are thousands from the start and would hide the rest."""
    named = jax.tree_util.tree_leaves_with_path(params)
    return optax.tree.norm([x for path, x in named if path[-1].key == "kernel"])


def _apply(module: nn.Module, params, *inputs):
    out, seen = module.apply(params, *inputs, mutable=["intermediates"])
    return out, jax.tree.leaves(seen["intermediates"])


def _sigma_spread(gmm: GMM) -> Float[Array, "B"]:
    weight = gmm.weights()[..., None]
    mean = jnp.sum(weight * gmm.log_std, -2, keepdims=True)
    return jnp.mean(jnp.sqrt(jnp.sum(weight * jnp.square(gmm.log_std - mean), -2)), -1)
