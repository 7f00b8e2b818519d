"""Claims about the bench: what it measures, what it leaves, and how it refuses."""

import dataclasses
import json
import re
import threading

import jax
import jax.numpy as jnp
import pytest

from mjx_dm.bench import cases, measure, plot, profile, report, table
from mjx_dm.bench.__main__ import main
from mjx_dm.bench.cases import Case
from mjx_dm.bench.measure import Ask, plan
from mjx_dm.bench.options import PARTS, QUICK, Options, problem
from mjx_dm.engines import mujoco as mujoco_engine
from mjx_dm.files import write_json

WORLDS = 4
TINY = ("--preset", "smoke", "--num-envs", str(WORLDS), "--steps", "2", "--seconds", "0.001")
ROUNDS = 3


@pytest.fixture(scope="module")
def built():
    """The compiled cases of the run below, by part; a test launches a copy of one."""
    return {}


@pytest.fixture(scope="module")
def measured(built, tmp_path_factory):
    """Every part of a small run, measured once: the report and the folder it lies in."""
    folder = tmp_path_factory.mktemp("bench")
    files = ("--json", str(folder / "deep" / "a.json"), "--plot", str(folder / "a.png"))

    def keeping(build):
        def kept(*arguments):
            made = build(*arguments)
            made_cases = made if isinstance(made, list) else [made]
            built.update({case.part: copied(case) for case in made_cases})
            return made

        return kept

    with pytest.MonkeyPatch.context() as patch:
        for name in ("physics_case", "loop_cases", "insert_case", "sample_case", "update_case"):
            patch.setattr(cases, name, keeping(getattr(cases, name)))
        assert main([*TINY, "--rounds", str(ROUNDS), *files]) == 0
    return json.loads((folder / "deep" / "a.json").read_text()), folder


def copied(case):
    return dataclasses.replace(case, state=jax.tree.map(jnp.copy, case.state), rates=[])


def row(content, part):
    [found] = [row for row in content["cases"] if row["part"] == part]
    return found


def test_every_part_is_measured_in_every_round(measured):
    content, _ = measured
    parts = [row["part"] for row in content["cases"]]
    assert sorted(parts) == sorted(["physics", "rollout", "insert", "sample", "update", "whole"])
    for case in content["cases"]:
        assert len(case["rates"]) == case["rounds"] == ROUNDS
        assert 0 < case["min"] <= case["q1"] <= case["median"] <= case["q3"] <= case["max"]
        assert case["state_mib"] > 0 and case["compile_seconds"] > 0
    assert content["failed"] == []


def test_the_file_says_where_its_figures_were_taken(measured):
    content, folder = measured
    machine = content["machine"]
    assert machine["platform"] == "cpu" and machine["cores"] >= 1
    assert machine["versions"]["jax"] == jax.__version__
    assert content["options"]["steps"] == 2 and content["options"]["batch_size"] == [32]
    assert content["peak_mib"] > 100
    assert str(folder) not in json.dumps(content), "a published file should name no folder"


def test_shares_come_from_the_same_round(measured):
    content, _ = measured
    physics, update, whole = (row(content, part) for part in ("physics", "update", "whole"))
    shares = [
        w * (1 / p + 1 / 4 / u)  # one update a step of 4 worlds
        for w, p, u in zip(whole["rates"], physics["rates"], update["rates"], strict=True)
    ]
    assert whole["share"]["median"] == pytest.approx(sorted(shares)[1])
    rollout = [
        r / p for r, p in zip(row(content, "rollout")["rates"], physics["rates"], strict=True)
    ]
    assert row(content, "rollout")["share"]["median"] == pytest.approx(sorted(rollout)[1])


def test_the_plot_is_drawn(measured):
    _, folder = measured
    assert (folder / "a.png").read_bytes().startswith(b"\x89PNG")
    assert not list(folder.rglob("*.unfinished"))


def test_several_batch_sizes_get_a_panel(measured, tmp_path):
    content, folder = measured
    more = row(content, "update") | {"batch_size": 64}
    plot.draw(tmp_path / "b.png", content | {"cases": [*content["cases"], more]})
    size = {path: path.read_bytes()[16:20] for path in (folder / "a.png", tmp_path / "b.png")}
    assert size[tmp_path / "b.png"] > size[folder / "a.png"], "no wider for the second panel"


