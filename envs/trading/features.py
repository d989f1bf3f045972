"""Causal features of a price path: what an observation shows at bar t follows from the prices up to bar t alone.

Only ratios of prices are used. Levels would leak: adjusted closing prices are scaled by the splits and dividends still to come.
"""

import jax
import jax.numpy as jnp

LEAST_VOLATILITY = 1e-4  # per bar; keeps scaled features finite where the price does not move
NUM_LAGS = 5
SHORT, LONG = 20, 60  # bars: a month and a quarter
STANDARD_SIZE = NUM_LAGS + 3


def log_returns(prices: jax.Array) -> jax.Array:
    """Returns log(p_t / p_{t-1}), float32[T]; 0 at the first bar."""
    return jnp.append(jnp.float32(0.0), jnp.diff(jnp.log(prices)))


def lags(series: jax.Array, count: int) -> jax.Array:
    """Returns the value at t, t - 1 ... t - count + 1, float32[T, count]; 0 before the first bar."""
    padded = jnp.concatenate([jnp.zeros(count - 1, series.dtype), series])
    return jnp.stack([padded[count - 1 - lag : padded.shape[0] - lag] for lag in range(count)], axis=-1)


def trailing_sum(series: jax.Array, window: int) -> jax.Array:
    """Returns the sum over the last ``window`` bars, bar t included, float32[T]; over fewer where there are no more."""
    return jax.lax.reduce_window(series, jnp.float32(0.0), jax.lax.add, (window,), (1,), [(window - 1, 0)])


def momentum(prices: jax.Array, window: int) -> jax.Array:
    """Returns log(p_t / p_{t-window}), float32[T]; from the first price on where there are fewer bars."""
    return trailing_sum(log_returns(prices), window)


def volatility(prices: jax.Array, window: int) -> jax.Array:
    """Returns the root mean square of the last ``window`` log returns, per bar, float32[T], at least ``LEAST_VOLATILITY``."""
    count = jnp.clip(jnp.arange(prices.shape[0]), 1, window).astype(jnp.float32)
    mean_square = trailing_sum(jnp.square(log_returns(prices)), window) / count
    return jnp.maximum(jnp.sqrt(mean_square), LEAST_VOLATILITY)


def last_returns(prices: jax.Array) -> jax.Array:
    """Returns the last five log returns in percent, float32[T, 5], the newest first."""
    return 100.0 * lags(log_returns(prices), NUM_LAGS)


def standard(prices: jax.Array) -> jax.Array:
    """Returns the default observation of a market, free of units, float32[T, 8].

    The last five returns over the volatility of the last quarter; momentum of a month and of a quarter, each over what a
    random walk of that volatility would show; log of the volatility of the last month over that of the last quarter.
    """
    scale = volatility(prices, LONG)
    trend = [momentum(prices, window) / (scale * window**0.5) for window in (SHORT, LONG)]
    change = jnp.log(volatility(prices, SHORT) / scale)
    return jnp.concatenate([lags(log_returns(prices), NUM_LAGS) / scale[:, None], jnp.stack([*trend, change], -1)], -1)
