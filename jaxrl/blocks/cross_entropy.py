"""The cross-entropy method: maximise a function by drawing candidates, keeping the best, and drawing near those.

    repeat
        draw C candidates from normal distributions of each entry; cut them to [-1, 1] where they are bounded
        keep the B best
        mean <- momentum * mean + (1 - momentum) * their mean, and the variance likewise

Source: Rubinstein (1999), "The cross-entropy method for combinatorial and continuous optimization"; as a planner: Chua et al.
(2018), appendix A.4; candidates that are cut to their bounds: Pinneri et al. (2020), "Sample-efficient cross-entropy method for
real-time planning".
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Found(NamedTuple):
    """The last distribution, and how it did.

    mean, deviation: float32[...], of each entry of what was searched for.
    value: float32[], the mean value of the candidates that were kept last.
    """

    mean: jax.Array
    deviation: jax.Array
    value: jax.Array


def maximise(
    key: jax.Array,
    value: Callable[[jax.Array, jax.Array], jax.Array],
    mean: jax.Array,
    deviation: jax.Array | float,
    num_iterations: int,
    num_candidates: int,
    num_best: int,
    momentum: jax.Array | float = 0.1,
    bounded: bool = True,
) -> Found:
    """Searches for arrays of which a function is large.

    Args:
        key: one key.
        value: ``(key, candidates float32[C, ...]) -> float32[C]``. A value of NaN is the worst there is.
        mean: float32[...], where the search begins.
        deviation: of each entry at first, positive; broadcasts to ``mean``.
        num_iterations: how often the distribution moves (count).
        num_candidates: C (count).
        num_best: B (count), at most C.
        momentum: the share of the old mean and variance that stays, in [0, 1).
        bounded: whether every entry is kept within [-1, 1].
    """

    def iterate(carry, key):
        mean, variance = carry
        draw_key, value_key = jax.random.split(key)
        candidates = mean + jnp.sqrt(variance) * jax.random.normal(draw_key, (num_candidates, *mean.shape), jnp.float32)
        candidates = jnp.clip(candidates, -1.0, 1.0) if bounded else candidates
        values = value(value_key, candidates)
        best, index = jax.lax.top_k(jnp.where(jnp.isnan(values), -jnp.inf, values), num_best)
        kept = candidates[index]
        mean = momentum * mean + (1.0 - momentum) * kept.mean(0)
        variance = momentum * variance + (1.0 - momentum) * kept.var(0)
        return (mean, variance), best.mean()

    begin = mean, jnp.broadcast_to(jnp.square(jnp.asarray(deviation, jnp.float32)), mean.shape)
    (mean, variance), values = jax.lax.scan(iterate, begin, jax.random.split(key, num_iterations))
    return Found(mean, jnp.sqrt(variance), values[-1])
