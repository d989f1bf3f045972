"""Learning curves and gaps, from synthetic measurements."""

import pytest

from jaxrl.errors import ConfigError, ResultsError
from jaxrl.report.curve_figures import _curves, gap_curve, learning_curves
from jaxrl.report.seed_figures import distribution
from jaxrl.report.style import COLOURS
from jaxrl.results.run_directory import RunDirectory
from tests.report.reading import pixels, record, shows


def test_a_log_axis_shows_zero_at_its_floor(run):
    _, axes, text = _curves(run, "greedy_optimality_gap", "updates", None, None, "bootstrap", None, None, floored=True)
    lowest = [line.get_ydata().min() for line in axes.lines]
    assert 0 < lowest[0] < 60
    assert axes.get_yscale() == "log"
    assert f"below {lowest[0]:.1g}" in text


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_and_a_data_set(tmp_path, seeds):
    run = RunDirectory.create(tmp_path, "exp", {})
    record(run, "", 0.02, steps=None, seeds=seeds, scale=0.0 if seeds == 2 else 1.0)
    for path in (
        learning_curves(run),
        distribution(run),
        gap_curve(run, scale="linear"),
    ):
        assert (pixels(path) != 255).any()
    assert shows(run.figures / "episode_return.png", COLOURS[0])


def test_wrong_options_are_named(run, tmp_path):
    with pytest.raises(ConfigError, match="'log' or 'linear'"):
        gap_curve(run, scale="logarithmic")
    with pytest.raises(ConfigError, match="band must be one of"):
        learning_curves(run, band="deviation")
    with pytest.raises(ConfigError, match="x must be"):
        learning_curves(run, x="episodes")
    empty = RunDirectory.create(tmp_path, "exp", {})
    with pytest.raises(ResultsError, match="an arm to draw"):
        learning_curves(empty)
    record(empty, "", 0.02, scale=0.0, seeds=2)
    with pytest.raises(ConfigError, match="scale='linear'"):
        gap_curve(empty)
