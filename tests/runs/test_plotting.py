"""Claims about the curves of a run."""

import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread

from mjx_dm.report.panels import PANELS
from mjx_dm.runs import plots as plotting
from mjx_dm.runs.metrics import MetricsWriter
from mjx_dm.runs.plots import plot_run


def write_run(run_dir, records):
    with MetricsWriter(run_dir) as writer:
        for step, values in records:
            writer.write(step, values)
    return run_dir


def names(paths):
    return [path.name for path in paths]


def colours(path):
    return len(np.unique(imread(path).reshape(-1, imread(path).shape[-1]), axis=0))


def full_record(step):
    keys = [panel.key for panel in PANELS] + ["episode_return", "eval_return"]
    return step, {key: float(step) for key in keys} | {"eval_return_std": 10.0}


def test_a_run_gets_both_figures(tmp_path):
    written = plot_run(write_run(tmp_path, [full_record(step) for step in (100, 200, 3000)]))
    assert written == [
        tmp_path / "plots" / "learning_curve.png",
        tmp_path / "plots" / "diagnostics.png",
    ]
    assert all(colours(path) > 10 for path in written)


def test_the_curve_of_shorter_episodes_says_so():
    columns = {"step": np.arange(3.0), "episode_return": np.arange(3.0)}
    for limit, label in ((None, "training, sampled"), (7, "training, sampled, at most 7 steps")):
        figure = plotting._learning_curve(columns, "a run", limit)
        assert [text.get_text() for text in figure.legends[0].get_texts()] == [label]


def test_a_long_run_can_be_drawn(tmp_path):
    assert len(plot_run(write_run(tmp_path, map(full_record, range(1, 200))))) == 2


def test_a_run_of_one_line_can_be_drawn(tmp_path):
    assert len(plot_run(write_run(tmp_path, [full_record(100)]))) == 2


def test_a_missing_key_leaves_its_panel_out(tmp_path):
    few = write_run(tmp_path / "few", [(1, {"alpha": 0.1, "ess": 0.5}), (2, {"alpha": 0.2})])
    many = write_run(tmp_path / "many", [full_record(1), full_record(2)])
    assert names(plot_run(few)) == ["diagnostics.png"]
    all_panels = imread(plot_run(many)[1])
    assert len(imread(few / "plots/diagnostics.png")) < len(all_panels)


def test_evaluations_alone_make_a_learning_curve(tmp_path):
    records = [(1, {"alpha": np.nan}), (2, {"eval_return": 5.0}), (3, {"eval_return": 6.0})]
    assert names(plot_run(write_run(tmp_path, records))) == ["learning_curve.png"]


def test_a_run_without_a_finite_value_draws_nothing(tmp_path):
    assert plot_run(write_run(tmp_path, [(1, {"alpha": np.nan, "episode_return": np.inf})])) == []
    assert not (tmp_path / "plots").exists()


def test_a_folder_that_is_not_a_run_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="metrics.jsonl"):
        plot_run(tmp_path)


def test_drawing_leaves_matplotlib_as_it_was(tmp_path):
    before = dict(matplotlib.rcParams)
    plot_run(write_run(tmp_path, [full_record(1), full_record(2)]))
    assert dict(matplotlib.rcParams) == before


def test_the_running_mean_keeps_a_straight_line_where_it_is():
    line = np.linspace(3.0, 90.0, 30)
    np.testing.assert_allclose(plotting._running_mean(line, reach=3), line[3:-3])
