"""Every engine against Gymnasium's Humanoid-v4, from the same states with the same actions."""

import warnings

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_dm.envs import make_env

STEPS = 40
FIELDS = {
    "qpos": slice(0, 22),
    "qvel": slice(22, 45),
    "cinert": slice(45, 185),
    "cvel": slice(185, 269),
    "qfrc_actuator": slice(269, 292),
    "cfrc_ext": slice(292, 376),
}
# Float32 states against float64, grown over 40 steps with falls and contacts: about ten times
# what was measured. Forces reach 700 N and more in contact.
TOLERANCE = {
    "mujoco": {
        "qpos": 1e-4,
        "qvel": 1e-3,
        "cinert": 1e-4,
        "cvel": 1e-3,
        "qfrc_actuator": 1e-4,
        "cfrc_ext": 0.1,
        "reward": 1e-3,
    },
    "warp": {
        "qpos": 1e-3,
        "qvel": 1e-2,
        "cinert": 1e-3,
        "cvel": 1e-2,
        "qfrc_actuator": 1e-4,
        "cfrc_ext": 1.0,
        "reward": 1e-2,
    },
}
TOLERANCE["mjx"] = TOLERANCE["warp"]

ENGINES = [
    "mujoco",
    # Both compile for minutes on a CPU.
    pytest.param("warp", marks=[pytest.mark.slow, pytest.mark.gpu]),
    pytest.param("mjx", marks=[pytest.mark.slow, pytest.mark.gpu]),
]


@pytest.fixture(scope="module", params=ENGINES)
def trajectories(request):
    """4 worlds of one engine and 4 Gymnasium environments under the same 40 random actions."""
    if request.param == "warp":
        pytest.importorskip("warp")
    num_envs, rng = 4, np.random.default_rng(0)
    env = make_env(num_envs, engine=request.param, physics="v4")
    state = jax.jit(env.reset)(jax.random.key(0))
    peers = [_gymnasium_at(state, i) for i in range(num_envs)]
    step = jax.jit(env.step)
    record = []
    for _ in range(STEPS):
        action = rng.uniform(-0.6, 0.6, (num_envs, 17)).astype(np.float32)
        state = step(state, jnp.asarray(action))
        for i, peer in enumerate(peers):
            if peer is not None:
                record.append((i, _row(state, i), peer.step(action[i].astype(np.float64))))
                if record[-1][2][2]:
                    peers[i] = None
    return request.param, record


def test_observations_are_gymnasiums_over_whole_trajectories(trajectories):
    engine, record = trajectories
    for field, columns in FIELDS.items():
        error = max(
            np.abs(ours["final_obs"][columns] - theirs[0][columns]).max()
            for _, ours, theirs in record
        )
        assert error < TOLERANCE[engine][field], f"{field}: {error}"


def test_rewards_and_ends_are_gymnasiums(trajectories):
    engine, record = trajectories
    assert len(record) > 4 * 15
    assert sum(theirs[2] for _, _, theirs in record) == 4, "every world should fall"
    for _, ours, theirs in record:
        assert abs(ours["reward"] - theirs[1]) < TOLERANCE[engine]["reward"]
        assert ours["terminated"] == theirs[2]
        assert ours["valid"]


def test_the_contact_forces_were_seen():
    """The trajectories above say nothing about cfrc_ext unless something touches the floor."""
    env = make_env(2, engine="mujoco", physics="v4")
    state = jax.jit(env.reset)(jax.random.key(0))
    qpos = np.tile(np.asarray(state.physics.qpos[:1]), (2, 1))
    qpos[:, 2] = 1.25  # the feet in the floor
    state = jax.jit(env.set_state)(state, qpos, np.zeros((2, 23)))
    peer = _gymnasium_at(state, 0)
    state = jax.jit(env.step)(state, jnp.zeros((2, 17)))
    obs = peer.step(np.zeros(17))[0]
    assert np.abs(obs[FIELDS["cfrc_ext"]]).max() > 10.0
    np.testing.assert_allclose(_row(state, 0)["final_obs"], obs, rtol=1e-5, atol=1e-3)


def _gymnasium_at(state, i):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Humanoid-v4 is out of date.*")
        peer = gymnasium.make("Humanoid-v4").unwrapped
    peer.reset(seed=0)
    mujoco.mj_resetData(peer.model, peer.data)
    peer.set_state(
        np.asarray(state.physics.qpos[i], np.float64), np.asarray(state.physics.qvel[i], np.float64)
    )
    return peer


def _row(state, i):
    return {
        name: np.asarray(getattr(state, name)[i])
        for name in ("final_obs", "reward", "terminated", "valid")
    }
