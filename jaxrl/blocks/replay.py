"""Replay: a ring of items in the carry of a training loop, written batch by batch, and sampled uniformly or by priority.

An item is any pytree: a transition with nested observations and masks, or something else. Adding and sampling cost time in
proportion to the batch, whatever the capacity; in a loop whose carry holds the buffer it is written in place.

The steps of E environments, written one step of all at a time, are E rings in one: an environment's next step is E items on.

Source: Lin (1992); Mnih et al. (2015), algorithm 1; sequences: Hausknecht and Stone (2015), section 4; priorities: Schaul et al.
(2016), algorithm 1.
"""

import functools

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import priorities
from jaxrl.blocks.priorities import Priorities
from jaxrl.core.batch_axis import shard_batch
from jaxrl.core.environment import PyTree
from jaxrl.errors import ConfigError, require


@struct.dataclass
class ReplayBuffer:
    """The newest C items.

    items: PyTree[C, ...]; zeros where nothing has been written.
    position: int32[], where the next item goes.
    size: int32[], how many have been written, at most C.
    priorities: of the items, 0 where nothing has been written; None where all are drawn alike.
    """

    items: PyTree
    position: jax.Array
    size: jax.Array
    priorities: Priorities | None = None

    @property
    def capacity(self) -> int:
        return _length(self.items)


def create(example: PyTree, capacity: int, prioritised: bool = False) -> ReplayBuffer:
    """Returns an empty buffer.

    Args:
        example: one item; only its shapes and dtypes matter.
        capacity: C, how many items are kept.
        prioritised: whether items have priorities.

    Raises:
        ConfigError: the capacity is below 1.
    """
    require(capacity >= 1, "replay", "the capacity must be at least 1", capacity, "Keep more items.")
    items = jax.tree.map(lambda leaf: jnp.zeros((capacity, *jnp.shape(leaf)), jnp.result_type(leaf)), example)
    return ReplayBuffer(items, jnp.int32(0), jnp.int32(0), priorities.create(capacity) if prioritised else None)


def add(buffer: ReplayBuffer, batch: PyTree, delay: int = 0) -> ReplayBuffer:
    """Writes a batch after what was written last, over the oldest items once the buffer is full.

    A new item gets the largest priority that any had, so that it is soon drawn (Schaul et al. 2016, algorithm 1, line 6).

    Args:
        buffer: the buffer.
        batch: PyTree[B, ...], B at most the capacity.
        delay: with priorities, how many items must follow one before it is drawn; below the capacity. A return of n steps in E
            environments needs the (n - 1) E that follow.

    Raises:
        ConfigError: the batch is larger than the buffer, or the delay leaves no item that can be drawn.
    """
    capacity, count = buffer.capacity, _length(batch)
    _require_fit("add", capacity, count)
    must = f"delay must lie in [0, {capacity}), or no item could be drawn"
    require(0 <= delay < capacity, "replay.add", must, delay, "Raise the capacity.")
    items = jax.tree.map(functools.partial(_write, buffer.position), buffer.items, batch)
    order = buffer.priorities
    if order is not None:
        order = _with_new(order, buffer.size, (buffer.position + jnp.arange(count, dtype=jnp.int32)) % capacity, capacity, delay)
    return ReplayBuffer(items, (buffer.position + count) % capacity, jnp.minimum(buffer.size + count, capacity), order)


def _with_new(order: Priorities, size: jax.Array, index: jax.Array, capacity: int, delay: int) -> Priorities:
    """Returns the priorities once items are written at ``index`` int32[B]: those ``delay`` items back get the largest."""
    if not delay:
        return priorities.assign(order, index, jnp.broadcast_to(order.largest, index.shape))
    order, count = priorities.assign(order, index, jnp.zeros(index.shape, jnp.float32)), index.shape[0]
    # The first of them lie too far back: not written yet, or written over by this very batch.
    first = jnp.maximum(delay - size, count + delay - capacity)
    there = jnp.arange(count, dtype=jnp.int32) >= first
    return priorities.assign(order, (index - delay) % capacity, jnp.where(there, order.largest, 0.0))


def sample(key: jax.Array, buffer: ReplayBuffer, batch_size: int) -> PyTree:
    """Draws items uniformly, with replacement, from those that have been written: at least one must have been.

    Args:
        key: one key.
        buffer: the buffer.
        batch_size: B, at most the capacity.

    Returns:
        PyTree[B, ...].

    Raises:
        ConfigError: the batch is larger than the buffer.
    """
    _require_fit("sample", buffer.capacity, batch_size)
    return items_at(buffer, uniform(key, batch_size, buffer.size))


