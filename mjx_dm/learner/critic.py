"""The twin critics, and the temporal difference that they learn by."""

import dataclasses
from typing import Any, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mjx_dm.config import Config
from mjx_dm.learner import losses, networks
from mjx_dm.learner.protocol import Metrics
from mjx_dm.learner.state import Params
from mjx_dm.types import Spaces, Transition


@dataclasses.dataclass(frozen=True)
class TwinCritic:
    """Two critics of the form that `config` describes, scalar or categorical.

    `obs` is always the whole observation, of the policy's states: what of it the critics see is
    decided in `_apply` alone.
    """

    config: Config

    def init(self, key: Array, spaces: Spaces) -> Params:
        """Parameters; consumes `key`."""
        obs, action = jnp.zeros((1, spaces.obs_size)), jnp.zeros((1, 1, spaces.action_size))
        return networks.twin_critic(self.config).init(key, obs, action)

    def out(
        self, params: Params, obs: Float[Array, "B obs"], actions: Float[Array, "B M act"]
    ) -> Float[Array, "2 B M atoms"]:
        """What the networks put out: logits of the atoms, or one value."""
        return cast(Array, self._apply(params, obs, actions))

    def watched(
        self, params: Params, obs: Float[Array, "B obs"], actions: Float[Array, "B M act"]
    ) -> tuple[Float[Array, "2 B M atoms"], list[Float[Array, "2 B M units"]]]:
        """`out`, and the activations of the hidden layers."""
        out, seen = self._apply(params, obs, actions, mutable=["intermediates"])
        return out, jax.tree.leaves(seen["intermediates"])

    def values(self, out: Float[Array, "2 *B atoms"]) -> Float[Array, "2 *B"]:
        """The critics' expected returns, in scaled reward."""
        return networks.values(self.config.critic, out)

    def min_q(
        self, params: Params, obs: Float[Array, "B obs"], actions: Float[Array, "B M act"]
    ) -> Float[Array, "B M"]:
        """The lesser of the two expected returns of M actions a state."""
        # Q differs by some T from action to action, no more than rounded factors would change it.
        with jax.default_matmul_precision("highest"):
            return jnp.min(self.values(self.out(params, obs, actions)), 0)

    def loss(
        self,
        params: Params,
        target_params: Params,
        batch: Transition,
        next_action: Float[Array, "B act"],
        bonus: Float[Array, "B"] | float,
    ) -> tuple[Float[Array, ""], Metrics]:
        """The loss to y = r + gamma (1 - d) (min Q_target(s', a') + `bonus`), and its metrics.

        The bonus is what the policy's entropy is worth, -alpha log pi(a'|s'). A categorical critic
        learns the whole distribution of the target critic that expects less.
        """
        critic = self.config.critic
        out = self.out(target_params, batch.next_obs, next_action[:, None])[:, :, 0]
        reward = critic.reward_scale * batch.reward
        valid = batch.valid.astype(jnp.float32)
        q = self.out(params, batch.obs, batch.action[:, None])[:, :, 0]
        if critic.critic == "scalar":
            next_value = jnp.min(out[..., 0], 0) + bonus
            target = losses.td_target(reward, batch.discount, next_value, critic.discount)
            target = jax.lax.stop_gradient(target)
            loss, target_mean = losses.scalar_critic_loss(q[..., 0], target, valid), target
        else:
            support = networks.support(critic)
            least = jnp.argmin(self.values(out), 0)
            probs = jax.nn.softmax(jnp.where((least == 0)[:, None], out[0], out[1]))
            positions = losses.td_target(
                reward[:, None],
                batch.discount[:, None],
                support[None] + jnp.broadcast_to(bonus, reward.shape)[:, None],
                critic.discount,
            )
            target = jax.lax.stop_gradient(losses.project(probs, positions, support))
            loss = losses.categorical_critic_loss(q, target, valid)
            target_mean = target @ support
        return loss, losses.means(
            {"q_mean": jnp.mean(self.values(q), 0), "target_mean": target_mean}
        )

    def _apply(self, params: Params, obs: Array, actions: Array, **how: Any) -> Any:
        return networks.twin_critic(self.config).apply(params, obs, actions, **how)
