"""Price sources: records that draw a path of prices from a key, ``source.path(key, num_bars) -> float32[num_bars]``.

Every source is pure, and a pytree of numbers, so paths can be drawn under jit and vmap. ``paths`` draws a table of them.
Drift and volatility are per year, a bar is a trading day of which a year has 252.
"""

from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.errors import is_traced, require, require_count, require_finite, require_number, require_real

BARS_PER_YEAR = 252
BARS_PER_MONTH = 21


class Source(Protocol):
    """The interface of every price source."""

    def path(self, key: jax.Array, num_bars: int) -> jax.Array:
        """Draws prices in quote currency per unit, float32[num_bars], all positive."""
        ...


@partial(jax.jit, static_argnames=("num_paths", "num_bars"))
def paths(source: Source, key: jax.Array, num_paths: int, num_bars: int) -> jax.Array:
    """Draws a table of independent paths, float32[num_paths, num_bars].

    Raises:
        ConfigError: there is no path or no bar, or there are more bars than the source has.
    """
    require_count("paths", "num_paths", num_paths)
    require_count("paths", "num_bars", num_bars)
    return jax.vmap(lambda k: source.path(k, num_bars))(jax.random.split(key, num_paths))


def _moves(num_bars: int) -> int:
    """Returns how often prices move on a path of so many bars; raises ConfigError if there is none."""
    require_count("path", "num_bars", num_bars)
    return num_bars - 1


def _compound(start: jax.Array, log_returns: jax.Array) -> jax.Array:
    """Returns the path that begins at ``start`` and moves by float32[T - 1] log returns."""
    return start * jnp.exp(jnp.append(jnp.float32(0.0), jnp.cumsum(log_returns)))


def _log_returns(key: jax.Array, drift: jax.Array, volatility: jax.Array, count: int) -> jax.Array:
    """Draws log returns of one bar each such that the expected simple return grows at ``drift`` a year."""
    noise = jax.random.normal(key, (count,), jnp.float32)
    return (drift - volatility**2 / 2) / BARS_PER_YEAR + volatility * noise / jnp.sqrt(float(BARS_PER_YEAR))


@struct.dataclass
class GeometricBrownianMotion:
    """Independent lognormal returns.

    start: float32[], the first price. drift: float32[], of the expected price, per year. volatility: float32[], per year.
    """

    start: jax.Array
    drift: jax.Array
    volatility: jax.Array

    def path(self, key: jax.Array, num_bars: int) -> jax.Array:
        """See ``Source``."""
        return _compound(self.start, _log_returns(key, self.drift, self.volatility, _moves(num_bars)))


@struct.dataclass
class RegimeSwitching:
    """Lognormal returns whose drift and volatility depend on a hidden Markov regime (Hamilton 1989), stationary from the start.

    start: float32[], the first price. drift, volatility: float32[R], per year. switch: float32[], probability in [0, 1] that
    a bar begins in another regime than the one before, each other one being equally likely.
    """

    start: jax.Array
    drift: jax.Array
    volatility: jax.Array
    switch: jax.Array

    def path(self, key: jax.Array, num_bars: int) -> jax.Array:
        """See ``Source``."""
        return self.path_with_regimes(key, num_bars)[0]

    def path_with_regimes(self, key: jax.Array, num_bars: int) -> tuple[jax.Array, jax.Array]:
        """Draws a path and the regimes behind it, int32[num_bars - 1]: entry t rules the return from bar t to t + 1."""
        regime_key, switch_key, jump_key, return_key = jax.random.split(key, 4)
        count, regimes = _moves(num_bars), self.drift.shape[0]
        first = jax.random.randint(regime_key, (), 0, regimes, jnp.int32)
        switches = jax.random.bernoulli(switch_key, self.switch, (count,))
        # A switch goes on by 1 .. R - 1 regimes in a circle: to each of the others alike.
        jumps = jax.random.randint(jump_key, (count,), 1, max(regimes, 2), jnp.int32)
        moves = jnp.where(switches, jumps, 0).at[:1].set(0)
        regime = (first + jnp.cumsum(moves)) % regimes
        return _compound(self.start, _log_returns(return_key, self.drift[regime], self.volatility[regime], count)), regime


@struct.dataclass
class BlockBootstrap:
    """Real returns in new order: the stationary bootstrap (Politis and Romano 1994), blocks of geometric length.

    start: float32[], the first price. log_returns: float32[N], what is drawn from. block_length: float32[], mean length of a
    block in bars, at least 1.
    """

    start: jax.Array
    log_returns: jax.Array
    block_length: jax.Array

    def path(self, key: jax.Array, num_bars: int) -> jax.Array:
        """See ``Source``."""
        return _compound(self.start, self.log_returns[self.indices(key, _moves(num_bars))])

    def indices(self, key: jax.Array, count: int) -> jax.Array:
        """Draws which returns follow one another, int32[count]. After the last return of the data comes the first."""
        begin_key, place_key = jax.random.split(key)
        size = self.log_returns.shape[0]
        begins = jax.random.bernoulli(begin_key, 1.0 / self.block_length, (count,)).at[:1].set(True)
        place = jax.random.randint(place_key, (count,), 0, size, jnp.int32)
        bar = jnp.arange(count, dtype=jnp.int32)
        block = jax.lax.cummax(jnp.where(begins, bar, 0))
        return (place[block] + bar - block) % size


