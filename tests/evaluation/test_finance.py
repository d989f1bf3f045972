"""Measures of a trading record: against other libraries on real prices, by hand, and the coverage of the bootstrap."""

import warnings

import empyrical
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arch.bootstrap import optimal_block_length as reference_block_length
from scipy import signal, stats

from envs.trading import market_data
from jaxrl.errors import ConfigError, DataWarning
from jaxrl.evaluation import finance

RNG = np.random.default_rng(0)


def returns_of(ticker):
    prices = market_data.load(ticker).prices
    return finance.returns_of_wealth(prices)


def autoregressive(coefficient, shape, seed):
    noise = np.random.default_rng(seed).normal(size=(*shape[:-1], shape[-1] + 200))
    return signal.lfilter([1.0], [1.0, -coefficient], noise)[..., 200:]


# ---- on real prices


@pytest.mark.parametrize(("ticker", "expected"), [("AAPL", 0.678), ("MSFT", 0.118)])
def test_sharpe_ratio_is_that_of_simple_returns(ticker, expected):
    returns = returns_of(ticker)
    assert finance.sharpe_ratio(returns) == pytest.approx(expected, abs=5e-4)
    assert finance.sharpe_ratio(returns) == pytest.approx(float(empyrical.sharpe_ratio(returns)), rel=1e-9)
    assert finance.sharpe_ratio(finance.simple_returns(np.log1p(returns))) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("ticker", market_data.TICKERS)
