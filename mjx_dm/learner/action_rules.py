"""From a policy to an action: the rules by which it may act, bootstrap and be scored."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from mjx_dm.learner.gmm import GMM
from mjx_dm.learner.protocol import Distribution

NEEDS_CRITIC = ("best_component", "best_of")
CANDIDATES = 16

MinQ = Callable[[Float[Array, "B M A"]], Float[Array, "B M"]]


def choose(rule: str, policy: Distribution, min_q: MinQ | None, key: Array) -> Float[Array, "B A"]:
    """One action for each of the B states of `policy`, not clipped, by a rule of
    groups.ACTION_RULES; those of components are for a mixture.

    `key` is consumed by the rules that sample, `min_q` called by those of NEEDS_CRITIC.
    best_component is the published behaviour rule, heaviest that of the published test script.
    """
    if rule == "sample":
        return policy.sample(key)
    if rule == "mean":
        return policy.mean()
    if rule == "heaviest":
        assert isinstance(policy, GMM), rule
        return _pick(policy.component_mean, policy.logits)
    assert min_q is not None, f"{rule} asks a critic"
    if rule == "best_component":
        assert isinstance(policy, GMM), rule
        return _pick(policy.component_mean, min_q(policy.component_mean))
    candidates = jnp.moveaxis(policy.sample(key, (CANDIDATES,)), 0, 1)
    return _pick(candidates, min_q(candidates))


def _pick(actions: Float[Array, "B M A"], score: Float[Array, "B M"]) -> Float[Array, "B A"]:
    best = jnp.argmax(score, -1)
    return jnp.take_along_axis(actions, best[:, None, None], 1)[:, 0]
