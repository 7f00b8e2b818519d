"""Flax modules of the policy and the critic."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mjx_dm.config import Config
from mjx_dm.device import platform
from mjx_dm.groups import CriticSettings
from mjx_dm.learner.gmm import GMM
from mjx_dm.learner.tanh_gaussian import TanhGaussian
from mjx_dm.types import Spaces


class MixtureNetwork(nn.Module):
    """obs `(..., O)` -> GMM over actions of the policy's own units, `(..., K, action_size)`.

    Its fields are all that its parameters do not tell of it.
    """

    action_size: int
    widths: tuple[int, ...]
    num_components: int
    activation: str
    layer_norm: bool
    bounded: bool
    log_std_min: float
    log_std_max: float

    @nn.compact
    def __call__(self, obs: Float[Array, "*B obs"]) -> GMM:
        x = _torso(self, obs)
        k, a, small = self.num_components, self.action_size, _small()
        logits = nn.Dense(k, kernel_init=small)(x)
        mean = nn.Dense(k * a, kernel_init=small)(x).reshape(*x.shape[:-1], k, a)
        # The components start apart: identical ones would receive identical gradients.
        spread = self.param("mean_spread", nn.initializers.normal(0.2 if k > 1 else 0.0), (k, a))
        raw_std = nn.Dense(k * a, kernel_init=small)(x).reshape(*x.shape[:-1], k, a)
        mean = mean + jnp.broadcast_to(spread, mean.shape)
        if self.bounded:
            mean = jnp.tanh(mean)
        return GMM(logits, mean, _log_std(self, raw_std))


class TanhGaussianNetwork(nn.Module):
    """obs `(..., O)` -> TanhGaussian over actions in [-1, 1], `(..., action_size)`.

    Its fields are all that its parameters do not tell of it; log sigma is bounded before the tanh.
    """

    action_size: int
    widths: tuple[int, ...]
    activation: str
    layer_norm: bool
    log_std_min: float
    log_std_max: float

    @nn.compact
    def __call__(self, obs: Float[Array, "*B obs"]) -> TanhGaussian:
        x = _torso(self, obs)
        centre = nn.Dense(self.action_size, kernel_init=_small())(x)
        raw_std = nn.Dense(self.action_size, kernel_init=_small())(x)
        return TanhGaussian(centre, _log_std(self, raw_std))


def policy_network(config: Config, spaces: Spaces) -> MixtureNetwork | TanhGaussianNetwork:
    """The network of the policy that `config` has a learner fit, for actions of `spaces`."""
    make = tanh_gaussian_network if config.policy.learner == "sac" else mixture_network
    return make(config, spaces)


def tanh_gaussian_network(config: Config, spaces: Spaces) -> TanhGaussianNetwork:
    """SAC's policy."""
    policy, shared = config.policy, config.networks
    return TanhGaussianNetwork(
        action_size=spaces.action_size,
        widths=policy.actor_widths,
        activation=shared.activation,
        layer_norm=shared.layer_norm,
        log_std_min=policy.log_std_min,
        log_std_max=policy.log_std_max,
    )


def mixture_network(config: Config, spaces: Spaces) -> MixtureNetwork:
    """Density matching's policy."""
    policy, shared = config.policy, config.networks
    return MixtureNetwork(
        action_size=spaces.action_size,
        widths=policy.actor_widths,
        num_components=policy.num_components,
        activation=shared.activation,
        layer_norm=shared.layer_norm,
        bounded=policy.bounded,
        log_std_min=policy.log_std_min,
        log_std_max=policy.log_std_max,
    )


class Critic(nn.Module):
    """obs `(..., O)`, actions `(..., M, A)` -> `(..., M, atoms)`.

    The share of the first layer that sees the state is computed once for the M actions.
    """

    config: Config

    @nn.compact
    def __call__(
        self, obs: Float[Array, "*B obs"], action: Float[Array, "*B M act"]
    ) -> Float[Array, "*B M atoms"]:
        critic, shared = self.config.critic, self.config.networks
        first, *rest = critic.critic_widths
        of_state = nn.Dense(first, name="state")(obs)[..., None, :]
        of_action = nn.Dense(first, use_bias=False, name="action")(action)
        x = _hidden(self, of_state + of_action, shared.activation, shared.layer_norm)
        for width in rest:
            x = _hidden(self, nn.Dense(width)(x), shared.activation, shared.layer_norm)
        if critic.critic == "scalar":
            return nn.Dense(1)(x)
        small = _small()
        start = categorical_start(critic)
        return nn.Dense(critic.num_atoms, kernel_init=small, bias_init=lambda *_: start)(x)


def twin_critic(config: Config) -> nn.Module:
    """Two critics as one batched product: the output gains a leading axis of 2."""
    return nn.vmap(
        Critic,
        variable_axes={"params": 0, "intermediates": 0},
        split_rngs={"params": True},
        in_axes=None,
        out_axes=0,
        axis_size=2,
    )(config)


def support(critic: CriticSettings) -> Float[Array, "atoms"]:
    """The returns that the atoms of a categorical critic stand for, in scaled reward."""
    # NumPy's is a constant of the program; JAX's would be computed in every update.
    atoms = np.linspace(critic.value_min, critic.value_max, critic.num_atoms)
    return jnp.asarray(atoms, jnp.float32)


def categorical_start(critic: CriticSettings) -> Float[Array, "atoms"]:
    """The logits that a categorical critic starts with: a narrow bump at 0 return, no more than
    `atom_floor` nats high.

    A uniform start would sit at the middle of the support and spend thousands of updates coming
    down. Without a floor an atom n places from 0 starts n^2 / 2 nats below it, which takes
    thousands of updates to come up: steps of Adam are bounded, however wrong the atom is.
    """
    atoms = jnp.linspace(critic.value_min, critic.value_max, critic.num_atoms, dtype=jnp.float32)
    bump = -0.5 * jnp.square(atoms / (atoms[1] - atoms[0]))
    return jnp.maximum(bump, -critic.atom_floor)


def values(critic: CriticSettings, out: Float[Array, "2 *B atoms"]) -> Float[Array, "2 *B"]:
    """The critics' expected returns, from what they put out."""
    return out[..., 0] if critic.critic == "scalar" else jax.nn.softmax(out) @ support(critic)


def _torso(network: MixtureNetwork | TanhGaussianNetwork, obs: Array) -> Array:
    """The hidden layers of a policy."""
    x = obs
    for width in network.widths:
        x = _hidden(network, nn.Dense(width)(x), network.activation, network.layer_norm)
    return x


def _log_std(network: MixtureNetwork | TanhGaussianNetwork, raw: Array) -> Array:
    # A sigmoid keeps log sigma inside its bounds with a gradient everywhere.
    reach = network.log_std_max - network.log_std_min
    return network.log_std_min + reach * nn.sigmoid(raw + 1.0)


def _small() -> Callable[..., Array]:
    return nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")


def _hidden(module: nn.Module, x: Array, activation: str, layer_norm: bool) -> Array:
    activate: Callable[[Array], Array] = {"relu": nn.relu, "silu": nn.silu}[activation]
    if layer_norm:
        # A GPU makes one kernel of a norm whose variance is a mean of squared differences; a CPU
        # makes an update faster from the squares' mean (1.03 times the time otherwise).
        x = nn.LayerNorm(use_fast_variance=platform() == "cpu")(x)
    x = activate(x)
    module.sow("intermediates", "hidden", x)  # for mjx_dm.learner.diagnostics; else a no-op
    return x
