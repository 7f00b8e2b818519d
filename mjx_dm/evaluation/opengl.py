"""OpenGL without a window: whether there is one here, and frames drawn with it.

OpenGL runs in a process of its own: MuJoCo picks its backend once, when it is first imported, and
a backend that fails to load cannot be undone. So the caller's MUJOCO_GL is read, never written.
The process loads this module, and JAX is not among what that imports.
"""

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mujoco
import numpy as np

from mjx_dm.evaluation import mp4

CAMERA = "mjx_dm film"  # that drawing_model gives to every model


class NoDisplay(RuntimeError):
    """OpenGL was asked for and cannot be had; the message says how to get it."""


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


def draw_with_gl(
    model: mujoco.MjModel, qpos: np.ndarray, path: Path, rate: float, backend: str
) -> bool:
    """Write positions (T, nq) as an MP4 of `rate` frames a second; whether that went well."""
    code = "import sys; from mjx_dm.evaluation.opengl import _draw_gl; _draw_gl(*sys.argv[1:])"
    with tempfile.TemporaryDirectory() as folder:
        # The model itself: a task of the user's own has no name that the child could look up.
        mujoco.mj_saveModel(model, f"{folder}/model.mjb", None)
        np.save(f"{folder}/qpos.npy", qpos)
        return _run_child(code, backend, folder, str(path.absolute()), str(rate))


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


def _draw_gl(folder: str, path: str, rate: str) -> None:
    """The child's work: draw the saved positions with OpenGL."""
    model = mujoco.MjModel.from_binary_path(f"{folder}/model.mjb")
    frames = gl_frames(model, np.load(f"{folder}/qpos.npy"))
    size = model.vis.global_
    mp4.encode(frames, Path(path), size.offwidth, size.offheight, float(rate))


def gl_frames(model: mujoco.MjModel, qpos: np.ndarray) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) uint8 of positions (T, nq); `model` is one of drawing_model."""
    data = mujoco.MjData(model)
    height, width = model.vis.global_.offheight, model.vis.global_.offwidth
    with mujoco.Renderer(model, height, width) as renderer:
        # Shadows and reflections: 2 frames a second with, above 20 without, in software.
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        for position in qpos:
            data.qpos[:] = position
            mujoco.mj_forward(model, data)
            renderer.update_scene(data, camera=CAMERA)
            yield renderer.render()
