"""The learner: density matching of a GMM policy against twin critics, as (init, act, update)."""

from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from mjx_dm.config import LearnerConfig
from mjx_dm.learner import action_rules, duals, losses, networks
from mjx_dm.learner.gmm import GMM
from mjx_dm.learner.proposals import propose
from mjx_dm.learner.state import AsTrees, LearnerState, Params, as_vectors, joins, vector
from mjx_dm.tasks.humanoid import ACTION_LIMIT
from mjx_dm.types import ACTION_SIZE, OBS_SIZE, Transition

Metrics = dict[str, Float[Array, ""]]
# What an update reports, in the order of the alphabet.
METRICS = (
    "actor_grad_norm", "actor_loss", "alpha", "critic_grad_norm", "critic_loss",
    "effective_components", "entropy", "ess", "mean_sigma", "q_mean", "target_mean", "temperature",
    "weights_kl",
)  # fmt: skip


class Learner(NamedTuple):
    """Four functions: init(key) -> state, act(state, obs, key) -> action,
    update(state, batch, key) -> (state, metrics) and
    updates(vectors, as_trees, batches, keys) -> (vectors, metrics); each consumes its keys.

    `obs` is `(N, 376)`, normalised where the config says so; actions `(N, 17)` are in the policy's
    own units (see `to_env_action`), the first `average_worlds` of them those of the scored policy.
    `batch` is a Transition with leading dimension B, on which `update` moves the critics and then
    the policy. `batches` and `keys` have a further one, U, before it: `updates` moves the critics U
    times and the policy after every `policy_delay`-th, of which U is a multiple; its metrics are
    means. `vectors` and `as_trees` are what `learner_state.as_vectors` makes of a state.
    """

    init: Callable[[Array], LearnerState]
    act: Callable[[LearnerState, Array, Array], Array]
    update: Callable[[LearnerState, Transition, Array], tuple[LearnerState, Metrics]]
    updates: Callable[[LearnerState, AsTrees, Transition, Array], tuple[LearnerState, Metrics]]


def to_env_action(config: LearnerConfig, action: Float[Array, "*B 17"]) -> Float[Array, "*B 17"]:
    """The policy's units to v4 units: [-1, 1] to ±0.4 when bounded, else unchanged."""
    return ACTION_LIMIT * jnp.clip(action, -1.0, 1.0) if config.bounded else action


def random_action(config: LearnerConfig, key: Array, num_envs: int) -> Float[Array, "N 17"]:
    """Uniform in the legal box, in the policy's units. Consumes `key`."""
    limit = 1.0 if config.bounded else ACTION_LIMIT
    return jax.random.uniform(key, (num_envs, ACTION_SIZE), minval=-limit, maxval=limit)


