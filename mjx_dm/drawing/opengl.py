"""OpenGL without a window: whether there is one here, and shots drawn with it.

OpenGL runs in a process of its own: MuJoCo picks its backend once, when it is first imported, and
a backend that fails to load cannot be undone. So the caller's MUJOCO_GL is read, never written.
The process loads this package, and JAX is not among what that imports.
"""

import functools
import importlib.util
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mjx_dm.drawing import mp4
from mjx_dm.drawing.shot import Shot


class NoDisplay(RuntimeError):
    """There is no OpenGL, or it fails; the message says how to get it."""


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
        "OpenGL was not found: on Debian and Ubuntu, apt-get install libegl1 libgl1 brings it, and "
        "on Linux with x86-64, pip install --no-deps lavavu-osmesa one in software."
    )


def draw(shots: Sequence[tuple[Shot, Path]]) -> None:
    """Writes each shot to its path, .mp4 for a film and .png for a picture, whole or not at all.

    Raises NoDisplay without OpenGL, OSError where a file cannot be written or there is no ffmpeg.
    """
    backend = find_gl()
    if backend is None:
        raise NoDisplay(gl_advice())
    mp4.check()
    with tempfile.TemporaryDirectory() as folder:
        unfinished = [
            path.with_name(f".{path.stem}.unfinished{path.suffix}").absolute() for _, path in shots
        ]
        work = [(shot, path) for (shot, _), path in zip(shots, unfinished, strict=True)]
        try:
            for path in unfinished:
                path.parent.mkdir(parents=True, exist_ok=True)
            # The models themselves: a user's own task has no name that the process could look up.
            (Path(folder) / "shots").write_bytes(pickle.dumps(work))
            said = _run_child(_DRAW, backend, folder)
            if said is not None:
                if said.startswith("OSError: "):  # of ffmpeg, or the disk
                    raise OSError(said.removeprefix("OSError: "))
                raise NoDisplay(f"OpenGL ({backend}) failed while drawing: {said}")
            for path, (_, wanted) in zip(unfinished, shots, strict=True):
                os.replace(path, wanted)
        finally:
            for path in unfinished:
                path.unlink(missing_ok=True)


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

_DRAW = "import sys; from mjx_dm.drawing.opengl import _draw; _draw(sys.argv[1])"


def _draw(folder: str) -> None:
    """The process's work."""
    from PIL import Image

    from mjx_dm.drawing.painter import frames_of

    for shot, path in pickle.loads((Path(folder) / "shots").read_bytes()):
        if path.suffix == ".png":
            Image.fromarray(next(frames_of(shot))).save(path)
        else:
            width, height = shot.size
            mp4.encode(frames_of(shot), path, width, height, shot.rate)


@functools.cache
def _find_gl(chosen: str, has_display: bool) -> str | None:
    if chosen:
        candidates = [chosen]
    elif sys.platform == "linux":
        candidates = ["egl", "osmesa"] + ["glfw"] * has_display
    else:
        candidates = ["cgl" if sys.platform == "darwin" else "wgl"]
    for candidate in candidates:
        if _run_child(_PROBE, candidate, seconds=60.0) is None:
            return candidate
    return None


def _run_child(code: str, backend: str, *args: str, seconds: float | None = None) -> str | None:
    """Run Python code in a fresh process with MUJOCO_GL=backend; None, or its last words."""
    package_parent = str(Path(__file__).resolve().parents[2])
    python_path = os.pathsep.join(filter(None, [package_parent, os.environ.get("PYTHONPATH")]))
    environ = os.environ | {"MUJOCO_GL": backend, "PYTHONPATH": python_path}
    with tempfile.TemporaryDirectory() as folder:
        if backend == "osmesa":
            environ |= _bundled_osmesa(folder)
        try:
            ended = subprocess.run(
                [sys.executable, "-c", code, *args],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"no answer within {seconds:.0f} s"
    if ended.returncode == 0:
        return None
    lines = ended.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit status {ended.returncode}"


def _bundled_osmesa(folder: str) -> dict[str, str]:
    """What lets a process find the OSMesa that the package lavavu-osmesa brings, if it is here.

    The library is used alone, so that the package may be installed without what it depends on. Its
    file carries a digest in its name, and `folder` gets a link of
    the name that it is looked for by.
    """
    found = importlib.util.find_spec("lavavu")
    if found is None or not found.submodule_search_locations:
        return {}
    libraries = Path(found.submodule_search_locations[0]).with_name("lavavu_osmesa.libs")
    for library in libraries.glob("libOSMesa*.so*"):
        for name in ("libOSMesa.so", "libOSMesa.so.8"):
            (Path(folder) / name).symlink_to(library)
        places = [folder, str(libraries), os.environ.get("LD_LIBRARY_PATH", "")]
        return {"LD_LIBRARY_PATH": os.pathsep.join(filter(None, places))}
    return {}
