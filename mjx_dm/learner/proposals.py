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

    `kept`: the effective sample share that is left to `score`, where the source of the proposals
    has taken a part of Q / T up already. 1 where it has not.
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

    prior: a ~ N(0, I). policy: a ~ pi in mirrored pairs. tilted: the same of a `tilted` policy
    pi', so that pi / pi' counts beside exp(S / T). Clipped to the box where actions are bounded.
    The caller holds `policy` and `q` fixed; a Python 0.0 for `alpha` leaves the entropy out.
    """
    source, kept, count = policy, jnp.ones(policy.logits.shape[0]), settings.num_proposals
    if settings.proposal == "prior":
        batch, size = policy.logits.shape[0], policy.component_mean.shape[-1]
        drawn = actions = jax.random.normal(key, (batch, count, size))
    else:
        if settings.proposal == "tilted":
            slope = jax.grad(lambda actions: jnp.sum(q(actions)))(policy.component_mean)
            source, kept = tilted(policy, slope, temperature)
        # In mirrored pairs: what the fit to them would add to the mean by chance cancels.
        pairs = source.sample_pairs(key, (count + 1) // 2)
        drawn = actions = jnp.moveaxis(pairs[:count], 0, 1)
        if settings.bounded:
            actions = jnp.clip(drawn, -1.0, 1.0)
    score = q(actions)
    if not isinstance(alpha, float) or alpha:
        score = score - alpha * losses.log_prob_of_each(policy, actions)
    if settings.proposal == "tilted":
        of_policy, of_source = (losses.log_prob_of_each(x, drawn) for x in (policy, source))
        score = score + temperature * (of_policy - of_source)
    return Proposals(actions, score, drawn, kept)


def tilted(
    policy: GMM, slope: Float[Array, "B K act"], temperature: Float[Array, ""] | float
) -> tuple[GMM, Float[Array, "B"]]:
    """The policy whose components lie where exp(Q / T) has them if Q is linear with `slope` about
    each mean, mu_k + sigma_k^2 slope / T, and the effective sample share that this saves.

    A component moves by one sigma at most: a slope does not hold for longer. Weighing the samples
    of a Gaussian so that its mean moves by d sigma leaves exp(-d^2) of them (Kong 1992).
    """
    std = jnp.exp(policy.log_std)
    move = std * slope / temperature
    square = jnp.sum(jnp.square(move), -1, keepdims=True)
    move = move * jax.lax.rsqrt(jnp.maximum(square, 1.0))
    moved = GMM(policy.logits, policy.component_mean + std * move, policy.log_std)
    left = jnp.exp(-jnp.minimum(square[..., 0], 1.0))
    return moved, jnp.sum(policy.weights() * left, -1)