def made_up(part, rates, **settings):
    return Case(part, settings, "", 1, None, None, 0.0, 0.0, 0.0, rates)


def test_a_share_is_right_by_hand():
    place = {"engine": "mujoco", "physics": "fast", "num_envs": 100}
    physics = made_up("physics", [1000.0, 500.0], **place)
    other = made_up("physics", [9.0, 9.0], **place | {"physics": "v4"})
    update = made_up("update", [20.0, 20.0], batch_size=256)
    rollout = made_up("rollout", [800.0, 250.0], **place)
    whole = made_up("whole", [400.0, 250.0], **place, batch_size=256, updates_per_step=2)
    group = [other, physics, update, rollout, whole]
    measure.add_shares({case: case.rates for case in group})
    assert rollout.shares["share"] == pytest.approx([0.8, 0.5])
    # 100 env steps cost 0.1 s of physics (then 0.2 s) and 2 updates of 0.05 s.
    assert whole.shares["limit"] == pytest.approx([500.0, 100 / 0.3])
    assert whole.shares["share"] == pytest.approx([0.8, 0.75])


def test_a_share_needs_the_whole_loops_own_batch_size():
    place = {"engine": "mujoco", "physics": "fast", "num_envs": 100}
    whole = made_up("whole", [400.0], **place, batch_size=256, updates_per_step=2)
    other = made_up("update", [20.0], batch_size=512)
    group = [made_up("physics", [1000.0], **place), other, whole]
    measure.add_shares({case: case.rates for case in group})
    assert whole.shares == {}


def test_cases_take_turns_and_a_broken_one_leaves_the_rest_alone():
    order = []

    def turn(name, breaks_at=99):
        def launch(state):
            order.append(name)
            if order.count(name) == breaks_at:
                raise RuntimeError("out of memory\nand a long report")
            return state

        return Case(name, {}, "", 1, launch, 0, 0.0, 0.0, 0.0)

    def impossible():
        raise ValueError("too large")

    asks = [Ask("x", impossible), Ask("ab", lambda: [turn("a"), turn("b", 3), turn("c")])]
    seen, failures = [], []
    steps = list(measure.measure_group(asks, 3, 0.0, seen, failures))
    assert order == ["a", "b", "c"] * 3 + ["a", "c"]  # the first three warm up
    assert [len(case.rates) for case in seen] == [3, 1, 3]
    assert [failure.reason for failure in failures] == ["too large", "out of memory"]
    assert [step.verb for step in steps] == ["compiling"] * 2 + ["warming up"] + ["round"] * 3


class Clock:
    """Passes only when something is done; `later` is a result that takes 2 s to be there."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def dispatch(self, later):
        self.now += 0.5
        return later

    def block_until_ready(self):
        self.now += 2.0
        return self


def test_a_rate_is_the_work_of_launches_over_the_time_until_they_are_done(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(measure, "time", clock)
    case = Case("", {}, "", 7, clock.dispatch, clock, 0.0, 0.0, 0.0)
    assert measure.run(case, 6.0) == 3 * 7 / 7.5


def called_back(error):
    """A case whose program calls back to Python, as the C engine's does, and meets `error`."""

    def fill(out, x):
        raise error

    program = jax.jit(mujoco_engine._on_host(fill, jax.ShapeDtypeStruct((), jnp.float32)))
    return Case("physics", {}, "", 1, program, jnp.zeros(()), 0.0, 0.0, 0.0)


def test_ctrl_c_while_the_engine_steps_stops_the_bench():
    failures = []
    asks = [Ask("x", lambda: [called_back(KeyboardInterrupt())])]
    with pytest.raises(KeyboardInterrupt):
        list(measure.measure_group(asks, 1, 0.0, [], failures))
    assert failures == []


def test_what_fails_while_the_engine_steps_is_told_with_its_cause():
    failures = []
    asks = [Ask("x", lambda: [called_back(ValueError("no such body"))])]
    list(measure.measure_group(asks, 1, 0.0, [], failures))
    [reason] = [failure.reason for failure in failures]
    assert reason.endswith("callback: ValueError: no such body") and "\n" not in reason


