"""The batch as a Gymnasium vector environment, against Gymnasium's own Humanoid-v4."""

import copy
import functools
import pickle
import warnings

import gymnasium
import jax
import mujoco
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import env_checker
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

import mjx_dm.envs.vector  # noqa: F401 - registers the tasks
from mjx_dm.config import ConfigError
from mjx_dm.envs.batch import make_env
from mjx_dm.envs.vector import BatchVectorEnv

NUM_ENVS = 4
# Float32 states against float64 over 40 steps with falls and contacts: as in test_engines.py.
# Contact forces (the last 84 numbers) reach 700 N and more.
OBS_TOLERANCE = np.r_[np.full(292, 1e-3), np.full(84, 0.1)]
REWARD_TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def envs():
    envs = BatchVectorEnv(NUM_ENVS)
    yield envs
    envs.close()


def test_spaces_are_humanoid_v4s(envs):
    peer = _humanoid_v4()
    assert envs.single_observation_space == peer.observation_space
    assert envs.single_action_space == peer.action_space
    assert envs.observation_space.shape == (NUM_ENVS, 376)
    assert envs.action_space.shape == (NUM_ENVS, 17)
    obs, _ = envs.reset(seed=0)
    assert obs in envs.observation_space
    assert envs.step(np.zeros((NUM_ENVS, 17)))[0] in envs.observation_space


def test_steps_are_humanoid_v4s_until_every_world_has_fallen(envs):
    rng = np.random.default_rng(0)
    envs.reset(seed=0)
    peers = dict(enumerate(_humanoid_v4_at(envs, i) for i in range(NUM_ENVS)))
    steps = 0
    while peers:
        action = rng.uniform(-0.6, 0.6, (NUM_ENVS, 17)).astype(np.float32)
        obs, reward, terminated, truncated, infos = envs.step(action)
        for i, peer in list(peers.items()):
            their_obs, their_reward, their_end, _, their_info = peer.step(action[i])
            assert terminated[i] == their_end and not truncated[i]
            assert abs(reward[i] - their_reward) < REWARD_TOLERANCE
            our_obs = infos["final_obs"][i] if terminated[i] else obs[i]
            assert (np.abs(our_obs - their_obs) < OBS_TOLERANCE).all()
            our_info = infos["final_info"] if terminated[i] else infos
            for name in their_info:
                assert our_info[f"_{name}"][i]
                assert abs(our_info[name][i] - their_info[name]) < REWARD_TOLERANCE, name
            if terminated[i]:
                del peers[i]
        steps += 1
    assert steps > 10


def test_infos_have_the_form_of_gymnasiums_same_step_autoreset(envs):
    def rollout(envs):
        """Infos of a step in which some worlds end, not all, by its (terminated, infos)."""
        rng = np.random.default_rng(1)
        envs.reset(seed=1)
        for _ in range(200):
            action = rng.uniform(-0.4, 0.4, (NUM_ENVS, 17)).astype(np.float32)
            *_, terminated, _, infos = envs.step(action)
            if terminated.any() and not terminated.all():
                return terminated, infos
        raise AssertionError("no world ended")

    def form(infos, hidden=frozenset()):
        return {
            name: form(x, hidden) if isinstance(x, dict) else (x.dtype, x.shape)
            for name, x in infos.items()
            if name.removeprefix("_") not in hidden
        }

    theirs = SyncVectorEnv([_humanoid_v4] * NUM_ENVS, autoreset_mode=AutoresetMode.SAME_STEP)
    their_end, their_infos = rollout(theirs)
    our_end, our_infos = rollout(envs)
    # Gymnasium's reset reports nothing, so that the ended worlds are masked in the outer infos.
    assert form(our_infos, {"broken"}) == form(their_infos)
    for end, infos in ((their_end, their_infos), (our_end, our_infos)):
        np.testing.assert_array_equal(infos["_final_obs"], end)
        np.testing.assert_array_equal(infos["_final_info"], end)
        np.testing.assert_array_equal(infos["_x_velocity"], ~end)
        np.testing.assert_array_equal(infos["final_info"]["_x_velocity"], end)
        np.testing.assert_array_equal(infos["x_velocity"] == 0.0, end)
        assert [x is not None for x in infos["final_obs"]] == end.tolist()


