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
    """`actions` count in proportion to exp(`score` / T); `drawn` is what they were clipped from.

    `kept` is the share of the effective samples that is left to `score`, where proposals have been
    moved by a part of Q / T already: 1 where they have not.
    """

    actions: Float[Array, "B M act"]
    score: Float[Array, "B M"]
    drawn: Float[Array, "B M act"]
    kept: Float[Array, "B"]


def propose(
    settings: PolicySettings,
    policy: GMM,
    q: Q,
    alpha: Float[Array, ""] | float,
    temperature: Float[Array, ""] | float,
    key: Array,
) -> Proposals:
    """M = `settings.num_proposals` actions for each of the B states of `policy`; consumes `key`.

    prior: a ~ N(0, I). policy: a ~ pi in mirrored pairs. tilted: a ~ q0 in mirrored pairs, with q0
    the policy whose components have moved to where exp(Q / T) has them if Q is linear,
    mu_k + sigma_k^2 dQ/da(mu_k) / T; what Q is more than linear is left to the weights, with
    pi / q0. Clipped to the box where actions are bounded. The caller holds `policy` and `q` fixed.
    """
    batch, size = policy.logits.shape[0], policy.component_mean.shape[-1]
    kept = jnp.ones(batch)
    if settings.proposal == "prior":
        drawn = actions = jax.random.normal(key, (batch, settings.num_proposals, size))
        return Proposals(actions, q(actions), drawn, kept)
    source = policy
    if settings.proposal == "tilted":
        slope = jax.grad(lambda x: jnp.sum(q(x)))(policy.component_mean)
        std = jnp.exp(policy.log_std)
        # In sigmas, and no more than one of them: a slope holds for no longer.
        move = std * slope / temperature
        square = jnp.sum(jnp.square(move), -1, keepdims=True)
        move = move * jax.lax.rsqrt(jnp.maximum(square, 1.0))
        source = GMM(policy.logits, policy.component_mean + std * move, policy.log_std)
        # Weighing samples of a Gaussian for a move by d sigma leaves exp(-d^2) of them: Kong 1992.
        of_each = jnp.exp(-jnp.minimum(square[..., 0], 1.0))
        kept = jnp.sum(policy.weights() * of_each, -1)
    drawn = actions = _samples(source, settings.num_proposals, key)
    if settings.bounded:
        actions = jnp.clip(drawn, -1.0, 1.0)
    score = q(actions) - alpha * losses.log_prob_of_each(policy, actions)
    if settings.proposal == "tilted":
        of_policy, of_source = (losses.log_prob_of_each(x, drawn) for x in (policy, source))
        score = score + temperature * (of_policy - of_source)
    return Proposals(actions, score, drawn, kept)


def _samples(policy: GMM, count: int, key: Array) -> Float[Array, "B M act"]:
    # In mirrored pairs: what the fit to them would add to the mean by chance cancels.
    return jnp.moveaxis(policy.sample_pairs(key, (count + 1) // 2)[:count], 0, 1)
