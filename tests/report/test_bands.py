"""Points along curves and bands over seeds."""

import numpy as np
import pytest

from jaxrl.report.bands import POINTS, bands, bin_edges, log_spaced, points
from jaxrl.statistics import bootstrap_interval, iqm


def test_points_on_a_logarithmic_axis_are_spread_evenly():
    x = np.arange(1.0, 10_001.0)
    kept = x[log_spaced(x, most=9)]
    np.testing.assert_allclose(kept, np.geomspace(1, 10_000, 9), atol=1)
    assert len(log_spaced(x)) <= 100
    np.testing.assert_array_equal(log_spaced(x[:5], most=9), np.arange(5))


def test_bands():
    seeds = np.random.default_rng(1).normal(size=(40, 3))
    seeds[[2, 5], 1] = np.nan, np.inf
    seeds[:, 2] = np.nan
    found = bands(seeds, "bootstrap")
    whole, others = seeds[:, 0], seeds[np.isfinite(seeds[:, 1]), 1]
    np.testing.assert_allclose(found.estimate, [iqm(whole), iqm(others), np.nan])
    np.testing.assert_allclose([found.low[0], found.high[0]], bootstrap_interval(whole)[1:], atol=0.03)
    np.testing.assert_allclose([found.low[1], found.high[1]], bootstrap_interval(others)[1:], atol=0.03)
    found = bands(seeds, "percentile")
    np.testing.assert_allclose(np.stack(found)[:, 0], (iqm(whole), *np.percentile(whole, (5, 95))))
    np.testing.assert_array_equal(np.stack(bands(seeds[:1, :1], "bootstrap"))[:, 0], (seeds[0, 0], np.nan, np.nan))
    assert np.isnan(bands(seeds[:0], "percentile")).all()


def test_points_are_means_over_neighbours_without_the_missing():
    values = np.arange(600.0).reshape(2, 300)
    values[0, :3] = np.nan
    values[1, 0] = np.nan
    places, means = points(np.arange(1, 301), values)
    assert places.shape == (POINTS,)
    assert means.shape == (2, POINTS)
    assert places[0] == 2.0
    np.testing.assert_array_equal(means[:, 0], [np.nan, 301.5])
    np.testing.assert_array_equal(means[:, 1], [4.0, 304.0])
    places, means = points(np.arange(1, 4), values[:, :3])
    np.testing.assert_array_equal(places, [1, 2, 3])
    np.testing.assert_array_equal(means, values[:, :3])


@pytest.mark.parametrize("values", [[0.0, 0.25, 1.0], [0.9, 0.9, 0.9], [0.0, 0.0], [0.9, 0.9 + 1e-9], [-3.0, 5.0]])
def test_no_bin_reaches_beyond_a_value(values):
    """So that no histogram shows returns beyond the optimum."""
    values = np.array(values)
    edges = bin_edges(values, 10)
    assert (edges[0], edges[-1]) == (values.min(), values.max())
    assert np.histogram(values, edges)[0].sum() == len(values)
