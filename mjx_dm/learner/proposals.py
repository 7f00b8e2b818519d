"""Where the actions that the policy is fitted to come from, and how much each counts.

Whatever the source q0 of the proposals, the fit is to q0 exp(S / T) with S = Q - alpha log pi.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mjx_dm.groups import PolicySettings
from mjx_dm.learner import losses
from mjx_dm.learner.gmm import GMM

Q = Callable[[Float[Array, "B M act"]], Float[Array, "B M"]]


class Proposals(NamedTuple):
    """`actions` count in proportion to exp(`score` / T).

    `drawn` are the draws that they were made of, and `of_drawn` is S of these.
    """

    actions: Float[Array, "B M act"]
    score: Float[Array, "B M"]
    drawn: Float[Array, "B M act"]
    of_drawn: Float[Array, "B M"]


def propose(
    settings: PolicySettings,
    policy: GMM,
    q: Q,
    alpha: Float[Array, ""] | None,
    temperature: Float[Array, ""],
    key: Array,
) -> Proposals:
    """M = `settings.num_proposals` actions for each of the B states of `policy`; consumes `key`.

    prior: a ~ N(0, I). policy: a ~ pi in mirrored pairs, clipped to the box where actions are
    bounded. tilted: these, moved by sigma^2 dQ/da / T, which makes of a Gaussian pi what it is
    under exp(Q / T) where Q is linear; where it is not, pi(a') / pi(a) exp(S(a') / T) counts.
    The caller holds `policy` and `q` fixed; `alpha` is None where S = Q.
    """

    def soft(q_values: Array, actions: Array) -> Array:
        if alpha is None:
            return q_values
        return q_values - alpha * losses.log_prob_of_each(policy, actions)

    def clip(actions: Array) -> Array:
        return jnp.clip(actions, -1.0, 1.0) if settings.bounded else actions

    batch, size = policy.logits.shape[0], policy.component_mean.shape[-1]
    if settings.proposal == "prior":
        drawn = jax.random.normal(key, (batch, settings.num_proposals, size))
        score = soft(q(drawn), drawn)
        return Proposals(drawn, score, drawn, score)
    drawn = _samples(policy, settings.num_proposals, key)
    if settings.proposal == "policy":
        actions = clip(drawn)
        score = soft(q(actions), actions)
        return Proposals(actions, score, drawn, score)

    def total(actions: Array) -> tuple[Array, Array]:
        values = q(actions)
        return jnp.sum(values), values

    slope, values = jax.grad(total, has_aux=True)(clip(drawn))
    variance = jnp.sum(policy.weights()[..., None] * jnp.exp(2.0 * policy.log_std), -2)
    moved = clip(drawn + variance[:, None] * slope / temperature)
    ratio = losses.log_prob_of_each(policy, moved) - losses.log_prob_of_each(policy, drawn)
    score = soft(q(moved), moved) + temperature * ratio
    return Proposals(moved, score, drawn, soft(values, drawn))


def _samples(policy: GMM, count: int, key: Array) -> Float[Array, "B M act"]:
    # In mirrored pairs: what the fit to them would add to the mean by chance cancels.
    return jnp.moveaxis(policy.sample_pairs(key, (count + 1) // 2)[:count], 0, 1)
