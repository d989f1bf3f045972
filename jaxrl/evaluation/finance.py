"""Measures of a trading record, on the host, in float64: growth, Sharpe ratio, drawdown, turnover, conditional value at risk.

``returns`` are simple returns of wealth per bar, W[t + 1] / W[t] - 1, as their sources have them; ``simple_returns`` and
``returns_of_wealth`` make them. Any leading axes are kept, time is the last one. A NaN in a record makes its measures NaN, and so
does a measure that is not defined on it: a ratio over no variation, or a record shorter than the definition needs. Other records
in the same array are not affected. A record that no account can have is a ConfigError: an infinite number in it, text, or rows of
different lengths.

Since returns depend on one another in time, intervals come from the stationary bootstrap, which draws blocks of bars.
"""

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxrl.errors import DataWarning, is_traced, require, require_count, require_finite, require_number, require_real
from jaxrl.statistics import Interval

BARS_PER_YEAR = 252
METHODS = ("studentised", "percentile")
_BLOCK = 2**22  # resampled numbers held at once, 32 MiB
_FEWEST_BLOCKS = 10  # in a record; with fewer, no interval covers as often as it says


def simple_returns(log_returns: Any) -> np.ndarray:
    """Turns log returns, which add up over time, into simple returns, float64[...]."""
    return np.expm1(_numbers("simple_returns", log_returns))


def returns_of_wealth(wealth: Any) -> np.ndarray:
    """Returns the simple returns of an account, float64[..., T], from its wealth at T + 1 bars; NaN after it was not positive."""
    wealth = _record("returns_of_wealth", wealth)
    before = np.where(wealth[..., :-1] > 0, wealth[..., :-1], np.nan)
    return wealth[..., 1:] / before - 1.0


