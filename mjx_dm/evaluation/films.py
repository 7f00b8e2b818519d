"""Videos of Humanoid-v4 episodes, with OpenGL where it can be had and by casting rays elsewhere.

OpenGL runs in a process of its own: MuJoCo picks its backend once, when it is first imported, and
a backend that fails to load cannot be undone. So the caller's MUJOCO_GL is read, never written.
"""

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import mujoco
import numpy as np
from gymnasium.envs.mujoco import mujoco_env

from mjx_dm.evaluation import mp4
from mjx_dm.evaluation.evaluate import Act, evaluate
from mjx_dm.tasks.humanoid import STEP_SECONDS

# Every second step (0.03 s) is a frame, so that video time is simulated time.
STEPS_PER_FRAME = 2
FRAMES_PER_SECOND = 1.0 / (STEPS_PER_FRAME * STEP_SECONDS)

Drawer = Literal["auto", "gl", "rays"]


class NoDisplay(RuntimeError):
    """OpenGL was asked for and cannot be had; the message says how to get it."""


class Trace:
    """The positions of every episode that is played: give it to evaluate as on_step.

    qpos: episode index -> list of (24,) float64, the state after the reset and after each step.
    """

    def __init__(self) -> None:
        self.qpos: dict[int, list[np.ndarray]] = {}

    def __call__(self, episode: int, data: mujoco.MjData) -> None:
        self.qpos.setdefault(episode, []).append(data.qpos.copy())


def record_episode(
    act: Act,
    path: str | Path,
    *,
    seed: int,
    max_seconds: float = 15.0,
    width: int = 640,
    height: int = 480,
    drawer: Drawer = "auto",
) -> int:
    """Play the episode that evaluate(act, episodes=1, seed=seed) plays, write it as an MP4.

    Returns the number of frames. Raises what evaluate and write_video raise.
    """
    trace = Trace()
    evaluate(act, episodes=1, seed=seed, on_step=trace)
    return write_video(
        trace.qpos[0],
        path,
        max_seconds=max_seconds,
        width=width,
        height=height,
        drawer=drawer,
    )


def write_video(
    qpos: Sequence[np.ndarray] | np.ndarray,
    path: str | Path,
    *,
    max_seconds: float = 15.0,
    width: int = 640,
    height: int = 480,
    drawer: Drawer = "auto",
) -> int:
    """Write positions (T, 24), one per environment step, as an MP4 at real-time speed.

    drawer: "gl", "rays" (no OpenGL needed, plainer), or "auto": gl where find_gl finds one.
    width, height: pixels, both even (libx264's chroma needs it).

    Returns the number of frames, each 0.03 s. Raises NoDisplay where drawer is "gl" and there is
    none, ValueError for odd sizes. The file appears whole or not at all.
    """
    if width % 2 or height % 2:
        raise ValueError(f"Video width and height must be even, got {width}x{height}.")
    frames_wanted = max(1, round(max_seconds * FRAMES_PER_SECOND))
    shown = np.asarray(qpos, np.float64)[::STEPS_PER_FRAME][:frames_wanted]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.stem}.unfinished.mp4")
    backend = find_gl() if drawer != "rays" else None
    if drawer == "gl" and backend is None:
        raise NoDisplay(gl_advice())
    try:
        if backend is None or not _drawn_by_child(shown, unfinished, width, height, backend):
            if drawer == "gl":
                raise NoDisplay(f"OpenGL ({backend}) failed while drawing. {gl_advice()}")
            mp4.encode(
                _ray_frames(shown, width, height), unfinished, width, height, FRAMES_PER_SECOND
            )
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return len(shown)


def find_gl() -> str | None:
    """The MUJOCO_GL value that draws without a window on this machine, or None.

    Tries the user's own MUJOCO_GL alone where it is set; otherwise egl, then osmesa, then glfw
    where there is a display. Each is tried once, in a process of its own.
    """
    return _find_gl(os.environ.get("MUJOCO_GL", ""), bool(os.environ.get("DISPLAY")))


def gl_advice() -> str:
    """One sentence: how to get OpenGL here."""
    if chosen := os.environ.get("MUJOCO_GL"):
        return f"OpenGL does not work with MUJOCO_GL={chosen}: unset it to have others tried."
    return (
        "OpenGL was not found; on Debian and Ubuntu, apt-get install libegl1 libgl1 brings it, "
        "and MUJOCO_GL (egl, osmesa or glfw) names one to use."
    )


_PROBE = """
import mujoco
model = mujoco.MjModel.from_xml_string(
    "<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 48, 64) as renderer:
    renderer.update_scene(data)
    assert renderer.render().any(), "nothing but black"
"""


@functools.cache
def _find_gl(chosen: str, has_display: bool) -> str | None:
    if chosen:
        candidates = [chosen]
    elif sys.platform == "linux":
        candidates = ["egl", "osmesa"] + ["glfw"] * has_display
    else:
        candidates = ["cgl" if sys.platform == "darwin" else "wgl"]
    for candidate in candidates:
        if _run_child(_PROBE, candidate, seconds=60.0):
            return candidate
    return None


