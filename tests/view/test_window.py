"""MuJoCo's own window as a person has it, on Xvfb's display: it shows the robot, and it moves."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import ImageGrab
from watched import TASK

from mjx_dm.drawing.scene import floors
from mjx_dm.view.window import without_edge

PATIENCE = 120.0  # s, of software OpenGL on a busy machine


def test_the_floor_that_is_drawn_has_no_edge_and_the_task_keeps_its_own():
    own = TASK.model.geom_size.copy()
    drawn = without_edge(TASK.model)
    assert len(floors(drawn)) == 1 and not drawn.geom_size[floors(drawn), :2].any()
    np.testing.assert_array_equal(TASK.model.geom_size, own)
    assert own[floors(TASK.model), :2].all(), "Gymnasium's floor ends"


@pytest.fixture(scope="module")
def display(tmp_path_factory):
    """The name of a display of Xvfb's, which finds a free number."""
    if shutil.which("Xvfb") is None:
        pytest.skip("no Xvfb is installed")
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "800x600x24", "-noreset"]
    said = (tmp_path_factory.mktemp("xvfb") / "said").open("w")
    with subprocess.Popen(command, pass_fds=(write,), stdout=said, stderr=said) as server:
        os.close(write)
        with os.fdopen(read) as numbers:
            yield f":{numbers.readline().strip()}"
        server.terminate()


def picture(display):
    """A part of the window, which opens at the display's corner (H, W, 3)."""
    part = ImageGrab.grab((100, 0, 400, 300), xdisplay=display)
    return np.asarray(part.convert("RGB"), float)


@pytest.mark.slow
def test_the_window_shows_a_robot_that_moves_and_an_interruption_ends_it(run, display):
    command = [sys.executable, "-m", "mjx_dm.view", str(run.folder), "--window"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "DISPLAY": display}
    ) as view:
        try:
            shown, frames = picture(display), 0
            until = time.monotonic() + PATIENCE
            while frames < 3:
                assert view.poll() is None and time.monotonic() < until
                time.sleep(0.5)
                now = picture(display)
                # Before, it says LOADING on black.
                frames += now.mean() > 40 and np.abs(now - shown).max() > 20
                shown = now
            view.send_signal(signal.SIGINT)
            said = view.communicate(timeout=PATIENCE)[1]
        finally:
            view.kill()
    assert view.returncode == 130
    assert "Traceback" not in said
