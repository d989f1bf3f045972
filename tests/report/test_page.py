"""Figures and the HTML report of a run, from synthetic measurements."""

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from jaxrl.errors import ConfigError, ResultsError
from jaxrl.report import charts, figures
from jaxrl.report.page import write_report
from jaxrl.results import tables
from jaxrl.results.recorder import Recorder
from jaxrl.results.run_directory import RunDirectory
from jaxrl.results.sinks import Chunk, Failure, Plan, RunSummary
from jaxrl.statistics import bootstrap_interval, final_values, iqm, summarise

SEEDS, UPDATES, LENGTH = 64, 200, 20
WIDTH, HEIGHT = 960, 600
VOID = {"meta", "img", "br", "hr", "link", "input"}


def record(run, arm, rate, steps=128, failed=None, seeds=SEEDS, upto=UPDATES, end=True, scale=500.0):
    """Records learning curves that rise to ``scale``, and a gap that falls to zero."""
    rng = np.random.default_rng(0)
    reached = 1 - np.exp(-rate * np.arange(1, UPDATES + 1))
    returns = scale * reached * rng.uniform(0.8, 1.0, (seeds, 1)) + rng.normal(0, 10, (seeds, UPDATES))
    returns[:, :3] = np.nan
    gap = np.maximum(0.0, scale * (0.9 - reached)) * rng.uniform(0.5, 1.5, (seeds, 1))
    recorder = Recorder(run, arm)
    recorder.begin(Plan(np.arange(seeds), UPDATES, LENGTH, steps, 1))
    for first in range(0, upto, LENGTH):
        last = first + LENGTH
        measured = {"episode_return": returns[:, first:last]}, {"greedy_optimality_gap": gap[:, last - 1]}
        recorder.chunk(Chunk(first, np.arange(seeds), *measured, 0.5))
    if end:
        recorder.end(RunSummary(90.0, 12.0, upto < UPDATES, failed or {}))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = RunDirectory.create(tmp_path_factory.mktemp("runs"), "exp", {"ppo": {"gamma": 0.99}, "note": "<b>bold</b> & more"})
    record(run, "ppo", 0.03, failed={3: Failure(57, "metric loss"), 41: Failure(1120, "state.params")})
    record(run, "<script>alert(1)</script>", 0.01)
    run.close()
    run.write_claims(
        [
            {
                "text": "Return > 475 <i>always</i>",
                "source": "A & B (2017)",
                "verdict": "fails",
                "value": 430.5,
                "low": 420.25,
                "high": 440.75,
            },
            {"text": "Beats the other", "verdict": "holds", "value": 3, "criterion": "above 0"},
            {"text": "Not tried", "verdict": "open", "detail": "quick run"},
        ]
    )
    figures.learning_curves(run, optimum=500.0)
    figures.gap_curve(run)
    figures.distribution(run)
    return run


@pytest.fixture(scope="module")
def page(run):
    return write_report(run).read_text(encoding="utf-8")


def pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.size == (WIDTH, HEIGHT)
        return np.asarray(image.convert("RGB")).astype(int)