def growth(returns: Any) -> np.ndarray:
    """Returns the total log growth of wealth, float64[...]: minus infinity if all is lost, NaN if more than all is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log1p(_record("growth", returns)).sum(-1)


def volatility(returns: Any, bars_per_year: float = BARS_PER_YEAR) -> np.ndarray:
    """Returns the standard deviation of the returns, annualised, float64[...]; NaN for fewer than two."""
    returns, bars_per_year = _record("volatility", returns), _years("volatility", bars_per_year)
    if returns.shape[-1] < 2:
        return np.full(returns.shape[:-1], np.nan)[()]
    return returns.std(-1, ddof=1) * np.sqrt(bars_per_year)


def sharpe_ratio(returns: Any, bars_per_year: float = BARS_PER_YEAR) -> np.ndarray:
    """Returns mean over standard deviation of the returns, annualised, float64[...].

    The rate without risk is taken as 0: subtract it from the returns where it is not. The ratio is NaN for fewer than two
    returns, and where they do not vary.

    Source: Sharpe (1994), ex post ratio.
    """
    returns, bars_per_year = _record("sharpe_ratio", returns), _years("sharpe_ratio", bars_per_year)
    if returns.shape[-1] < 2:
        return np.full(returns.shape[:-1], np.nan)[()]
    mean, deviation = returns.mean(-1), returns.std(-1, ddof=1)
    # The deviation of a constant record is rounding, which must not become an enormous ratio. NaN varies nowhere.
    varies = deviation > 1e-9 * np.abs(mean)
    return mean / np.where(varies, deviation, np.nan) * np.sqrt(bars_per_year)


def drawdown(wealth: Any) -> np.ndarray:
    """Returns by which fraction wealth lies below its highest value so far, float64[..., T], in [0, 1].

    NaN from where on wealth is negative: a debt is no fraction of a fortune.
    """
    return _drawdown(_record("drawdown", wealth))


def _drawdown(wealth: np.ndarray) -> np.ndarray:
    wealth = np.where(np.minimum.accumulate(wealth, axis=-1) >= 0, wealth, np.nan)
    highest = np.maximum.accumulate(wealth, axis=-1)
    return 1.0 - wealth / np.where(highest > 0, highest, np.nan)


def max_drawdown(returns: Any) -> np.ndarray:
    """Returns the largest fall of wealth from an earlier high, as a fraction of it, float64[...]; 0 for no returns."""
    returns = _record("max_drawdown", returns)
    start = np.ones((*returns.shape[:-1], 1))
    return _drawdown(np.cumprod(np.concatenate([start, 1.0 + returns], -1), -1)).max(-1)


def turnover(traded: Any, wealth: Any, bars_per_year: float = BARS_PER_YEAR) -> np.ndarray:
    """Returns how many times wealth is traded in a year, float64[...]; NaN for no bars, and where there is no wealth.

    Args:
        traded: float[..., T], value bought or sold at each bar, quote currency, not negative.
        wealth: float[..., T], at each bar, quote currency.
        bars_per_year: how many bars a year has.

    Raises:
        ConfigError: a traded value is negative, the shapes differ, or a year has no bars.
    """
    traded, wealth = _record("turnover", traded), _record("turnover", wealth)
    bars_per_year = _years("turnover", bars_per_year)
    must, fix = "traded and wealth must have one shape", "Give both at each bar."
    require(traded.shape == wealth.shape, "turnover", must, (traded.shape, wealth.shape), fix)
    least = traded.min(initial=0.0, where=~np.isnan(traded))
    require(least >= 0, "turnover", "traded values must be at least 0", least, "Take their absolute values.")
    if traded.shape[-1] == 0:
        return np.full(traded.shape[:-1], np.nan)[()]
    return (traded / np.where(wealth > 0, wealth, np.nan)).mean(-1) * bars_per_year


def conditional_value_at_risk(returns: Any, level: float = 0.05) -> np.ndarray:
    """Returns the mean of the worst returns, those of probability ``level``, float64[...]; the lower, the riskier.

    Where the level falls between two sorted returns, the next one counts in part, so that the result is continuous in the level.

    Args:
        returns: float[..., T]; NaN for none.
        level: in (0, 1].

    Raises:
        ConfigError: the level is no number in (0, 1].

    Source: Rockafellar and Uryasev (2002), proposition 8.
    """
    require_number("conditional_value_at_risk", "level", level, 0, 1, "0.05 is common.", above=True)
    ordered = np.sort(_record("conditional_value_at_risk", returns), -1)
    size = ordered.shape[-1]
    if size == 0:
        return np.full(ordered.shape[:-1], np.nan)[()]
    share = np.clip(level * size - np.arange(size), 0.0, 1.0)
    return (ordered * share).sum(-1) / (level * size)  # NaN is sorted last, and is NaN times 0 too


# The statistics of a record of returns that reports show; ``intervals_over_time`` has their intervals.
STATISTICS: dict[str, Callable[[Any], np.ndarray]] = {
    "growth": growth,
    "sharpe_ratio": sharpe_ratio,
    "max_drawdown": max_drawdown,
    "cvar": conditional_value_at_risk,
}


def _numbers(where: str, values: Any) -> np.ndarray:
    require(not is_traced(values), where, "the record must be numbers", type(values).__name__, "Measure it outside of jit.")
    return require_real(where, "the record", values, "Give numbers, and NaN after ruin.").astype(np.float64)


def _record(where: str, values: Any) -> np.ndarray:
    record = _numbers(where, values)
    require(record.ndim >= 1, where, "the record must be float[..., T]", record.shape, "Give one number per bar.")
    infinite = np.argwhere(np.isinf(record)).tolist()
    found = f"an infinity at {infinite[:1]}"
    require(not infinite, where, "the record must be finite, or NaN after ruin", found, "Mend the prices that it comes from.")
    return record


def _years(where: str, bars_per_year: float) -> float:
    fix = f"{BARS_PER_YEAR} is that of daily bars."
    require_number(where, "bars_per_year", bars_per_year, 0, np.inf, fix, above=True, below=True)
    return float(bars_per_year)


# ---- intervals


def optimal_block_length(returns: Any) -> float:
    """Returns the mean length of a block, bars, that estimates the variance of a record's mean best by the stationary bootstrap.

    With autocovariances R(k) and the trapezoid window l, which is 1 up to 1/2 and falls to 0 at 1, it is
    (G^2 / g^2)^(1/3) T^(1/3) with G = sum l(k / M) |k| R(k) and g = sum l(k / M) R(k) over |k| <= M. M is twice the first lag
    from which on max(5, log10 T) autocorrelations in a row are below 2 sqrt(log10 T / T).

    Args:
        returns: float[T], at least 8.

    Returns:
        At least 1, at most 3 sqrt(T) and a third of the record; 1 for a record that does not vary.

    Raises:
        ConfigError: there are fewer than 8 returns, or one is not finite.

    Source: Politis and White (2004), section 3, with the correction of Patton, Politis and White (2009).
    """
    where = "optimal_block_length"
    returns = require_finite(where, "returns", _record(where, returns))
    long = returns.ndim == 1 and len(returns) >= 8
    require(long, where, "returns must be float[T], T at least 8", returns.shape, "Measure 8 bars or more.")
    size = len(returns)
    longest = np.ceil(min(3 * np.sqrt(size), size / 3))
    deviation = returns - returns.mean()
    if np.abs(deviation).max() <= 1e-12 * np.abs(returns).max():
        return 1.0
    deviation = deviation / np.abs(deviation).max()  # so that no square underflows
    consecutive = max(5, int(np.log10(size)))
    last = min(int(np.ceil(np.sqrt(size))) + consecutive, size - 2)
    covariance = np.array([deviation[lag:] @ deviation[: size - lag] / size for lag in range(last + 1)])
    small = np.abs(covariance[1:last] / covariance[0]) < 2 * np.sqrt(np.log10(size) / size)
    quiet = np.flatnonzero(np.lib.stride_tricks.sliding_window_view(small, consecutive).all(1))
    lag = np.arange(1, (min(2 * (int(quiet[0]) + 1), last) if len(quiet) else last) + 1)
    window = np.minimum(1.0, 2 * (1 - lag / lag[-1]))
    slope = 2 * (window * lag * covariance[lag]).sum()
    variance = covariance[0] + 2 * (window * covariance[lag]).sum()
    length = np.cbrt((slope / variance) ** 2 * size) if variance != 0 else longest
    return float(np.clip(length, 1.0, longest))


def stationary_indices(size: int, block_length: float, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """Draws bars for the stationary bootstrap, int64[resamples, size]: blocks of geometric length, in a circle.

    Raises:
        ConfigError: a number is below 1, or infinite.

    Source: Politis and Romano (1994), section 2.
    """
    where = "stationary_indices"
    require_count(where, "size", size)
    require_count(where, "resamples", resamples)
    require_number(where, "block_length", block_length, 1, np.inf, "20 is a month of bars.", below=True)
    begins = generator.random((resamples, size)) < 1.0 / block_length
    begins[:, 0] = True
    bar = np.arange(size)
    block = np.maximum.accumulate(np.where(begins, bar, 0), axis=1)
    place = generator.integers(0, size, (resamples, size))
    return (np.take_along_axis(place, block, 1) + bar - block) % size


def block_bootstrap_interval(
    returns: Any,
    statistic: Callable[[np.ndarray], np.ndarray],
    block_length: float | None = None,
    confidence: float = 0.95,
    method: str = "studentised",
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Returns a statistic of a record with its interval under the stationary bootstrap.

    "studentised" is for statistics that are smooth functions of means: growth, Sharpe ratio, their differences. In every resample
    the statistic's distance from its estimate is divided by a standard error, and the quantiles of these ratios are multiplied
    by the standard error of the record. A standard error is made from K cosine-weighted sums of each bar's influence on the
    statistic, where K falls with the dependence; the influence is found by leaving out each bar in turn, which takes T
    evaluations of the statistic. "percentile" takes the quantiles of the resamples' statistics. It covers less often, and is the
    one for statistics of the path, such as ``max_drawdown``: it says between which values these lie on records like this one.

    Share of 1000 simulated records (250 of 2500 bars) whose nominal 95 % interval covered the truth, with the block length chosen
    from the data, beside percentiles of blocks of 20 bars:

    | statistic | record | T | studentised | percentile | 20 bars |
    | --- | --- | --- | --- | --- | --- |
    | mean | independent | 120 | 0.935 | 0.928 | 0.873 |
    | mean | AR(1), 0.8 | 120 | 0.921 | 0.782 | 0.780 |
    | mean | AR(1), 0.8 | 500 | 0.927 | 0.870 | 0.861 |
    | mean | AR(1), 0.95 | 500 | 0.912 | 0.778 | 0.752 |
    | mean | AR(1), 0.95 | 2500 | 0.936 | 0.892 | 0.804 |
    | Sharpe ratio | Student t, 4 degrees | 120 | 0.942 | 0.916 | 0.844 |
    | Sharpe ratio | GARCH | 500 | 0.942 | 0.939 | 0.927 |
    | 5 % CVaR | Student t, 4 degrees | 500 | 0.939 | 0.905 | 0.874 |
    | 5 % CVaR | GARCH | 500 | 0.801 | 0.608 | 0.702 |
    | 5 % CVaR | GARCH | 2500 | 0.896 | 0.692 | 0.792 |

    So intervals of means and ratios cover nearly as often as they say; those of tails of volatile records too seldom.

    Args:
        returns: float[T], or float[K, T] for several records of the same bars: these are drawn together, so that a statistic
            can compare them (paired).
        statistic: maps float[..., T] (float[..., K, T]) to float[...]: ``sharpe_ratio``, ``growth`` ...
        block_length: mean length of a block, bars, at least 1; None takes ``optimal_block_length`` of the bars' influence
            ("studentised") or of the records, the longest ("percentile").
        confidence: in (0, 1).
        method: one of ``METHODS``.
        resamples: how often the bars are drawn again.
        seed: of the resampling.

    Returns:
        The interval; without limits (infinite) if some resamples cannot tell how far the statistic may be off, as a conditional
        value at risk cannot from a handful of bars. One number where no resample changes the statistic.

    Raises:
        ConfigError: a return is not finite, there are fewer than two (eight, if the block length is to be chosen), the statistic
            is not defined on the record, or an argument is out of range.

    Warns:
        DataWarning: the record holds fewer than ten blocks, so that the interval will cover the truth less often than it says.

    Source: Politis and Romano (1994) for the bootstrap; Ledoit and Wolf (2008), section 3.2, for studentised intervals of Sharpe
    ratios; Lazarus, Lewis, Stock and Watson (2018) for standard errors by cosine weights; Goncalves and Vogelsang (2011) for the
    same formula in the record and in the resamples.
    """
    where = "block_bootstrap_interval"
    returns = require_finite(where, "returns", _record(where, returns), "Leave out the bars that failed, and say so.")
    shaped = returns.ndim in (1, 2) and returns.shape[-1] >= 2
    require(shaped, where, "returns must be float[T] or float[K, T], T at least 2", returns.shape, "Measure 2 bars or more.")
    require_number(where, "confidence", confidence, 0, 1, "Try 0.95.", above=True, below=True)
    require(method in METHODS, where, f"method must be one of {METHODS}", method, "Paths need 'percentile'.")
    require_count(where, "resamples", resamples)
    require_count(where, "seed", seed, 0)
    estimate = np.asarray(statistic(returns))
    must, fix = "the statistic of the record must be one number", "Reduce the last axis, and of float[K, T] both."
    require(estimate.shape == (), where, must, estimate.shape, fix)
    estimate = float(estimate)
    require(np.isfinite(estimate), where, "the statistic must be defined on the record", estimate, "Measure a longer record.")
    influence = _influence(returns, statistic) if method == "studentised" else None
    block_length = _block_length(where, returns if influence is None else influence, block_length)
    draw = functools.partial(_resampled, returns, statistic, block_length, resamples, seed)
    ends = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    if influence is None:
        drawn, _ = draw(None)
        return Interval(estimate, *map(float, np.quantile(drawn, ends)))
    count = _sums(returns.shape[-1], block_length)
    scale = float(_standard_error(influence, count))
    drawn, errors = draw(lambda indices: _standard_error(influence[indices], count))
    if np.ptp(drawn) == 0:
        return Interval(estimate, float(drawn[0]), float(drawn[0]))
    must = "the statistic must change when bars are left out"
    require(scale > 0, where, must, "the same value each time", "Use method='percentile'.")
    # An error that has vanished beside the record's is rounding: this resample sets no limit.
    vanished = errors <= 1e-9 * scale
    ratio = np.where(vanished, np.copysign(np.inf, drawn - estimate), (drawn - estimate) / np.where(vanished, 1.0, errors))
    high, low = np.quantile(ratio, ends, method="closest_observation")
    return Interval(estimate, float(estimate - low * scale), float(estimate - high * scale))


