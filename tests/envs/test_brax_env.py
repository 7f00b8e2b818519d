"""The Brax environment against the project's own batch, and under Brax's wrappers."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brax import envs as brax_envs
from brax.envs.wrappers.training import AutoResetWrapper, EpisodeWrapper, VmapWrapper, wrap
from brax.training.acting import Evaluator, generate_unroll

import mjx_dm.envs.brax  # noqa: F401 - registers the tasks
from mjx_dm.config import ConfigError
from mjx_dm.envs.batch import make_env
from mjx_dm.envs.brax import BraxEnv

NUM_ENVS = 4


@pytest.fixture(scope="module")
def env():
    return BraxEnv(engine="mujoco")


@pytest.fixture(scope="module")
def wrapped(env):
    """Brax's own stack, its time limit shortened to 100 steps: (reset, step), compiled."""
    stack = wrap(env, episode_length=100)
    return jax.jit(stack.reset), jax.jit(stack.step)


def test_brax_finds_it_by_name():
    env = brax_envs.get_environment("humanoid_v4_mjx", engine="mujoco", physics="fast")
    assert isinstance(env, BraxEnv)
    assert (env.observation_size, env.action_size, env.backend) == (376, 17, "mjx")


def test_other_tasks_are_found_by_their_names_with_their_options():
    env = brax_envs.get_environment(
        "inverted_double_pendulum_v5_mjx", engine="mujoco", healthy_reward=3.0
    )
    state = env.step(env.reset(jax.random.PRNGKey(0)), jnp.zeros(1))
    assert (env.observation_size, env.action_size, env.dt) == (9, 1, 0.05)
    assert state.metrics["reward_survive"] == 3.0


@pytest.mark.parametrize("argument", ["engine", "physics"])
def test_an_unknown_engine_or_physics_is_named_at_once(argument):
    with pytest.raises(ValueError, match=f"{argument} 'foo' is unknown; choose from"):
        brax_envs.get_environment("humanoid_v4_mjx", **{argument: "foo"})


def test_braxs_backend_is_the_engine_of_that_name_or_refused():
    env = brax_envs.get_environment("reacher_v5_mjx", backend="mjx")
    assert env._engine_name == "mjx" and env.backend == "mjx"
    with pytest.raises(ConfigError, match="backend 'spring' is a physics of Brax's own"):
        brax_envs.get_environment("reacher_v5_mjx", backend="spring")
    with pytest.raises(ConfigError, match="backend 'mjx' and engine 'mujoco' differ"):
        brax_envs.get_environment("reacher_v5_mjx", backend="mjx", engine="mujoco")


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_an_environment_can_be_copied(copied):
    env = BraxEnv("InvertedDoublePendulum-v5", "mujoco", "fast", healthy_reward=3.0)
    again = copied(env)
    assert again is not env and again.task.options["healthy_reward"] == 3.0
    assert (again._engine_name, again._physics) == ("mujoco", "fast")


def test_a_randomization_fn_is_refused_in_a_sentence(env):
    with pytest.raises(AttributeError, match="no brax System for a randomization_fn"):
        wrap(env, randomization_fn=lambda sys: (sys, None))


def test_mapped_worlds_step_as_the_batch_does(env):
    state = jax.jit(jax.vmap(env.reset))(_keys(NUM_ENVS))
    batch = make_env(NUM_ENVS, engine="mujoco")
    ours = batch.set_state(
        jax.jit(batch.reset)(jax.random.key(0)),
        state.pipeline_state.qpos,
        state.pipeline_state.qvel,
    )
    np.testing.assert_array_equal(state.obs, ours.obs)
    step, our_step = jax.jit(jax.vmap(env.step)), jax.jit(batch.step)
    rng, ends = np.random.default_rng(0), np.zeros(NUM_ENVS, bool)
    for _ in range(40):
        action = jnp.asarray(rng.uniform(-0.6, 0.6, (NUM_ENVS, 17)), jnp.float32)
        state, ours = step(state, action), our_step(ours, action)
        # The batch resets the worlds that ended; here they go on falling.
        live = ~ends
        np.testing.assert_array_equal(state.done[live], ours.terminated[live])
        np.testing.assert_allclose(state.reward[live], ours.reward[live], rtol=1e-5)
        np.testing.assert_array_equal(state.obs[live], ours.final_obs[live])
        ends |= np.asarray(ours.terminated)
    assert ends.all()
    np.testing.assert_array_equal(state.done, 1.0)


