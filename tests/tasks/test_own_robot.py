"""A robot of a user's own: its file is loaded, checked, kept, and scored by its own functions."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_dm.config import ConfigError
from mjx_dm.engines import make_engine
from mjx_dm.tasks import check, get_task, loading, make_task
from mjx_dm.tasks.checking import READABLE
from mjx_dm.tasks.making import START_NOISE

GOOD = '''
import jax.numpy as jnp
import mujoco
import mjx_dm

MODEL = """<mujoco><worldbody><body name="cart"><joint name="x" type="slide" axis="1 0 0"/>
  <geom size="0.1"/></body></worldbody>
  <actuator><motor name="push" joint="x" ctrlrange="-1 1"/></actuator></mujoco>"""
EMPTY = "<mujoco><worldbody><body><joint/></body></worldbody></mujoco>"
CART = mujoco.MjModel.from_xml_string(MODEL).body("cart").id

def observe(fields):
    return jnp.stack([fields["qpos"][0], fields["xpos"][CART, 0], fields["qvel"][0]])

def reward(before, after, action):
    return -after["qpos"][0] ** 2, {"moved": after["qpos"][0] - before["qpos"][0]}

def terminated(after):
    return after["qpos"][0] > 1

def reset(key):
    return jnp.zeros(1), jnp.zeros(1)

TASKS = {"Cart": mjx_dm.make_task(MODEL, observe, reward, terminated, reset, reads=("xpos",))}
'''
TASKS = GOOD[GOOD.index("TASKS =") :]
ACTUATOR = '<motor name="push" joint="x" ctrlrange="-1 1"/>'
OBSERVED = 'jnp.stack([fields["qpos"][0], fields["xpos"][CART, 0], fields["qvel"][0]])'
REWARDED = '-after["qpos"][0] ** 2, {"moved": after["qpos"][0] - before["qpos"][0]}'
ENDED = 'after["qpos"][0] > 1'
STARTED = "jnp.zeros(1), jnp.zeros(1)"


def written(folder, text=GOOD, name="my_robot.py"):
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (TASKS, "", r"my_robot\.py defines no TASKS; end it with TASKS = "),
        (TASKS, "TASKS = {}", r"TASKS of .*my_robot\.py must be a dict .* not empty"),
        (
            TASKS,
            "TASKS = {'A': 1, 'B': 2}",
            r"my_robot\.py holds several tasks; give one: my_robot\.py:A, my_",
        ),
        (TASKS, "TASKS = {'A': 1}", r"A of .*my_robot\.py is of type int and must be a Task"),
        (TASKS, "TASKS = {'A': lambda: 1 / 0}", "line 24, in A: ZeroDivisionError: division by"),
        ("def reset(key):", "def reset(key:", r"my_robot\.py, line 21: SyntaxError: .* never clo"),
        ("import mujoco", "import my_helper", "line 3: ModuleNotFoundError: .*not files beside"),
        ('body("cart")', 'body("kart")', "line 10: KeyError: Invalid name 'kart'. Valid names: "),
        ("reads=", "frames=2, reads=", "line 24: TypeError: .*unexpected keyword argument 'frames"),
        ("MODEL, observe", "'../a.xml', observe", r"line 24: The model \.\./a\.xml lies outside"),
        ("MODEL, observe", "'a.xml', observe", r"my_robot\.py, model: there is no file .*/a\.xml"),
        ("<geom", "<gum", "line 10: XML Error: Schema violation: unrecognized element .*'gum'"),
        ("MODEL, observe", "'<mujoco><gum/></mujoco>', observe", "model: MuJoCo cannot .*'gum'"),
        ("MODEL, observe", "EMPTY, observe", "model: MuJoCo cannot take it: Error: mass and ine"),
        ("ctrlrange", "forcerange", 'actuator push has no ctrlrange; give it ctrlrange="-1 1"'),
        (ACTUATOR, "", "model: it has no actuator; add <actuator><motor joint=.../>"),
        (
            "<motor",
            '<general dyntype="filter" dynprm="1"',
            "actuator push has an activation of its own",
        ),
        ("reads=", "camera='eye', reads=", "camera: the model has no camera 'eye'; .* it has none"),
        ("reads=", "frame_skip=0, reads=", "frame_skip: it must be a whole number of at least 1"),
        ('("xpos",)', '("xposs",)', "reads: the field 'xposs' is unknown; choose from xpos, xquat"),
        ('("xpos",)', "()", r"line 13, in observe: KeyError: xpos; name it in reads .*\('xpos',\)"),
        (OBSERVED, 'fields["qpoz"]', "line 13, in observe: KeyError: qpoz; near it is qpos"),
        (OBSERVED, 'fields["qpos"][:, None]', r"observe: .* gives float32 of shape \(1, 1\)"),
        (
            OBSERVED,
            '{"state": fields["qpos"]}',
            r"observe: .* gives \{'state': float32 of shape",
        ),
        (OBSERVED, 'fields["qpos"] @ jnp.ones(3)', "line 13, in observe: TypeError: dot_general"),
        (OBSERVED, 'jnp.log(fields["qpos"] - 1)', "observe: number 0 is nan after 0 steps"),
        (REWARDED, 'after["qpos"]', r"reward: .* for the reward, and gives float32 of shape \(1,"),
        (REWARDED, '0, {"far": after["qpos"]}', r"reward: .* its term 'far', and gives float32"),
        (REWARDED, '0, after["qpos"]', r"reward: it must give a number, or \(number, {term: n"),
        (REWARDED, "jnp.log(-action[0] ** 2)", "reward: the reward is nan in step 0"),
        (REWARDED, '0.0, {"far": 1 / before["qpos"][0]}', "reward: its term 'far' is inf in step"),
        (REWARDED, '1 if after["qpos"][0] > 1 else 0', "line 16, in reward: Tracer.*write jnp.wh"),
        (REWARDED, "speed", "line 16, in reward: NameError: name 'speed' is not defined"),
        (ENDED, 'after["qpos"] > 1', r"terminated: .* of shape \(\), and gives bool of shape"),
        (ENDED, 'after["qpos"][0]', "terminated: it must give one bool, .* gives float32"),
        ("reads=", "info=lambda *step: step[1], reads=", "info: .* number}, and gives {'qpos': "),
        (STARTED, "jnp.zeros(1)", r"reset: it must give \(qpos, qvel\), and gives float32"),
        (STARTED, "jnp.zeros(1), jnp.zeros(2)", r"reset: it must give qvel of shape \(1,\), and "),
        (STARTED, "jnp.full(1, jnp.nan), jnp.zeros(1)", r"reset: its qpos is not finite: \[nan\]"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_in_one_sentence(old, new, sentence, tmp_path):
    assert old in GOOD
    path = written(tmp_path, GOOD.replace(old, new))
    with pytest.raises(ConfigError, match=sentence) as refusal:
        get_task(str(path))
    said = str(refusal.value)
    assert "my_robot.py" in said and "\n" not in said and said.endswith(".")


def test_a_file_may_hold_several_tasks_with_options(tmp_path):
    text = GOOD[: GOOD.index("TASKS =")] + (
        "def cart(*, limit=100, scale=1.0):\n"
        "    paid = lambda *step: scale * reward(*step)[0]\n"
        "    return mjx_dm.make_task(MODEL, observe, paid, reads='xpos',"
        " max_episode_steps=limit)\n"
        "TASKS = {'Slow': cart, 'Quick': lambda: cart(limit=5)}\n"
    )
    path = written(tmp_path, text)
    assert get_task(f"{path}:Quick").max_episode_steps == 5
    slow = get_task(f"{path}:Slow", scale=2.0)
    assert (slow.name, slow.max_episode_steps, slow.options) == ("Slow", 100, {"scale": 2.0})
    for name, options, sentence in (
        ("Fast", {}, "has no task 'Fast' in TASKS; it has: Slow, Quick"),
        ("Slow", {"gain": 1}, "has no option 'gain'; its options: limit, scale"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            get_task(f"{path}:{name}", **options)
    with pytest.raises(ConfigError, match="Cart of .* has no option 'gain'"):
        get_task(str(written(tmp_path)), gain=1)


def test_a_file_that_is_not_there_is_asked_for():
    with pytest.raises(ConfigError, match="file none.py cannot be read .* a folder task beside"):
        get_task("none.py")


def test_a_model_in_a_file_is_kept_with_all_that_it_reads(tmp_path):
    there, elsewhere = tmp_path / "there", tmp_path / "elsewhere"
    (there / "meshes").mkdir(parents=True)
    (there / "cart.xml").write_text(
        """<mujoco><compiler meshdir="meshes"/><include file="option.xml"/>
        <asset><mesh name="tetra" file="tetra.obj"/></asset>
        <worldbody><body><joint name="x" type="slide"/><geom type="mesh" mesh="tetra"/></body>
        </worldbody><actuator><motor joint="x" ctrlrange="-1 1"/></actuator></mujoco>"""
    )
    (there / "option.xml").write_text('<mujoco><option timestep="0.004"/></mujoco>')
    faces = "f 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
    (there / "meshes" / "tetra.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\n" + faces)
    name = str(
        written(
            there,
            "import jax.numpy as jnp, mjx_dm\n"
            "TASKS = {'Cart': mjx_dm.make_task("
            "'cart.xml', lambda fields: fields['qpos'], lambda before, after, action: 0.0)}",
        )
    )
    task = get_task(name)
    assert sorted(task.files) == ["cart.xml", "meshes/tetra.obj", "my_robot.py", "option.xml"]
    assert task.step_seconds == pytest.approx(5 * 0.004)
    assert loading.kept(name, elsewhere) == name, "there is no copy yet"
    loading.keep(task, elsewhere)
    os.rename(there, tmp_path / "gone")
    again = get_task(loading.kept(name, elsewhere))
    np.testing.assert_array_equal(again.model.mesh_vert, task.model.mesh_vert)
    assert again.files == task.files and not loading.changed(again, name)


def test_a_task_starts_near_its_keyframe_where_it_has_no_reset():
    xml = """<mujoco><worldbody><body><freejoint/><geom size="0.1"/>
      <body><joint name="x" type="slide"/><geom size="0.1"/></body></body></worldbody>
      <actuator><motor joint="x" ctrlrange="-1 1"/></actuator>%s</mujoco>"""
    key = '<keyframe><key qpos="0 0 2 1 0 0 0 0.5" qvel="1 0 0 0 0 0 0"/></keyframe>'
    for text, qpos, speed in (
        (xml % "", [0, 0, 0, 1, 0, 0, 0, 0], 0.0),
        (xml % key, [0, 0, 2, 1, 0, 0, 0, 0.5], 1.0),
    ):
        task = make_task(text, lambda fields: fields["qpos"], lambda *step: 1.0)
        check(task)
        starts = jax.jit(jax.vmap(task.reset))(jax.random.split(jax.random.key(0), 50))
        off = np.concatenate(starts, 1) - np.array([*qpos, speed, *[0] * 6])
        assert START_NOISE * 0.8 < np.abs(off).max() <= START_NOISE * 1.001
        assert len(np.unique(off)) > 700, "every number is drawn by itself"


RICH = """<mujoco><worldbody><body pos="0 0 1"><freejoint/><geom size="0.1"/><site name="a"/>
  <body pos="0.2 0 0"><joint name="hinge"/><geom size="0.1"/><site name="b"/></body></body>
  </worldbody><tendon><spatial name="t"><site site="a"/><site site="b"/></spatial></tendon>
  <actuator><motor joint="hinge" ctrlrange="-1 1"/></actuator>
  <sensor><gyro site="b"/></sensor></mujoco>"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mjx", "warp"])
def test_every_field_that_may_be_read_is_what_c_makes_it(name):
    if name == "warp":
        pytest.importorskip("warp")
    task = make_task(
        RICH,
        lambda fields: jnp.concatenate([x.reshape(-1) for x in fields.values()]),
        lambda before, after, action: sum(jnp.sum(x) for x in before.values()),
        reads=READABLE,
    )
    check(task)
    qpos, qvel = jnp.asarray(task.model.qpos0, jnp.float32)[None], jnp.full((1, 7), 0.5)
    found = []
    with jax.numpy_rank_promotion("allow"):  # MJX relies on it
        for engine in (make_engine(task, x, "exact", 1) for x in ("mujoco", name)):
            state, first = jax.jit(engine.start)(qpos, qvel)
            _, second, failed = jax.jit(engine.step)(state, jnp.full((1, 1), 0.7))
            assert not failed.any()
            found.append((first, second))
    for ours, theirs in zip(*found, strict=True):
        for field in READABLE:
            a, b = np.asarray(ours[field]), np.asarray(theirs[field])
            np.testing.assert_allclose(b, a, rtol=2e-3, atol=2e-3, err_msg=field)
