"""From a mixture to an action: the rules by which a policy may act, bootstrap and be scored."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from mjx_dm.learner.gmm import GMM

NEEDS_CRITIC = ("best_component", "best_of")
CANDIDATES = 16

MinQ = Callable[[Float[Array, "B M A"]], Float[Array, "B M"]]


def choose(rule: str, gmm: GMM, min_q: MinQ | None, key: Array) -> Float[Array, "B A"]:
    """One action for each of the B states of `gmm`, not clipped, by a rule of config.ACTION_RULES.

    `key` is consumed by the rules that sample, `min_q` called by those of NEEDS_CRITIC.
    best_component is the published behaviour rule, heaviest that of the published test script.
    """
    if rule == "sample":
        return gmm.sample(key)
    if rule == "mean":
        return gmm.mean()
    if rule == "heaviest":
        return _pick(gmm.component_mean, gmm.logits)
    assert min_q is not None, f"{rule} asks a critic"
    if rule == "best_component":
        return _pick(gmm.component_mean, min_q(gmm.component_mean))
    candidates = jnp.moveaxis(gmm.sample(key, (CANDIDATES,)), 0, 1)
    return _pick(candidates, min_q(candidates))


def _pick(actions: Float[Array, "B M A"], score: Float[Array, "B M"]) -> Float[Array, "B A"]:
    best = jnp.argmax(score, -1)
    return jnp.take_along_axis(actions, best[:, None, None], 1)[:, 0]
