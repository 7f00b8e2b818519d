"""The run as one pytree, and the one function that advances it."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mjx_dm.config import Config, LearnerConfig
from mjx_dm.envs.batch import EnvState, HumanoidEnv
from mjx_dm.learner.density_matching import (
    METRICS,
    Learner,
    Metrics,
    make_learner,
    networks,
    random_action,
    to_env_action,
)
from mjx_dm.learner.diagnostics import diagnose
from mjx_dm.learner.networks import Normalizer
from mjx_dm.learner.state import AsTrees, LearnerState, as_vectors
from mjx_dm.tasks.mirror import reflect
from mjx_dm.training import replay as ring
from mjx_dm.training import return_scale
from mjx_dm.training.replay import Replay
from mjx_dm.training.return_scale import ReturnScale
from mjx_dm.training.rollout import collect
from mjx_dm.types import Transition

# Of a reward so far ahead 0.7% counts, at a discount of 0.99.
REALISED_STEPS = 500
# Folded into the run's key; a small number would give a key that the next iteration splits off.
DIAGNOSIS = 2**31
# The metrics of a step, in one row: that costs one kernel, a dict of scalars one for each.
OF_EVERY_STEP = (*METRICS, "quarantined", "engine_failed")


class TrainState(NamedTuple):
    """A whole run. `iteration` counts steps of all worlds: environment steps / num_envs.

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


def init(config: Config, env: HumanoidEnv, key: Array) -> TrainState:
    """The start of a run; consumes `key`. Learning waits for `random_steps`."""
    learner_key, env_key, run_key = jax.random.split(key, 3)
    return TrainState(
        learner=make_learner(config.learner).init(learner_key),
        normalizer=networks.init_normalizer(),
        env=env.reset(env_key, stagger=True),
        replay=ring.init(config.replay_size, config.num_envs, config.learner.obs_dtype),
        key=run_key,
        iteration=jnp.zeros((), jnp.int32),
        learn_from=learn_from(config, 0, 0),
        returns=return_scale.init(config.num_envs) if config.learner.normalize_reward else None,
    )


