"""What a learner is to the rest of the program: a few functions, and the policy that it makes."""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Float

from mjx_dm.learner.state import Carry, LearnerState
from mjx_dm.types import Transition

Metrics = dict[str, Float[Array, ""]]


class Learner(NamedTuple):
    """The functions of a learner; each consumes the keys that it is given.

    init(key) -> state, act(state, obs, key) -> action and update(state, batch, key) -> (state,
    metrics) are on a `LearnerState`. `obs` is `(N, obs_size)` as the networks are shown it, actions
    `(N, action_size)` are in the policy's own units (see `mjx_dm.learner.actions`), `batch` is a
    Transition with leading dimension B, on which the critics move and then the policy. `metrics`
    are scalars, and `names` tells which, in the order of the alphabet.

    A loop of many updates holds the learner in a form of its own: updates(carry, batches, keys) ->
    (carry, metrics) makes U updates in turn, where `batches` and `keys` have a leading dimension U;
    its metrics are means. pack(state) -> carry and unpack(carry) -> state go there and back. A
    carry is a pytree, and opaque: only its own learner can read it. Packing costs kernels, so it is
    done once a launch, outside the scan.
    """

    init: Callable[[Array], LearnerState]
    act: Callable[[LearnerState, Array, Array], Array]
    update: Callable[[LearnerState, Transition, Array], tuple[LearnerState, Metrics]]
    pack: Callable[[LearnerState], Carry]
    unpack: Callable[[Carry], LearnerState]
    updates: Callable[[Carry, Transition, Array], tuple[Carry, Metrics]]
    names: tuple[str, ...]


@runtime_checkable
class Distribution(Protocol):
    """What a policy's network makes of observations: actions by chance, a pytree of batch `*B`."""

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        """Actions `(*shape, *B, A)`; consumes `key`."""

    def log_prob(self, action: Float[Array, "*B A"]) -> Float[Array, "*B"]:
        """log pi(a), for one action per batch element."""

    def mean(self) -> Float[Array, "*B A"]:
        """The action that is scored, without chance."""
