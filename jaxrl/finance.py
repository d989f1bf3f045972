"""Measures of a trading record, on the host, in float64: growth, Sharpe ratio, drawdown, turnover, conditional value at risk.

``returns`` are log returns of wealth per bar, which add up over time; any leading axes are kept, time is the last one. Since
returns depend on one another in time, their intervals come from the stationary bootstrap, which draws blocks of bars.
"""

from collections.abc import Callable

import numpy as np

from jaxrl.errors import require
from jaxrl.statistics import Interval

BARS_PER_YEAR = 252
_BLOCK = 2**22  # resampled numbers held at once, 32 MiB


def growth(returns: np.ndarray) -> np.ndarray:
    """Returns the total log growth of wealth, float64[...]."""
    return np.asarray(returns, np.float64).sum(-1)


def sharpe_ratio(returns: np.ndarray, bars_per_year: float = BARS_PER_YEAR) -> np.ndarray:
    """Returns mean over standard deviation of the returns, annualised, float64[...]; 0 where they do not vary.

    The rate without risk is taken as 0: subtract it from the returns where it is not.

    Source: Sharpe (1994), ex post ratio.
    """
    returns = np.asarray(returns, np.float64)
    mean, deviation = returns.mean(-1), returns.std(-1, ddof=1)
    # A constant record has a deviation of rounding alone, which must not become an enormous ratio.
    varies = deviation > 1e-12 + 1e-9 * np.abs(mean)
    return np.where(varies, mean / np.where(varies, deviation, 1.0), 0.0) * np.sqrt(bars_per_year)


def drawdown(wealth: np.ndarray) -> np.ndarray:
    """Returns by which fraction wealth lies below its highest value so far, float64[..., T], at least 0."""
    wealth = np.asarray(wealth, np.float64)
    return 1.0 - wealth / np.maximum.accumulate(wealth, axis=-1)


def max_drawdown(returns: np.ndarray) -> np.ndarray:
    """Returns the largest fall of wealth from an earlier high, as a fraction of it, float64[...]."""
    returns = np.asarray(returns, np.float64)
    start = np.zeros((*returns.shape[:-1], 1))
    return drawdown(np.exp(np.concatenate([start, np.cumsum(returns, -1)], -1))).max(-1)


def turnover(traded: np.ndarray, wealth: np.ndarray, bars_per_year: float = BARS_PER_YEAR) -> np.ndarray:
    """Returns how many times wealth is traded in a year, float64[...].

    Args:
        traded: float[..., T], value bought or sold at each bar, quote currency, not negative.
        wealth: float[..., T], at each bar, quote currency.
        bars_per_year: how many bars a year has.
    """
    return (np.asarray(traded, np.float64) / np.asarray(wealth, np.float64)).mean(-1) * bars_per_year


def conditional_value_at_risk(returns: np.ndarray, level: float = 0.05) -> np.ndarray:
    """Returns the mean of the worst returns, those of probability ``level``, float64[...]; the lower, the riskier.

    Where the level falls between two sorted returns, the next one counts in part, so that the result is continuous in the level.

    Args:
        returns: float[..., T].
        level: in (0, 1].

    Source: Rockafellar and Uryasev (2002), proposition 8.
    """
    require(0 < level <= 1, "conditional_value_at_risk", "level must lie in (0, 1]", level, "0.05 is common.")
    ordered = np.sort(np.asarray(returns, np.float64), -1)
    size = ordered.shape[-1]
    share = np.clip(level * size - np.arange(size), 0.0, 1.0)
    return (ordered * share).sum(-1) / (level * size)


def stationary_indices(size: int, block_length: float, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """Draws bars for the stationary bootstrap, int64[resamples, size]: blocks of geometric length, in a circle.

    Source: Politis and Romano (1994), section 2.
    """
    begins = generator.random((resamples, size)) < 1.0 / block_length
    begins[:, 0] = True
    bar = np.arange(size)
    block = np.maximum.accumulate(np.where(begins, bar, 0), axis=1)
    place = generator.integers(0, size, (resamples, size))
    return (np.take_along_axis(place, block, 1) + bar - block) % size


def block_bootstrap_interval(
    returns: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    block_length: float = 20.0,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Returns a statistic of a record with its percentile interval under the stationary bootstrap.

    Args:
        returns: float[T], or float[K, T] for several records of the same bars: these are drawn together, so that a statistic
            can compare them (paired).
        statistic: maps float[..., T] (float[..., K, T]) to float[...]: ``sharpe_ratio``, ``growth`` ...
        block_length: mean length of a block, bars, at least 1; longer than the dependence to be kept.
        confidence: in (0, 1).
        resamples: how often the bars are drawn again.
        seed: of the resampling.

    Raises:
        ConfigError: a return is not finite, there are fewer than two, or an argument is out of range.
    """
    where = "block_bootstrap_interval"
    returns = np.asarray(returns, np.float64)
    shaped = returns.ndim in (1, 2) and returns.shape[-1] >= 2
    require(shaped, where, "returns must be float[T] or float[K, T], T at least 2", returns.shape, "Add bars.")
    bad = np.argwhere(~np.isfinite(returns))
    require(len(bad) == 0, where, "returns must be finite", bad[:3].tolist(), "Leave out what failed, and say so.")
    size = returns.shape[-1]
    require(block_length >= 1, where, "block_length must be at least 1", block_length, "20 bars are a month.")
    require(0 < confidence < 1, where, "confidence must lie strictly between 0 and 1", confidence, "Try 0.95.")
    require(resamples >= 1, where, "resamples must be at least 1", resamples, "Thousands give stable intervals.")
    generator = np.random.default_rng(seed)
    drawn = []
    batch = max(1, _BLOCK // returns.size)
    for first in range(0, resamples, batch):
        indices = stationary_indices(size, block_length, min(batch, resamples - first), generator)
        drawn.append(statistic(np.moveaxis(returns[..., indices], -2, 0)))
    tail = 50 * (1 - confidence)
    low, high = np.percentile(np.concatenate(drawn), (tail, 100 - tail))
    return Interval(float(statistic(returns)), float(low), float(high))