def shows(path, colour, tolerance=12):
    """Whether at least 30 pixels have a colour."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return (np.abs(pixels(path) - wanted).max(-1) <= tolerance).sum() >= 30


# Figures


@pytest.mark.parametrize("name", ["episode_return", "greedy_optimality_gap", "episode_return_distribution"])
def test_figures_are_drawn_at_the_expected_size(run, name):
    path = run.figures / f"{name}.png"
    assert (pixels(path) == 255).all(-1).mean() < 0.97
    with Image.open(path) as image:
        assert round(image.info["dpi"][0]) == 150


def test_the_figure_of_an_entry_of_an_array_lies_beside_the_others(run):
    path = figures.learning_curves(run, "episode_return", name="agent_return/0")
    assert path == run.figures / "agent_return_0.png"
    path.unlink()


def test_every_arm_has_its_colour(run):
    path = run.figures / "episode_return.png"
    assert shows(path, figures.COLOURS[0])
    assert shows(path, figures.COLOURS[1])
    assert not shows(path, figures.COLOURS[2])
    path = figures.learning_curves(run, arms=["ppo"], x="updates", name="one")
    assert shows(path, figures.COLOURS[0])
    assert not shows(path, figures.COLOURS[1])
    path.unlink()


def test_captions_explain_line_and_band(run):
    text = figures.caption(run.figures / "episode_return.png")
    for part in ("interquartile mean of episode_return", "95 % bootstrap interval", "64 seeds each", "best possible value, 500"):
        assert part in text
    assert "zero included" in figures.caption(run.figures / "greedy_optimality_gap.png")
    assert "64 seeds each" in figures.caption(run.figures / "episode_return_distribution.png")
    path = figures.gap_curve(run, scale="linear", band="percentile", name="linear")
    assert "5th to 95th percentile" in figures.caption(path)
    assert "zero included" not in figures.caption(path)
    path.unlink()


def test_figures_are_the_same_every_time(run):
    for draw in (figures.learning_curves, figures.distribution):
        first, second = (draw(run, arms=["ppo"], name="again").read_bytes() for _ in range(2))
        assert first == second
    (run.figures / "again.png").unlink()


def test_bands():
    seeds = np.random.default_rng(1).normal(size=(40, 3))
    seeds[[2, 5], 1] = np.nan, np.inf
    seeds[:, 2] = np.nan
    found = figures.bands(seeds, "bootstrap")
    whole, others = seeds[:, 0], seeds[np.isfinite(seeds[:, 1]), 1]
    np.testing.assert_allclose(found.estimate, [iqm(whole), iqm(others), np.nan])
    np.testing.assert_allclose([found.low[0], found.high[0]], bootstrap_interval(whole)[1:], atol=0.03)
    np.testing.assert_allclose([found.low[1], found.high[1]], bootstrap_interval(others)[1:], atol=0.03)
    found = figures.bands(seeds, "percentile")
    np.testing.assert_allclose(np.stack(found)[:, 0], (iqm(whole), *np.percentile(whole, (5, 95))))
    np.testing.assert_array_equal(np.stack(figures.bands(seeds[:1, :1], "bootstrap"))[:, 0], (seeds[0, 0], np.nan, np.nan))
    assert np.isnan(figures.bands(seeds[:0], "percentile")).all()


def test_points_are_means_over_neighbours_without_the_missing():
    values = np.arange(600.0).reshape(2, 300)
    values[0, :3] = np.nan
    values[1, 0] = np.nan
    places, means = figures.points(np.arange(1, 301), values)
    assert places.shape == (figures.POINTS,)
    assert means.shape == (2, figures.POINTS)
    assert places[0] == 2.0
    np.testing.assert_array_equal(means[:, 0], [np.nan, 301.5])
    np.testing.assert_array_equal(means[:, 1], [4.0, 304.0])
    places, means = figures.points(np.arange(1, 4), values[:, :3])
    np.testing.assert_array_equal(places, [1, 2, 3])
    np.testing.assert_array_equal(means, values[:, :3])


def test_a_log_axis_shows_zero_at_its_floor(run):
    _, axes, text = figures._curves(run, "greedy_optimality_gap", "updates", None, None, "bootstrap", None, None, floored=True)
    lowest = [line.get_ydata().min() for line in axes.lines]
    assert 0 < lowest[0] < 60
    assert axes.get_yscale() == "log"
    assert f"below {lowest[0]:.1g}" in text


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_and_a_data_set(tmp_path, seeds):
    run = RunDirectory.create(tmp_path, "exp", {})
    record(run, "", 0.02, steps=None, seeds=seeds, scale=0.0 if seeds == 2 else 1.0)
    for path in (figures.learning_curves(run), figures.distribution(run), figures.gap_curve(run, scale="linear")):
        assert (pixels(path) != 255).any()
    assert shows(run.figures / "episode_return.png", figures.COLOURS[0])


def test_a_relation_of_two_quantities(tmp_path):
    run = RunDirectory.create(tmp_path, "exp", {})
    values = np.arange(12).reshape(4, 3) + 1.0
    values[0, 1] = np.nan
    lines = {"seeds": (np.array([1, 10, 100]), values), "exact": (np.array([1, 10, 100]), np.array([[2, 3, 4]]))}
    path = figures.relation(run, "relation", lines, "Size", "Error", x_scale="log", y_scale="log", level=2.0, note="A note.")
    assert shows(path, figures.COLOURS[0])
    assert shows(path, figures.COLOURS[1])
    assert figures.caption(path).endswith("A note.")


def test_wrong_options_are_named(run, tmp_path):
    with pytest.raises(ConfigError, match="'log' or 'linear'"):
        figures.gap_curve(run, scale="logarithmic")
    with pytest.raises(ConfigError, match="band must be one of"):
        figures.learning_curves(run, band="deviation")
    with pytest.raises(ConfigError, match="x must be"):
        figures.learning_curves(run, x="episodes")
    empty = RunDirectory.create(tmp_path, "exp", {})
    with pytest.raises(ResultsError, match="an arm to draw"):
        figures.learning_curves(empty)
    record(empty, "", 0.02, scale=0.0, seeds=2)
    with pytest.raises(ConfigError, match="scale='linear'"):
        figures.gap_curve(empty)


# The report


class Page(HTMLParser):
    """Collects the text and the attributes of a page, and refuses tags that are not closed in order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.stack, self.texts, self.scripts, self.attributes, self.tags = [], [], [], [], set()
        self.feed(text)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] == "script":
            self.scripts.append(data)
        elif not self.stack or self.stack[-1] != "style":
            self.texts.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.texts))


