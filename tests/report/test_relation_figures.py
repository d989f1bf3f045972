"""Relations of two quantities: captions and colours."""

import numpy as np
import pytest

from jaxrl.report import relation_figures
from jaxrl.report.bands import POINTS
from jaxrl.report.relation_figures import relation
from jaxrl.report.style import COLOURS, caption
from jaxrl.results.run_directory import RunDirectory
from tests.report.reading import shows


def test_a_relation_of_two_quantities(tmp_path):
    run = RunDirectory.create(tmp_path, "exp", {})
    values = np.arange(12).reshape(4, 3) + 1.0
    values[0, 1] = np.nan
    lines = {"seeds": (np.array([1, 10, 100]), values), "exact": (np.array([1, 10, 100]), np.array([[2, 3, 4]]))}
    path = relation(run, "relation", lines, "Size", "Error", x_scale="log", y_scale="log", level=2.0, note="A note.")
    assert shows(path, COLOURS[0])
    assert shows(path, COLOURS[1])
    assert caption(path).endswith("A note.")


def test_long_lines_on_a_linear_axis_are_means_over_neighbours(run):
    x, values = np.arange(1000.0), np.arange(1000.0)[None]
    path = relation(run, "long", {"one": (x, values)}, "Step", "Value", note="A note.")
    assert caption(path).endswith(f"Each of {POINTS} points is a mean over neighbours. A note.")
    path.unlink()


@pytest.mark.parametrize(("count", "labels"), [(3, ["200", "800", "3,200"]), (12, None)])
def test_few_points_on_a_logarithmic_axis_have_a_tick_each(run, monkeypatch, count, labels):
    drawn = []
    monkeypatch.setattr(relation_figures, "save_figure", lambda run, name, figure, text: drawn.append(figure))
    x = 200.0 * 4.0 ** np.arange(count)
    relation(run, "ticks", {"one": (x, 1 / x[None])}, "Steps", "Error", x_scale="log", y_scale="log")
    (axes,) = drawn[0].axes
    shown = [tick.get_text() for tick in axes.get_xticklabels()]
    assert (shown == labels) == (labels is not None)
    assert len(axes.get_yticks(minor=True)) > 0