def test_an_ended_world_goes_on_from_a_fresh_state(envs):
    envs.reset(seed=2)
    terminated = np.zeros(NUM_ENVS, bool)
    while not terminated.any():
        obs, _, terminated, _, infos = envs.step(np.full((NUM_ENVS, 17), 0.4))
    i = np.flatnonzero(terminated)[0]
    assert not 1.0 < infos["final_obs"][i][0] < 2.0
    assert abs(obs[i][0] - 1.4) <= 0.01


def test_the_time_limit_truncates_and_starts_again():
    envs = BatchVectorEnv(2, max_episode_steps=5)
    envs.reset(seed=0)
    record = [envs.step(np.zeros((2, 17))) for _ in range(15)]
    truncated = np.array([r[3] for r in record])
    np.testing.assert_array_equal(truncated.any(1), [False, False, False, False, True] * 3)
    assert not any(r[2].any() for r in record)
    assert np.abs(record[4][4]["final_obs"][0] - record[4][0][0]).max() > 1e-3


def test_the_default_time_limit_is_humanoid_v4s(envs):
    envs.reset(seed=0)
    first = int(envs._state.episode_step[0])
    envs._state = envs._state._replace(episode_step=envs._state.episode_step + (998 - first))
    assert first == 0
    assert not envs.step(np.zeros((NUM_ENVS, 17)))[3].any()
    assert envs.step(np.zeros((NUM_ENVS, 17)))[3].all()


def test_the_same_seed_repeats_and_another_differs(envs):
    def rollout(seed):
        rng = np.random.default_rng(0)
        out = [envs.reset(seed=seed)[0]]
        # Long enough for automatic resets, whose states must repeat too.
        for _ in range(60):
            out.append(envs.step(rng.uniform(-0.4, 0.4, (NUM_ENVS, 17)))[0])
        return np.array(out)

    first = rollout(7)
    np.testing.assert_array_equal(first, rollout(7))
    assert (first[0] != rollout(8)[0]).any(-1).all()
    assert len(np.unique(first[0], axis=0)) == NUM_ENVS


def test_a_reset_without_a_seed_goes_on_with_the_stream(envs):
    first, second = envs.reset(seed=3)[0], envs.reset()[0]
    assert not np.array_equal(first, second)
    envs.reset(seed=3)
    np.testing.assert_array_equal(envs.reset()[0], second)