def test_the_report_is_well_formed_and_complete(page):
    text = Page(page).text
    for part in (
        "exp",
        "Claims that hold: 1 of 3, open: 1",
        "Fails Return > 475 <i>always</i>",
        "Measured 430.5, 95 % interval [420.2, 440.8]",
        "Source: A & B (2017)",
        "Holds Beats the other",
        "Open Not tried",
        "2 of 64 (ppo)",
        "ppo 3 57 metric loss",
        "ppo 41 1,120 state.params",
        "1 min 30 s",
        "12 s",
        "ppo.gamma 0.99",
        "<b>bold</b> & more",
        "packages.jax",
        "<script>alert(1)</script>",
        "greedy_optimality_gap (evaluation)",
        "interquartile mean",
    ):
        assert part in text, part
    assert "Stopped early" not in text


def test_the_report_needs_nothing_from_outside(page):
    found = Page(page)
    assert not {"link", "iframe", "object", "embed"} & found.tags
    assert "http" not in page
    assert "url(" not in page
    assert "@import" not in page
    sources = [value for _, name, value in found.attributes if name in ("src", "href", "srcset")]
    assert len(sources) == 3
    assert all(source.startswith("data:image/png;base64,") for source in sources)


def test_everything_that_the_script_looks_for_is_on_the_page(page):
    found = Page(page)
    ids = [value for _, name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    numbers, script = found.scripts
    wanted = set(re.findall(r'find\("([\w-]+)"\)', script))
    assert {"chart-data", "curves", "seeds", "metric", "legend"} <= wanted <= set(ids)
    made = set(re.findall(r"id: `([\w-]+)\$", script))  # a readout for each arm
    assert made == set(re.findall(r"find\(`([\w-]+)\$", script)) == {"value-"}
    for name in ("fetch", "XMLHttpRequest", "import(", "innerHTML", "eval(", "WebSocket"):
        assert name not in script
    assert "</" not in numbers
    assert json.loads(numbers)["arms"] == ["ppo", "<script>alert(1)</script>"]


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


def test_long_tables_are_folded(tmp_path):
    run = RunDirectory.create(tmp_path, "exp", {})
    rows = [{"arm": str(index), "metric": "loss", **summarise(np.arange(3.0))} for index in range(40)]
    run.write_summary({"results": rows})
    assert "<summary>40 rows</summary>" in write_report(run).read_text()
    run.write_summary({"results": rows[:9]})
    assert "9 rows" not in write_report(run).read_text()


def test_replays_are_part_of_the_page(tmp_path):
    run = RunDirectory.create(tmp_path, "exp", {})
    (run.path / "replays").mkdir()
    frames = [Image.fromarray(np.full((8, 8, 3), shade, np.uint8)) for shade in (0, 120, 250)]
    frames[0].save(run.path / "replays" / "greedy_policy.gif", save_all=True, append_images=frames[1:], duration=100)
    (run.path / "replays" / "huge.gif").write_bytes((run.path / "replays" / "greedy_policy.gif").read_bytes() + bytes(5 << 20))
    found = Page(write_report(run).read_text())
    (source,) = [value for tag, name, value in found.attributes if (tag, name) == ("img", "src")]
    assert (
        base64.b64decode(source.removeprefix("data:image/gif;base64,")) == (run.path / "replays/greedy_policy.gif").read_bytes()
    )
    assert "greedy policy" in found.text
    assert "see replays/huge.gif" in found.text
    (run.path / "replays" / "broken.gif").write_bytes(b"GIF89a")
    with pytest.raises(ResultsError, match=r"broken\.gif must be a readable picture"):
        write_report(run)


def test_only_some_of_many_failed_seeds_are_listed(tmp_path):
    run = RunDirectory.create(tmp_path, "exp", {})
    record(run, "", 0.02, failed={seed: Failure(seed, "metric loss") for seed in range(60)}, upto=LENGTH)
    text = Page(write_report(run).read_text()).text
    assert "60 of 64" in text
    assert "49 49 metric loss and 10 more" in text
    assert "50 50 metric" not in text


def test_the_report_fits_phones_and_dark_screens(page):
    assert ("meta", "content", "width=device-width, initial-scale=1") in Page(page).attributes
    assert "prefers-color-scheme: dark" in page
    assert "overflow-x: auto" in page


def test_the_results_table_uses_the_summary(run):
    rows = run.summarise(["episode_return"])
    try:
        run.write_summary({"results": [{**rows[0], "metric": "only this", "missing": 4, "low": None, "high": None}]})
        text = Page(write_report(run.path).read_text()).text
    finally:
        run.write_summary({"results": run.summarise()})
    assert "only this" in text
    assert "60 of 64" not in text
    assert "64 of 68" in text
    assert "[n/a, n/a]" in text
    assert "(evaluation)" not in text


def test_a_run_that_was_killed_has_a_report(tmp_path):
    run = RunDirectory.create(tmp_path, "exp", {})
    record(run, "a", 0.02, upto=60, seeds=4, end=False)
    text = Page(write_report(run).read_text()).text
    assert "Stopped early, or still under way (a)" in text
    assert "No training has ended" in text
    assert "This run checks no claim" in text
    assert "No figure has been drawn" in text
    assert "episode_return" in text


def test_an_interrupted_run_says_so_and_names_no_empty_arm(tmp_path):
    run = RunDirectory.create(tmp_path, "exp", {})
    record(run, "", 0.02, upto=60, seeds=4)
    text = Page(write_report(run).read_text()).text
    assert "Stopped early" in text
    assert "60 of 200" in text
    assert "Arm" not in text
    assert "every value of every seed stayed finite" in text


def test_a_run_without_training_has_a_report(tmp_path):
    run = RunDirectory.create(tmp_path, "exp", {})
    run.write_claims([{"text": "exact", "verdict": "holds", "value": 1.5}])
    text = Page(write_report(run).read_text()).text
    assert "Claims that hold: 1 of 1" in text
    assert "undecided" not in text
    assert "Measured 1.5" in text
    assert "Stopped early" not in text


def test_a_damaged_figure_is_named(tmp_path):
    run = RunDirectory.create(tmp_path, "exp", {})
    run.figures.mkdir()
    (run.figures / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(ResultsError, match=r"broken\.png"):
        write_report(run)


def test_a_long_value_is_cut(tmp_path):
    run = RunDirectory.create(tmp_path, "exp", {"numbers": list(range(500))})
    text = Page(write_report(run).read_text()).text
    assert "[0, 1, 2" in text
    assert " ..." in text
    assert "498, 499" not in text