@struct.dataclass
class Historical:
    """Windows of one series of real prices. prices: float32[N]; a path is a window that begins at a random bar."""

    prices: jax.Array

    def path(self, key: jax.Array, num_bars: int) -> jax.Array:
        """See ``Source``."""
        room = self.prices.shape[0] - 1 - _moves(num_bars)
        require(room >= 0, "historical", f"a window must have at most {self.prices.shape[0]} bars", num_bars, "Add data.")
        first = jax.random.randint(key, (), 0, room + 1, jnp.int32)
        return jax.lax.dynamic_slice(self.prices, (first,), (num_bars,))


def gbm(drift: float = 0.05, volatility: float = 0.2, start: float = 100.0) -> GeometricBrownianMotion:
    """Builds geometric Brownian motion.

    Args:
        drift, volatility: per year. start: the first price.

    Raises:
        ConfigError: volatility is negative or the price not positive.
    """
    _check("gbm", (drift,), (volatility,), start)
    return GeometricBrownianMotion(jnp.float32(start), jnp.float32(drift), jnp.float32(volatility))


def regime_switching(
    drift: tuple[float, ...] = (0.12, -0.15),
    volatility: tuple[float, ...] = (0.15, 0.30),
    monthly_switch: float = 0.05,
    start: float = 100.0,
) -> RegimeSwitching:
    """Builds a market with hidden regimes, by default bull and bear.

    Args:
        drift, volatility: of each regime, per year.
        monthly_switch: probability in [0, 1) that a month of 21 bars contains a switch.
        start: the first price.

    Raises:
        ConfigError: the regimes do not match, or a number is out of range.
    """
    _check("regime_switching", drift, volatility, start)
    fix = "0.05 keeps a regime for 20 months."
    require_number("regime_switching", "monthly_switch", monthly_switch, 0, 1, fix, below=True)
    switch = 1.0 - (1.0 - monthly_switch) ** (1.0 / BARS_PER_MONTH)
    return RegimeSwitching(
        jnp.float32(start), jnp.asarray(drift, jnp.float32), jnp.asarray(volatility, jnp.float32), jnp.float32(switch)
    )


def block_bootstrap(prices: np.ndarray | jax.Array, block_length: float = 20.0, start: float | None = None) -> BlockBootstrap:
    """Builds a bootstrap of the returns of real prices.

    Args:
        prices: float[N + 1], positive. Use training data only: what a path repeats must not come from the test window.
        block_length: mean length of a block, bars, at least 1.
        start: the first price, by default that of the data.

    Raises:
        ConfigError: there are fewer than 3 prices, one is not positive, or a block is shorter than a bar.
    """
    series = np.asarray(require_prices("block_bootstrap", prices, 3, np.float64))
    require_number("block_bootstrap", "block_length", block_length, 1, np.inf, "20 is a month of bars.", below=True)
    first = series[0] if start is None else start
    require_number("block_bootstrap", "start", first, 0, np.inf, "Prices are above 0.", above=True, below=True)
    return BlockBootstrap(jnp.float32(first), jnp.asarray(np.diff(np.log(series)), jnp.float32), jnp.float32(block_length))


def historical(prices: np.ndarray | jax.Array) -> Historical:
    """Builds the source of random windows of real prices, float[N], positive.

    Raises:
        ConfigError: there are fewer than 2 prices, or one is not positive.
    """
    return Historical(jnp.asarray(require_prices("historical", prices, 2)))


def require_prices(where: str, prices: Any, least: int, dtype: Any = np.float32) -> Any:
    """Returns a series of prices, unless one is no positive number. Prices that are traced are not looked at.

    Args:
        where: who asks.
        prices: float[T].
        least: how many there must be.
        dtype: of what is returned, in which every price must be positive and finite.

    Raises:
        ConfigError: they are no row, or too few, or one is not positive and finite; the message names the first rows.
    """
    if is_traced(prices):
        return jnp.asarray(prices, dtype)
    with np.errstate(over="ignore"):  # which makes a price infinite, and so an error
        series = require_real(where, "prices", prices, "Clean these rows.").astype(dtype)
    shaped = series.ndim == 1 and len(series) >= least
    require(shaped, where, f"there must be one row of {least} prices", series.shape, "Add data.")
    bad = np.flatnonzero(~(np.isfinite(series) & (series > 0)))
    found = {int(i): float(np.asarray(prices)[i]) for i in bad[:3]}
    require(bad.size == 0, where, "prices must be positive numbers", found, "Clean these rows.")
    return series


def _check(where: str, drift: Any, volatility: Any, start: Any) -> None:
    named = (("drift", drift), ("volatility", volatility))
    rates = [require_finite(where, name, rate, "Rates are per year.") for name, rate in named]
    same = rates[0].ndim == 1 and rates[0].shape == rates[1].shape and rates[0].size >= 1
    require(same, where, "drift and volatility must have an entry per regime", (drift, volatility), "Match their lengths.")
    least = rates[1].min()
    require(bool(least >= 0), where, "volatility must not be negative", volatility, "0.2 is a usual share's, per year.")
    require_number(where, "start", start, 0, np.inf, "Prices are above 0.", above=True, below=True)
