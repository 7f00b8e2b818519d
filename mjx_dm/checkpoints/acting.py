"""From a policy's network to actions in the task's units, computed on the CPU."""

import dataclasses
from collections.abc import Callable
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mjx_dm.checkpoints.policy_file import Network
from mjx_dm.config import Config
from mjx_dm.learner import action_rules, networks
from mjx_dm.learner.actions import from_box, into_box
from mjx_dm.learner.critic import TwinCritic
from mjx_dm.learner.networks import MixtureNetwork, TanhGaussianNetwork
from mjx_dm.learner.protocol import Distribution
from mjx_dm.learner.state import Params
from mjx_dm.training import normalisation
from mjx_dm.training.normalisation import Normalizer
from mjx_dm.types import Spaces

Act = Callable[[np.ndarray], np.ndarray]
Distribute = Callable[[np.ndarray], Distribution]
See = Callable[[Float[Array, "N obs"]], Float[Array, "N obs"]]
MinQ = Callable[[Float[Array, "1 obs"], Float[Array, "1 M act"]], Float[Array, "1 M"]]
PolicyNetwork = MixtureNetwork | TanhGaussianNetwork


def make_act(
    network: PolicyNetwork,
    spaces: Spaces,
    see: See,
    actor: Params,
    rule: str = "mean",
    min_q: MinQ | None = None,
) -> Act:
    """The rule's actions in the task's units, clipped to the legal box.

    `see` makes of observations what the network is shown, `min_q` values actions in the policy's
    units. A sample is a function of the observation it is drawn for, so that an episode's return
    does not depend on which others are played beside it.
    """
    cpu = jax.devices("cpu")[0]
    actor = jax.device_put(actor, cpu)
    unbounded = isinstance(network, MixtureNetwork) and not network.bounded

    def pick(policy: Distribution, obs: Float[Array, "obs"], key: Array) -> Float[Array, "act"]:
        one = jax.tree.map(lambda x: x[None], policy)
        valued = None if min_q is None else lambda actions: min_q(obs[None], actions)
        return action_rules.choose(rule, one, valued, key)[0]

    @jax.jit
    def action(obs: Float[Array, "N obs"]) -> Float[Array, "N act"]:
        bits = jnp.sum(jax.lax.bitcast_convert_type(obs, jnp.uint32), -1, dtype=jnp.uint32)
        obs = see(obs)
        policy = cast(Distribution, network.apply(actor, obs))
        chosen = jax.vmap(pick)(policy, obs, jax.vmap(jax.random.key)(bits))
        return into_box(spaces, chosen if unbounded else from_box(spaces, chosen))

    def act(obs: np.ndarray) -> np.ndarray:
        obs = np.asarray(obs, np.float32)
        if obs.ndim not in (1, 2) or obs.shape[-1] != spaces.obs_size:
            raise ValueError(
                f"The policy acts on observations of shape ({spaces.obs_size},) or (N, "
                f"{spaces.obs_size}), not {obs.shape}."
            )
        with jax.default_device(cpu):
            found = np.asarray(action(jnp.asarray(np.atleast_2d(obs))))
        return found if obs.ndim == 2 else found[0]

    return act


def act_of_run(
    settings: Config,
    spaces: Spaces,
    actor: Params,
    normalizer: Normalizer,
    rule: str = "mean",
    critic: Params = None,
) -> Act:
    """`make_act` of what a run holds; `critic` is for the rules that ask it."""
    network, see = of_run(settings, spaces, normalizer)
    min_q = None if critic is None else min_q_of(settings, spaces, critic)
    return make_act(network, spaces, see, actor, rule, min_q)


def of_run(settings: Config, spaces: Spaces, normalizer: Normalizer) -> tuple[PolicyNetwork, See]:
    """The network of a run's policy, and what it is shown of observations."""
    normalizer = of_policy(spaces, normalizer)
    see = make_see(normalizer, settings.replay.obs_dtype, settings.replay.normalize_obs)
    return networks.policy_network(settings, spaces), see


def make_distribute(network: PolicyNetwork, see: See, actor: Params) -> Distribute:
    """The distributions of observations (N, obs), in the policy's units: GMM or TanhGaussian."""
    cpu = jax.devices("cpu")[0]
    actor = jax.device_put(actor, cpu)

    @jax.jit
    def distribution(obs: Float[Array, "N obs"]) -> Distribution:
        return cast(Distribution, network.apply(actor, see(obs)))

    def distribute(obs: np.ndarray) -> Distribution:
        with jax.default_device(cpu):
            return distribution(jnp.asarray(obs, jnp.float32))

    return distribute


def describe(network: PolicyNetwork) -> Network:
    """The network as a policy's file describes it."""
    is_mixture = isinstance(network, MixtureNetwork)
    return Network(
        widths=network.widths,
        num_components=network.num_components if is_mixture else 1,
        activation=network.activation,
        layer_norm=network.layer_norm,
        bounded=network.bounded if is_mixture else True,
        log_std_min=network.log_std_min,
        log_std_max=network.log_std_max,
        distribution="mixture" if is_mixture else "tanh_gaussian",
    )


def network_of(described: Network, spaces: Spaces) -> PolicyNetwork:
    """The network that `describe` tells of, for actions of `spaces`."""
    fields = dataclasses.asdict(described) | {"action_size": spaces.action_size}
    make = {"mixture": MixtureNetwork, "tanh_gaussian": TanhGaussianNetwork}[
        fields.pop("distribution")
    ]
    known = {x.name for x in dataclasses.fields(make)}
    return make(**{name: value for name, value in fields.items() if name in known})


def of_policy(spaces: Spaces, normalizer: Normalizer) -> Normalizer:
    """The statistics of what the policy sees, which acting needs alone."""
    mean, var = spaces.of_policy(normalizer.mean), spaces.of_policy(normalizer.var)
    return Normalizer(normalizer.weight, mean, var)


def make_see(normalizer: Normalizer, obs_dtype: str, normalize_obs: bool) -> See:
    """What the network is shown of observations."""
    cpu = jax.devices("cpu")[0]
    normalizer = jax.device_put(normalizer, cpu)
    return lambda obs: normalisation.seen(normalizer, obs, obs_dtype, normalize_obs)


def min_q_of(settings: Config, spaces: Spaces, critic: Params) -> MinQ:
    """The lesser value that a run's critics give to actions in the policy's units, clipped where
    these are bounded."""
    twins = TwinCritic(settings, spaces)
    critic = jax.device_put(critic, jax.devices("cpu")[0])

    def min_q(obs: Float[Array, "1 obs"], actions: Float[Array, "1 M act"]) -> Array:
        if settings.policy.bounded:
            actions = jnp.clip(actions, -1.0, 1.0)
        return twins.min_q(critic, obs, actions)

    return min_q
