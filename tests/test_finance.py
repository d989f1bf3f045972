"""Measures of a trading record: by hand, against scipy, and the coverage of the bootstrap."""

import numpy as np
import pytest
from scipy import stats

from jaxrl import finance
from jaxrl.errors import ConfigError

RNG = np.random.default_rng(0)


def test_sharpe_ratio():
    r = RNG.normal(0.001, 0.01, 500)
    t = stats.ttest_1samp(r, 0.0).statistic  # mean over its standard error
    assert finance.sharpe_ratio(r) == pytest.approx(t / np.sqrt(500) * np.sqrt(252))
    assert finance.sharpe_ratio(np.full(10, 0.01)) == 0.0
    assert finance.sharpe_ratio(np.stack([r, 2 * r])).shape == (2,)
    assert finance.sharpe_ratio(2 * r) == pytest.approx(finance.sharpe_ratio(r))


def test_drawdown_by_hand():
    wealth = np.array([1.0, 2.0, 1.0, 1.5, 3.0, 0.75])
    np.testing.assert_allclose(finance.drawdown(wealth), [0, 0, 0.5, 0.25, 0, 0.75])
    assert finance.max_drawdown(np.diff(np.log(wealth))) == pytest.approx(0.75)
    assert finance.max_drawdown(np.array([-0.5, 0.1])) == pytest.approx(1 - np.exp(-0.5))  # a fall at the first bar counts
    assert finance.growth(np.log([2.0, 3.0])) == pytest.approx(np.log(6.0))


def test_turnover():
    assert finance.turnover(np.array([1.0, 0.0]), np.array([2.0, 2.0]), bars_per_year=10) == pytest.approx(2.5)


def test_conditional_value_at_risk():
    returns = np.arange(-10.0, 10.0)
    assert finance.conditional_value_at_risk(returns, 0.1) == -9.5
    assert finance.conditional_value_at_risk(returns, 0.125) == pytest.approx((-10 - 9 - 0.5 * 8) / 2.5)
    assert finance.conditional_value_at_risk(returns, 1.0) == pytest.approx(returns.mean())
    normal = RNG.normal(size=400_000)
    assert finance.conditional_value_at_risk(normal, 0.05) == pytest.approx(
        -stats.norm.pdf(stats.norm.ppf(0.05)) / 0.05, abs=0.02
    )
    with pytest.raises(ConfigError, match="level"):
        finance.conditional_value_at_risk(returns, 0.0)


def test_blocks_have_the_length_that_is_asked_for():
    indices = finance.stationary_indices(200, 8.0, 400, np.random.default_rng(1))
    continued = np.mean((indices[:, :-1] + 1) % 200 == indices[:, 1:])
    assert continued == pytest.approx(1 - 1 / 8 + 1 / 8 / 200, abs=0.005)
    assert indices.min() == 0
    assert indices.max() == 199


def test_bootstrap_of_independent_returns_is_that_of_scipy():
    r = RNG.normal(0.001, 0.01, 300)
    ours = finance.block_bootstrap_interval(r, lambda x: x.mean(-1), block_length=1.0, resamples=9999)
    theirs = stats.bootstrap(
        (r,), np.mean, n_resamples=9999, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.04 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.04 * width)


def test_blocks_widen_the_interval_of_dependent_returns_as_theory_says():
    """For an AR(1) with coefficient 0.8 the deviation of the mean is three times that of independent returns."""
    noise = np.random.default_rng(3).normal(size=20_500)
    r = np.zeros_like(noise)
    for t in range(1, len(r)):
        r[t] = 0.8 * r[t - 1] + noise[t]
    r = r[500:]
    widths = {}
    for block in (1.0, 60.0):
        interval = finance.block_bootstrap_interval(r, lambda x: x.mean(-1), block_length=block, resamples=600)
        widths[block] = interval.high - interval.low
    assert widths[60.0] / widths[1.0] == pytest.approx(3.0, rel=0.15)


def test_paired_records_are_drawn_together():
    r = RNG.normal(0, 0.01, 250)
    interval = finance.block_bootstrap_interval(
        np.stack([r + 0.001, r]), lambda x: x[..., 0, :].mean(-1) - x[..., 1, :].mean(-1), resamples=200
    )
    np.testing.assert_allclose(interval, 0.001)


@pytest.mark.parametrize(
    ("returns", "changes", "message"),
    [
        ([0.1], {}, "at least 2"),
        ([0.1, np.nan], {}, "finite"),
        ([0.1, 0.2], dict(block_length=0.5), "block_length"),
        ([0.1, 0.2], dict(confidence=1.0), "confidence"),
        ([0.1, 0.2], dict(resamples=0), "resamples"),
    ],
)
def test_what_cannot_be_measured(returns, changes, message):
    with pytest.raises(ConfigError, match=message):
        finance.block_bootstrap_interval(np.array(returns), finance.growth, **changes)