def test_any_nesting_of_vmaps_is_one_call_of_the_engine(env):
    calls = []
    engine = env._worlds(6).engine
    advance = engine.advance

    def counted(out, qpos, *others):
        calls.append(qpos.shape)
        return advance(out, qpos, *others)

    state = jax.vmap(env.reset)(_keys(6))
    action = jax.random.uniform(jax.random.key(1), (6, 17), minval=-0.4, maxval=0.4)

    def fold(tree):
        return jax.tree.map(lambda x: x.reshape(2, 3, *x.shape[1:]), tree)

    engine.advance = counted
    try:
        flat = jax.jit(jax.vmap(env.step))(state, action)
        nested = jax.jit(jax.vmap(jax.vmap(env.step)))(fold(state), fold(action))
        jax.block_until_ready(nested)
    finally:
        engine.advance = advance
    assert calls == [(6, 24)] * 2
    jax.tree.map(np.testing.assert_array_equal, nested, fold(flat))


def test_an_action_shared_by_all_worlds_is_broadcast(env):
    state, action = jax.vmap(env.reset)(_keys(3)), jnp.full(17, 0.1)
    shared = jax.vmap(env.step, in_axes=(0, None))(state, action)
    each = jax.vmap(env.step)(state, jnp.tile(action, (3, 1)))
    jax.tree.map(np.testing.assert_array_equal, shared, each)


def test_a_single_world_needs_no_vmap(env):
    state = env.reset(jax.random.PRNGKey(0))
    state = env.step(state, jnp.zeros(17))
    assert state.obs.shape == (376,)
    assert state.reward.shape == state.done.shape == ()


def test_reward_is_the_sum_of_its_metrics(wrapped):
    reset, step = wrapped
    state = step(reset(_keys(NUM_ENVS)), jnp.full((NUM_ENVS, 17), 0.3))
    terms = sum(state.metrics[x] for x in ("reward_linvel", "reward_quadctrl", "reward_alive"))
    np.testing.assert_allclose(terms, state.reward, rtol=1e-5)
    np.testing.assert_allclose(state.metrics["reward_quadctrl"], -0.1 * 17 * 0.09, rtol=1e-5)


def test_the_time_limit_is_braxs_and_told_from_a_fall(env):
    stack = EpisodeWrapper(VmapWrapper(env), episode_length=3, action_repeat=1)
    state, step = jax.jit(stack.reset)(_keys(2)), jax.jit(stack.step)
    for expected in (0, 0, 1):
        state = step(state, jnp.zeros((2, 17)))
        np.testing.assert_array_equal(state.done, expected)
        np.testing.assert_array_equal(state.info["truncation"], expected)


def test_a_fallen_world_is_reset_by_braxs_wrapper(wrapped):
    reset, step = wrapped
    state = reset(_keys(NUM_ENVS))
    for _ in range(99):
        state = step(state, jnp.full((NUM_ENVS, 17), 0.4))
        if state.done.any():
            break
    i = int(np.flatnonzero(state.done)[0])
    assert state.info["truncation"][i] == 0.0
    np.testing.assert_array_equal(state.obs[i], state.info["first_obs"][i])
    assert abs(state.pipeline_state.qpos[i, 2] - 1.4) <= 0.01


