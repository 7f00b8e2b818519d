"""Pages as a person sees them, in headless Chromium."""

import io
import itertools
import shutil

import pytest
from PIL import Image
from runs import write_film, write_run, write_scores

from mjx_dm.report.page import write_page

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

SCREENS = ((1280, 900), (390, 844))
# The lines of the first chart: Okabe and Ito's blue, and one that is seen on black.
BLUE, LIGHT_BLUE = (0, 114, 178), (90, 180, 234)


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium, or Google's."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no Chromium is installed")
    switches = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=switches)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The page of a run, that with a film beside it, and that of three runs."""
    folder = tmp_path_factory.mktemp("runs")
    run_dir = write_run(folder / "a run #1", seed=1)
    write_scores(run_dir)
    write_film(run_dir)
    others = [write_run(folder / "b", seed=2), write_run(folder / "c", seed=2, num_envs=16)]
    return {
        "run": write_page([run_dir], folder / "run.html"),
        "linked": write_page([run_dir], folder / "linked.html", embed_mb=0.0),
        "runs": write_page([run_dir, *others], folder / "runs.html"),
    }


def colours(png):
    image = Image.open(io.BytesIO(png)).convert("RGB")
    return {colour for _, colour in image.getcolors(image.width * image.height)}


class Seen:
    """A page that was opened, with what it asked for and what it said."""

    def __init__(self, browser, path):
        self.page = browser.new_page()
        self.asked, self.said = [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.goto(path.as_uri())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.page.close()


@pytest.mark.parametrize("name", ["run", "linked", "runs"])
def test_films_and_pictures_load_and_nothing_is_asked_of_a_network(browser, pages, name):
    with Seen(browser, pages[name]) as seen:
        seen.page.wait_for_function(
            "[...document.querySelectorAll('video')].every(x => x.readyState > 0 && x.videoWidth)"
            " && [...document.images].every(x => x.complete && x.naturalWidth)"
        )
        assert seen.page.locator("video").count() == seen.page.locator("img").count() == 1
        beside = [url for url in seen.asked if not url.startswith("data:")]
        assert all(url.startswith("file:") for url in beside)
        assert len(beside) == (3 if name == "linked" else 1)
        assert not seen.said


@pytest.mark.parametrize("name", ["run", "runs"])
def test_a_page_fits_its_screen_and_follows_the_scheme(browser, pages, name):
    with Seen(browser, pages[name]) as seen:
        papers, inks = [], []
        for scheme, (width, height) in itertools.product(("light", "dark"), SCREENS):
            seen.page.emulate_media(color_scheme=scheme)
            seen.page.set_viewport_size({"width": width, "height": height})
            wide, paper = seen.page.evaluate(
                "[document.documentElement.scrollWidth,"
                " getComputedStyle(document.body).backgroundColor]"
            )
            assert wide == width
            papers.append(paper)
            inks.append(colours(seen.page.locator("canvas").first.screenshot()))
        assert papers == 2 * ["rgb(255, 255, 255)"] + 2 * ["rgb(17, 19, 24)"]
        assert [BLUE in ink for ink in inks] == [True, True, False, False]
        assert [LIGHT_BLUE in ink for ink in inks] == [False, False, True, True]
        assert not seen.said


def test_curves_are_read_zoomed_and_hidden_by_keyboard(browser, pages):
    with Seen(browser, pages["run"]) as seen:
        page = seen.page
        chart, caption = page.locator("#chart-1"), page.locator("figure .at").first
        assert page.locator(".chart canvas").count() == page.locator(".chart").count() > 10
        chart.focus()
        page.keyboard.press("End")
        assert caption.inner_text() == "at 5.12K"
        values = page.locator("figure").filter(has=chart).locator("output").all_inner_texts()
        assert values == ["200", "180"]
        page.keyboard.press("ArrowLeft")
        assert caption.inner_text() == "at 4.99K"
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        pressed = page.locator(".keys button").evaluate_all(
            "all => all.map(x => x.getAttribute('aria-pressed'))"
        )
        assert pressed == ["false", "true"]
        page.get_by_label("training time").check()
        chart.focus()
        page.keyboard.press("End")
        assert caption.inner_text() == "at 1 min 20 s"
        assert not seen.said