def learn_from(
    config: Config, iteration: Int[Array, ""] | int, written: Int[Array, ""] | int
) -> Int[Array, ""]:
    """The iteration that learns first, once the replay holds `random_steps`.

    `written`: the rows that were put into the replay until `iteration`. A replay that was lost is
    filled again before learning goes on: a policy forgets much while it holds little.
    """
    missing = -(-config.random_steps // config.num_envs) - written
    return jnp.asarray(iteration + jnp.maximum(missing, 0), jnp.int32)


def make_chunk(
    config: Config, env: HumanoidEnv
) -> Callable[[TrainState], tuple[TrainState, Metrics]]:
    """chunk(state) -> (state, metrics): `chunk_iterations` of collect, insert and update.

    To be jitted with its argument donated. Metrics are means over the iterations that learned
    (NaN if none did), the newest episode of every world, and what `diagnose` tells of the launch.
    `quarantined` counts the steps of worlds that were reset, `engine_failed` those of them of which
    the engine said so itself.
    """
    learner = make_learner(config.learner)

    def iterate(
        as_trees: AsTrees, state: TrainState, _: None
    ) -> tuple[TrainState, Float[Array, "row"]]:
        key, act_key, random_key, learn_key = jax.random.split(state.key, 4)
        learning = state.iteration >= state.learn_from
        obs = networks.seen(config.learner, state.normalizer, state.env.obs)
        with jax.named_scope("act"):
            action = jnp.where(
                # A resumed run refills its replay with what it has learned.
                learning | (state.learner.updates > 0),
                learner.act(as_trees(state.learner), obs, act_key),
                random_action(config.learner, random_key, config.num_envs),
            )
        env_state, replay = collect(
            env,
            state.env,
            state.replay,
            action,
            lambda a: to_env_action(config.learner, a),
            config.learner.bootstrap_time_limits,
        )
        normalizer = networks.update_normalizer(
            state.normalizer, networks.rounded(config.learner, state.env.obs)
        )
        returns = state.returns
        if returns is not None:
            returns = return_scale.update(returns, env_state, config.learner.discount)
        see = functools.partial(_seen, config.learner, normalizer, returns)
        learner_state, metrics = jax.lax.cond(
            learning,
            lambda s: _learn(config, learner, s, as_trees, see, replay, learn_key),
            lambda s: (s, dict.fromkeys(METRICS, jnp.full((), jnp.nan, jnp.float32))),
            state.learner,
        )
        return TrainState(
            learner=learner_state,
            normalizer=normalizer,
            env=env_state,
            replay=replay,
            key=key,
            iteration=state.iteration + 1,
            learn_from=state.learn_from,
            returns=returns,
        ), jnp.stack(
            [
                *(metrics[name] for name in METRICS),
                jnp.sum(~env_state.valid).astype(jnp.float32),
                jnp.sum(env_state.failed).astype(jnp.float32),
            ]
        )

    def chunk(state: TrainState) -> tuple[TrainState, Metrics]:
        before = state.learner
        vectors, as_trees = as_vectors(before)
        state, rows = jax.lax.scan(
            functools.partial(iterate, as_trees),
            state._replace(learner=vectors),
            length=config.chunk_iterations,
        )
        state = state._replace(learner=as_trees(state.learner))
        metrics = dict(zip(OF_EVERY_STEP, rows.T, strict=True)) | _diagnose(config, before, state)
        sums = {name: jnp.sum(metrics.pop(name)) for name in ("quarantined", "engine_failed")}
        env_state = state.env
        return state, jax.tree.map(jnp.nanmean, metrics) | {
            **sums,
            "episode_return": jnp.nanmean(env_state.last_return),
            "episode_length": jnp.nanmean(
                jnp.where(env_state.last_length > 0, env_state.last_length, jnp.nan)
            ),
        }

    return chunk


def _learn(
    config: Config,
    learner: Learner,
    vectors: LearnerState,
    as_trees: AsTrees,
    see: Callable[[Transition], Transition],
    replay: Replay,
    key: Array,
) -> tuple[LearnerState, Metrics]:
    """`updates_per_step` updates on batches that are drawn together."""
    sample_key, update_key = jax.random.split(key)
    updates, size = config.updates_per_step, config.learner.batch_size
    with jax.named_scope("sample"):
        batch = ring.sample(
            replay,
            sample_key,
            updates * size,
            config.learner.num_steps,
            config.learner.discount,
            recency=config.learner.recency,
        )
    if config.learner.mirror:
        batch = reflect(batch, jnp.arange(updates * size) % 2 == 1)
    batches = jax.tree.map(lambda x: x.reshape(updates, size, *x.shape[1:]), see(batch))

    with jax.default_matmul_precision(config.matmul_precision):
        keys = jax.random.split(update_key, updates)
        return learner.updates(vectors, as_trees, batches, keys)


def _diagnose(config: Config, before: LearnerState, state: TrainState) -> Metrics:
    """On what the newest behaviour led to."""
    sample_key, key = jax.random.split(jax.random.fold_in(state.key, DIAGNOSIS))
    draw = functools.partial(
        ring.sample,
        key=sample_key,
        batch_size=config.learner.batch_size,
        num_steps=REALISED_STEPS,
        gamma=config.learner.discount,
        newest=2 * REALISED_STEPS,
    )
    batch = _seen(config.learner, state.normalizer, state.returns, draw(state.replay))
    counted = draw(state.replay._replace(reward=jnp.ones_like(state.replay.reward))).reward
    return diagnose(config.learner, before, state.learner, batch, counted, key)


def _seen(
    config: LearnerConfig, normalizer: Normalizer, returns: ReturnScale | None, batch: Transition
) -> Transition:
    """What the learner is shown of transitions: observations and rewards normalised."""
    reward = batch.reward
    if returns is not None:
        reward = reward / return_scale.divisor(config, returns)
    return batch._replace(
        obs=networks.seen(config, normalizer, batch.obs),
        next_obs=networks.seen(config, normalizer, batch.next_obs),
        reward=reward,
    )