def test_what_was_measured_before_an_interrupt_is_kept(tmp_path, monkeypatch, capsys):
    run, calls = measure.run, []

    def interrupted(case, seconds):
        calls.append(case)
        if len(calls) == 6:  # of the third round; the first warms up
            raise KeyboardInterrupt
        return run(case, seconds)

    monkeypatch.setattr(measure, "run", interrupted)
    assert main([*TINY, "--parts", "replay", "--json", str(tmp_path / "a.json")]) == 1
    content = report.read(tmp_path / "a.json")
    assert [case["rounds"] for case in content["cases"]] == [2, 1]
    assert "stopped by a signal" in capsys.readouterr().out


def test_one_world_count_is_alive_at_a_time():
    options = dataclasses.replace(
        Options(), num_envs=(64, 256, 64), batch_size=(256, 512), physics=("v4", "fast")
    )
    groups = [[ask.name for ask in group] for group in plan(options)]
    assert [len(group) for group in groups] == [8, 8, 1]
    assert all("64 worlds" in name or "update" in name for name in groups[0])
    assert all("256 worlds" in name or "update" in name for name in groups[1])
    # The whole loop's own update runs beside it, the other one by itself.
    assert "update, batch 256" in groups[0] and "update, batch 256" in groups[1]
    assert groups[2] == ["update, batch 512"]


def test_quick_measures_every_part_at_two_world_counts_in_few_rounds():
    assert problem(QUICK) is None
    assert QUICK.parts == PARTS and QUICK.num_envs == (64, 256)
    groups = plan(QUICK)
    assert len(groups) == 2
    # Six cases a group, the two loops sharing a program; 120 s less half for compilation.
    assert len(groups) * 6 * (QUICK.rounds + 1) * QUICK.seconds < 60


