"""The page as a person uses it, in headless Chromium: it moves, it stops, a push is felt."""

import io
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image
from watched import TASK

from mjx_dm.checkpoints.policy import load_policy
from mjx_dm.view.choices import NEWEST, Choices, Switch
from mjx_dm.view.simulation import Simulation

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("mjviser", reason="the extra view is not installed")

# Software WebGL on a busy machine draws a frame in seconds.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]
PATIENCE = 300.0  # s


@pytest.fixture(scope="module")
def simulation(run):
    simulation = Simulation(TASK, load_policy(run.folder), seed=7)
    simulation.is_playing = False
    yield simulation
    simulation.close()


@pytest.fixture(scope="module")
def page(run, simulation):
    """The page of `simulation`, opened, which is paused."""
    from mjx_dm.view.page import Page

    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no Chromium is installed")
    choices = Choices(run.folder)
    served = Page(simulation, choices, Switch(choices, simulation, NEWEST, 200), "127.0.0.1", 8190)
    thread = threading.Thread(target=served.run)
    thread.start()
    switches = ["--no-sandbox", "--enable-unsafe-swiftshader", "--disable-background-networking"]
    try:
        with api.sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=path, args=switches)
            page = browser.new_page(viewport={"width": 640, "height": 480})
            page.set_default_timeout(1000 * PATIENCE)
            page.goto(served.address)
            page.wait_for_selector("canvas[data-engine]")
            page.get_by_role("button", name="Play", exact=True).wait_for()
            yield page
            browser.close()
    finally:
        served.close()
        thread.join()


def picture(page):
    """The part of the page without panel and notices (H, W, 3)."""
    png = page.screenshot(clip={"x": 0, "y": 200, "width": 300, "height": 280})
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), float)


def settled(page):
    """The picture once nothing changes it any more."""
    before = picture(page)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        time.sleep(1.0)
        now = picture(page)
        if np.array_equal(now, before):
            return now
        before = now
    raise AssertionError("the picture goes on changing while the simulation is paused")


def wait_until(holds):
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_the_scene_moves_while_it_plays_and_stands_still_while_paused(page, simulation):
    paused = settled(page)
    assert paused.std() > 5, "the robot and its floor are seen"
    page.get_by_role("button", name="Play", exact=True).click()
    wait_until(lambda: simulation.steps > 3 or simulation.episode > 0)
    until = time.monotonic() + PATIENCE
    while np.abs(picture(page) - paused).max() < 20:
        assert time.monotonic() < until
    page.get_by_role("button", name="Pause", exact=True).click()
    wait_until(lambda: not simulation.is_playing)
    at = simulation.episode, simulation.steps
    settled(page)
    assert (simulation.episode, simulation.steps) == at


def test_a_push_changes_the_state(page, simulation):
    wait_until(lambda: not simulation.is_playing)
    simulation.reset()
    still = Simulation(TASK, simulation.policy, seed=7 + simulation.episode)
    page.get_by_role("button", name="+x", exact=True).click()
    wait_until(lambda: simulation.data.xfrc_applied[simulation.root, 0] > 0)
    for _ in range(3):
        simulation.step()
        still.step()
    assert simulation.data.qvel[0] > still.data.qvel[0] + 0.05
    still.close()


def test_a_checkpoint_is_switched_to_from_the_page(page, simulation):
    page.get_by_label("Checkpoint").click()
    page.get_by_role("option", name="best").click()
    wait_until(lambda: simulation.policy.eval_return == 77.5)


def test_an_interruption_ends_the_view_without_a_traceback(run):
    command = [sys.executable, "-m", "mjx_dm.view", str(run.folder), "--port", "8191"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as view:
        for line in view.stdout:
            if "The view: http://127.0.0.1:" in line:
                break
        view.send_signal(signal.SIGINT)
        said = view.communicate(timeout=PATIENCE)[1]
    assert view.returncode == 130
    assert "Traceback" not in said