def make_learner(config: LearnerConfig) -> Learner:
    """The learner that `config` describes; `published` and our own differ by settings alone."""
    policy = networks.Policy(config)
    critic = networks.twin_critic(config)
    actor_optimizer = _optimizer(config, config.actor_lr)
    critic_optimizer = _optimizer(config, config.critic_lr)
    support = networks.support(config)

    def init(key: Array) -> LearnerState:
        actor_key, critic_key = jax.random.split(key)
        obs, action = jnp.zeros((1, OBS_SIZE)), jnp.zeros((1, 1, ACTION_SIZE))
        actor_params = policy.init(actor_key, obs)
        critic_params = critic.init(critic_key, obs, action)
        return LearnerState(
            actor=actor_params,
            average_actor=jax.tree.map(jnp.copy, actor_params),
            critic=critic_params,
            target_critic=jax.tree.map(jnp.copy, critic_params),
            actor_optimizer=actor_optimizer.init(actor_params),
            critic_optimizer=critic_optimizer.init(critic_params),
            log_temperature=jnp.log(jnp.asarray(config.temperature, jnp.float32)),
            log_alpha=jnp.log(jnp.asarray(max(config.alpha, 1e-30), jnp.float32)),
            updates=jnp.zeros((), jnp.int32),
        )

    def mixture(params: Params, obs: Float[Array, "B 376"]) -> GMM:
        return cast(GMM, policy.apply(params, obs))

    def critic_out(
        params: Params, obs: Float[Array, "B 376"], actions: Float[Array, "B M 17"]
    ) -> Float[Array, "2 B M atoms"]:
        return cast(Array, critic.apply(params, obs, actions))

    def values(out: Float[Array, "2 *B atoms"]) -> Float[Array, "2 *B"]:
        return networks.values(config, out)

    def min_q(params: Params, obs: Array, actions: Float[Array, "B M 17"]) -> Float[Array, "B M"]:
        # Q differs by some T from action to action, no more than rounded factors would change it.
        with jax.default_matmul_precision("highest"):
            return jnp.min(values(critic_out(params, obs, actions)), 0)

    def clip(action: Array) -> Array:
        return jnp.clip(action, -1.0, 1.0) if config.bounded else action

    def choose(actor: Params, critic_params: Params, obs: Array, key: Array) -> tuple[GMM, Array]:
        gmm = mixture(actor, obs)
        action = action_rules.choose(
            config.action_rule, gmm, lambda a: min_q(critic_params, obs, clip(a)), key
        )
        return gmm, clip(action)

    def act(state: LearnerState, obs: Float[Array, "N 376"], key: Array) -> Float[Array, "N 17"]:
        count = round(config.average_worlds * len(obs))
        if not count:
            return choose(state.actor, state.critic, obs, key)[1]
        keys = jax.random.split(key)
        steady = choose(state.average_actor, state.critic, obs[:count], keys[0])[1]
        return jnp.concatenate([steady, choose(state.actor, state.critic, obs[count:], keys[1])[1]])

    def critic_loss(params: Params, state: LearnerState, batch: Transition, key: Array):
        gmm, next_action = choose(state.actor, params, batch.next_obs, key)
        alpha = _alpha(config, state)
        bonus = -alpha * gmm.log_prob(next_action) if config.alpha > 0 else 0.0
        out = critic_out(state.target_critic, batch.next_obs, next_action[:, None])[:, :, 0]
        reward = config.reward_scale * batch.reward
        valid = batch.valid.astype(jnp.float32)
        q = critic_out(params, batch.obs, batch.action[:, None])[:, :, 0]
        if config.critic == "scalar":
            next_value = jnp.min(out[..., 0], 0) + bonus
            target = losses.td_target(reward, batch.discount, next_value, config.discount)
            target = jax.lax.stop_gradient(target)
            loss, target_mean = losses.scalar_critic_loss(q[..., 0], target, valid), target
        else:
            # The whole distribution of the critic that expects less.
            least = jnp.argmin(values(out), 0)
            probs = jax.nn.softmax(jnp.where((least == 0)[:, None], out[0], out[1]))
            positions = losses.td_target(
                reward[:, None],
                batch.discount[:, None],
                support[None] + jnp.broadcast_to(bonus, reward.shape)[:, None],
                config.discount,
            )
            target = jax.lax.stop_gradient(losses.project(probs, positions, support))
            loss = losses.categorical_critic_loss(q, target, valid)
            target_mean = target @ support
        return loss, _means({"q_mean": jnp.mean(values(q), 0), "target_mean": target_mean})

    def actor_loss(params: Params, state: LearnerState, obs: Array, key: Array):
        gmm = mixture(params, obs)
        policy, alpha = jax.lax.stop_gradient(gmm), _alpha(config, state)
        temperature = jnp.exp(state.log_temperature)

        def soft_q(actions: Float[Array, "B M 17"]) -> Float[Array, "B M"]:
            q = min_q(state.critic, obs, clip(actions))
            if config.alpha > 0:
                q = q - alpha * losses.log_prob_of_each(policy, actions)
            return q

        proposed = propose(config, policy, soft_q, temperature, key)
        loss = losses.density_matching_loss(
            gmm, proposed.actions, proposed.score, temperature, config.log_std_bonus
        )
        if config.subtract_score:
            loss = loss + jnp.mean(losses.log_prob_of_each(gmm, proposed.drawn))
        if config.weight_entropy > 0:
            loss = loss - config.weight_entropy * jnp.mean(gmm.weight_entropy())
        weights = losses.proposal_weights(proposed.score, temperature)
        weighted_std = jnp.sum(gmm.weights()[..., None] * jnp.exp(gmm.log_std), -2)
        return loss, _means(
            {
                "ess": losses.effective_sample_share(weights),
                "weights_kl": losses.weights_kl(weights),
                # With proposals from elsewhere this is the cross-entropy to their source.
                "entropy": -jnp.mean(losses.log_prob_of_each(policy, proposed.drawn), -1),
                "mean_sigma": jnp.mean(weighted_std, -1),
                "effective_components": gmm.effective_components(),
            }
        )

    def update_critic(
        vectors: LearnerState, as_trees: AsTrees, batch: Transition, key: Array
    ) -> tuple[LearnerState, Metrics]:
        state = as_trees(vectors)
        with jax.named_scope("critic"):
            (loss, info), grads = jax.value_and_grad(critic_loss, has_aux=True)(
                state.critic, state, batch, key
            )
            grads = _gradient(grads)
            steps, optimizer = critic_optimizer.update(
                grads, vectors.critic_optimizer, vectors.critic
            )
            critic = optax.apply_updates(vectors.critic, steps)
        updates = state.updates + 1
        rate = jnp.where(updates % config.polyak_every == 0, config.polyak, 0.0)
        return vectors._replace(
            critic=critic,
            critic_optimizer=optimizer,
            target_critic=optax.incremental_update(critic, vectors.target_critic, rate),
            updates=updates,
        ), info | {"critic_loss": loss, "critic_grad_norm": optax.tree.norm(grads)}

    def update_policy(
        vectors: LearnerState, as_trees: AsTrees, obs: Float[Array, "B 376"], key: Array
    ) -> tuple[LearnerState, Metrics]:
        state = as_trees(vectors)
        with jax.named_scope("actor"):
            (loss, info), grads = jax.value_and_grad(actor_loss, has_aux=True)(
                state.actor, state, obs, key
            )
            grads = _gradient(grads)
            steps, optimizer = actor_optimizer.update(grads, vectors.actor_optimizer, vectors.actor)
            actor = optax.apply_updates(vectors.actor, steps)
        log_temperature = duals.step_temperature(config, state.log_temperature, info)
        return vectors._replace(
            actor=actor,
            average_actor=optax.incremental_update(
                actor, vectors.average_actor, config.actor_average
            ),
            actor_optimizer=optimizer,
            log_temperature=log_temperature,
            log_alpha=duals.step_alpha(config, state.log_alpha, info),
        ), info | {
            "actor_loss": loss,
            "actor_grad_norm": optax.tree.norm(grads),
            "temperature": jnp.exp(log_temperature),
            "alpha": _alpha(config, state),
        }

    def update_both(
        vectors: LearnerState, as_trees: AsTrees, batches: Transition, keys: Array
    ) -> tuple[LearnerState, Metrics]:
        """The critics on each of some batches, then the policy on the last."""
        critics: list[Metrics] = []
        for i in range(len(keys)):
            batch = jax.tree.map(lambda x, i=i: x[i], batches)
            critic_key, policy_key = jax.random.split(keys[i])
            vectors, info = update_critic(vectors, as_trees, batch, critic_key)
            critics.append(info)
        states = batch.obs[: config.actor_batch_size]
        vectors, info = update_policy(vectors, as_trees, states, policy_key)
        return vectors, info | jax.tree.map(lambda *x: sum(x) / len(x), *critics)

    def update(state: LearnerState, batch: Transition, key: Array) -> tuple[LearnerState, Metrics]:
        vectors, as_trees = as_vectors(state)
        one = jax.tree.map(lambda x: x[None], batch)
        vectors, metrics = update_both(vectors, as_trees, one, key[None])
        return as_trees(vectors), metrics

    def updates(
        vectors: LearnerState, as_trees: AsTrees, batches: Transition, keys: Array
    ) -> tuple[LearnerState, Metrics]:
        def step(vectors: LearnerState, inputs: tuple[Transition, Array]):
            vectors, metrics = update_both(vectors, as_trees, *inputs)
            # One row a step costs one kernel, a dict of scalars one for each.
            return vectors, vector(metrics)

        rounds = (len(keys) // config.policy_delay, config.policy_delay)
        inputs = jax.tree.map(lambda x: x.reshape(*rounds, *x.shape[1:]), (batches, keys))
        vectors, rows = jax.lax.scan(step, vectors, inputs)
        return vectors, dict(zip(METRICS, jnp.mean(rows, 0), strict=True))

    return Learner(init, act, update, updates)


def _alpha(config: LearnerConfig, state: LearnerState) -> Float[Array, ""]:
    return jnp.exp(state.log_alpha) if config.alpha > 0 else jnp.zeros(())


def _means(rows: dict[str, Float[Array, "B"]]) -> Metrics:
    """The mean of every row, in one reduction."""
    return dict(zip(rows, jnp.mean(jnp.stack(list(rows.values())), -1), strict=True))


def _gradient(tree: Params) -> Params:
    """As the parameters are, one vector where the updates join them."""
    return vector(tree) if joins() else tree


def _optimizer(config: LearnerConfig, learning_rate: float) -> optax.GradientTransformation:
    return optax.chain(
        optax.clip_by_global_norm(config.max_grad_norm),
        optax.adamw(learning_rate, weight_decay=config.weight_decay),
    )
