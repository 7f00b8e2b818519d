"""Videos show the evaluated episode in real time; eval_render.py says what it did."""

import dataclasses
import functools
import json
import os
import sys
from types import ModuleType, SimpleNamespace

import imageio_ffmpeg
import mujoco
import numpy as np
import pytest
from PIL import Image

import eval_render
from mjx_dm.checkpoints.saving import CheckpointError
from mjx_dm.config import ConfigError
from mjx_dm.evaluation import films as render
from mjx_dm.evaluation import mp4
from mjx_dm.evaluation.drawing import drawing_model, ray_frames
from mjx_dm.evaluation.evaluate import evaluate
from mjx_dm.report import tables
from mjx_dm.tasks import get_task
from mjx_dm.tasks.task import Task

WIDTH, HEIGHT = 128, 96


def feedback(obs: np.ndarray) -> np.ndarray:
    return np.clip(-obs[:, 5:22], -0.4, 0.4)


def humanoid():
    return get_task("Humanoid-v4")


@pytest.fixture(scope="module", params=["gl", "rays"])
def film(request, tmp_path_factory):
    """An MP4 of one short episode by each drawer."""
    if request.param == "gl" and render.find_gl() is None:
        pytest.skip(render.gl_advice())
    path = tmp_path_factory.mktemp(request.param) / "episode.mp4"
    count = render.record_episode(
        feedback, path, seed=3, width=WIDTH, height=HEIGHT, drawer=request.param
    )
    return SimpleNamespace(path=path, count=count, frames=mp4.read_frames(path))


def test_video_holds_every_second_state_of_the_evaluated_episode(film) -> None:
    # The state after the reset is the first frame.
    states = evaluate(feedback, episodes=1, seed=3).lengths[0] + 1
    assert film.count == len(film.frames) == (states + 1) // 2


def test_video_time_is_simulated_time(film) -> None:
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(film.path))
    # ffmpeg reports hundredths of a second.
    assert seconds == pytest.approx(frames * 2 * 0.015, abs=0.011)


def test_frames_show_something_that_moves(film) -> None:
    assert film.frames.shape[1:] == (HEIGHT, WIDTH, 3)
    assert film.frames[0].std() > 20
    assert np.abs(film.frames[0].astype(int) - film.frames[-1]).max() > 60


def test_camera_follows_the_body(film) -> None:
    # Orange is the body's alone; its middle stays near the picture's.
    picture = film.frames[-1].astype(int)
    body = picture[..., 0] > picture[..., 2] + 40
    assert body.sum() > 50
    assert abs(np.nonzero(body)[1].mean() - WIDTH / 2) < WIDTH / 8


def test_strip_and_gif_show_evenly_spaced_frames(film, tmp_path) -> None:
    mp4.frame_strip(film.path, tmp_path / "strip.png", count=3)
    strip = np.asarray(Image.open(tmp_path / "strip.png"))
    assert strip.shape == (HEIGHT, 3 * WIDTH, 3)
    np.testing.assert_array_equal(strip[:, :WIDTH], film.frames[0])
    np.testing.assert_array_equal(strip[:, -WIDTH:], film.frames[-1])
    mp4.small_gif(film.path, tmp_path / "loop.gif", width=64)
    with Image.open(tmp_path / "loop.gif") as gif:
        assert gif.size == (64, 48)
        assert gif.n_frames == -(-film.count // 3)


def test_video_stops_at_max_seconds(tmp_path) -> None:
    qpos = np.tile(get_task("Humanoid-v4").model.qpos0, (50, 1))
    path = tmp_path / "short.mp4"
    options = {"width": WIDTH, "height": HEIGHT, "drawer": "rays"}
    assert render.write_video(qpos, path, max_seconds=0.3, **options) == 10
    assert len(mp4.read_frames(path)) == 10


def test_floor_has_no_edge_where_a_runner_gets_to() -> None:
    model = drawing_model(get_task("Humanoid-v4"), WIDTH, HEIGHT)
    qpos = np.stack([model.qpos0, model.qpos0])
    qpos[1, 0] += 100.0
    here, there = ray_frames(model, qpos)
    np.testing.assert_array_equal(there, here)


def test_film_of_another_robot_keeps_its_own_time(tmp_path) -> None:
    # A frame a step of 0.05 s, and one in four of 0.008 s.
    for name, steps, frames in (("HalfCheetah-v5", 9, 9), ("Hopper-v5", 9, 3)):
        task, path = get_task(name), tmp_path / f"{name}.mp4"
        qpos = np.tile(task.model.qpos0, (steps, 1))
        size = {"width": WIDTH, "height": HEIGHT}
        assert render.write_video(qpos, path, task, drawer="rays", **size) == frames
        found, seconds = imageio_ffmpeg.count_frames_and_secs(str(path))
        rate = {"HalfCheetah-v5": 20.0, "Hopper-v5": 31.25}[name]
        assert found == frames and render.frames_per_second(task) == pytest.approx(rate)
        assert seconds == pytest.approx(frames / rate, abs=0.011)


@pytest.mark.parametrize(
    "name", ["Ant-v5", "Reacher-v5", "Pusher-v5", "InvertedDoublePendulum-v5", "no camera"]
)
def test_robot_fills_the_picture_and_stays_in_it(name: str) -> None:
    task = without_camera(get_task("Humanoid-v4")) if name == "no camera" else get_task(name)
    model = drawing_model(task, WIDTH, HEIGHT)
    qpos = model.qpos0.copy()
    if model.jnt_type[0] == mujoco.mjtJoint.mjJNT_FREE:
        qpos[0] += 50.0
    picture = next(ray_frames(model, qpos[None]))
    model.geom_group[model.geom_type != mujoco.mjtGeom.mjGEOM_PLANE] = 5  # which is not drawn
    empty = next(ray_frames(model, qpos[None]))
    row, column = np.nonzero((picture != empty).any(-1))
    assert min(row.min(), column.min()) > 0
    assert row.max() < HEIGHT - 1 and column.max() < WIDTH - 1
    assert max(np.ptp(row) / HEIGHT, np.ptp(column) / WIDTH) > 0.4


def without_camera(task: Task) -> Task:
    def spec() -> mujoco.MjSpec:
        bare = task.spec()
        bare.delete(bare.camera("track"))
        return bare

    return dataclasses.replace(task, spec=spec)


def test_camera_that_the_model_lacks_is_one_sentence() -> None:
    task = dataclasses.replace(get_task("Ant-v5"), camera="left")
    with pytest.raises(ConfigError, match="Ant-v5 has no camera 'left' .* it has: track"):
        drawing_model(task, WIDTH, HEIGHT)


def test_positions_of_another_robot_are_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"Ant-v5 has positions \(T, 15\), not .*\(2, 24\)"):
        render.write_video(np.zeros((2, 24)), tmp_path / "a.mp4", "Ant-v5")


