"""Figures leave room for their curves, whatever the names of the arms."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxrl.report.figures import SIZE, legend, log_spaced

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
