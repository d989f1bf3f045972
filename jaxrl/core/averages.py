"""Averages that are divided last: a sum and a count, so that averages over unequal parts add up to the average over the whole.

A metric of an algorithm or an evaluator is a scalar, or an ``Average`` where the number of its items varies: episodes that end,
labelled pairs, agents that have a choice. Sums and counts are added up in compiled code; the division is made once, on the host.
An average of nothing is then a missing value (NaN), and no compiled code has to hold one.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Average(NamedTuple):
    """The average of a number of items.

    total: float32[...], their sum, by weight. count: float32[...], how many they are, or the sum of their weights, at least 0.
    """

    total: jax.Array
    count: jax.Array

    @property
    def mean(self) -> jax.Array:
        """float32[...], NaN where there is no item."""
        return self.total / self.count

    def pooled(self) -> "Average":
        """Returns the average over everything that stands in the axes of this one: their items taken together."""
        return Average(self.total.sum(), self.count.sum())


def average(values: jax.Array, where: jax.Array | None = None, weight: jax.Array | float = 1.0) -> Average:
    """Returns the average of all entries.

    Args:
        values: any shape. An entry that does not count may be anything, NaN too.
        where: bool, broadcasts to values: the entries that count; None for all.
        weight: broadcasts to values: how much each entry counts, at least 0.

    Returns:
        float32[] each.
    """
    values = jnp.asarray(values)
    weight = jnp.broadcast_to(jnp.asarray(weight, jnp.float32), values.shape)
    counts = weight != 0 if where is None else jnp.broadcast_to(where, values.shape) & (weight != 0)
    weight = jnp.where(counts, weight, 0.0)
    total = jnp.sum(jnp.where(counts, values, 0).astype(jnp.float32) * weight)
    return Average(total, weight.sum())


def pooled(metrics: Any) -> Any:
    """Returns metrics without their leading axes: averages are pooled, and of scalars, which count alike, the mean is taken."""
    return jax.tree.map(lambda value: value.pooled() if _is_average(value) else jnp.mean(value), metrics, is_leaf=_is_average)


def divided(metrics: dict[str, Any]) -> dict[str, np.ndarray]:
    """Returns metrics as numbers, on the host: averages are divided, with NaN for those of nothing."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: np.divide(*value) if _is_average(value) else value for name, value in metrics.items()}


def is_sound(value: Any) -> jax.Array:
    """Returns whether a metric, a scalar or an average, is free of NaN and infinity, bool[]; an average of nothing is."""
    return jnp.stack([jnp.isfinite(part) for part in jax.tree.leaves(value)]).all()


def _is_average(value: Any) -> bool:
    return isinstance(value, Average)
