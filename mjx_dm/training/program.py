"""The run as one pytree, and the one function that advances it."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mjx_dm.collectives import ALONE, Devices
from mjx_dm.config import Config
from mjx_dm.envs.episodes import EnvState, Worlds
from mjx_dm.learner import make_learner
from mjx_dm.learner.actions import random_action, to_env_action
from mjx_dm.learner.diagnostics import diagnose
from mjx_dm.learner.protocol import Learner, Metrics
from mjx_dm.learner.state import Carry, LearnerState
from mjx_dm.tasks.symmetry import Symmetry
from mjx_dm.training import normalisation, return_scale
from mjx_dm.training import replay as ring
from mjx_dm.training.normalisation import Normalizer
from mjx_dm.training.reflection import reflect, symmetry_of
from mjx_dm.training.replay import Replay
from mjx_dm.training.return_scale import ReturnScale
from mjx_dm.training.rollout import collect
from mjx_dm.types import Spaces, Transition

# Of a reward so far ahead 0.7% counts, at a discount of 0.99.
REALISED_STEPS = 500
# Folded into the run's key; a small number would give a key that the next iteration splits off.
DIAGNOSIS = 2**31
# Metrics of every step, behind the learner's.
OF_WORLDS = ("quarantined", "engine_failed")


class TrainState(NamedTuple):
    """A whole run. `iteration` counts steps of all worlds, and learning begins at `learn_from`;
    both start over together, so that no run is too long for an int32. The host counts env steps.

    `returns` is None where rewards are not normalised.
    """

    learner: LearnerState
    normalizer: Normalizer
    env: EnvState
    replay: Replay
    key: Array
    iteration: Int[Array, ""]
    learn_from: Int[Array, ""]
    returns: ReturnScale | None


def init(config: Config, env: Worlds, key: Array, devices: Devices = ALONE) -> TrainState:
    """The start of a run; consumes `key`. Learning waits for `random_steps`.

    `config` and `env` are a device's share where there are several.
    """
    learner_key, env_key, run_key = jax.random.split(key, 3)
    num_envs, spaces = config.physics.num_envs, env.spaces
    return TrainState(
        learner=make_learner(config, spaces).init(learner_key),
        normalizer=normalisation.init((spaces.seen_size,)),
        env=_reset(env, env_key, devices),
        replay=ring.init(config.replay.replay_size, num_envs, spaces, config.replay.obs_dtype),
        key=run_key,
        iteration=jnp.zeros((), jnp.int32),
        learn_from=learn_from(config, 0, 0),
        returns=return_scale.init(num_envs) if config.replay.normalize_reward else None,
    )


def learn_from(
    config: Config, iteration: Int[Array, ""] | int, written: Int[Array, ""] | int
) -> Int[Array, ""]:
    """The iteration that learns first, once the replay holds `random_steps`.

    `written`: the rows that were put into the replay until `iteration`. A replay that was lost is
    filled again before learning goes on: a policy forgets much while it holds little.
    """
    missing = -(-config.replay.random_steps // config.physics.num_envs) - written
    return jnp.asarray(iteration + jnp.clip(missing, 0, 2**30), jnp.int32)


def next_iteration(
    iteration: Int[Array, ""], learn_from: Int[Array, ""]
) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """Both one iteration later, and 2^29 less where the first would come to 2^30."""
    less = jnp.where(iteration + 1 < 2**30, 0, 2**29)
    return iteration + 1 - less, jnp.maximum(learn_from - less, 0)


def _reset(env: Worlds, key: Array, devices: Devices) -> EnvState:
    """The worlds of this device at their start, with the key that those of all `devices` have."""
    state = env.reset(devices.own(key), stagger=True)
    return state if devices.size == 1 else state._replace(key=key)


def make_chunk(
    config: Config, env: Worlds, devices: Devices = ALONE
) -> Callable[[TrainState], tuple[TrainState, Metrics]]:
    """chunk(state) -> (state, metrics): `chunk_iterations` of collect, insert and update.

    To be jitted with its argument donated. Metrics are means over the iterations that learned,
    the newest episode of every world, and what `diagnose` tells of the launch; `known` leaves out
    what there is nothing to tell of, which is 0 here. `quarantined` counts the steps of worlds that
    were reset, `engine_failed` those of them of which the engine said so itself.

    Of several `devices` each runs it on worlds and a ring of its own, with its share of every
    batch: `config` and `env` are that share (`mjx_dm.training.mesh`).
    """
    spaces, mirror = env.spaces, symmetry_of(config, env.task)
    learner = make_learner(config, spaces, devices)

    def iterate(state: TrainState, _: None) -> tuple[TrainState, Float[Array, "row"]]:
        # Here `state.learner` is the learner's carry.
        key, *drawn = jax.random.split(state.key, 4)
        act_key, random_key, learn_key = map(devices.own, drawn)
        learning = state.iteration >= state.learn_from
        acting = learner.unpack(state.learner)
        obs = _shown(config, state.normalizer, state.env.seen)
        with jax.named_scope("act"):
            action = jnp.where(
                # A resumed run refills its replay with what it has learned, and one that began with
                # a policy fills it with what that does. Beyond 2^31 updates are below 0.
                learning | (acting.updates != 0) | bool(config.run.init_from),
                learner.act(acting, obs, act_key),
                random_action(config, spaces, random_key, config.physics.num_envs),
            )
        env_state, replay = collect(
            env,
            state.env._replace(key=devices.own(state.env.key)),
            state.replay,
            action,
            lambda a: to_env_action(config, spaces, a),
            config.replay.bootstrap_time_limits,
        )
        # As `Worlds.step` moves it on, so that all devices have the same.
        env_state = env_state._replace(key=jax.random.split(state.env.key)[0])
        normalizer = normalisation.update(
            state.normalizer,
            normalisation.rounded(state.env.seen, config.replay.obs_dtype),
            devices,
        )
        returns = state.returns
        if returns is not None:
            returns = return_scale.update(returns, env_state, config.critic.discount, devices)
        see = functools.partial(_seen, config, normalizer, returns)
        carry, metrics = jax.lax.cond(
            learning,
            lambda carry: _learn(config, learner, carry, see, mirror, replay, learn_key),
            lambda carry: (carry, dict.fromkeys(learner.names, jnp.zeros((), jnp.float32))),
            state.learner,
        )
        iteration, learn_from = next_iteration(state.iteration, state.learn_from)
        return TrainState(
            learner=carry,
            normalizer=normalizer,
            env=env_state,
            replay=replay,
            key=key,
            iteration=iteration,
            learn_from=learn_from,
            returns=returns,
        ), jnp.stack(
            # One row costs one kernel, a dict of scalars one for each.
            [
                *(metrics[name] for name in learner.names),
                learning.astype(jnp.float32),
                jnp.sum(~env_state.valid).astype(jnp.float32),
                jnp.sum(env_state.failed).astype(jnp.float32),
            ]
        )

    def chunk(state: TrainState) -> tuple[TrainState, Metrics]:
        before = state.learner
        state, rows = jax.lax.scan(
            iterate,
            state._replace(learner=learner.pack(before)),
            length=config.run.chunk_iterations,
        )
        state = state._replace(learner=learner.unpack(state.learner))
        sums = dict(zip((*learner.names, "learned", *OF_WORLDS), jnp.sum(rows, 0), strict=True))
        learned, length = jnp.maximum(sums["learned"], 1.0), state.env.last_length
        of_worlds = devices.sum(
            {
                **{name: sums[name] for name in OF_WORLDS},
                # Both are 0 in a world that has not finished an episode.
                "episode_return": jnp.sum(state.env.last_return),
                "episode_length": jnp.sum(length).astype(jnp.float32),
                "finished_worlds": jnp.sum(length > 0).astype(jnp.float32),
            }
        )
        finished = jnp.maximum(of_worlds["finished_worlds"], 1.0)
        return state, {
            **sums,
            **{name: sums[name] / learned for name in learner.names},
            **devices.mean(_diagnose(config, spaces, before, state, devices)),
            **of_worlds,
            "episode_return": of_worlds["episode_return"] / finished,
            "episode_length": of_worlds["episode_length"] / finished,
        }

    return chunk


def known(metrics: Mapping[str, float], of_learner: Iterable[str]) -> dict[str, float]:
    """What a chunk tells, with NaN for what it has nothing to tell of; `of_learner` are the metrics
    of the learner, which it has none of until it learns.

    On the device those are 0, so that programs run under JAX_DEBUG_NANS.
    """
    found = dict(metrics)
    if not found.pop("learned"):
        found |= dict.fromkeys(of_learner, math.nan)
    if not found.pop("finished_worlds"):
        found |= dict.fromkeys(("episode_return", "episode_length"), math.nan)
    return found


def _learn(
    config: Config,
    learner: Learner,
    carry: Carry,
    see: Callable[[Transition], Transition],
    mirror: Symmetry | None,
    replay: Replay,
    key: Array,
) -> tuple[Carry, Metrics]:
    """`updates_per_step` updates on batches that are drawn together."""
    sample_key, update_key = jax.random.split(key)
    settings = config.replay
    updates, size = settings.updates_per_step, settings.batch_size
    with jax.named_scope("sample"):
        batch = ring.sample(
            replay,
            sample_key,
            updates * size,
            settings.num_steps,
            config.critic.discount,
            recency=settings.recency,
        )
    if mirror is not None:
        batch = reflect(batch, jnp.arange(updates * size) % 2 == 1, mirror)
    batches = jax.tree.map(lambda x: x.reshape(updates, size, *x.shape[1:]), see(batch))

    with jax.default_matmul_precision(config.networks.matmul_precision):
        return learner.updates(carry, batches, jax.random.split(update_key, updates))


def _diagnose(
    config: Config, spaces: Spaces, before: LearnerState, state: TrainState, devices: Devices
) -> Metrics:
    """On what the newest behaviour of this device's worlds led to."""
    own_key = devices.own(jax.random.fold_in(state.key, DIAGNOSIS))
    sample_key, key = jax.random.split(own_key)
    draw = functools.partial(
        ring.sample,
        key=sample_key,
        batch_size=config.replay.batch_size,
        num_steps=REALISED_STEPS,
        gamma=config.critic.discount,
        newest=2 * REALISED_STEPS,
    )
    batch = _seen(config, state.normalizer, state.returns, draw(state.replay))
    counted = draw(state.replay._replace(reward=jnp.ones_like(state.replay.reward))).reward
    return diagnose(config, spaces, before, state.learner, batch, counted, key)


def _seen(
    config: Config, normalizer: Normalizer, returns: ReturnScale | None, batch: Transition
) -> Transition:
    """What the learner is shown of transitions: observations and rewards normalised."""
    reward = batch.reward
    if returns is not None:
        reward = reward / return_scale.divisor(config.critic, returns)
    return batch._replace(
        obs=_shown(config, normalizer, batch.obs),
        next_obs=_shown(config, normalizer, batch.next_obs),
        reward=reward,
    )


def _shown(config: Config, normalizer: Normalizer, obs: Float[Array, "*B obs"]) -> Array:
    return normalisation.seen(normalizer, obs, config.replay.obs_dtype, config.replay.normalize_obs)
