"""Every engine against Gymnasium's Humanoid-v4, from the same states with the same actions.

What is compared, and from which starts, is mjx_dm/envs/parity.py's.
"""

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx

from mjx_dm.engines import mjx as mjx_engine
from mjx_dm.envs import parity
from mjx_dm.envs.batch import make_env
from mjx_dm.tasks import humanoid
from mjx_dm.tasks.humanoid import ACTION_LIMIT, EPISODE_STEPS

# Largest errors allowed, about ten times what was measured, for (one step, 20 steps and episodes).
# The C engine computes in float64 like Gymnasium, and only rounds the state to float32 after each
# step; contacts amplify that. MJX and MuJoCo Warp compute in float32 throughout. Forces reach
# thousands of newtons. At x = 80 m a float32 position is rounded by 4e-6 m, which the reward
# divides by 0.015 s; the two float32 engines carry it into the inertias as well.
TOLERANCE = {
    "mujoco": {
        "qpos": (1e-6, 2e-5),
        "qvel": (1e-5, 6e-4),
        "cinert": (3e-6, 2e-5),
        "cvel": (1e-5, 4e-4),
        "qfrc_actuator": (4e-5, 4e-5),
        "cfrc_ext": (3e-4, 0.2),
        "reward": (5e-3, 8e-3),
        "reward near the origin": (2e-5, 5e-5),
    },
    "mjx": {
        "qpos": (2e-5, 4e-4),
        "qvel": (1e-3, 8e-3),
        "cinert": (1e-3, 1e-3),
        "cvel": (1e-3, 9e-3),
        "qfrc_actuator": (4e-5, 4e-5),
        "cfrc_ext": (0.4, 2.0),
        "reward": (7e-3, 2e-2),
        "reward near the origin": (2e-4, 2e-4),
    },
}
TOLERANCE["warp"] = TOLERANCE["mjx"]

# A capsule that meets the floor within 30 degrees of upright gets another contact frame from MJX
# and Warp than from MuJoCo, hence other friction (see the last test). That happens to a body that
# goes down, as it does within 20 steps from these starts.
GOES_DOWN = {"standing", "falling", "lying", "flung"}

ENGINES = [
    "mujoco",
    # Both compile for minutes on a CPU.
    pytest.param("warp", marks=[pytest.mark.slow, pytest.mark.gpu]),
    pytest.param("mjx", marks=[pytest.mark.slow, pytest.mark.gpu]),
]


@pytest.fixture(scope="module", params=ENGINES)
def measured(request):
    """(engine, parity's report of it by kind of start)."""
    if request.param == "warp":
        pytest.importorskip("warp")
    worlds, steps = (4, 60) if request.param == "mujoco" else (2, 40)
    with jax.numpy_rank_promotion("allow"):  # MJX's own code promotes ranks
        return request.param, parity.measure(request.param, parity.make_case(worlds, steps))


def test_one_step_is_gymnasiums_from_every_kind_of_start(measured):
    engine, report = measured
    for kind in parity.KINDS:
        assert_close(engine, kind, report[kind]["1"], column=0)


def test_twenty_steps_are_gymnasiums(measured):
    engine, report = measured
    for kind in parity.KINDS:
        if engine == "mujoco" or kind not in GOES_DOWN:
            assert_close(engine, kind, report[kind]["20"], column=1)


def test_whole_episodes_are_gymnasiums_to_the_step_that_ends_them(measured):
    engine, report = measured
    for kind in parity.KINDS:
        assert_close(engine, kind, report[kind]["episode"], column=1)
        if engine == "mujoco":
            assert max(report[kind]["episode_steps"]) < 60, "every world should fall"


def test_every_field_was_put_to_the_test(measured):
    """The comparisons above say nothing about a field that is zero, or contacts never made."""
    _, report = measured
    for kind in ("lying", "sunk"):
        assert all(report[kind]["20"][field]["largest"] > 1.0 for field in parity.OBS_PARTS)
        assert report[kind]["1"]["cfrc_ext"]["largest"] > 100.0
    assert any(e["largest"] for e in (report["flung"][h]["terminated"] for h in ("20", "episode")))


def assert_close(engine, kind, errors, column):
    for field, error in errors.items():
        name = field
        if field == "reward" and kind != "far":
            name = "reward near the origin"
        limit = TOLERANCE[engine].get(name, (0.0, 0.0))[column]  # no end, no failure may differ
        assert error["error"] <= limit, f"{kind}, {field}: {error}"


@pytest.fixture(scope="module")
def two_worlds():
    """(place, step) of two worlds on MuJoCo's C engine; place puts both at (qpos, qvel)."""
    env = make_env(2, engine="mujoco", physics="v4")
    fresh, set_state = jax.jit(env.reset)(jax.random.key(0)), jax.jit(env.set_state)

    def place(qpos, qvel):
        return set_state(fresh, jnp.tile(qpos, (2, 1)), jnp.tile(qvel, (2, 1)))

    return place, jax.jit(env.step)


