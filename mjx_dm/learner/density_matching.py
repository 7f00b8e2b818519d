"""The learner: density matching of a GMM policy against twin critics, as (init, act, update)."""

from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from mjx_dm.config import Config
from mjx_dm.learner import action_rules, duals, losses, networks
from mjx_dm.learner.gmm import GMM
from mjx_dm.learner.proposals import propose
from mjx_dm.learner.state import Carry, LearnerState, Params, form
from mjx_dm.types import Spaces, Transition

Metrics = dict[str, Float[Array, ""]]
# What an update reports, in the order of the alphabet.
METRICS = (
    "actor_grad_norm", "actor_loss", "alpha", "critic_grad_norm", "critic_loss",
    "effective_components", "entropy", "ess", "mean_sigma", "q_mean", "target_mean", "temperature",
    "weights_kl",
)  # fmt: skip


class Learner(NamedTuple):
    """The functions of a learner; each consumes the keys that it is given.

    init(key) -> state, act(state, obs, key) -> action and update(state, batch, key) -> (state,
    metrics) are on a `LearnerState`. `obs` is `(N, obs_size)` as the networks are shown it, actions
    `(N, action_size)` are in the policy's own units (see `mjx_dm.learner.actions`), `batch` is a
    Transition with leading dimension B, on which the critics move and then the policy.

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


def make_learner(config: Config, spaces: Spaces) -> Learner:
    """The learner that `config` describes; `published` and our own differ by settings alone."""
    policy = networks.mixture_network(config, spaces)
    critic = networks.twin_critic(config)
    actor_optimizer = _optimizer(config, config.policy.actor_lr)
    critic_optimizer = _optimizer(config, config.critic.critic_lr)
    support = networks.support(config.critic)
    bounded, has_alpha = config.policy.bounded, config.temperatures.alpha > 0

    def init(key: Array) -> LearnerState:
        actor_key, critic_key = jax.random.split(key)
        obs, action = jnp.zeros((1, spaces.obs_size)), jnp.zeros((1, 1, spaces.action_size))
        actor_params = policy.init(actor_key, obs)
        critic_params = critic.init(critic_key, obs, action)
        start = config.temperatures
        return LearnerState(
            actor=actor_params,
            average_actor=jax.tree.map(jnp.copy, actor_params),
            critic=critic_params,
            target_critic=jax.tree.map(jnp.copy, critic_params),
            actor_optimizer=actor_optimizer.init(actor_params),
            critic_optimizer=critic_optimizer.init(critic_params),
            log_temperature=jnp.log(jnp.asarray(start.temperature, jnp.float32)),
            log_alpha=jnp.log(jnp.asarray(max(start.alpha, 1e-30), jnp.float32)),
            updates=jnp.zeros((), jnp.int32),
        )

    held = form(lambda: jax.eval_shape(init, jax.random.key(0)))

    def mixture(params: Params, obs: Float[Array, "B obs"]) -> GMM:
        return cast(GMM, policy.apply(params, obs))

    def critic_out(
        params: Params, obs: Float[Array, "B obs"], actions: Float[Array, "B M act"]
    ) -> Float[Array, "2 B M atoms"]:
        return cast(Array, critic.apply(params, obs, actions))

    def values(out: Float[Array, "2 *B atoms"]) -> Float[Array, "2 *B"]:
        return networks.values(config.critic, out)

    def min_q(params: Params, obs: Array, actions: Float[Array, "B M act"]) -> Float[Array, "B M"]:
        # Q differs by some T from action to action, no more than rounded factors would change it.
        with jax.default_matmul_precision("highest"):
            return jnp.min(values(critic_out(params, obs, actions)), 0)

    def clip(action: Array) -> Array:
        return jnp.clip(action, -1.0, 1.0) if bounded else action

    def alpha_of(state: LearnerState) -> Float[Array, ""]:
        return jnp.exp(state.log_alpha) if has_alpha else jnp.zeros(())

    def choose(actor: Params, critic_params: Params, obs: Array, key: Array) -> tuple[GMM, Array]:
        gmm = mixture(actor, obs)
        action = action_rules.choose(
            config.policy.action_rule, gmm, lambda a: min_q(critic_params, obs, clip(a)), key
        )
        return gmm, clip(action)

    def act(state: LearnerState, obs: Float[Array, "N obs"], key: Array) -> Float[Array, "N act"]:
        return choose(state.actor, state.critic, obs, key)[1]

    def critic_loss(params: Params, state: LearnerState, batch: Transition, key: Array):
        gmm, next_action = choose(state.actor, params, batch.next_obs, key)
        alpha = alpha_of(state)
        bonus = -alpha * gmm.log_prob(next_action) if has_alpha else 0.0
        out = critic_out(state.target_critic, batch.next_obs, next_action[:, None])[:, :, 0]
        reward = config.critic.reward_scale * batch.reward
        valid = batch.valid.astype(jnp.float32)
        q = critic_out(params, batch.obs, batch.action[:, None])[:, :, 0]
        if config.critic.critic == "scalar":
            next_value = jnp.min(out[..., 0], 0) + bonus
            target = losses.td_target(reward, batch.discount, next_value, config.critic.discount)
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
                config.critic.discount,
            )
            target = jax.lax.stop_gradient(losses.project(probs, positions, support))
            loss = losses.categorical_critic_loss(q, target, valid)
            target_mean = target @ support
        return loss, _means({"q_mean": jnp.mean(values(q), 0), "target_mean": target_mean})

    def actor_loss(params: Params, state: LearnerState, obs: Array, key: Array):
        gmm = mixture(params, obs)
        policy, alpha = jax.lax.stop_gradient(gmm), alpha_of(state)
        temperature = jnp.exp(state.log_temperature)

        def soft_q(actions: Float[Array, "B M act"]) -> Float[Array, "B M"]:
            q = min_q(state.critic, obs, clip(actions))
            if has_alpha:
                q = q - alpha * losses.log_prob_of_each(policy, actions)
            return q

        proposed = propose(config.policy, policy, soft_q, key)
        loss = losses.density_matching_loss(
            gmm, proposed.actions, proposed.score, temperature, config.policy.log_std_bonus
        )
        if config.policy.weight_entropy > 0:
            loss = loss - config.policy.weight_entropy * jnp.mean(gmm.weight_entropy())
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

    def update_critic(carry: Carry, batch: Transition, key: Array) -> tuple[Carry, Metrics]:
        state = held.unpack(carry)
        with jax.named_scope("critic"):
            (loss, info), grads = jax.value_and_grad(critic_loss, has_aux=True)(
                state.critic, state, batch, key
            )
            grads = held.gradient(grads)
            steps, optimizer = critic_optimizer.update(grads, carry.critic_optimizer, carry.critic)
            moved = optax.apply_updates(carry.critic, steps)
        updates, targets = state.updates + 1, config.critic
        rate = jnp.where(updates % targets.polyak_every == 0, targets.polyak, 0.0)
        return carry._replace(
            critic=moved,
            critic_optimizer=optimizer,
            target_critic=optax.incremental_update(moved, carry.target_critic, rate),
            updates=updates,
        ), info | {"critic_loss": loss, "critic_grad_norm": optax.tree.norm(grads)}

    def update_policy(
        carry: Carry, obs: Float[Array, "B obs"], key: Array
    ) -> tuple[Carry, Metrics]:
        state = held.unpack(carry)
        with jax.named_scope("actor"):
            (loss, info), grads = jax.value_and_grad(actor_loss, has_aux=True)(
                state.actor, state, obs, key
            )
            grads = held.gradient(grads)
            steps, optimizer = actor_optimizer.update(grads, carry.actor_optimizer, carry.actor)
            moved = optax.apply_updates(carry.actor, steps)
        log_temperature = duals.step_temperature(config.temperatures, state.log_temperature, info)
        return carry._replace(
            actor=moved,
            average_actor=optax.incremental_update(
                moved, carry.average_actor, config.policy.actor_average
            ),
            actor_optimizer=optimizer,
            log_temperature=log_temperature,
            log_alpha=duals.step_alpha(config.temperatures, state.log_alpha, info),
        ), info | {
            "actor_loss": loss,
            "actor_grad_norm": optax.tree.norm(grads),
            "temperature": jnp.exp(log_temperature),
            "alpha": alpha_of(state),
        }

    def update_both(carry: Carry, batch: Transition, key: Array) -> tuple[Carry, Metrics]:
        critic_key, policy_key = jax.random.split(key)
        carry, of_critic = update_critic(carry, batch, critic_key)
        states = batch.obs[: config.policy.actor_batch_size]
        carry, of_policy = update_policy(carry, states, policy_key)
        return carry, of_policy | of_critic

    def update(state: LearnerState, batch: Transition, key: Array) -> tuple[LearnerState, Metrics]:
        carry, metrics = update_both(held.pack(state), batch, key)
        return held.unpack(carry), metrics

    def updates(carry: Carry, batches: Transition, keys: Array) -> tuple[Carry, Metrics]:
        def step(carry: Carry, inputs: tuple[Transition, Array]) -> tuple[Carry, Array]:
            carry, metrics = update_both(carry, *inputs)
            # One row a step costs one kernel, a dict of scalars one for each.
            return carry, jnp.stack([metrics[name] for name in METRICS])

        carry, rows = jax.lax.scan(step, carry, (batches, keys))
        return carry, dict(zip(METRICS, jnp.mean(rows, 0), strict=True))

    return Learner(init, act, update, held.pack, held.unpack, updates)


def _means(rows: dict[str, Float[Array, "B"]]) -> Metrics:
    """The mean of every row, in one reduction."""
    return dict(zip(rows, jnp.mean(jnp.stack(list(rows.values())), -1), strict=True))


def _optimizer(config: Config, learning_rate: float) -> optax.GradientTransformation:
    return optax.chain(
        optax.clip_by_global_norm(config.networks.max_grad_norm), optax.adam(learning_rate)
    )