def test_gymnasiums_checks_pass():
    # Its checks are written for single environments; of a vector of one world these hold.
    envs = gymnasium.make_vec("mjx_dm/Humanoid-v4", num_envs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env_checker.check_reset_seed_determinism(envs)
        env_checker.check_reset_options(envs)
        env_checker.check_returned_data_not_reused(envs)


def test_make_vec_finds_it_and_remembers_how():
    envs = gymnasium.make_vec("mjx_dm/Humanoid-v4", num_envs=3, physics="fast")
    assert isinstance(envs, BatchVectorEnv)
    assert envs.num_envs == 3
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    again = gymnasium.make_vec(EnvSpec.from_json(envs.spec.to_json()))
    assert again.num_envs == 3


def test_other_tasks_are_found_by_their_names_with_their_options():
    envs = gymnasium.make_vec("mjx_dm/Ant-v5", num_envs=2, include_cfrc_ext_in_observation=False)
    with pytest.raises(ConfigError, match="has no option 'wind'; its options: forward_reward"):
        gymnasium.make_vec("mjx_dm/Ant-v5", num_envs=2, wind=1.0)
    obs, _ = envs.reset(seed=0)
    peer = gymnasium.make("Ant-v5", include_cfrc_ext_in_observation=False)
    assert envs.single_observation_space == peer.observation_space
    assert envs.single_action_space == peer.action_space
    assert envs.step(np.zeros((2, 8)))[0].shape == obs.shape == (2, 27)


def test_episode_statistics_are_the_sums_of_the_rewards(envs):
    recorded = RecordEpisodeStatistics(envs)
    recorded.reset(seed=5)
    rng = np.random.default_rng(5)
    returns, lengths, episodes = np.zeros(NUM_ENVS), np.zeros(NUM_ENVS, int), 0
    for _ in range(120):
        _, reward, terminated, truncated, infos = recorded.step(
            rng.uniform(-0.4, 0.4, (NUM_ENVS, 17))
        )
        returns, lengths = returns + reward, lengths + 1
        done = terminated | truncated
        if done.any():
            np.testing.assert_allclose(infos["episode"]["r"][done], returns[done])
            np.testing.assert_array_equal(infos["episode"]["l"][done], lengths[done])
        returns, lengths, episodes = returns * ~done, lengths * ~done, episodes + done.sum()
    assert episodes >= 2 * NUM_ENVS


def test_a_broken_world_is_truncated_and_said_to_be_broken(envs):
    envs.reset(seed=0)
    action = np.zeros((NUM_ENVS, 17))
    action[1] = np.nan
    obs, reward, terminated, truncated, infos = envs.step(action)
    assert truncated.tolist() == [False, True, False, False] and not terminated.any()
    assert infos["final_info"]["broken"].tolist() == truncated.tolist()
    assert reward[1] == 0.0
    assert np.isfinite(obs).all() and np.isfinite(reward).all()
    assert np.isfinite(infos["final_obs"][1]).all()
    assert all(np.isfinite(x).all() for name, x in infos["final_info"].items())


def test_steps_are_calls_of_one_program(envs):
    envs.reset(seed=0)
    for _ in range(3):
        envs.step(np.zeros((NUM_ENVS, 17), np.float64))
        envs.step(np.zeros((NUM_ENVS, 17), np.float32))
    assert envs._step._cache_size() == 1


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"engine": "foo"}, "engine 'foo' is unknown; choose from auto, mujoco, mjx, warp."),
        ({"physics": "foo"}, "physics 'foo' is unknown; choose from auto, exact, v4, fast."),
        ({"num_envs": 0}, "num_envs must be at least 1, got 0."),
        ({"max_episode_steps": 0}, "max_episode_steps must be at least 1, got 0."),
    ],
)
def test_what_cannot_be_made_is_told_in_a_sentence(wrong, sentence):
    for make in (functools.partial(gymnasium.make_vec, "mjx_dm/Humanoid-v4"), make_env):
        with pytest.raises(ValueError) as refusal:
            make(**{"num_envs": 2} | wrong)
        assert str(refusal.value) == sentence


def test_misuse_is_answered_in_a_sentence():
    envs = BatchVectorEnv(2)
    with pytest.raises(gymnasium.error.ResetNeeded):
        envs.step(np.zeros((2, 17)))
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions must be \(2, 17\), got \(17,\)"):
        envs.step(np.zeros(17))
    with pytest.raises(ValueError, match="3 seeds were given for 2 worlds"):
        envs.reset(seed=[1, 2, 3])
    with pytest.raises(gymnasium.error.Error, match="greater or equal to zero"):
        envs.reset(seed=[1, -2])
    with pytest.raises(ValueError, match="reset_mask"):
        envs.reset(options={"reset_mask": np.array([True, False])})


def test_a_copy_goes_on_from_the_same_states_and_leaves_the_first_alone():
    envs = gymnasium.make_vec("mjx_dm/Reacher-v5", num_envs=2, reward_control_weight=2.0)
    envs.reset(seed=4)
    action = envs.action_space.sample()
    envs.step(action)
    again = copy.deepcopy(pickle.loads(pickle.dumps(envs)))
    assert again.spec.id == "mjx_dm/Reacher-v5" and again.spec.max_episode_steps == 50
    # Up to the time limit, where worlds are reset, and over a reset without a seed.
    for _ in range(50):
        for left, right in zip(envs.step(action)[:4], again.step(action)[:4], strict=True):
            np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(envs.reset()[0], again.reset()[0])
    np.testing.assert_array_equal(envs.action_space.sample(), again.action_space.sample())


def test_each_world_has_its_own_seed(envs):
    together = envs.reset(seed=[5, 2**40, 0, 7])[0]
    np.testing.assert_array_equal(envs.reset(seed=[7, 0, 2**40, 5])[0], together[::-1])
    alone = BatchVectorEnv(1)
    np.testing.assert_array_equal(alone.reset(seed=2**40)[0], together[1:2])
    np.testing.assert_array_equal(envs.reset(seed=5)[0], envs.reset(seed=range(5, 9))[0])
    envs.reset(seed=1)
    some = envs.reset(seed=[None, 2**40, None, 7])[0]
    np.testing.assert_array_equal(some[[1, 3]], together[[1, 3]])
    assert len(np.unique(np.concatenate([some, together]), axis=0)) == 6


