"""Where the actions that the policy is fitted to come from, and how much each counts.

Whatever the source q0 of the proposals, the fit is to q0 exp(S / T) with S = Q - alpha log pi; with
the importance correction it is to exp(S / T) itself.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from mjx_dm.config import LearnerConfig
from mjx_dm.learner import losses
from mjx_dm.learner.gmm import GMM

SoftQ = Callable[[Float[Array, "B M A"]], Float[Array, "B M"]]


class Proposals(NamedTuple):
    """`actions` count in proportion to exp(`score` / T); `drawn` is what they were moved from."""

    actions: Float[Array, "B M A"]
    score: Float[Array, "B M"]
    drawn: Float[Array, "B M A"]


def propose(
    config: LearnerConfig,
    policy: GMM,
    soft_q: SoftQ,
    temperature: Float[Array, ""] | float,
    key: Array,
) -> Proposals:
    """M = `config.num_proposals` actions for each of the B states of `policy`; consumes `key`.

    prior: a ~ N(0, I). policy: a ~ pi, clipped to the box. broad: a ~ (1 - b) pi + b U(box), b =
    `config.broad_share`. moved: a ~ pi, carried up the gradient of S (see `losses.move`), each
    counting alike. `soft_q` is S. The caller holds `policy` and `soft_q` fixed.
    """
    drawn, log_source = _draw(config, policy, key)
    if config.proposal == "moved":
        slope = jax.grad(lambda a: jnp.sum(soft_q(a)))(drawn)
        actions = losses.move(policy, drawn, slope, config.move_kl)
        return Proposals(actions, jnp.zeros(drawn.shape[:2]), drawn)
    # The score's noise can only be taken out where it is: at the samples as they were drawn.
    actions = drawn
    if config.bounded and config.proposal == "policy" and not config.subtract_score:
        actions = jnp.clip(drawn, -1.0, 1.0)
    score = soft_q(actions)
    if config.importance_correction:
        score = score - temperature * log_source
    return Proposals(actions, score, drawn)


def _draw(
    config: LearnerConfig, policy: GMM, key: Array
) -> tuple[Float[Array, "B M A"], Float[Array, "B M"]]:
    """The samples and the log density of their source."""
    batch, size = policy.logits.shape[0], policy.component_mean.shape[-1]
    shape = (batch, config.num_proposals, size)
    if config.proposal == "prior":
        normal = jax.random.normal(key, shape)
        return normal, jnp.sum(norm.logpdf(normal), -1)
    if config.proposal != "broad":
        drawn = _samples(policy, config.num_proposals, key)
        return drawn, losses.log_prob_of_each(policy, drawn)
    sample_key, choice_key, box_key = jax.random.split(key, 3)
    share = config.broad_share
    is_broad = jax.random.bernoulli(choice_key, share, shape[:2])
    box = jax.random.uniform(box_key, shape, minval=-1.0, maxval=1.0)
    drawn = jnp.where(is_broad[..., None], box, _samples(policy, config.num_proposals, sample_key))
    inside = jnp.all(jnp.abs(drawn) <= 1.0, -1)
    log_box = jnp.where(inside, jnp.log(share) - size * jnp.log(2.0), -jnp.inf)
    log_policy = jnp.log1p(-share) + losses.log_prob_of_each(policy, drawn)
    return drawn, jnp.logaddexp(log_policy, log_box)


def _samples(policy: GMM, count: int, key: Array) -> Float[Array, "B M A"]:
    # In mirrored pairs: what the fit to them would add to the mean by chance cancels.
    return jnp.moveaxis(policy.sample_pairs(key, (count + 1) // 2)[:count], 0, 1)
