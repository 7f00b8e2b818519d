"""Density matching: a mixture is fitted to actions weighed by softmax((Q - alpha log pi) / T)."""

from typing import cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mjx_dm.collectives import ALONE, Devices
from mjx_dm.config import Config
from mjx_dm.learner import action_rules, duals, losses, networks
from mjx_dm.learner.actor_critic import Rule, actor_critic
from mjx_dm.learner.critic import TwinCritic
from mjx_dm.learner.gmm import GMM
from mjx_dm.learner.proposals import propose
from mjx_dm.learner.protocol import Learner, Metrics
from mjx_dm.learner.state import LearnerState, Params
from mjx_dm.types import Spaces

NAMES = ("effective_components", "ess", "mean_sigma", "temperature", "weights_kl")


def density_matching(config: Config, spaces: Spaces, devices: Devices = ALONE) -> Learner:
    """The learner that `config` describes; `published` and our own differ by settings alone."""
    policy, critic = networks.mixture_network(config, spaces), TwinCritic(config, spaces)
    bounded, has_alpha = config.policy.bounded, config.temperatures.alpha > 0

    def mixture(params: Params, obs: Float[Array, "B obs"]) -> GMM:
        return cast(GMM, policy.apply(params, spaces.of_policy(obs)))

    def clip(action: Array) -> Array:
        return jnp.clip(action, -1.0, 1.0) if bounded else action

    def alpha_of(state: LearnerState) -> Float[Array, ""]:
        return jnp.exp(state.log_alpha) if has_alpha else jnp.zeros(())

    def log_temperature_of(state: LearnerState) -> Float[Array, ""]:
        return cast(Array, state.log_temperature)

    def choose(actor: Params, critic_params: Params, obs: Array, key: Array) -> tuple[GMM, Array]:
        gmm = mixture(actor, obs)
        action = action_rules.choose(
            config.policy.action_rule, gmm, lambda a: critic.min_q(critic_params, obs, clip(a)), key
        )
        return gmm, clip(action)

    def act(state: LearnerState, obs: Float[Array, "N obs"], key: Array) -> Float[Array, "N act"]:
        return choose(state.actor, state.critic, obs, key)[1]

    def bootstrap(
        state: LearnerState, critic_params: Params, obs: Array, key: Array
    ) -> tuple[Array, Array | float]:
        gmm, action = choose(state.actor, critic_params, obs, key)
        alpha = alpha_of(state)
        return action, -alpha * gmm.log_prob(action) if has_alpha else 0.0

    def loss(
        params: Params, state: LearnerState, obs: Array, key: Array
    ) -> tuple[Float[Array, ""], Metrics]:
        gmm = mixture(params, obs)
        fixed, alpha = jax.lax.stop_gradient(gmm), alpha_of(state)
        temperature = jnp.exp(log_temperature_of(state))

        def q(actions: Float[Array, "B M act"]) -> Float[Array, "B M"]:
            return critic.min_q(state.critic, obs, clip(actions))

        proposed = propose(config.policy, fixed, q, alpha if has_alpha else 0.0, temperature, key)
        loss = losses.density_matching_loss(
            gmm, proposed.actions, proposed.score, temperature, config.policy.log_std_bonus
        )
        weights = losses.proposal_weights(proposed.score, temperature)
        weighted_std = jnp.sum(gmm.weights()[..., None] * jnp.exp(gmm.log_std), -2)
        return loss, losses.means(
            {
                "ess": proposed.kept * losses.effective_sample_share(weights),
                "weights_kl": losses.weights_kl(weights),
                # Of proposals from elsewhere this is the cross-entropy to their source.
                "entropy": -jnp.mean(losses.log_prob_of_each(fixed, proposed.drawn), -1),
                "mean_sigma": jnp.mean(weighted_std, -1),
                "effective_components": gmm.effective_components(),
            }
        )

    def step_duals(state: LearnerState, seen: Metrics) -> tuple[dict[str, Array], Metrics]:
        settings = config.temperatures
        log_temperature = duals.step_temperature(settings, log_temperature_of(state), seen)
        log_alpha = duals.step_alpha(settings, state.log_alpha, seen)
        moved = {"log_temperature": log_temperature, "log_alpha": log_alpha}
        return moved, {"temperature": jnp.exp(log_temperature), "alpha": alpha_of(state)}

    start = jnp.log(jnp.asarray(config.temperatures.temperature, jnp.float32))
    rule = Rule(act, bootstrap, loss, step_duals, start, NAMES)
    return actor_critic(config, spaces, policy, critic, rule, devices)
