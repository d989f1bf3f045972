"""The charts of a page hold the numbers of the run, few of them, whatever it measured."""

import json

import numpy as np

from jaxrl.report import charts
from jaxrl.results import tables
from jaxrl.results.recorder import Recorder
from jaxrl.results.run_directory import RunDirectory
from jaxrl.results.sinks import Chunk, Plan
from jaxrl.statistics import bootstrap_interval, final_values, iqm
from tests.report.reading import UPDATES, Page, record


def test_charts_hold_the_numbers_of_the_run(run, page):
    data = json.loads(Page(page).scripts[0])
    assert [metric["name"] for metric in data["metrics"]] == ["greedy_optimality_gap (evaluation)", "episode_return"]
    curve = data["metrics"][1]["curves"][1]
    measured = run.curves("episode_return", "<script>alert(1)</script>")
    assert len(curve["x"]) == UPDATES
    np.testing.assert_allclose(curve["x"], measured.env_steps, rtol=1e-4)
    assert curve["centre"][:3] == curve["low"][:3] == [None] * 3
    np.testing.assert_allclose(curve["centre"][3:], iqm(measured.values[:, 3:], axis=0), rtol=1e-4)
    estimate, low, high = bootstrap_interval(measured.values[:, -1])
    np.testing.assert_allclose(
        [curve[key][-1] for key in ("centre", "low", "high")], (estimate, low, high), atol=0.1 * (high - low)
    )
    ends = data["metrics"][1]["seeds"][1]
    finals = final_values(measured.values)
    np.testing.assert_allclose([value for _, value in ends["dots"]], np.sort(finals), rtol=1e-4)
    assert [seed for seed, _ in ends["dots"]] == np.argsort(finals).tolist()
    np.testing.assert_allclose(ends["centre"], iqm(finals), rtol=1e-4)
    assert curve["seeds"] == "64 seeds"


def test_charts_stay_small_with_thousands_of_seeds(tmp_path):
    run = RunDirectory.create(tmp_path, "exp", {})
    rng = np.random.default_rng(0)
    seeds = np.arange(100, 3100)
    values = rng.normal(size=(3000, 500))
    values[7, 200:], values[8] = np.inf, np.nan
    recorder = Recorder(run, "")
    recorder.begin(Plan(seeds, 500, 500, 8, 1))
    recorder.chunk(Chunk(0, seeds, {"loss": values}, {}, 1.0))
    run.close()
    (metric,) = charts.chart_data(run)["metrics"]
    (curve,), (ends,) = metric["curves"], metric["seeds"]
    assert len(curve["x"]) == len(curve["centre"]) == 200
    assert curve["seeds"] == "2998 of 3000 seeds"
    assert sum(bar[2] for bar in ends["bars"]) == 2998
    finals = final_values(values.astype(np.float32))
    for low, high, count, named in ends["bars"]:
        inside = np.isfinite(finals) & (finals >= low - 1e-4) & (finals <= high + 1e-4)
        assert set(named) <= set(seeds[inside])
        assert len(named) == min(count, charts.SEEDS_NAMED)
    lowest = seeds[np.nanargmin(np.where(np.isfinite(finals), finals, np.nan))]
    assert ends["extremes"].startswith(f"Lowest seeds: {lowest} (")
    assert len(json.dumps(metric)) < 20_000


def test_charts_count_updates_where_a_arm_has_no_steps(tmp_path):
    run = RunDirectory.create(tmp_path, "exp", {})
    record(run, "online", 0.02, seeds=2)
    record(run, "offline", 0.02, seeds=1, steps=None)
    data = charts.chart_data(run)
    for metric in data["metrics"]:
        assert metric["axis"] == "updates"
        assert all(curve["x"][-1] == UPDATES for curve in metric["curves"])
    single = data["metrics"][-1]["seeds"][1]
    assert (single["low"], single["high"]) == (None, None)
    assert data["metrics"][-1]["curves"][1]["seeds"] == "1 seed"


def test_charts_do_not_depend_on_how_tables_are_read(run, monkeypatch):
    whole = charts.chart_data(run)
    monkeypatch.setattr(tables, "READ_AT_ONCE", 0)
    monkeypatch.setattr(charts, "BOOTSTRAPPED_AT_ONCE", 0)
    assert charts.chart_data(run) == whole


def test_points_grow_fewer_with_many_arms(tmp_path, monkeypatch):
    monkeypatch.setattr(charts, "ALL_POINTS", 600)
    run = RunDirectory.create(tmp_path, "exp", {})
    for index in range(10):
        recorder = Recorder(run, f"arm {index}")
        recorder.begin(Plan(np.arange(2), 250, 250, 1, 1))
        recorder.chunk(Chunk(0, np.arange(2), {"loss": np.full((2, 250), float(index))}, {}, 1.0))
    run.close()
    data = charts.chart_data(run)
    assert data["points"] == 60
    assert [curve["centre"] for curve in data["metrics"][0]["curves"]] == [[index] * 60 for index in range(10)]
