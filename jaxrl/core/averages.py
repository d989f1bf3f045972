"""Metrics: numbers, small arrays of them, and averages that are divided last.

A metric of an algorithm or an evaluator is a number, or an array of a fixed shape with at most ``MOST_ENTRIES`` entries: one
for each agent, say, or each action. Where the number of its items varies (episodes that end, labelled pairs, agents that have a
choice) it is an ``Average``: a sum and a count, so that averages over unequal parts add up to the average over the whole. Where
it may be missing altogether it is declared as ``optional``. Any other metric of an algorithm must be finite: a seed in which it
is not goes into quarantine.

Sums and counts are added up in compiled code; the division is made once, on the host. An average of nothing is then a missing
value (NaN), and no compiled code has to hold one. On the host, too, arrays become columns: ``q`` of shape [2, 3] is ``q/0/0`` to
``q/1/2``.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

MOST_ENTRIES = 64  # of one metric: every entry is a column in all tables


class Average(NamedTuple):
    """The average of a number of items, or an array of such averages.

    total: float32[...], their sum, by weight. count: float32[...], how many they are, or the sum of their weights, at least 0.
    """

    total: jax.Array
    count: jax.Array

    @property
    def mean(self) -> jax.Array:
        """float32[...], NaN where there is no item."""
        return self.total / self.count

    def pooled(self, axes: int | None = None) -> "Average":
        """Returns the average over everything that stands in the leading axes of this one: their items taken together.

        axes: how many axes these are, None for all there are.
        """
        over = None if axes is None else tuple(range(axes))
        return Average(self.total.sum(over), self.count.sum(over))


def average(
    values: jax.Array,
    where: jax.Array | None = None,
    weight: jax.Array | float = 1.0,
    axis: int | tuple[int, ...] | None = None,
) -> Average:
    """Returns the average of all entries, or of those along some axes.

    Args:
        values: any shape. An entry that does not count may be anything, NaN too.
        where: bool, broadcasts to values: the entries that count; None for all.
        weight: broadcasts to values: how much each entry counts, at least 0.
        axis: the axes that are averaged over, None for all.

    Returns:
        float32[...] each, of the axes that are left.
    """
    values = jnp.asarray(values)
    weight = jnp.broadcast_to(jnp.asarray(weight, jnp.float32), values.shape)
    counts = weight != 0 if where is None else jnp.broadcast_to(where, values.shape) & (weight != 0)
    weight = jnp.where(counts, weight, 0.0)
    total = jnp.sum(jnp.where(counts, values, 0).astype(jnp.float32) * weight, axis)
    return Average(total, weight.sum(axis))


def optional(value: Any, where: Any = None) -> Average:
    """Returns a metric that may be missing, entry by entry: an average of one item, or of none.

    Args:
        value: a real number, or an array of them.
        where: bool, broadcasts to value: the entries that are there; None for all that are not NaN. An infinity is there.

    Returns:
        float32 each, of the shape of the value.
    """
    value = jnp.asarray(value).astype(jnp.float32)
    there = ~jnp.isnan(value) if where is None else jnp.broadcast_to(where, value.shape)
    return Average(jnp.where(there, value, 0.0), there.astype(jnp.float32))


def counted(metrics: dict[str, Any], where: jax.Array) -> dict[str, Any]:
    """Returns metrics as averages, those given if ``where``, bool[], holds, and averages of nothing if not."""

    def of(value):
        if not _is_average(value):
            return optional(value, where)
        return Average(*(jnp.where(where, part, 0.0) for part in value))

    return jax.tree.map(of, metrics, is_leaf=_is_average)


def pooled(metrics: Any, axes: int | None = None) -> Any:
    """Returns metrics without their leading axes: averages are pooled, and of others, which count alike, the mean is taken.

    axes: how many axes these are; None for all there are, where every metric is a scalar.
    """
    over = None if axes is None else tuple(range(axes))

    def of(value):
        return value.pooled(axes) if _is_average(value) else jnp.mean(value, over)

    return jax.tree.map(of, metrics, is_leaf=_is_average)


def divided(metrics: dict[str, Any]) -> dict[str, np.ndarray]:
    """Returns metrics as numbers, on the host: averages are divided, with NaN for those of nothing."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: np.divide(*value) if _is_average(value) else value for name, value in metrics.items()}


def columns(metrics: dict[str, Any], axes: int = 0) -> dict[str, np.ndarray]:
    """Returns metrics as columns of numbers, on the host: averages are divided, and an array is a column for each entry.

    Args:
        metrics: name -> number, array or Average, each with the same leading axes.
        axes: how many leading axes there are, such as those of seeds and updates.

    Returns:
        Name -> float[...], the leading axes. See ``column_names``.
    """
    found = {}
    for name, values in divided(metrics).items():
        for column, index in _entries(name, np.shape(values)[axes:]):
            found[column] = np.asarray(values)[(..., *index)]
    return found


def column_names(metrics: dict[str, Any]) -> list[str]:
    """Returns the names of the columns that metrics become: ``loss``, or of an array ``q/0/0`` ... Shapes are enough."""
    shapes = {name: jnp.shape(value.total if _is_average(value) else value) for name, value in metrics.items()}
    return [column for name, shape in shapes.items() for column, _ in _entries(name, shape)]


def _entries(name: str, shape: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yields the column name and the index of every entry of a metric."""
    for index in np.ndindex(*shape):
        yield "/".join([name, *map(str, index)]), index


def is_sound(value: Any) -> jax.Array:
    """Returns whether a metric, numbers or averages, is free of NaN and infinity, bool[]; an average of nothing is."""
    finite = [jnp.isfinite(part) for part in jax.tree.leaves(value)]
    return jnp.stack([part.all() if part.ndim else part for part in finite]).all()  # no operation more where parts are scalars


def _is_average(value: Any) -> bool:
    return isinstance(value, Average)
