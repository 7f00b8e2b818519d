"""What is drawn of a run's records, under which names and in which units."""

from typing import NamedTuple

import numpy as np


class Panel(NamedTuple):
    """One small multiple; `is_log` allows a logarithmic axis where the values span decades."""

    key: str
    title: str
    unit: str
    is_log: bool = False


# By subject, in the order in which they are drawn.
SUBJECTS: dict[str, tuple[Panel, ...]] = {
    "Temperatures and policy": (
        Panel("temperature", "Temperature T", "units of Q", is_log=True),
        Panel("alpha", "Entropy weight α", "units of Q per nat", is_log=True),
        Panel("entropy", "Entropy of the policy", "nats"),
        Panel("ess", "Effective sample size", "actions"),
        Panel("mean_sigma", "Mean σ of the policy", "normalised action"),
        Panel("effective_components", "Effective components", "components"),
        Panel("weights_kl", "KL of the actions' weights to even ones", "nats"),
        Panel("sigma_spread", "Spread of log σ over components", "nats"),
        Panel("policy_kl", "KL of the policy over a launch", "nats", is_log=True),
        Panel("clipped_share", "Sampled actions outside the box", "share"),
    ),
    "Q and losses": (
        Panel("q_error", "Q less the realised return", "scaled return"),
        Panel("mass_at_value_max", "Q at the upper end of its support", "probability"),
        Panel("critic_loss", "Critic loss", "loss", is_log=True),
        Panel("actor_loss", "Actor loss", "loss"),
        Panel("q_mean", "Mean Q", "scaled return"),
        Panel("target_mean", "Mean target of the critic", "scaled return"),
    ),
    "Gradients and weights": (
        Panel("actor_grad_norm", "Gradient norm, actor", "norm", is_log=True),
        Panel("critic_grad_norm", "Gradient norm, critic", "norm", is_log=True),
        Panel("actor_norm", "Weight norm, actor", "norm"),
        Panel("critic_norm", "Weight norm, critic", "norm"),
        Panel("dead_units_actor", "Dormant units, actor", "share"),
        Panel("dead_units_critic", "Dormant units, critic", "share"),
    ),
    "Episodes and throughput": (
        Panel("episode_length", "Episode length", "env steps"),
        Panel("steps_per_second", "Throughput", "env steps / s"),
    ),
}
PANELS = tuple(panel for panels in SUBJECTS.values() for panel in panels)


def unit_of(panel: Panel, values: np.ndarray) -> str:
    """The unit of a panel that shows `values`, of which one is finite."""
    # An effective sample size is at least 1, so values up to 1 are shares of the M actions.
    is_share = panel.key == "ess" and np.nanmax(values) <= 1
    return "share of the M actions" if is_share else panel.unit


def spans_decades(values: np.ndarray) -> bool:
    """Whether `values`, of which one is finite, want a logarithmic axis."""
    finite = values[np.isfinite(values)]
    return bool(finite.min() > 0 and finite.max() / finite.min() > 10)
