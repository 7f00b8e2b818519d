"""Films show the evaluated episode at its own speed, large in the picture, one or many at once."""

import copy
import dataclasses
import sys
from types import SimpleNamespace

import imageio_ffmpeg
import mujoco
import numpy as np
import pytest
from PIL import Image

from mjx_dm.config import ConfigError
from mjx_dm.drawing import mp4, opengl
from mjx_dm.drawing.camera import axes, views
from mjx_dm.drawing.scene import FLOOR_GROUP, corners, posed, scene_model
from mjx_dm.drawing.shot import Shot, Tile
from mjx_dm.drawing.text import box_of, write_on
from mjx_dm.evaluation.evaluate import evaluate
from mjx_dm.films import many
from mjx_dm.films.episodes import episode_shot, overlay, poster
from mjx_dm.films.making import _middle
from mjx_dm.films.options import FilmOptions
from mjx_dm.films.timing import frames_of, moments
from mjx_dm.films.trace import Episode, Trace
from mjx_dm.films.worlds import _grid
from mjx_dm.tasks import get_task

WIDTH, HEIGHT = 128, 96
SMALL = FilmOptions(width=WIDTH, height=HEIGHT, overlay=True)
ROBOTS = (
    "Humanoid-v4", "Ant-v5", "HalfCheetah-v5", "Hopper-v5", "Walker2d-v5", "Swimmer-v5",
    "Reacher-v5", "Pusher-v5", "InvertedPendulum-v5", "InvertedDoublePendulum-v5",
)  # fmt: skip


DRAWN = ("Humanoid-v4", "HalfCheetah-v5", "Pusher-v5")


def feedback(obs):
    return np.clip(-obs[:, 5:22], -0.4, 0.4)


@pytest.fixture(scope="module")
def played():
    """Sixteen short episodes: the task, their trace and their evaluation."""
    task = get_task("Humanoid-v4")
    trace = Trace(task, rewards=True)
    return task, trace, evaluate(feedback, task, episodes=16, seed=3, on_step=trace)


def picture_of(model, qpos):
    return Shot(model, (Tile(qpos[None, None]),), WIDTH, HEIGHT)


def bare(shot):
    """The same view of the same floor, without the robot."""
    model = copy.copy(shot.model)
    model.geom_rgba[model.geom_group != FLOOR_GROUP, 3] = 0.0
    model.geom_matid[model.geom_group != FLOOR_GROUP] = -1
    return dataclasses.replace(shot, model=model)


@pytest.fixture(scope="module")
def drawn(played, tmp_path_factory):
    """All that needs OpenGL, drawn by one process: a folder of films and pictures."""
    if opengl.find_gl() is None:
        pytest.skip(opengl.gl_advice())
    task, trace, _ = played
    bare_of_text = dataclasses.replace(SMALL, overlay=False)
    out, episode = tmp_path_factory.mktemp("drawn"), trace.episode(0)
    film = episode_shot(task, episode, SMALL)
    here = Tile(film.tiles[0].qpos[:1])
    far = Tile(here.qpos + 100.0 * (np.arange(film.model.nq) == 0))
    end = picture_of(film.model, film.tiles[0].qpos[-1, 0])
    shots = {
        "film.mp4": film,
        "wall.png": _middle(many.wall_shot(feedback, task, trace, 3, bare_of_text)),
        "poster.png": poster(film),
        "floor.png": Shot(film.model, (here, far), WIDTH, HEIGHT, columns=2),
        "end.png": end,
        "contacts.png": dataclasses.replace(end, contacts=True),
    }
    for name in DRAWN:
        robot = get_task(name)
        shot = picture_of(scene_model(robot, WIDTH, HEIGHT), robot.model.qpos0)
        shots |= {f"{name}.png": shot, f"{name} bare.png": bare(shot)}
    opengl.draw([(shot, out / name) for name, shot in shots.items()])
    return SimpleNamespace(out=out, shots=shots, read=lambda x: np.asarray(Image.open(out / x)))