@dataclass(frozen=True)
class Difference:
    """A statistic of the first of two records less that of the second, float[..., 2, T] -> float[...]: paired by bar."""

    statistic: Callable[[np.ndarray], np.ndarray]

    def __call__(self, records: np.ndarray) -> np.ndarray:
        return self.statistic(records[..., 0, :]) - self.statistic(records[..., 1, :])


def intervals_over_time(
    returns: Any, reference: Any, statistic: Callable[[np.ndarray], np.ndarray], resamples: int = 2000
) -> tuple[Interval, Interval]:
    """Returns a statistic of a record with its 95 % interval, and by how much it exceeds that of a reference record.

    Args:
        returns, reference: float[T], of the same bars.
        statistic: of this module; the intervals of ``max_drawdown``, which is one of the path, are percentiles.
        resamples: see ``block_bootstrap_interval``.

    Raises, Warns:
        see ``block_bootstrap_interval``.
    """
    method = "percentile" if statistic is max_drawdown else "studentised"
    records = [_record("intervals_over_time", record) for record in (returns, reference)]
    shapes = [record.shape for record in records]
    must, fix = "returns and reference must be float[T] of the same bars", "Cut them to the same bars."
    require(shapes[0] == shapes[1] and len(shapes[0]) == 1, "intervals_over_time", must, shapes, fix)
    both = np.stack(records)
    own = block_bootstrap_interval(both[0], statistic, method=method, resamples=resamples)
    return own, block_bootstrap_interval(both, Difference(statistic), method=method, resamples=resamples)