def test_environment_of_the_user_is_left_alone(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    before = dict(os.environ)
    render.write_video(np.ones((2, 24)), tmp_path / "a.mp4", width=WIDTH, height=HEIGHT)
    assert dict(os.environ) == before


def test_without_opengl_asking_for_it_says_how_to_get_it(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(render, "find_gl", lambda: None)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    with pytest.raises(render.NoDisplay, match="apt-get install"):
        render.write_video(np.zeros((2, 24)), tmp_path / "a.mp4", drawer="gl")
    assert not list(tmp_path.iterdir())


def test_gl_probe_survives_a_backend_that_does_not_exist(monkeypatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "bogus")
    assert render.find_gl() is None


def test_unreadable_video_is_one_sentence(tmp_path) -> None:
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(OSError, match="cannot be read as a video"):
        mp4.read_frames(tmp_path / "a.mp4")


@pytest.fixture
def run_dir(monkeypatch, tmp_path):
    """A run directory whose policy is `feedback`."""
    # Small pictures: the time goes there.
    small = functools.partial(render.write_video, width=WIDTH, height=HEIGHT)
    monkeypatch.setattr(render, "write_video", small)
    # eval_render sets it where it is unset; restored when the test ends.
    monkeypatch.setenv("JAX_PLATFORMS", os.environ.get("JAX_PLATFORMS", "cpu"))
    fake = ModuleType("mjx_dm.checkpoints.policy")
    fake.load_policy = lambda path, rule: SimpleNamespace(
        own_task=humanoid,
        act=feedback,
        env_steps=1234,
        action_rule="mixture mean",
        checkpoint="000000001234",
    )
    monkeypatch.setitem(sys.modules, "mjx_dm.checkpoints.policy", fake)
    (tmp_path / "run" / "checkpoints" / "000000001234").mkdir(parents=True)
    return tmp_path / "run"


def test_eval_render_writes_scores_and_a_video_of_the_median(run_dir, capsys) -> None:
    assert eval_render.main([str(run_dir), "--episodes", "3"]) == 0
    report = json.loads((run_dir / "eval" / "eval.json").read_text())
    assert report["returns"] == list(evaluate(feedback, episodes=3, seed=1000).returns)
    assert report["checkpoint"] == "000000001234"
    assert report["env_steps"] == 1234
    assert report["action_rule"] == "mixture mean"
    seed = report["seeds"][report["returns"].index(report["median"])]
    names = {path.name for path in (run_dir / "videos").iterdir()}
    assert names == {f"step_000000001234_seed_{seed}{end}" for end in (".mp4", ".png")}
    assert f"{report['mean']:.1f} ± {report['std']:.1f}" in capsys.readouterr().out


def test_eval_render_films_without_opengl_and_says_so(run_dir, capsys, monkeypatch) -> None:
    """And in a folder whose name ffmpeg would read as a protocol, an option or a pattern."""
    monkeypatch.setattr(render, "find_gl", lambda: None)
    monkeypatch.chdir(run_dir)
    for out in ("seed:1 of 5%d", "-y"):
        assert eval_render.main([".", "--episodes", "1", f"--out={out}"]) == 0
        assert [x.suffix for x in sorted((run_dir / out).iterdir())] == [".json", ".mp4", ".png"]
    said = capsys.readouterr()
    assert "drawn without OpenGL" in said.out and not said.err


@pytest.mark.parametrize("broken", ["no ffmpeg", "no OpenGL process"])
def test_eval_render_keeps_its_scores_where_no_film_can_be_made(
    run_dir, capsys, monkeypatch, broken
) -> None:
    def fail(*_, **__):
        raise RuntimeError("No ffmpeg exe could be found.\nInstall it.")

    monkeypatch.setattr(render, "find_gl", lambda: None)
    if broken == "no ffmpeg":
        monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", fail)
    else:
        monkeypatch.setattr(render, "write_video", fail)
    assert eval_render.main([str(run_dir), "--episodes", "1"]) == 0
    said = capsys.readouterr()
    assert json.loads((run_dir / "eval" / "eval.json").read_text())["episodes"] == 1
    assert "The scores stand, but no video could be written: " in said.err
    assert said.err.count("\n") == 1 and "Video of" not in said.out


def test_eval_render_writes_scores_that_nobody_reads(run_dir, monkeypatch) -> None:
    def closed(*_):
        raise SystemExit(1)  # as Rich ends a program whose pipe is closed

    monkeypatch.setattr(tables, "print_scores", closed)
    assert eval_render.main([str(run_dir), "--episodes", "1", "--no-video"]) == 0
    assert (run_dir / "eval" / "eval.json").exists()


def test_eval_render_out_receives_everything(run_dir, tmp_path) -> None:
    out = tmp_path / "elsewhere"
    assert eval_render.main([str(run_dir), "--episodes", "1", "--out", str(out), "--no-video"]) == 0
    assert [path.name for path in out.iterdir()] == ["eval.json"]
    assert [path.name for path in run_dir.iterdir()] == ["checkpoints"]


def test_eval_render_shows_the_scores_that_it_cannot_write(run_dir, capsys) -> None:
    (run_dir / "eval" / "eval.json").mkdir(parents=True)
    assert eval_render.main([str(run_dir), "--episodes", "1"]) == 1
    said = capsys.readouterr()
    assert "over 1 episodes" in said.out and "Scores:" not in said.out
    assert "eval.json cannot be written: Is a directory." in said.err
    assert said.err.count("\n") == 1
    assert [path.name for path in (run_dir / "eval").iterdir()] == ["eval.json"]


def test_eval_render_ends_on_an_interrupt_in_one_sentence(run_dir, capsys, monkeypatch) -> None:
    def interrupted(obs: np.ndarray) -> np.ndarray:
        raise KeyboardInterrupt

    policy = SimpleNamespace(act=interrupted, own_task=humanoid)
    monkeypatch.setattr(
        sys.modules["mjx_dm.checkpoints.policy"], "load_policy", lambda path, rule: policy
    )
    assert eval_render.main([str(run_dir), "--episodes", "1"]) == 130
    assert capsys.readouterr().err == "eval_render.py: interrupted before all was done.\n"


def test_eval_render_gives_no_score_for_a_broken_policy(run_dir, capsys, monkeypatch) -> None:
    fake = sys.modules["mjx_dm.checkpoints.policy"]
    broken = SimpleNamespace(act=lambda obs: np.full((len(obs), 17), np.nan), own_task=humanoid)
    monkeypatch.setattr(fake, "load_policy", lambda path, rule: broken)
    assert eval_render.main([str(run_dir), "--episodes", "1"]) == 1
    assert not (run_dir / "eval" / "eval.json").exists()
    assert "not finite" in capsys.readouterr().err


def test_eval_render_passes_on_what_is_wrong_with_a_checkpoint(
    run_dir, capsys, monkeypatch
) -> None:
    def damaged(path, rule):
        raise CheckpointError("Checkpoint 12 is damaged.")

    monkeypatch.setattr(sys.modules["mjx_dm.checkpoints.policy"], "load_policy", damaged)
    assert eval_render.main([str(run_dir)]) == 2
    assert capsys.readouterr().err == "eval_render.py: Checkpoint 12 is damaged.\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "no run directory nowhere"),
        (["RUN", "--episodes", "0"], "--episodes must be at least 1"),
        (["RUN", "--seed", "-1"], "--seed must lie in"),
        (["RUN", "--out", "FILE"], "cannot be made"),
        (["EMPTY"], "holds no checkpoint"),
    ],
)
def test_eval_render_answers_bad_input_in_one_sentence(
    run_dir, tmp_path, capsys, arguments, sentence
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    places = {"RUN": run_dir, "EMPTY": tmp_path / "empty", "FILE": tmp_path / "file"}
    assert eval_render.main([str(places.get(word, word)) for word in arguments]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
