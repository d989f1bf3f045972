"""Priorities: numbers in a tree of sums, drawn in proportion and changed, each in time logarithmic in how many there are.

Each node holds the sum of its 16 children. A draw goes down from the root by one choice among 16 in each level; a change adds the
children of one node in each level again, so that no error adds up however often priorities change. A wide tree has few levels:
five for a million priorities, where a binary one has twenty, and each level is one step of a compiled program.

Source: Schaul et al. (2016), "Prioritized Experience Replay", appendix B.2.1; ours: the width. Sequences: Kapturowski et al.
(2019), "Recurrent Experience Replay in Distributed Reinforcement Learning".
"""

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.errors import require

WIDTH = 16


@struct.dataclass
class Priorities:
    """Priorities of C items.

    levels: float32[16], float32[n, 16] and so on, from the sums at the root to the priorities themselves, each level as rows of
        siblings; places beyond C are 0.
    largest: float32[], the largest priority that was ever set, at least 1.
    """

    levels: tuple[jax.Array, ...]
    largest: jax.Array

    @property
    def total(self) -> jax.Array:
        """The sum of all priorities, float32[]."""
        return self.levels[0].sum()


def create(capacity: int) -> Priorities:
    """Returns C priorities of 0.

    Raises:
        ConfigError: the capacity is below 1.
    """
    require(capacity >= 1, "priorities", "the capacity must be at least 1", capacity, "Keep more items.")
    rows, levels = -(-capacity // WIDTH), []
    while rows > 1:
        levels.append(jnp.zeros((rows, WIDTH), jnp.float32))
        rows = -(-rows // WIDTH)
    levels.append(jnp.zeros((1, WIDTH), jnp.float32))
    return Priorities(tuple(reversed(levels)), jnp.float32(1.0))


def assign(priorities: Priorities, index: jax.Array, value: jax.Array) -> Priorities:
    """Sets the priorities of several items.

    Args:
        priorities: of C items.
        index: int32[B], in [0, C). An item that is named twice has the same value both times.
        value: float32[B], at least 0.
    """
    leaves, changed = priorities.levels[-1], value.astype(jnp.float32)
    levels, place = [], index
    for level in (leaves, *priorities.levels[-2::-1]):
        row, column = place // WIDTH, place % WIDTH
        level = level.at[row, column].set(changed, mode="promise_in_bounds")
        levels.append(level)
        changed, place = level.at[row].get(mode="promise_in_bounds").sum(-1), row
    return Priorities(tuple(reversed(levels)), jnp.maximum(priorities.largest, value.max()))


def sample(key: jax.Array, priorities: Priorities, batch_size: int) -> tuple[jax.Array, jax.Array]:
    """Draws items with probabilities in proportion to their priorities: one from each of B equal parts of the total.

    Args:
        key: one key.
        priorities: at least one of them is positive.
        batch_size: B.

    Returns:
        index: int32[B]. An item of priority 0 is never drawn.
        probability: float32[B], of each of them in one draw from all.

    Source: Schaul et al. (2016), appendix B.2.1 (a stratified draw).
    """
    total = priorities.total
    rank = (jnp.arange(batch_size, dtype=jnp.float32) + jax.random.uniform(key, (batch_size,), jnp.float32)) / batch_size
    rest, place = rank * total, jnp.zeros(batch_size, jnp.int32)
    for level in priorities.levels:
        column, rest = _choose(level.at[place].get(mode="promise_in_bounds"), rest)
        place = place * WIDTH + column
    return place, priority(priorities, place) / total


def priority(priorities: Priorities, index: jax.Array) -> jax.Array:
    """Returns the priorities of several items, float32[B]. index: int32[B], in [0, C)."""
    return priorities.levels[-1].at[index // WIDTH, index % WIDTH].get(mode="promise_in_bounds")


def _choose(weights: jax.Array, rest: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the column of float32[B, 16] in which ``rest`` float32[B] falls, and how far into it."""
    below = jnp.cumsum(weights, axis=1)
    columns = jnp.arange(weights.shape[1], dtype=jnp.int32)
    # Rounding may leave a rest beyond the last weight, or below 0: a column of weight 0 is chosen for neither.
    last = jnp.max(jnp.where(weights > 0.0, columns, 0), axis=1)
    rest = jnp.maximum(rest, 0.0)
    column = jnp.minimum((below <= rest[:, None]).sum(1, dtype=jnp.int32), last)
    start = jnp.take_along_axis(below - weights, column[:, None], axis=1)[:, 0]
    return column, rest - start


def importance_weights(probability: jax.Array, exponent: jax.Array | float) -> jax.Array:
    """Returns the weights that correct for drawing unevenly: (N P)^-beta, divided by the largest of them.

    Args:
        probability: float32[B], P of each item in one draw among N. N cancels.
        exponent: beta in [0, 1]: 0 corrects nothing, 1 all.

    Returns:
        float32[B], in (0, 1].

    Source: Schaul et al. (2016), section 3.4; the largest is that of the batch.
    """
    return (probability.min() / probability) ** exponent


def sequence_error(errors: jax.Array, max_share: jax.Array | float) -> jax.Array:
    """Returns the error by which a sequence is drawn: eta max_t |delta_t| + (1 - eta) mean_t |delta_t|, float32[B].

    A mean alone hardly tells long sequences apart.

    Args:
        errors: float32[T, B], |delta| of every step, at least 0.
        max_share: eta in [0, 1].

    Source: Kapturowski et al. (2019), section 2.3, with eta = 0.9.
    """
    return max_share * errors.max(0) + (1.0 - max_share) * errors.mean(0)
