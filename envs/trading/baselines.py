"""Baselines that know prices alone: the weight to hold at each bar, from the prices up to it. See ``accounting.replay``."""

import jax
import jax.numpy as jnp

from envs.trading import features


def buy_and_hold(prices: jax.Array, weight: float = 1.0) -> jax.Array:
    """Returns the weights float32[T] of one purchase at the first bar; NaN, to leave the position alone, after it."""
    return jnp.where(jnp.arange(prices.shape[0]) == 0, jnp.float32(weight), jnp.nan)


def momentum(prices: jax.Array, window: int = features.LONG, short: float = 0.0) -> jax.Array:
    """Returns the weights float32[T] that follow the trend: 1 where the price rose over the window, else -short.

    Source: time-series momentum, Moskowitz, Ooi and Pedersen (2012).
    """
    return jnp.where(features.momentum(prices, window) > 0, 1.0, -short).astype(jnp.float32)