@pytest.mark.parametrize("broken_part", ["state", "action"])
def test_a_broken_world_is_done_and_stays_finite(env, wrapped, broken_part):
    reset, step = wrapped
    state, action = reset(_keys(NUM_ENVS)), jnp.zeros((NUM_ENVS, 17))
    if broken_part == "state":
        world = state.pipeline_state
        qvel = world.qvel.at[1, 3].set(jnp.nan)
        world = world._replace(physics=world.physics._replace(qvel=qvel))
        state = state.replace(pipeline_state=world)
    else:
        action = action.at[1, 3].set(jnp.nan)
    state = step(state, action)
    np.testing.assert_array_equal(state.done, [0, 1, 0, 0])
    np.testing.assert_array_equal(state.metrics["broken"], [0, 1, 0, 0])
    assert state.reward[1] == 0.0
    # Everything, the states that the next step starts from too.
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))


def test_braxs_unroll_and_evaluator_take_it(env):
    stack = wrap(env, episode_length=60)

    def still(params):
        return lambda obs, key: (jnp.zeros((*obs.shape[:-1], 17)), {})

    _, data = jax.jit(
        lambda state, key: generate_unroll(stack, state, still(()), key, 5, ("truncation",))
    )(jax.jit(stack.reset)(_keys(NUM_ENVS)), jax.random.PRNGKey(1))
    assert data.observation.shape == (5, NUM_ENVS, 376)
    np.testing.assert_array_equal(data.next_observation[:-1], data.observation[1:])

    evaluator = Evaluator(stack, still, NUM_ENVS, 60, 1, jax.random.PRNGKey(2))
    report = evaluator.run_evaluation((), {})
    # Without actuation it pays 5 a step and about nothing for speed, until it falls.
    length, total = report["eval/avg_episode_length"], report["eval/episode_reward"]
    assert 20 < length <= 60
    assert report["eval/episode_reward_alive"] == pytest.approx(5 * length)
    terms = sum(report[f"eval/episode_reward_{x}"] for x in ("linvel", "quadctrl", "alive"))
    assert total == pytest.approx(terms, rel=1e-5)
    assert report["eval/episode_broken"] == 0.0


def test_the_step_is_traced_once(env):
    stack, traces = wrap(env, episode_length=100), []

    @jax.jit
    def step(state, action):
        traces.append(1)
        return stack.step(state, action)

    state = jax.jit(stack.reset)(_keys(NUM_ENVS))
    for _ in range(3):
        state = step(state, jnp.zeros((NUM_ENVS, 17)))
    assert len(traces) == 1


def test_wrappers_may_come_in_braxs_other_order():
    env = brax_envs.create("humanoid_v4_mjx", episode_length=2, batch_size=3, engine="mujoco")
    assert isinstance(env, AutoResetWrapper)
    state = jax.jit(env.reset)(jax.random.PRNGKey(0))
    step = jax.jit(env.step)
    state = step(step(state, jnp.zeros((3, 17))), jnp.zeros((3, 17)))
    np.testing.assert_array_equal(state.done, 1.0)
    np.testing.assert_array_equal(state.obs, state.info["first_obs"])


@pytest.mark.slow
@pytest.mark.usefixtures("broadcasts")
@pytest.mark.parametrize("engine", ["mjx", "warp"])
def test_mjx_and_warp_step_as_the_c_engine_does(engine):
    """Both compile for a minute or more on a CPU."""
    if engine == "warp":
        pytest.importorskip("warp")
    state, action = {}, jnp.full((NUM_ENVS, 17), 0.1)
    for name in ("mujoco", engine):
        stack = wrap(BraxEnv(engine=name, physics="fast"), episode_length=100)
        step = jax.jit(stack.step)
        state[name] = step(step(jax.jit(stack.reset)(_keys(NUM_ENVS)), action), action)
    # In the air all engines integrate alike: no contact yet for fewer iterations to miss.
    np.testing.assert_allclose(state[engine].obs, state["mujoco"].obs, atol=5e-3)
    np.testing.assert_allclose(state[engine].reward, state["mujoco"].reward, atol=5e-3)

    broken = step(state[engine], action.at[1, 3].set(jnp.nan))
    np.testing.assert_array_equal(broken.done, [0, 1, 0, 0])
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(broken))


def _keys(num_envs):
    return jax.random.split(jax.random.PRNGKey(0), num_envs)
