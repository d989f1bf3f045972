"""Figures of a run, from synthetic measurements: colours, captions, bands, and room for their curves."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from jaxrl.errors import ConfigError, ResultsError
from jaxrl.report import figures
from jaxrl.report.figures import SIZE, legend, log_spaced
from jaxrl.results.run_directory import RunDirectory
from jaxrl.statistics import bootstrap_interval, iqm
from tests.report.reading import pixels, record, shows

WORDS = "independent Q-learning, step size by visits, no central critic"


@pytest.mark.parametrize("length", [1, 12, 20, 33, 60])
def test_a_legend_of_long_names_leaves_the_axes_their_width(length):
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    for line in range(5):
        axes.plot(np.arange(3), label=WORDS[: length - 1] + str(line))
    legend(axes)
    figure.draw_without_rendering()
    assert axes.get_position().width > 0.8


def test_points_on_a_logarithmic_axis_are_spread_evenly():
    x = np.arange(1.0, 10_001.0)
    kept = x[log_spaced(x, most=9)]
    np.testing.assert_allclose(kept, np.geomspace(1, 10_000, 9), atol=1)
    assert len(log_spaced(x)) <= 100
    np.testing.assert_array_equal(log_spaced(x[:5], most=9), np.arange(5))


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


def test_an_exact_number_is_a_tick_and_no_bar(run):
    whole = RunDirectory.create(run.path.parent.parent, "ends", {})
    record(whole, "seeds", 0.02, seeds=8)
    record(whole, "exact", 0.02, seeds=1, steps=None)
    path = figures.distribution(whole, "greedy_optimality_gap", colours={"seeds": 2, "exact": 4})
    text = figures.caption(path)
    assert "Dots: the seeds, 8 seeds." in text
    assert "Tick and number: the value of an arm that has only one." in text
    assert shows(path, figures.COLOURS[2], tolerance=120)
    wanted = [int(figures.COLOURS[4][i : i + 2], 16) for i in (1, 3, 5)]
    drawn = np.abs(pixels(path) - wanted).max(-1) <= 12
    assert drawn.sum() > 50
    assert np.ptp(np.nonzero(drawn)[1]) < 12  # a bar would be wider
    path = figures.distribution(whole, "greedy_optimality_gap", arms=["exact"])
    assert "Dots" not in figures.caption(path)


def test_long_lines_on_a_linear_axis_are_means_over_neighbours(run):
    x, values = np.arange(1000.0), np.arange(1000.0)[None]
    path = figures.relation(run, "long", {"one": (x, values)}, "Step", "Value", note="A note.")
    assert figures.caption(path).endswith(f"Each of {figures.POINTS} points is a mean over neighbours. A note.")
    path.unlink()
