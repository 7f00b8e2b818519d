"""Where the actions that the policy is fitted to come from, and how much each counts.

Whatever the source q0 of the proposals, the fit is to q0 exp(S / T) with S = Q - alpha log pi.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mjx_dm.groups import PolicySettings
from mjx_dm.learner.gmm import GMM

SoftQ = Callable[[Float[Array, "B M act"]], Float[Array, "B M"]]


class Proposals(NamedTuple):
    """`actions` count in proportion to exp(`score` / T); `drawn` is what they were clipped from."""

    actions: Float[Array, "B M act"]
    score: Float[Array, "B M"]
    drawn: Float[Array, "B M act"]


def propose(settings: PolicySettings, policy: GMM, soft_q: SoftQ, key: Array) -> Proposals:
    """M = `settings.num_proposals` actions for each of the B states of `policy`; consumes `key`.

    prior: a ~ N(0, I). policy: a ~ pi in mirrored pairs, clipped to the box where actions are
    bounded. `soft_q` is S. The caller holds `policy` and `soft_q` fixed.
    """
    batch, size = policy.logits.shape[0], policy.component_mean.shape[-1]
    if settings.proposal == "prior":
        drawn = actions = jax.random.normal(key, (batch, settings.num_proposals, size))
    else:
        drawn = actions = _samples(policy, settings.num_proposals, key)
        if settings.bounded:
            actions = jnp.clip(drawn, -1.0, 1.0)
    return Proposals(actions, soft_q(actions), drawn)


def _samples(policy: GMM, count: int, key: Array) -> Float[Array, "B M act"]:
    # In mirrored pairs: what the fit to them would add to the mean by chance cancels.
    return jnp.moveaxis(policy.sample_pairs(key, (count + 1) // 2)[:count], 0, 1)