def test_film_has_a_frame_for_every_thirtieth_of_a_second(drawn, played):
    steps = played[2].lengths[0]
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(drawn.out / "film.mp4"))
    assert frames == drawn.shots["film.mp4"].frames == int(steps * 0.015 * 30 + 1e-6) + 1
    # ffmpeg reports hundredths of a second.
    assert seconds == pytest.approx(frames / 30, abs=0.011)


def test_frames_show_something_that_moves(drawn):
    frames = mp4.read_frames(drawn.out / "film.mp4").astype(int)
    assert np.abs(frames[0, HEIGHT // 2 :] - frames[-1, HEIGHT // 2 :]).max() > 60


def test_slow_motion_takes_twice_the_time_for_the_same_motion(played):
    task, trace, _ = played
    film = episode_shot(task, trace.episode(0), SMALL)
    slow = episode_shot(task, trace.episode(0), dataclasses.replace(SMALL, slow=2.0))
    assert slow.rate == film.rate
    assert slow.frames in (2 * film.frames - 1, 2 * film.frames)
    np.testing.assert_allclose(slow.tiles[0].qpos[::2], film.tiles[0].qpos, atol=1e-9)
    last = episode_shot(task, trace.episode(0), dataclasses.replace(SMALL, seconds=0.2), last=True)
    assert last.frames == 6
    np.testing.assert_allclose(last.tiles[0].qpos[-1, 0], trace.episode(0).qpos[-1], atol=1e-5)


def test_wall_has_sixteen_different_tiles(drawn):
    wall = drawn.read("wall.png")
    assert wall.shape == (HEIGHT, WIDTH, 3)
    tiles = wall.reshape(4, HEIGHT // 4, 4, WIDTH // 4, 3).swapaxes(1, 2).reshape(16, -1)
    assert len({tile.tobytes() for tile in tiles}) == 16


@pytest.mark.parametrize("name", ROBOTS)
def test_view_is_as_wide_or_as_high_as_the_robot(name):
    model = scene_model(get_task(name), WIDTH, HEIGHT)
    view = views(model, model.qpos0[None, None], np.zeros((1, 1, 3)), WIDTH / HEIGHT, 30.0)[0]
    solid = np.flatnonzero((model.geom_type > 1) & (model.geom_group < 3))
    points = corners(model, posed(model), solid) - view.lookat
    right, up, ahead = axes(view.azimuth, view.elevation)
    half = np.tan(np.deg2rad(model.vis.global_.fovy) / 2) * (view.distance + points @ ahead)
    across = np.abs([points @ right / half * HEIGHT / WIDTH, points @ up / half]).max()
    assert 0.85 < across < 1.0


@pytest.mark.parametrize("name", DRAWN)
def test_robot_fills_the_picture_and_stays_in_it(drawn, name):
    with_robot, without = drawn.read(f"{name}.png"), drawn.read(f"{name} bare.png")
    differs = np.abs(with_robot.astype(int) - without).max(-1) > 40
    row, column = np.nonzero(differs)
    assert max(np.ptp(row) / HEIGHT, np.ptp(column) / WIDTH) > 0.7
    assert differs.mean() > 0.05
    assert row.min() > 0 and column.min() > 0 and column.max() < WIDTH - 1


def test_floor_has_no_edge_where_a_runner_gets_to(drawn):
    here, far = np.split(drawn.read("floor.png").astype(int), 2, axis=1)
    assert here.std() > 20
    assert np.abs(here - far).mean() < 2


def test_contact_forces_are_drawn_where_they_are_asked_for(drawn):
    assert (drawn.read("contacts.png") != drawn.read("end.png")).any()


def test_camera_is_steady_and_keeps_a_runner_in_the_middle():
    model = scene_model(get_task("HalfCheetah-v5"), WIDTH, HEIGHT)
    qpos = np.tile(model.qpos0, (60, 1, 1))
    qpos[:, 0, 0] = 5.0 * np.arange(60) / 30
    seen = views(model, qpos, np.zeros((60, 1, 3)), 16 / 9, 30.0)
    assert len({(x.distance, x.azimuth, x.lookat[2]) for x in seen}) == 1
    off = np.array([x.lookat[0] for x in seen]) - qpos[:, 0, 0]
    np.testing.assert_allclose(off, off[0], atol=1e-6)


def test_poster_shows_poses_that_differ(drawn):
    tile = drawn.shots["poster.png"].tiles[0]
    assert len({x.tobytes() for x in tile.qpos[0]}) == tile.qpos.shape[1] == 5
    swing = np.sin(np.linspace(0, 8 * np.pi, 80))
    chosen = swing[moments(np.stack([0 * swing, 0 * swing, swing], 1), 2)]
    assert np.ptp(chosen) > 0.9


def test_text_changes_the_picture_in_its_box_alone():
    frame = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    lines = ["time\t1.20 s", "return\t12"]
    differs = (write_on(frame, lines) != frame).any(-1)
    left, top, right, bottom = box_of(HEIGHT, WIDTH, lines)
    assert differs[top : bottom + 1, left : right + 1].mean() > 0.9
    differs[top : bottom + 1, left : right + 1] = False
    assert not differs.any()
    assert (write_on(frame, ["time\t1.20 s", "return\t13"]) != write_on(frame, lines)).any()


def test_overlay_ends_with_the_return_that_was_scored(played):
    task, trace, evaluation = played
    episode = trace.episode(2)
    assert episode.reward.sum() == pytest.approx(evaluation.returns[2], rel=1e-4)
    assert sum(x.sum() for x in episode.terms.values()) == pytest.approx(
        evaluation.returns[2], rel=1e-4
    )
    steps = evaluation.lengths[2]
    frames = frames_of(task.model, episode, 0.015, 1 / 0.015, 1000)
    lines = overlay(task.model, task, episode, frames)
    assert len(lines) == steps + 1
    assert lines[-1][0] == f"time\t{steps * 0.015:.2f} s"
    assert f"return\t{evaluation.returns[2]:,.0f}" in lines[-1]
    names = [x.partition("\t")[0] for x in lines[-1]]
    assert names == ["time", "speed", "return", "alive", "linvel", "quadctrl"]


def test_positions_between_two_steps_lie_on_the_way():
    task = get_task("InvertedPendulum-v5")
    qpos = np.array([[0.0, 0.0], [1.0, -2.0], [3.0, 0.0]], np.float32)
    nothing = np.zeros((3, 2), np.float32)
    episode = Episode(qpos, nothing, nothing[:, :1], None, {})
    frames = frames_of(task.model, episode, 0.1, 20.0, 100)
    np.testing.assert_allclose(frames.qpos[:, 0], [0.0, 0.5, 1.0, 2.0, 3.0], atol=1e-5)
    np.testing.assert_array_equal(frames.step, [0, 0, 1, 1, 2])
    last = frames_of(task.model, episode, 0.1, 20.0, 3, last=True)
    np.testing.assert_allclose(last.qpos[:, 0], [1.0, 2.0, 3.0], atol=1e-5)


def test_trace_takes_four_bytes_a_number():
    task = get_task("Humanoid-v4")
    trace, data = Trace(task), mujoco.MjData(task.model)
    for _ in range(1000):
        trace(0, data)
    numbers = task.model.nq + task.model.nv + task.model.nu
    assert sys.getsizeof(trace._states[0]) < 1.2 * 4 * 1000 * numbers


def test_training_starts_every_policy_alike_and_names_its_age(played, monkeypatch, tmp_path):
    task, _, _ = played
    policies = [SimpleNamespace(act=feedback, env_steps=1000)]
    policies += [SimpleNamespace(act=lambda obs: 0.3 * np.ones((16, 17)), env_steps=25000)]
    monkeypatch.setattr(many, "kept_policies", lambda run_dir: policies)
    shot = many.training_shot(tmp_path, task, 7, dataclasses.replace(SMALL, overlay=False))
    one, other = shot.tiles
    assert (one.captions[0], other.captions[0]) == (("1,000 steps",), ("25,000 steps",))
    np.testing.assert_array_equal(one.qpos[0], other.qpos[0])
    assert (one.qpos[10] != other.qpos[10]).any()
    assert shot.size == (WIDTH, HEIGHT) and shot.columns == 2


def test_training_of_a_single_age_is_one_sentence(played, monkeypatch, tmp_path):
    monkeypatch.setattr(many, "kept_policies", lambda _: [SimpleNamespace(env_steps=1000)])
    with pytest.raises(ConfigError, match="holds that of 1,000 steps alone: give a run"):
        many.training_shot(tmp_path, played[0], 7, SMALL)


def test_a_world_that_begins_anew_does_so_at_its_place_in_the_grid():
    task = get_task("HalfCheetah-v5")
    qpos = np.zeros((4, 4, task.model.nq))
    qpos[:, :, 0] = np.arange(4)[:, None]
    done = np.zeros((4, 4), bool)
    qpos[2:, 1, 0], done[2, 1] = [0.0, 1.0], True
    place = _grid(task, qpos, done)
    shown = place[:, :, 0] + qpos[:, :, 0]
    np.testing.assert_allclose(np.diff(shown, axis=0), 1.0, atol=1e-6)
    assert len(np.unique(np.round(place[0], 3), axis=0)) == 4


def test_camera_that_the_model_lacks_is_one_sentence():
    task = dataclasses.replace(get_task("Ant-v5"), camera="left")
    with pytest.raises(ConfigError, match="Ant-v5 has no camera 'left' .* it has: track"):
        scene_model(task, WIDTH, HEIGHT)
    with pytest.raises(ConfigError, match="Ant-v5 has no camera 'right'"):
        scene_model(task, WIDTH, HEIGHT, "right")
    assert scene_model(task, WIDTH, HEIGHT, "track").ncam


def test_gif_loops_in_real_time(tmp_path):
    frames = (np.full((48, 64, 3), 3 * i, np.uint8) for i in range(60))
    mp4.encode(frames, tmp_path / "a.mp4", 64, 48, 30.0)
    mp4.small_gif(tmp_path / "a.mp4", tmp_path / "a.gif", width=32)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.size == (32, 24) and gif.info["loop"] == 0
        assert gif.n_frames * gif.info["duration"] == pytest.approx(2000, rel=0.1)


def test_without_opengl_nothing_is_written_and_the_sentence_says_how_to_get_it(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(opengl, "find_gl", lambda: None)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    shot = picture_of(*(lambda m: (m, m.qpos0))(get_task("Hopper-v5").model))
    with pytest.raises(opengl.NoDisplay, match="pip install --no-deps lavavu-osmesa"):
        opengl.draw([(shot, tmp_path / "a.mp4")])
    assert not list(tmp_path.iterdir())


def test_gl_probe_survives_a_backend_that_does_not_exist(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "bogus")
    assert opengl.find_gl() is None


def test_osmesa_of_a_package_is_found_beside_it(monkeypatch, tmp_path):
    for file in ("lavavu/__init__.py", "lavavu_osmesa.libs/libOSMesa-f6a8.so.8.0.0", "links/x"):
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    found = opengl._bundled_osmesa(str(tmp_path / "links"))
    places = found["LD_LIBRARY_PATH"].split(":")
    assert places[:2] == [str(tmp_path / "links"), str(tmp_path / "lavavu_osmesa.libs")]
    assert (tmp_path / "links" / "libOSMesa.so").resolve().name == "libOSMesa-f6a8.so.8.0.0"


def test_unreadable_video_is_one_sentence(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(OSError, match="cannot be read as a video"):
        mp4.read_frames(tmp_path / "a.mp4")
