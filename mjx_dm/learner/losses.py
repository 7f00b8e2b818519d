"""Density matching, the critic and the temperatures: pure functions, each with its formula."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mjx_dm.learner.gmm import GMM


def proposal_weights(
    q_values: Float[Array, "*B M"], temperature: Float[Array, ""] | float
) -> Float[Array, "*B M"]:
    """p_i = softmax_i(Q_i / T): how much each proposed action counts."""
    return jax.nn.softmax(q_values / temperature, axis=-1)


def density_matching_loss(
    gmm: GMM,
    actions: Float[Array, "B M A"],
    q_values: Float[Array, "B M"],
    temperature: Float[Array, ""] | float,
    entropy_coef: float,
) -> Float[Array, ""]:
    """Mean over states of - sum_i p_i log pi(a_i|s) - lambda sum_k w_k sum_j log sigma_{k,j}.

    p_i = softmax_i(Q_i / T) with a_i ~ N(0, I): the published form. With a_i drawn from the policy
    and Q_i - alpha log pi(a_i|s) in place of Q_i, the target is pi exp((Q - alpha log pi) / T).
    Gradients flow into `gmm` alone. The batch of `gmm` is B; `entropy_coef` is lambda.
    """
    weights = jax.lax.stop_gradient(proposal_weights(q_values, temperature))
    log_prob = log_prob_of_each(gmm, jax.lax.stop_gradient(actions))
    bonus = jnp.sum(gmm.weights() * jnp.sum(gmm.log_std, -1), -1)
    return jnp.mean(-jnp.sum(weights * log_prob, -1) - entropy_coef * bonus)


def sac_loss(
    q: Float[Array, "B"], log_prob: Float[Array, "B"], alpha: Float[Array, ""] | float
) -> Float[Array, ""]:
    """Mean over states of alpha log pi(a|s) - Q(s, a), with a ~ pi as a function of its parameters.

    Source: Haarnoja et al. 2018, eq. 7.
    """
    return jnp.mean(alpha * log_prob - q)


def effective_sample_share(weights: Float[Array, "*B M"]) -> Float[Array, "*B"]:
    """ESS / M = 1 / (M sum_i p_i^2): 1 when all proposals count alike, 1/M when one does.

    Source: Kong 1992.
    """
    return 1.0 / (weights.shape[-1] * jnp.sum(jnp.square(weights), -1))


def td_target(
    reward: Float[Array, "*#B"],
    discount: Float[Array, "*#B"],
    next_value: Float[Array, "*#B"],
    gamma: float,
) -> Float[Array, "*B"]:
    """y = r + gamma (1 - d) V(s'), with `discount` = 1 - d."""
    return reward + gamma * discount * next_value


def scalar_critic_loss(
    q: Float[Array, "2 B"], target: Float[Array, "B"], valid: Float[Array, "B"]
) -> Float[Array, ""]:
    """Mean of (Q1 - y)^2 + (Q2 - y)^2 over the valid rows."""
    return valid_mean(jnp.sum(jnp.square(q - target[None]), 0), valid)


def categorical_critic_loss(
    logits: Float[Array, "2 B atoms"],
    target: Float[Array, "B atoms"],
    valid: Float[Array, "B"],
) -> Float[Array, ""]:
    """Mean of - sum_i m_i log p_i, summed over the two critics, over the valid rows.

    Source: Bellemare et al. 2017, eq. 7 (the KL to the projected target, up to a constant).
    """
    cross_entropy = -jnp.sum(target[None] * jax.nn.log_softmax(logits), -1)
    return valid_mean(jnp.sum(cross_entropy, 0), valid)


def project(
    probs: Float[Array, "B atoms"],
    positions: Float[Array, "B atoms"],
    support: Float[Array, "atoms"],
) -> Float[Array, "B atoms"]:
    """Moves mass `probs` lying at `positions` onto the evenly spaced `support`.

    Each mass is split between its two neighbours in proportion to nearness; mass beyond an end is
    put on it. m_i = sum_j clip(1 - |clip(z_j) - z_i| / dz, 0, 1) p_j (Bellemare et al. 2017,
    eq. 7).
    """
    low, width, last = support[0], support[1] - support[0], support.shape[0] - 1
    place = jnp.clip((positions - low) / width, 0.0, last)
    return jax.lax.platform_dependent(probs, place, cpu=_spread_by_index, default=_spread_by_weight)


def weights_kl(weights: Float[Array, "*B M"]) -> Float[Array, "*B"]:
    """KL of the weights to even ones, log M + sum_i p_i log p_i, in nats.

    Source: Abdolmaleki et al. 2018, eq. 7, on the samples.
    """
    return math.log(weights.shape[-1]) - jnp.sum(jax.scipy.special.entr(weights), -1)


def step_towards(
    log_dual: Float[Array, ""],
    value: Float[Array, ""],
    target: float,
    step: float,
) -> Float[Array, ""]:
    """log_dual + step * sign(target - value), for a dual that raises `value` as it grows.

    T raises ESS / M; alpha raises the policy's sigma, or its entropy.
    """
    return log_dual + step * jnp.sign(target - value)


def log_prob_of_each(gmm: GMM, actions: Float[Array, "B M A"]) -> Float[Array, "B M"]:
    """log pi(a_i|s) of M actions a state."""
    return jax.vmap(GMM.log_prob, in_axes=(None, 1), out_axes=1)(gmm, actions)


def valid_mean(x: Float[Array, "B"], valid: Float[Array, "B"]) -> Float[Array, ""]:
    """The mean over the rows that count, 0 where none does."""
    return jnp.sum(x * valid) / jnp.maximum(jnp.sum(valid), 1.0)


def means(rows: dict[str, Float[Array, "B"]]) -> dict[str, Float[Array, ""]]:
    """The mean of every row, in one reduction."""
    return dict(zip(rows, jnp.mean(jnp.stack(list(rows.values())), -1), strict=True))


def _spread_by_weight(
    probs: Float[Array, "B atoms"], place: Float[Array, "B atoms"]
) -> Float[Array, "B atoms"]:
    atom = jnp.arange(probs.shape[-1], dtype=jnp.float32)
    share = jnp.maximum(1.0 - jnp.abs(place[:, None, :] - atom[None, :, None]), 0.0)
    # Not a product of matrices, which may run at less precision than a sum to 1 can bear.
    return jnp.sum(share * probs[:, None, :], -1)


def _spread_by_index(
    probs: Float[Array, "B atoms"], place: Float[Array, "B atoms"]
) -> Float[Array, "B atoms"]:
    # Saves a CPU an eighth of an update. A GPU would add in no fixed order, so that a resumed run
    # would not go on to the same weights.
    below = jnp.minimum(jnp.floor(place).astype(jnp.int32), probs.shape[-1] - 2)
    above = place - below.astype(jnp.float32)

    def one(probs: Array, below: Array, above: Array) -> Array:
        kept = jnp.zeros_like(probs).at[below].add(probs * (1.0 - above))
        return kept.at[below + 1].add(probs * above)

    return jax.vmap(one)(probs, below, above)
