"""Baselines that know prices alone: the weight to hold at each bar, from the prices up to it. See ``accounting.replay``."""

from typing import Any

import jax
import jax.numpy as jnp

from envs.trading import features
from envs.trading.prices import require_prices


def buy_and_hold(prices: Any, weight: float = 1.0) -> jax.Array:
    """Returns the weights float32[T] of one purchase at the first bar; NaN, to leave the position alone, after it."""
    prices = require_prices("buy_and_hold", prices, 1)
    return jnp.where(jnp.arange(prices.shape[0]) == 0, jnp.float32(weight), jnp.nan)


def momentum(prices: Any, window: int = features.LONG, short: float = 0.0) -> jax.Array:
    """Returns the weights float32[T] that follow the trend: 1 where the price rose over the window, else -short.

    Source: time-series momentum, Moskowitz, Ooi and Pedersen (2012).
    """
    trend = features.momentum(jnp.asarray(require_prices("momentum", prices, 1)), window)
    return jnp.where(trend > 0, 1.0, -short).astype(jnp.float32)


def reversal(prices: Any, short: float = 1.0) -> jax.Array:
    """Returns the weights float32[T] that bet against the last bar: 1 where the price fell, -short where it rose, else 0.

    Source: short-term reversal, Lehmann (1990), of one asset over one bar.
    """
    last = features.log_returns(jnp.asarray(require_prices("reversal", prices, 1)))
    return jnp.where(last < 0, 1.0, jnp.where(last > 0, -short, 0.0)).astype(jnp.float32)
