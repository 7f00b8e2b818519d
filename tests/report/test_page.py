"""Claims about the page of a run."""

import dataclasses
import html as htmllib
import re
import shlex
from html.parser import HTMLParser

import numpy as np
import pytest
from runs import RETURNS, data_of, write_film, write_run, write_scores
from scipy import stats

from mjx_dm import config as configs
from mjx_dm.cli import parse
from mjx_dm.presets import PRESETS
from mjx_dm.report import live
from mjx_dm.report.__main__ import main
from mjx_dm.report.curves import MOST_POINTS, of_evaluations, of_launches
from mjx_dm.report.intervals import bootstrapped, of_moments
from mjx_dm.report.page import PAGE, render, write_page
from mjx_dm.report.repeat import train_command
from mjx_dm.report.run import read_run
from mjx_dm.report.sessions import SESSIONS, read_sessions


class Elements(HTMLParser):
    """What of a page can be told from its tags."""

    def __init__(self, html):
        super().__init__()
        self.ids, self.headings, self.without_alt, self.tags, self.sources = [], [], 0, [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        self.ids += [found["id"]] if "id" in found else []
        self.headings += [int(tag[1])] if re.fullmatch(r"h\d", tag) else []
        self.without_alt += tag == "img" and not found.get("alt")
        self.sources += [found["src"]] if "src" in found else []


def page_of(*run_dirs):
    return render([read_run(path) for path in run_dirs], run_dirs[0] / PAGE)


def text_of(html):
    return htmllib.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with everything, its page and the text of it."""
    run_dir = write_run(tmp_path_factory.mktemp("runs") / "whole", seed=3, actor_lr=0.001)
    write_scores(run_dir)
    write_film(run_dir)
    with live.LivePage(run_dir, lambda: {"training": 80.0, "other": 20.0}, print, resume=False):
        pass
    html = (run_dir / PAGE).read_text()
    return run_dir, html, text_of(html)


def test_a_score_stands_with_its_interval(whole):
    low, high = bootstrapped(np.array(RETURNS))[1:]
    assert f"Mean return {np.mean(RETURNS):.1f} 95% interval {low:.1f} to {high:.1f}" in whole[2]


def test_every_action_rule_stands_with_falls_speed_and_terms(whole):
    text = whole[2]
    assert "58.5 5 0.25 59.3 6 1000–1005 mixture mean, clipped" in text
    assert "58.5 5 0.25 59.3 6 1000–1005 a sample, clipped" in text
    assert text.count("reward_survive 58.3") == 2


def test_the_page_tells_settings_machine_time_and_commands(whole):
    run_dir, _, text = whole
    assert "--actor-lr 0.001 0.0003" in text
    assert "training 1 min 20 s 80%" in text and "mujoco 3.17.0" in text
    assert f"python eval_render.py {run_dir} --episodes 6 --seed 1000 --action-rule mean" in text
    assert "--seed 3" in train_command(read_run(run_dir))


def test_films_are_inside_and_without_them_the_page_is_small(whole):
    html = whole[1]
    sources = Elements(html).sources
    assert [source[:14] for source in sources] == ["data:video/mp4", "data:image/png"]
    assert len(html) - sum(map(len, sources)) < 500_000
    assert "Best episode (seed 1000), policy after 5,120 steps" in whole[2]


def test_films_that_are_too_large_are_linked_and_the_page_says_so(tmp_path):
    run_dir = write_run(tmp_path / "a run#1")
    film = write_film(run_dir)
    html = write_page([run_dir], tmp_path / "page.html", embed_mb=0.0).read_text()
    assert f"a%20run%231/videos/{film.name}" in Elements(html).sources
    assert "is linked: keep this page where it lies" in text_of(html)


@pytest.mark.parametrize("several", [False, True])
def test_the_page_is_sound_html(whole, tmp_path, several):
    html = page_of(whole[0], write_run(tmp_path / "other", num_envs=16)) if several else whole[1]
    found = Elements(html)
    assert len(found.ids) == len(set(found.ids))
    assert found.headings[0] == 1 and found.headings.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(found.headings, found.headings[1:], strict=False))
    assert not found.without_alt


def test_names_are_text_and_no_markup(tmp_path):
    evil = "</script><script>alert(1)"
    run_dir = write_run(
        tmp_path / evil.replace("/", "|"), launches=2, every=1, task_options=(f"xml_file={evil}",)
    )
    with (run_dir / "metrics.jsonl").open("a") as metrics:
        metrics.write(f'{{"step": 999, "{evil}": 1.0}}\n{{"step": 1000, "{evil}": 2.0}}\n')
    html = page_of(run_dir, write_run(tmp_path / "other", launches=2, num_envs=16))
    assert Elements(html).tags.count("script") == 3
    assert evil in text_of(html) and "<script>alert" not in html
    assert any(
        evil in line["label"] for chart in data_of(html)["charts"] for line in chart["lines"]
    )


def test_a_run_that_was_killed_has_its_page(tmp_path):
    run_dir = write_run(tmp_path / "run", every=0, env_steps=10_000)
    with (run_dir / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"step": 9999, "al')
    text = text_of(page_of(run_dir))
    assert "not scored yet" in text and "no end recorded" in text and "5,120" in text


def test_a_run_that_has_just_begun_has_its_page(tmp_path):
    run_dir = write_run(tmp_path / "run", launches=1)
    (run_dir / "metrics.jsonl").unlink()
    assert "nothing has been recorded" in text_of(page_of(run_dir))


def test_what_cannot_be_read_is_told_and_the_rest_is_shown(tmp_path):
    run_dir = write_run(tmp_path / "run")
    lines = (run_dir / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run_dir / "metrics.jsonl").write_text("".join([*lines[:5], "broken\n", *lines[5:]]))
    (run_dir / "config.json").write_text('{"version": 1, "task": "Ant-v4"}')
    (run_dir / SESSIONS).write_text("[]")
    (run_dir / "eval").mkdir()
    (run_dir / "eval" / "eval.json").write_text('{"returns": ["high"]}')
    (run_dir / "eval" / "own.json").write_text('{"returns": [7.5], "scored_by": "own functions"}')
    run = read_run(run_dir)
    assert run.task == "Ant-v4" and run.env_steps == 5 * 128
    assert [problem.split()[0] for problem in run.problems] == [
        str(run_dir / "config.json"),
        "Line",
        "eval/eval.json",
    ]
    text = text_of(page_of(run_dir))
    assert all(problem in text for problem in run.problems)
    assert "eval/own.json own functions 0 7.5" in re.sub(" +", " ", text)


def test_many_launches_become_few_points_within_their_least_and_greatest(tmp_path):
    run = read_run(write_run(tmp_path / "run", launches=2))
    values = np.random.default_rng(0).normal(size=10_000)
    launches = dict.fromkeys(("step", "train_seconds", "wall_seconds"), np.arange(10_000.0))
    run = dataclasses.replace(run, launches=launches | {"alpha": values})
    middle, low, high = of_launches([run]).y["alpha"]
    assert len(middle) == MOST_POINTS and (low <= middle).all() and (middle <= high).all()
    assert (low.min(), high.max()) == (values.min(), values.max())


def test_a_score_that_came_late_stands_at_the_step_of_its_policy(tmp_path):
    run_dir = write_run(tmp_path / "run", launches=4, every=0)
    with (run_dir / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"step": 256, "eval_return": 2.0}\n{"step": 128, "eval_return": 1.0}\n')
        metrics.write('{"step": 256, "eval_return": 3.0}\n')
    curve = of_evaluations([read_run(run_dir)])
    assert curve.x["step"].tolist() == [128, 256] and curve.y["eval_return"][0].tolist() == [1, 3]


def test_seeds_share_a_line_with_a_band_and_other_settings_have_their_own(tmp_path):
    seeds = [write_run(tmp_path / f"seed{i}", seed=i) for i in (1, 2)]
    shorter = write_run(tmp_path / "shorter", seed=3, launches=20)
    other = write_run(tmp_path / "other", seed=1, num_envs=16)
    ant = write_run(tmp_path / "ant")
    text = (ant / "config.json").read_text().replace("InvertedPendulum-v5", "Ant-v5")
    (ant / "config.json").write_text(text)
    html = page_of(*seeds, shorter, other, ant)
    charts = data_of(html)["charts"]
    assert [line["label"] for line in charts[0]["lines"]] == ["num_envs 8", "num_envs 16"]
    middle, low, high = charts[0]["lines"][0]["y"]
    assert (low[0], middle[0], high[0]) == pytest.approx(
        (90 * 1.25, 90 * 2.3333, 90 * 3.5), rel=1e-3
    )
    assert (low[-1], middle[-1], high[-1]) == (180, 225, 270), "over the two that came so far"
    assert re.findall("<h2>(.*?)</h2>", html) == ["InvertedPendulum-v5", "Ant-v5", "Repeat it"]


@pytest.mark.parametrize(
    "changed",
    [
        {"preset": name, **values}
        for name in PRESETS
        for values in (
            {},
            {
                "actor_widths": (64, 32), "task_options": ("a=(1, 2)", "b='x y'"),
                "ess_target": None, "minutes": 1.5, "save_replay": False, "log_std_min": -2.5,
                "max_grad_norm": float("inf"), "num_envs": 4, "max_episode_steps": 7,
            },
        )
    ],
    ids=lambda changed: f"{changed['preset']}-{len(changed)}",
)  # fmt: skip
def test_the_command_trains_with_the_same_settings(tmp_path, changed):
    config = configs.replace(PRESETS[changed["preset"]], **changed)
    run_dir = tmp_path / "a run"
    run_dir.mkdir()
    (run_dir / "config.json").write_text(configs.json.dumps(configs.to_json(config)))
    words = shlex.split(train_command(read_run(run_dir)))
    assert words[:2] == ["python", "train.py"]
    assert configs.replace(parse(words[2:]), run_dir="") == config


def test_intervals_are_those_of_the_books():
    values = np.array([*RETURNS, 90.0, 12.0])
    middle = bootstrapped(values, of_middle=True)
    assert middle.value == pytest.approx(stats.trim_mean(values, 0.25))
    assert middle.low < middle.value < middle.high
    exact = stats.t.interval(0.95, 7, values.mean(), stats.sem(values))
    assert of_moments(values.mean(), values.std(), 8)[1:] == pytest.approx(exact)
    assert np.isnan(bootstrapped(values[:1]).low)


def test_a_page_that_cannot_be_written_is_told_once_and_the_run_goes_on(tmp_path):
    said, now = [], iter(range(0, 10**6, 1000))
    run_dir = write_run(tmp_path / "run", launches=2)
    with live.LivePage(
        run_dir, lambda: {}, said.append, resume=False, clock=lambda: next(now)
    ) as page:
        page.refresh()
        assert (run_dir / PAGE).exists() and not said
        run_dir.rename(tmp_path / "elsewhere")
        page.refresh()
        page.refresh()
    assert len(said) == 1 and "report.html could not be written" in said[0]


def test_writing_the_page_takes_one_percent_of_the_time(tmp_path, monkeypatch):
    now, written = [0.0], []

    def slow(run_dirs):
        now[0] += 2.0
        written.append(now[0])

    monkeypatch.setattr(live, "write_page", slow)
    with live.LivePage(tmp_path, lambda: {}, print, resume=False, clock=lambda: now[0]) as page:
        while now[0] < 1000:
            now[0] += 1.0
            page.refresh()
    assert len(written) == 6  # the first, after 202, 404, 606 and 808 s or so, and the last


def test_a_resumed_run_keeps_its_sessions_and_a_failure_its_name(tmp_path):
    for resume in (False, True):
        with live.LivePage(write_run(tmp_path), lambda: {"training": 5.0}, print, resume=resume):
            pass
    with (
        pytest.raises(FloatingPointError),
        live.LivePage(tmp_path, lambda: {}, print, resume=True),
    ):
        raise FloatingPointError
    ends = [session.ended for session in read_sessions(tmp_path)]
    assert ends == ["ended", "ended", "failed (FloatingPointError)"]
    assert "10 s in 3 sessions" in text_of((tmp_path / PAGE).read_text())


def test_the_page_of_the_run_is_written_again_when_its_best_policy_is_scored(tmp_path):
    run_dir = write_run(tmp_path / "run", launches=2)
    (run_dir / "best").mkdir()
    assert live.rewrite_page(run_dir / "best") == run_dir / PAGE
    assert live.rewrite_page(tmp_path) is None


def test_the_command_writes_pages_and_complains_in_one_sentence(tmp_path, capsys):
    run_dir, out = write_run(tmp_path / "run", launches=2), tmp_path / "compare.html"
    assert main([str(run_dir)]) == 0 and (run_dir / PAGE).exists()
    assert main([str(run_dir), str(run_dir), "--out", str(out)]) == 0 and out.exists()
    capsys.readouterr()
    assert main([str(tmp_path)]) == main([str(tmp_path / "none")]) == 2
    assert main([str(run_dir), "--out", str(tmp_path / "no" / "page.html")]) == 1
    assert capsys.readouterr().err.count("\n") == 3