def test_quick_gives_way_to_what_is_asked_for(capsys):
    assert main(["--quick", "--rounds", "0"]) == 2
    assert "--rounds 0" in capsys.readouterr().err
    assert main(["--num-envs", "0", "--quick"]) == 2
    assert "--num-envs 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--parts", "physic"], "--parts physic is unknown"),
        (["--parts"], "--parts needs at least one value"),
        (["--engines", "isaac"], "--engine isaac is unknown"),
        (["--physics", "slow"], "--physics slow is unknown"),
        (["--preset", "tpu"], "--preset tpu is unknown"),
        (["--num-envs", "0"], "--num-envs 0 must be greater than 0"),
        (["--batch-size", "-1"], "--batch-size -1 must be greater than 0"),
        (["--seconds", "nan"], "--seconds nan must be greater than 0"),
        (["--batch-size", "2000"], "--batch-size 2000 is larger than the replay"),
        (["--num-envs", "1000"], "--replay-size 1024 holds fewer than two steps"),
        (["--plot", "FOLDER/a.png", "--parts", "replay"], "--plot draws physics, rollout"),
        (["--plot", "a.gif"], "--plot a.gif must end in .png"),
        (["--json", "FILE/a.json"], "cannot be written"),
        (["--json", "FOLDER"], "cannot be written: it is a folder"),
        (["--profile", "FILE/trace"], "cannot be written"),
        (["--compare", "FOLDER/none.json", "FILE"], "none.json cannot be read"),
        (["--compare", "FILE", "FILE"], "was not written by --json"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(arguments, sentence, tmp_path, capsys):
    (tmp_path / "file").write_text("no report")
    places = {"FOLDER": str(tmp_path), "FILE": str(tmp_path / "file")}
    arguments = [
        re.sub("FOLDER|FILE", lambda found: places[found.group()], word) for word in arguments
    ]
    assert main(["--preset", "smoke", *arguments]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"cases": [1]}', '{"cases": [{"part": 1}]}'])
def test_a_broken_report_is_refused(content, measured, tmp_path, capsys):
    _, folder = measured
    (tmp_path / "b.json").write_text(content)
    assert main(["--compare", str(folder / "deep" / "a.json"), str(tmp_path / "b.json")]) == 2
    said = capsys.readouterr().err
    assert "b.json" in said and said.count("\n") == 1


def test_comparing_gives_ratios_and_says_what_differs(measured, tmp_path, capsys):
    content, folder = measured
    faster = json.loads(json.dumps(content))
    for case in faster["cases"]:
        for key in ("median", "q1", "q3", "min", "max"):
            case[key] *= 3
    faster["cases"] = faster["cases"][:2]
    faster["machine"]["versions"]["jax"] = "99.0"
    faster["options"]["steps"] = 7
    write_json(tmp_path / "b.json", faster)
    assert main(["--compare", str(folder / "deep" / "a.json"), str(tmp_path / "b.json")]) == 0
    said = capsys.readouterr().out
    assert said.count("3.00") == 2, "a ratio for each case that both have"
    assert f"jax: {jax.__version__}, then 99.0" in said and "steps: 2, then 7" in said
    assert table.differences(content, content) == []


def test_reports_without_a_common_case_are_refused(measured, tmp_path, capsys):
    content, folder = measured
    write_json(tmp_path / "b.json", content | {"cases": []})
    assert main(["--compare", str(folder / "deep" / "a.json"), str(tmp_path / "b.json")]) == 2
    assert "no case in common" in capsys.readouterr().err


def test_a_reader_never_finds_half_a_file(tmp_path):
    path, content = tmp_path / "a.json", {"cases": list(range(20_000))}
    write_json(path, content)
    writer = threading.Thread(target=lambda: [write_json(path, content) for _ in range(5)])
    writer.start()
    while writer.is_alive():
        assert json.loads(path.read_text()) == content
    writer.join()


def launched(case):
    """The state that a launch of `case` begins with, and the one that it leaves."""
    return case.state, case.launch(copied(case).state)


def splits(before, after):
    """How often `before` was split to give `after`: each step of a program splits its key once."""
    for count in range(1, 100):
        before = jax.random.split(before)[0]
        if bool(before == after):
            return count
    raise AssertionError("one key does not come from the other")


@pytest.mark.parametrize(
    ("part", "done"),
    [
        ("physics", lambda before, after: WORLDS * splits(before[2], after[2])),
        ("rollout", lambda before, after: WORLDS * int(after[0].iteration - before[0].iteration)),
        ("whole", lambda before, after: WORLDS * int(after[0].iteration - before[0].iteration)),
        ("insert", lambda before, after: WORLDS * int(after[0].written - before[0].written)),
        ("sample", lambda before, after: len(after[2].reward) * splits(before[1], after[1])),
        ("update", lambda before, after: int(after[0].updates - before[0].updates)),
    ],
)
def test_work_is_what_a_launch_does(part, done, measured, built):
    assert built[part].work == done(*launched(built[part]))


def test_samples_are_drawn_as_the_preset_draws_them(measured, built):
    case = copied(built["sample"])
    replay, key, last = case.state
    rows = len(replay.reward)
    age = jnp.broadcast_to(jnp.arange(rows)[::-1, None] / rows, replay.reward.shape)
    _, _, drawn = case.launch((replay._replace(reward=age), key, last))
    # u^3 is 0.25 in the mean, u 0.5, and that of 32 draws has a standard deviation of 0.05.
    assert float(drawn.reward.mean()) < 0.375


def test_the_whole_loop_learns_from_its_first_step_and_the_rollout_never(measured, built):
    for part, updates in (("whole", 2), ("rollout", 0)):
        _, (state, metrics) = launched(built[part])
        assert int(state.learner.updates) == updates
        assert bool(state.replay.valid.all()), "the ring is not full"
        # Those of the learner, which are 0 where it does not learn.
        assert bool((metrics != 0).any()) == (updates > 0)


def test_a_profile_leaves_a_trace(measured, built, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(profile, "loop_cases", lambda config, parts: [copied(built[parts[0]])])
    assert main([*TINY, "--profile", str(tmp_path / "trace")]) == 0
    assert list((tmp_path / "trace").rglob("*.xplane.pb"))
    assert "perfetto_trace.json.gz" in capsys.readouterr().out


def test_every_part_of_the_loop_has_its_name_in_the_program(measured, built):
    text = built["whole"].launch.as_text()
    scopes = {scope for name in re.findall(r'op_name="([^"]*)"', text) for scope in name.split("/")}
    # Differentiated operations read transpose(jvp(critic)).
    bare = {re.sub(r".*\(|\).*", "", scope) for scope in scopes}
    assert {"physics", "observe", "insert", "sample", "critic", "actor"} <= bare