def _block_length(where: str, records: np.ndarray, block_length: float | None) -> float:
    """Returns the length that was asked for, or else the longest that one of the records, float[T] or float[K, T], needs."""
    if block_length is None:
        block_length = max(map(optimal_block_length, np.atleast_2d(records)))
    require_number(where, "block_length", block_length, 1, np.inf, "None chooses it from the data.", below=True)
    blocks = records.shape[-1] / block_length
    if blocks < _FEWEST_BLOCKS:
        warnings.warn(
            f"{where}: the record should hold at least {_FEWEST_BLOCKS} blocks, got {blocks:.1f} of {block_length:.1f} bars. The "
            "interval covers the truth less often than it says; measure a longer record.",
            DataWarning,
            stacklevel=3,
        )
    return float(block_length)


def _resampled(
    returns: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    block_length: float,
    resamples: int,
    seed: int,
    error: Callable[[np.ndarray], np.ndarray] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the statistic of each resample, and ``error`` of its bars int64[R, T], zeros without one; float64[resamples]."""
    generator = np.random.default_rng(seed)
    drawn, errors = [], []
    batch = max(1, _BLOCK // returns.size)
    for first in range(0, resamples, batch):
        indices = stationary_indices(returns.shape[-1], block_length, min(batch, resamples - first), generator)
        found = np.asarray(statistic(np.moveaxis(returns[..., indices], -2, 0)))
        must = "the statistic must be defined on every resample"
        require(bool(np.isfinite(found).all()), "block_bootstrap_interval", must, returns.shape, "Measure a longer record.")
        drawn.append(found)
        errors.append(np.zeros(len(indices)) if error is None else error(indices))
    return np.concatenate(drawn), np.concatenate(errors)


def _influence(returns: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Returns how far each bar moves the statistic, times T - 1, float64[T]: the jackknife's estimate of its influence."""
    size = returns.shape[-1]
    others = np.arange(size - 1)
    without = []
    batch = max(1, _BLOCK // returns.size)
    for first in range(0, size, batch):
        left_out = np.arange(first, min(first + batch, size))[:, None]
        without.append(statistic(np.moveaxis(returns[..., others + (others >= left_out)], -2, 0)))
    without = np.concatenate(without)
    return (size - 1) * (without.mean() - without)


def _sums(size: int, block_length: float) -> int:
    """Returns how many cosine-weighted sums a standard error is made from: 0.4 T^(2/3) at most, one for every two blocks.

    Source: the first is the rule of Lazarus, Lewis, Stock and Watson (2018), equation 10, for moderate dependence. The second
    is ours: K sums see periods down to 2 T / K bars, and these must be longer than the dependence, of which a block is a measure.
    """
    return max(1, int(min(0.4 * size ** (2 / 3), size / (2 * block_length))))


def _standard_error(influence: np.ndarray, count: int) -> np.ndarray:
    """Returns the standard error of a mean, float64[...], from the influence of each bar, float64[..., T], in order.

    Each sum over sqrt(2) cos(pi j (t - 1/2) / T) has the long-run variance of a bar times T, and is free of the mean.
    """
    size = influence.shape[-1]
    weights = np.sqrt(2.0) * np.cos(np.pi / size * np.outer(np.arange(size) + 0.5, np.arange(1, count + 1)))
    return np.sqrt(np.square(influence @ weights).mean(-1)) / size