def test_the_spec_tells_the_time_limit():
    envs = gymnasium.make_vec("mjx_dm/Reacher-v5", num_envs=1)
    assert envs.spec.max_episode_steps == gymnasium.spec("Reacher-v5").max_episode_steps == 50
    assert gymnasium.spec("mjx_dm/Reacher-v5").max_episode_steps == 50
    envs = gymnasium.make_vec("mjx_dm/Reacher-v5", num_envs=1, max_episode_steps=7)
    assert envs.spec.max_episode_steps == 7
    again = gymnasium.make_vec(EnvSpec.from_json(envs.spec.to_json()))
    assert again.spec.max_episode_steps == 7


def test_closed_worlds_say_so():
    envs = BatchVectorEnv(1, task="Reacher-v5")
    for _ in range(2):
        envs.close()
    assert envs.closed and copy.deepcopy(envs).closed
    with pytest.raises(gymnasium.error.ClosedEnvironmentError, match="make new ones"):
        envs.reset()
    with pytest.raises(gymnasium.error.ResetNeeded):
        envs.step(np.zeros((1, 2)))


def test_frames_of_the_worlds_or_a_sentence():
    envs = gymnasium.make_vec(
        "mjx_dm/InvertedPendulum-v5", num_envs=2, render_mode="rgb_array", width=64, height=48
    )
    assert envs.render_mode == "rgb_array" and "rgb_array" in envs.metadata["render_modes"]
    assert envs.metadata["render_fps"] == 25
    with pytest.raises(gymnasium.error.ResetNeeded):
        envs.render()
    envs.reset(seed=0)
    try:
        frames = envs.render()
    except gymnasium.error.DependencyNotInstalled as error:
        assert str(error).startswith("MuJoCo finds no OpenGL") and str(error).count("\n") == 0
        return
    assert isinstance(frames, tuple) and [x.shape for x in frames] == [(48, 64, 3)] * 2
    assert all(x.dtype == np.uint8 and x.any() for x in frames)
    for _ in range(5):
        envs.step(np.array([[3.0], [0.0]]))
    moved = envs.render()
    assert (moved[0] != frames[0]).any() and (moved[0] != moved[1]).any()


def test_without_a_render_mode_nothing_is_drawn(envs):
    envs.reset(seed=0)
    with pytest.warns(UserWarning, match="Nothing is drawn"):
        assert envs.render() is None
    with pytest.raises(ConfigError, match="render_mode 'human' is unknown; choose from rgb_array"):
        BatchVectorEnv(1, render_mode="human")


@pytest.fixture
def mjx_broadcasts():
    """MJX's own code relies on rank promotion, which these tests otherwise forbid."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("mjx_broadcasts")
def test_other_engines_step_it_too():
    """MJX compiles for a minute or more on a CPU."""
    ours, theirs = (BatchVectorEnv(2, engine=e, physics="fast") for e in ("mjx", "mujoco"))
    ours.reset(seed=0)
    theirs.reset(seed=0)
    action = np.full((2, 17), 0.1)
    obs, reward, *_ = ours.step(action)
    their_obs, their_reward, *_ = theirs.step(action)
    # In the air both engines integrate alike: no contact yet for MJX's fewer iterations to miss.
    np.testing.assert_allclose(obs, their_obs, atol=1e-3)
    np.testing.assert_allclose(reward, their_reward, atol=1e-3)


def _humanoid_v4():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Humanoid-v4 is out of date.*")
        return gymnasium.make("Humanoid-v4")


def _humanoid_v4_at(envs, i):
    """Gymnasium's Humanoid-v4 in the state of world `i`."""
    peer = _humanoid_v4().unwrapped
    peer.reset(seed=0)
    mujoco.mj_resetData(peer.model, peer.data)
    physics = jax.tree.map(lambda x: np.asarray(x[i], np.float64), envs._state.physics)
    peer.set_state(physics.qpos, physics.qvel)
    return peer