def _run_child(code: str, backend: str, *args: str, seconds: float | None = None) -> bool:
    """Run Python code in a fresh process with MUJOCO_GL=backend; whether it exited with 0."""
    package_parent = str(Path(__file__).resolve().parents[2])
    python_path = os.pathsep.join(filter(None, [package_parent, os.environ.get("PYTHONPATH")]))
    environ = os.environ | {"MUJOCO_GL": backend, "PYTHONPATH": python_path}
    try:
        return (
            subprocess.run(
                [sys.executable, "-c", code, *args],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=seconds,
                check=False,
            ).returncode
            == 0
        )
    except subprocess.TimeoutExpired:
        return False


def _drawn_by_child(qpos: np.ndarray, path: Path, width: int, height: int, backend: str) -> bool:
    code = "import sys; from mjx_dm.evaluation.films import _draw_gl; _draw_gl(*sys.argv[1:])"
    with tempfile.TemporaryDirectory() as folder:
        states = str(Path(folder) / "qpos.npy")
        np.save(states, qpos)
        return _run_child(code, backend, states, str(path.absolute()), str(width), str(height))


def _draw_gl(states: str, path: str, width: str, height: str) -> None:
    """The child's work: draw the saved positions with OpenGL."""
    frames = _gl_frames(np.load(states), int(width), int(height))
    mp4.encode(frames, Path(path), int(width), int(height), FRAMES_PER_SECOND)


def _drawing_model(width: int, height: int) -> mujoco.MjModel:
    """Humanoid-v4's model with a floor that has no edge; for pictures, not for physics."""
    assets = Path(mujoco_env.__file__).parent / "assets"
    model = mujoco.MjModel.from_xml_path(str(assets / "humanoid.xml"))
    # The floor ends 20 m out for the eye, not for the physics: a good policy runs past that.
    model.geom("floor").size[:2] = 0.0
    # Squares of 1 m: the file's 60 repeats would blur on a floor without end.
    model.mat("MatPlane").texrepeat[:] = 0.5
    model.mat("MatPlane").texuniform[:] = 1
    # Grey squares in place of black ones, and more light on the body.
    squares = model.tex("texplane")
    squares.data[:] = 90 + squares.data // 3
    model.vis.headlight.ambient[:] = 0.35
    model.vis.global_.offwidth, model.vis.global_.offheight = width, height
    # Multisampling costs a software OpenGL most of its speed.
    model.vis.quality.offsamples = 0
    return model


def _gl_frames(qpos: np.ndarray, width: int, height: int) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) uint8 of positions (T, 24), seen by the model's tracking camera."""
    model = _drawing_model(width, height)
    data = mujoco.MjData(model)
    with mujoco.Renderer(model, height, width) as renderer:
        # Shadows and reflections: 2 frames a second with, above 20 without, in software.
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        for position in qpos:
            data.qpos[:] = position
            mujoco.mj_forward(model, data)
            renderer.update_scene(data, camera="track")
            yield renderer.render()


def _ray_frames(qpos: np.ndarray, width: int, height: int) -> Iterator[np.ndarray]:
    """The same frames by casting one ray per pixel: flat sky, chequered floor, a headlight."""
    model = _drawing_model(width, height)
    data = mujoco.MjData(model)
    camera, floor = model.camera("track").id, model.geom("floor").id
    half = np.tan(np.deg2rad(model.cam_fovy[camera]) / 2)
    row, column = np.mgrid[0:height, 0:width] + 0.5
    sight = np.stack(
        [
            (column - width / 2) / (height / 2) * half,
            (height / 2 - row) / (height / 2) * half,
            -np.ones_like(row),
        ],
        axis=-1,
    ).reshape(-1, 3)
    sight /= np.linalg.norm(sight, axis=1, keepdims=True)
    count = len(sight)
    geom, distance, normal = np.empty(count, np.int32), np.empty(count), np.empty(3 * count)
    fade = np.minimum(2 * np.arange(height) / height, 1)[:, None]
    zenith, rim = np.array([60, 110, 165]), np.array([190, 215, 240])
    sky = (zenith * (1 - fade) + rim * fade).repeat(width, axis=0)
    horizon, sky = sky[-1].astype(np.float32), sky.astype(np.uint8)
    tile = np.array([[30, 50, 75], [56, 82, 108]], np.float32)
    body = np.array([217, 153, 102], np.float32)
    for position in qpos:
        data.qpos[:] = position
        mujoco.mj_forward(model, data)
        eye = data.cam_xpos[camera]
        ray = sight @ data.cam_xmat[camera].reshape(3, 3).T
        mujoco.mj_multiRay(
            model, data, eye, ray.ravel(), None, True, -1, geom, distance, normal, count, 1e3
        )
        picture = sky.copy()
        ground = np.flatnonzero(geom == floor)
        far = distance[ground, None].astype(np.float32)
        square = np.floor(eye[:2] + ray[ground, :2] * far).astype(np.int32).sum(1) & 1
        haze = np.minimum(far / 60, 1)
        picture[ground] = tile[square] * (1 - haze) + horizon * haze
        limbs = np.flatnonzero((geom >= 0) & (geom != floor))
        facing = np.abs((ray[limbs] * normal.reshape(-1, 3)[limbs]).sum(1, keepdims=True))
        picture[limbs] = body * (0.35 + 0.65 * facing)
        yield picture.reshape(height, width, 3)