def test_measures_agree_with_another_library(ticker):
    returns = returns_of(ticker)
    assert finance.volatility(returns) == pytest.approx(float(empyrical.annual_volatility(returns)), rel=1e-9)
    assert finance.max_drawdown(returns) == pytest.approx(-float(empyrical.max_drawdown(returns)), rel=1e-9)
    assert np.expm1(finance.growth(returns)) == pytest.approx(float(empyrical.cum_returns_final(returns)), rel=1e-9)
    whole = returns[: len(returns) // 20 * 20]  # where the level does not fall between two returns the definitions agree
    theirs = float(empyrical.conditional_value_at_risk(whole, 0.05))
    assert finance.conditional_value_at_risk(whole, 0.05) == pytest.approx(theirs, rel=1e-9)


def test_conditional_value_at_risk_is_the_optimum_of_rockafellar_and_uryasev():
    """Their other formula: the largest c - E[(c - r)+] / level over c, which is reached at a return."""
    returns = returns_of("MSFT")
    for level in (0.01, 0.05, 0.2):
        optimum = max(c - np.maximum(c - returns, 0).mean() / level for c in returns)
        assert finance.conditional_value_at_risk(returns, level) == pytest.approx(optimum, rel=1e-9)


# ---- by hand


def test_sharpe_ratio():
    r = RNG.normal(0.001, 0.01, 500)
    t = stats.ttest_1samp(r, 0.0).statistic  # mean over its standard error
    assert finance.sharpe_ratio(r) == pytest.approx(t / np.sqrt(500) * np.sqrt(252))
    assert finance.sharpe_ratio(np.stack([r, 2 * r])).shape == (2,)
    for scale in (2.0, 1e-12):
        assert finance.sharpe_ratio(scale * r) == pytest.approx(finance.sharpe_ratio(r))


def test_drawdown_by_hand():
    wealth = np.array([1.0, 2.0, 1.0, 1.5, 3.0, 0.75])
    np.testing.assert_allclose(finance.drawdown(wealth), [0, 0, 0.5, 0.25, 0, 0.75])
    assert finance.max_drawdown(finance.returns_of_wealth(wealth)) == pytest.approx(0.75)
    assert finance.max_drawdown([-0.5, 0.1]) == pytest.approx(0.5)  # a fall at the first bar counts
    assert finance.max_drawdown([]) == 0.0
    assert finance.growth([1.0, 2.0]) == pytest.approx(np.log(6.0))


def test_turnover():
    assert finance.turnover(np.array([1.0, 0.0]), np.array([2.0, 2.0]), bars_per_year=10) == pytest.approx(2.5)
    # An account turned over once in a year, sold and bought: twice its wealth is traded.
    traded, wealth = np.zeros(252), np.linspace(1.0, 2.0, 252)
    traded[[10, 200]] = wealth[[10, 200]]
    assert finance.turnover(traded, wealth) == pytest.approx(2.0)


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


# ---- what is not defined

MEASURES = {
    "growth": finance.growth,
    "volatility": finance.volatility,
    "sharpe_ratio": finance.sharpe_ratio,
    "max_drawdown": finance.max_drawdown,
    "cvar": finance.conditional_value_at_risk,
    "turnover": lambda returns: finance.turnover(np.abs(returns), np.ones_like(returns)),
}


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
@pytest.mark.parametrize("place", [0, 2, 3])
def test_a_missing_return_makes_its_own_record_missing(measure, place):
    records = np.tile([0.01, -0.03, 0.02, 0.03], (2, 1))
    whole = measure(records[1])
    records[0, place] = np.nan
    np.testing.assert_array_equal(measure(records), [np.nan, whole])


def test_a_ratio_over_no_variation_is_missing():
    records = np.array([[0.01, 0.01, 0.01], [0.0, 0.0, 0.0], [0.1 + 0.2, 0.3, 0.3]])
    assert np.isnan(finance.sharpe_ratio(records)).all()


@pytest.mark.parametrize("size", [0, 1])
def test_a_record_shorter_than_the_definition_is_missing(size):
    record = np.full(size, 0.01)
    assert np.isnan(finance.sharpe_ratio(record))
    assert np.isnan(finance.volatility(record))
    assert finance.sharpe_ratio(np.full((3, size), 0.01)).shape == (3,)
    if size == 0:
        assert np.isnan(finance.conditional_value_at_risk(record))
        assert np.isnan(finance.turnover(record, record))


def test_an_account_without_wealth_has_no_return():
    np.testing.assert_array_equal(finance.returns_of_wealth([2.0, 1.0, -1.0, -2.0]), [-0.5, -2.0, np.nan])
    assert np.isnan(finance.turnover([1.0, 1.0], [1.0, -1.0]))
    assert finance.growth([-1.0]) == -np.inf
    assert np.isnan(finance.growth([-1.5]))


@pytest.mark.parametrize(
    "measure", [finance.sharpe_ratio, finance.max_drawdown, finance.growth, finance.conditional_value_at_risk]
)
def test_a_record_that_no_account_can_have_is_refused(measure):
    with pytest.raises(
        ConfigError, match=rf"^{measure.__name__}: the record must be finite, or NaN after ruin, got .an infinity at \[\[1\]\]"
    ):
        measure([0.1, np.inf, 0.2])
    for record in (["0.1", "0.2"], [[0.1, 0.2], [0.3]], [0.1j, 0.2]):
        with pytest.raises(ConfigError, match=f"^{measure.__name__}: the record must be an array of real numbers"):
            measure(record)
    assert np.isnan(measure([0.1, np.nan, 0.2]))


@pytest.mark.parametrize("bars", [-1, 0, np.nan, "252"])
def test_a_year_without_bars_is_refused(bars):
    for measure in (finance.sharpe_ratio, finance.volatility, lambda *args: finance.turnover([1.0], *args)):
        with pytest.raises(ConfigError, match="bars_per_year must be"):
            measure([0.1, 0.2], bars)


def test_wealth_that_overflows_is_no_error_of_the_record():
    with np.errstate(all="ignore"):
        assert finance.max_drawdown([1e200, 1e200, -0.5]).shape == ()


def test_a_record_is_a_row_of_numbers_on_the_host():
    with pytest.raises(ConfigError, match=r"the record must be float\[\.\.\., T\]"):
        finance.sharpe_ratio(0.1)
    with pytest.raises(ConfigError, match="must be numbers"):
        jax.jit(finance.sharpe_ratio)(jnp.ones(3))


# ---- intervals


def test_blocks_have_the_length_that_is_asked_for():
    indices = finance.stationary_indices(200, 8.0, 400, np.random.default_rng(1))
    continued = np.mean((indices[:, :-1] + 1) % 200 == indices[:, 1:])
    assert continued == pytest.approx(1 - 1 / 8 + 1 / 8 / 200, abs=0.005)
    assert indices.min() == 0
    assert indices.max() == 199


def test_bootstrap_of_independent_returns_is_that_of_scipy():
    r = RNG.normal(0.001, 0.01, 300)
    ours = finance.block_bootstrap_interval(r, lambda x: x.mean(-1), block_length=1.0, method="percentile", resamples=9999)
    theirs = stats.bootstrap(
        (r,), np.mean, n_resamples=9999, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.04 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.04 * width)


def test_blocks_widen_the_interval_of_dependent_returns_as_theory_says():
    """For an AR(1) with coefficient 0.8 the deviation of the mean is three times that of independent returns."""
    r = autoregressive(0.8, (20_000,), 3)
    widths = {}
    for block in (1.0, 60.0):
        interval = finance.block_bootstrap_interval(
            r, lambda x: x.mean(-1), block_length=block, method="percentile", resamples=600
        )
        widths[block] = interval.high - interval.low
    assert widths[60.0] / widths[1.0] == pytest.approx(3.0, rel=0.15)


def test_paired_records_are_drawn_together():
    r = RNG.normal(0, 0.01, 250)
    interval = finance.block_bootstrap_interval(
        np.stack([r + 0.001, r]), lambda x: x[..., 0, :].mean(-1) - x[..., 1, :].mean(-1), resamples=200
    )
    np.testing.assert_allclose(interval, 0.001)


def test_block_lengths_are_those_of_another_library():
    """Theirs divide autocovariances by other variances: they part where an autocorrelation lies at the threshold, not here."""
    records = [returns_of(ticker) for ticker in market_data.TICKERS]
    records += [returns_of("MSFT") ** 2, RNG.normal(size=120)]
    records += [autoregressive(phi, (size,), 7) for phi in (-0.5, 0.3, 0.8, 0.95) for size in (500, 2000)]
    for record in records:
        theirs = float(reference_block_length(record)["stationary"].iloc[0])
        assert finance.optimal_block_length(record) == pytest.approx(max(1.0, theirs), rel=1e-6)
        assert finance.optimal_block_length(1e-160 * record) == pytest.approx(max(1.0, theirs), rel=1e-6)


def test_a_record_without_variation_needs_no_blocks():
    assert finance.optimal_block_length(np.full(50, 0.1)) == 1.0


def mean(records):
    return records.mean(-1)


def coverage(records, truth, **settings):
    intervals = [finance.block_bootstrap_interval(row, mean, resamples=300, **settings) for row in records]
    return np.mean([interval.low <= truth <= interval.high for interval in intervals])


@pytest.mark.slow
@pytest.mark.parametrize(("size", "coefficient"), [(120, 0.8), (500, 0.95)])
def test_studentised_intervals_cover_dependent_records(size, coefficient):
    """Bounds lie between the coverages of the docstring; the seed is fixed."""
    records = autoregressive(coefficient, (120, size), 11)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        assert coverage(records, 0.0) >= 0.87
        assert coverage(records, 0.0, block_length=20.0, method="percentile") < 0.87


def test_an_interval_of_a_difference_is_that_of_the_differences():
    """A mean of differences, computed from pairs and from one record."""
    pair = autoregressive(0.5, (2, 300), 5)
    of_pair = finance.block_bootstrap_interval(pair, lambda x: mean(x[..., 0, :]) - mean(x[..., 1, :]), resamples=200)
    of_one = finance.block_bootstrap_interval(pair[0] - pair[1], mean, resamples=200)
    np.testing.assert_allclose(of_pair, of_one, rtol=1e-9)


def test_a_standard_error_of_independent_returns_is_that_of_the_mean():
    records = RNG.normal(size=(400, 300))
    errors = finance._standard_error(records, 17)
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(1 / np.sqrt(300), rel=0.05)


def test_too_few_blocks_are_said_aloud():
    record = autoregressive(0.97, (150,), 2)
    with pytest.warns(DataWarning, match="should hold at least 10 blocks"):
        finance.block_bootstrap_interval(record, mean, resamples=20)
    with pytest.warns(DataWarning, match=r"got 6\.0 of 20\.0 bars"):
        finance.block_bootstrap_interval(record[:120], mean, 20.0, method="percentile", resamples=20)


def test_a_tail_of_three_bars_sets_no_limit():
    """In many resamples none of the worst three bars is drawn: they cannot tell the error."""
    record = np.random.default_rng(0).normal(size=60)
    interval = finance.block_bootstrap_interval(record, finance.conditional_value_at_risk, 1.0)
    assert interval.low == -np.inf
    assert interval.estimate < interval.high < 0


def no_matter(records):
    return np.sign(records.max(-1))


def test_a_statistic_that_no_bar_moves_has_one_value():
    record = np.random.default_rng(0).normal(size=60)
    assert finance.block_bootstrap_interval(record, no_matter, 1.0, resamples=20) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("returns", "changes", "message"),
    [
        ([0.1], {}, "at least 2"),
        ([0.1, np.nan], {}, "finite"),
        ([0.1, 0.2], {}, "T at least 8"),
        ([0.1, 0.2], dict(block_length=0.5), "block_length"),
        ([0.1, 0.2], dict(block_length=np.nan), "block_length"),
        ([0.1, 0.2], dict(confidence=1.0), "confidence"),
        ([0.1, 0.2], dict(resamples=0), "resamples"),
        ([0.1, 0.2], dict(method="BCa"), "method"),
        ([0.1, -1.5], {}, "must be defined on the record"),
    ],
)
def test_what_cannot_be_measured(returns, changes, message):
    with pytest.raises(ConfigError, match=message):
        finance.block_bootstrap_interval(np.array(returns), finance.growth, **changes)


def test_a_debt_is_no_fraction_of_a_fortune():
    np.testing.assert_array_equal(finance.drawdown([1, 0.5, -0.5, 5, 4.5]), [0, 0.5, np.nan, np.nan, np.nan])
    assert np.isnan(finance.max_drawdown([-1.5, -11, -0.1]))
    assert finance.max_drawdown([-1.0, 0.5]) == 1.0
    with pytest.raises(ConfigError, match="traded values must be at least 0"):
        finance.turnover([-1.0, 1.0], [1.0, 1.0])


def test_intervals_over_time_are_of_a_statistic_and_of_its_difference():
    returns, reference = returns_of("AAPL")[:300], returns_of("MSFT")[:300]
    for statistic, method in ((finance.sharpe_ratio, "studentised"), (finance.max_drawdown, "percentile")):
        own, over = finance.intervals_over_time(returns, reference, statistic, resamples=50)
        assert own == finance.block_bootstrap_interval(returns, statistic, method=method, resamples=50)
        assert over.estimate == pytest.approx(statistic(returns) - statistic(reference))
        assert over.low < over.estimate < over.high or method == "percentile"
    assert finance.intervals_over_time(returns, returns, finance.growth, resamples=50)[1] == (0.0, 0.0, 0.0)