def sample_by_priority(key: jax.Array, buffer: ReplayBuffer, batch_size: int) -> tuple[jax.Array, jax.Array]:
    """Draws the places of items in proportion to their priorities; see ``priorities.sample``, whose results are these.

    Raises:
        ConfigError: the buffer keeps no priorities, or the batch is larger than the buffer.
    """
    _require_fit("sample_by_priority", buffer.capacity, batch_size)
    if buffer.priorities is None:
        raise ConfigError("replay.sample_by_priority: the buffer must keep priorities. Create it with prioritised=True.")
    return priorities.sample(key, buffer.priorities, batch_size)


def items_at(buffer: ReplayBuffer, index: jax.Array) -> PyTree:
    """Returns the items at some places, PyTree[..., B, ...]. index: int32[..., B], in [0, C)."""
    return shard_batch(jax.tree.map(lambda leaf: leaf.at[index].get(mode="promise_in_bounds"), buffer.items), axis=index.ndim - 1)


def newest(buffer: ReplayBuffer, count: int) -> PyTree:
    """Returns the items that were written last, the oldest of them first, PyTree[count, ...]: as many must have been written."""
    index = buffer.position - count + jnp.arange(count, dtype=jnp.int32)
    return items_at(buffer, index % buffer.capacity)


def sample_starts(key: jax.Array, buffer: ReplayBuffer, batch_size: int, length: int, num_envs: int) -> jax.Array:
    """Draws the places from which sequences start, int32[B]; arguments and errors as for ``sample_sequences``."""
    capacity, span = buffer.capacity, (length - 1) * num_envs
    must = f"length * num_envs must not exceed the capacity ({capacity})"
    require(length * num_envs <= capacity, "replay.sample_sequences", must, length * num_envs, "Raise the capacity.")
    oldest = buffer.position - buffer.size
    return (oldest + uniform(key, batch_size, buffer.size - span)) % capacity


def sequence_from(start: jax.Array, buffer: ReplayBuffer, length: int, num_envs: int) -> jax.Array:
    """Returns the places of L successive steps of one environment each, int32[L, B]. start: int32[B], of the first of them."""
    steps = num_envs * jnp.arange(length, dtype=jnp.int32)[:, None]
    return (start + steps) % buffer.capacity


def sample_sequences(key: jax.Array, buffer: ReplayBuffer, batch_size: int, length: int, num_envs: int) -> PyTree:
    """Draws sequences of steps that follow each other in one environment: uniformly, with replacement, among all there are.

    Args:
        key: one key.
        buffer: holds steps written by ``add`` in blocks [T * E, ...], in the order of time: at least ``length`` of each
            environment.
        batch_size: B.
        length: L. A sequence may run from one episode into the next.
        num_envs: E; L * E is at most the capacity, which it need not divide.

    Returns:
        PyTree[L, B, ...].

    Raises:
        ConfigError: the sequences are longer than the buffer.
    """
    start = sample_starts(key, buffer, batch_size, length, num_envs)
    return items_at(buffer, sequence_from(start, buffer, length, num_envs))


def uniform(key: jax.Array, batch_size: int, count: jax.Array) -> jax.Array:
    """Draws whole numbers in [0, count) uniformly, with replacement, int32[B]. count: int32[], at least 1."""
    # A remainder of 32 random bits: half the draws of randint, and no number is likelier than another by more than count / 2^32.
    return (jax.random.bits(key, (batch_size,), jnp.uint32) % count.astype(jnp.uint32)).astype(jnp.int32)


def _length(tree: PyTree) -> int:
    return jax.tree.leaves(tree)[0].shape[0]


def _require_fit(where: str, capacity: int, count: int) -> None:
    must = f"a batch must not be larger than the buffer (capacity {capacity})"
    require(1 <= count <= capacity, f"replay.{where}", must, count, "Raise the capacity, or take a smaller batch.")


def _write(position: jax.Array, leaf: jax.Array, batch: jax.Array) -> jax.Array:
    """Writes ``batch`` [B, ...] into ``leaf`` [C, ...] from ``position`` on, going round at the end."""
    capacity, count = leaf.shape[0], batch.shape[0]
    if count == 1:
        return jax.lax.dynamic_update_index_in_dim(leaf, batch[0], position, 0)
    index = (position + jnp.arange(count, dtype=jnp.int32)) % capacity
    return leaf.at[index].set(batch, mode="promise_in_bounds", unique_indices=True)