def test_actions_outside_the_box_move_as_clamped_and_cost_as_given(two_worlds):
    place, step = two_worlds
    outside = np.random.default_rng(0).uniform(-1, 1, 17).astype(np.float32)
    clamped = outside.clip(-ACTION_LIMIT, ACTION_LIMIT)
    start = place(*parity.make_state("standing", np.random.default_rng(1)))
    state = step(start, jnp.asarray(np.stack([outside, clamped])))
    np.testing.assert_array_equal(*np.asarray(state.final_obs))
    extra = 0.1 * (np.square(outside).sum() - np.square(clamped).sum())
    np.testing.assert_allclose(state.reward[1] - state.reward[0], extra, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:.*Humanoid-v4 is out of date")
@pytest.mark.parametrize("height", [1.4, 2.5])
@pytest.mark.parametrize("last_step", [False, True])
def test_episodes_end_by_height_by_time_and_by_both(two_worlds, height, last_step):
    """By both at once Gymnasium says terminated and truncated; ours says terminated alone.

    A fall at the time limit is a fall: nothing may be bootstrapped from it, so `truncated` means
    an end by time only. Either way the episode is over, with the same reward.
    """
    qpos, qvel = np.zeros(24), np.zeros(23)
    qpos[2:4] = height, 1.0
    peer = gymnasium.make("Humanoid-v4", max_episode_steps=1 if last_step else 2)
    peer.reset(seed=0)
    mujoco.mj_resetData(peer.unwrapped.model, peer.unwrapped.data)
    peer.unwrapped.set_state(qpos, qvel)
    _, reward, terminated, truncated, _ = peer.step(np.zeros(17))
    assert (terminated, truncated) == (height == 2.5, last_step)

    place, step = two_worlds
    state = place(qpos, qvel)
    state = state._replace(episode_step=jnp.full(2, EPISODE_STEPS - 1 if last_step else 0))
    state = step(state, jnp.zeros((2, 17)))
    assert bool(state.terminated[0]) == terminated
    assert bool(state.truncated[0]) == (truncated and not terminated)
    np.testing.assert_allclose(state.reward[0], reward, rtol=1e-6)
    assert state.episode_step[0] == (0 if terminated or truncated else 1)


def test_the_c_engine_copies_where_the_program_runs_elsewhere_and_steps_alike(monkeypatch):
    """On a GPU the engine's buffers are not the program's."""
    env = make_env(3, engine="mujoco", physics="fast")
    state = jax.jit(env.reset)(jax.random.key(0))
    action = jnp.full((3, 17), ACTION_LIMIT)
    in_place = jax.jit(env.step)(state, action)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    program = jax.jit(lambda state, action: env.step(state, action))
    assert "buffer" not in program.lower(state, action).as_text()
    jax.tree.map(np.testing.assert_array_equal, *map(_data, (in_place, program(state, action))))


def _data(state):
    return state._replace(key=jax.random.key_data(state.key))


@pytest.mark.parametrize("tilt, alike", [(25.0, False), (35.0, True)])
def test_mjx_turns_the_contact_frame_of_a_capsule_within_30_degrees_of_upright(tilt, alike):
    """Why GOES_DOWN is left out above. Where this fails, MJX was mended: take it in."""
    model = mujoco.MjModel.from_xml_string(f"""<mujoco><worldbody>
        <geom type="plane" size="5 5 1"/>
        <body pos="0 0 0.2" euler="{tilt} {tilt / 4} 0">
          <freejoint/><geom type="capsule" size="0.1 0.2"/>
        </body></worldbody></mujoco>""")
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with jax.numpy_rank_promotion("allow"):
        ours = mjx.put_model(model)
        ours = jax.jit(lambda d: mjx.collision(ours, mjx.kinematics(ours, d)))(mjx.make_data(ours))
    lower = int(np.argmin(ours._impl.contact.dist))
    theirs = data.contact.frame[np.argmin(data.contact.dist)].reshape(3, 3)
    error = np.abs(np.asarray(ours._impl.contact.frame[lower]) - theirs).max()
    assert (error < 1e-5) == alike


@pytest.fixture
def lying_worlds():
    """place(engine, heights): (env, state) of two of its worlds, lying flat at these heights."""

    def place(engine, heights):
        if engine == "warp":
            pytest.importorskip("warp")
        env = make_env(2, engine=engine, physics="fast")
        qpos, qvel = parity.make_state("lying", np.random.default_rng(0))
        qpos = jnp.tile(jnp.asarray(qpos, jnp.float32), (2, 1)).at[:, 2].set(jnp.asarray(heights))
        qvel = jnp.zeros((2, len(qvel)))
        return env, env.set_state(env.reset(jax.random.key(0)), qpos, qvel)

    with jax.numpy_rank_promotion("allow"):  # MJX's own code promotes ranks
        yield place


@pytest.mark.slow
@pytest.mark.gpu
def test_warp_keeps_its_warnings_to_itself(lying_worlds, capfd):
    """A solver that stops at its limit is no news; 1024 worlds once printed 24 MB of it."""
    env, state = lying_worlds("warp", [0.1, 0.1])
    step = jax.jit(env.step)
    for _ in range(20):
        state = jax.block_until_ready(step(state, jnp.full((2, 17), ACTION_LIMIT)))
    assert "iterations limit" not in capfd.readouterr().out


@pytest.mark.slow
@pytest.mark.gpu
@pytest.mark.parametrize(
    "engine, module, limit, room",
    [("warp", mjx_engine, "WARP_ROWS_PER_WORLD", 8), ("mjx", humanoid, "MJX_CONTACTS", 2)],
)
def test_an_engine_says_which_world_ran_out_of_room(
    lying_worlds, monkeypatch, engine, module, limit, room
):
    """One world lies on the floor and needs more contacts or rows than there are, one flies."""
    monkeypatch.setattr(module, limit, room)
    env, state = lying_worlds(engine, [0.1, 1.9])
    state = jax.jit(env.step)(state, jnp.zeros((2, 17)))
    assert state.failed.tolist() == [True, False]
    assert state.valid.tolist() == [False, True]


def test_mjx_solves_some_contacts_of_each_kind_and_no_more():
    """All 138 that could be would be 242 rows in every world."""
    data = mjx.make_data(humanoid.load_model(humanoid.PHYSICS["mjx", "fast"]))
    kept = np.bincount(np.asarray(data._impl.contact.dim))
    assert kept[[1, 3]].tolist() == [humanoid.MJX_CONTACTS] * 2 and kept.sum() == 32
