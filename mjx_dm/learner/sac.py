"""Soft actor-critic: a tanh Gaussian climbs Q - alpha log pi by the gradient through its actions.

Source: Haarnoja et al. 2018, "Soft actor-critic algorithms and applications". Critics, targets,
optimisers, slow average and replay are those of density matching.
"""

from typing import cast

import jax.numpy as jnp
from jaxtyping import Array, Float

from mjx_dm.collectives import ALONE, Devices
from mjx_dm.config import Config
from mjx_dm.learner import duals, losses, networks
from mjx_dm.learner.actor_critic import Rule, actor_critic
from mjx_dm.learner.critic import TwinCritic
from mjx_dm.learner.protocol import Learner, Metrics
from mjx_dm.learner.state import LearnerState, Params
from mjx_dm.learner.tanh_gaussian import TanhGaussian
from mjx_dm.types import Spaces


def sac(config: Config, spaces: Spaces, devices: Devices = ALONE) -> Learner:
    """The soft actor-critic that `config` describes."""
    network, critic = networks.tanh_gaussian_network(config, spaces), TwinCritic(config, spaces)

    def policy(params: Params, obs: Float[Array, "B obs"]) -> TanhGaussian:
        return cast(TanhGaussian, network.apply(params, spaces.of_policy(obs)))

    def act(state: LearnerState, obs: Float[Array, "N obs"], key: Array) -> Float[Array, "N act"]:
        return policy(state.actor, obs).sample(key)

    def bootstrap(
        state: LearnerState, _: Params, obs: Array, key: Array
    ) -> tuple[Float[Array, "B act"], Float[Array, "B"]]:
        action, log_prob = policy(state.actor, obs).sample_and_log_prob(key)
        return action, -jnp.exp(state.log_alpha) * log_prob

    def loss(
        params: Params, state: LearnerState, obs: Array, key: Array
    ) -> tuple[Float[Array, ""], Metrics]:
        """Mean over states of alpha log pi(a|s) - min Q(s, a)."""
        action, log_prob = policy(params, obs).sample_and_log_prob(key)
        q = critic.min_q(state.critic, obs, action[:, None])[:, 0]
        loss = losses.sac_loss(q, log_prob, jnp.exp(state.log_alpha))
        return loss, losses.means({"entropy": -log_prob})

    def step_alpha(state: LearnerState, seen: Metrics) -> tuple[dict[str, Array], Metrics]:
        per_dimension = seen["entropy"] / spaces.action_size
        log_alpha = duals.step_alpha_of_entropy(config.temperatures, state.log_alpha, per_dimension)
        return {"log_alpha": log_alpha}, {"alpha": jnp.exp(state.log_alpha)}

    rule = Rule(act, bootstrap, loss, step_alpha, log_temperature=None, names=())
    return actor_critic(config, spaces, network, critic, rule, devices)
