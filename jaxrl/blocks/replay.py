"""Replay: a ring of items in the carry of a training loop, written batch by batch and sampled uniformly.

An item is any pytree: a transition with nested observations and masks, or something else. Adding and sampling cost time in
proportion to the batch, whatever the capacity; in a loop whose carry holds the buffer it is written in place.

The steps of E environments, written one step of all at a time, are E rings in one: an environment's next step is E items on.

Source: Lin (1992); Mnih et al. (2015), algorithm 1; sequences: Hausknecht and Stone (2015), section 4.
"""

import functools

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core.batch_axis import shard_batch
from jaxrl.core.environment import PyTree
from jaxrl.errors import require


@struct.dataclass
class ReplayBuffer:
    """The newest C items.

    items: PyTree[C, ...]; zeros where nothing has been written.
    position: int32[], where the next item goes.
    size: int32[], how many have been written, at most C.
    """

    items: PyTree
    position: jax.Array
    size: jax.Array

    @property
    def capacity(self) -> int:
        return _length(self.items)


def create(example: PyTree, capacity: int) -> ReplayBuffer:
    """Returns an empty buffer.

    Args:
        example: one item; only its shapes and dtypes matter.
        capacity: C, how many items are kept.

    Raises:
        ConfigError: the capacity is below 1.
    """
    require(capacity >= 1, "replay", "the capacity must be at least 1", capacity, "Keep more items.")
    items = jax.tree.map(lambda leaf: jnp.zeros((capacity, *jnp.shape(leaf)), jnp.result_type(leaf)), example)
    return ReplayBuffer(items, jnp.int32(0), jnp.int32(0))


def add(buffer: ReplayBuffer, batch: PyTree) -> ReplayBuffer:
    """Writes a batch after what was written last, over the oldest items once the buffer is full.

    Args:
        buffer: the buffer.
        batch: PyTree[B, ...], B at most the capacity.

    Raises:
        ConfigError: the batch is larger than the buffer.
    """
    capacity, count = buffer.capacity, _length(batch)
    _require_fit("add", capacity, count)
    items = jax.tree.map(functools.partial(_write, buffer.position), buffer.items, batch)
    return ReplayBuffer(items, (buffer.position + count) % capacity, jnp.minimum(buffer.size + count, capacity))


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
    # A remainder of 32 random bits: half the draws of randint, and no item is likelier than another by more than size / 2^32.
    index = (jax.random.bits(key, (batch_size,), jnp.uint32) % buffer.size.astype(jnp.uint32)).astype(jnp.int32)
    return shard_batch(jax.tree.map(lambda leaf: leaf.at[index].get(mode="promise_in_bounds"), buffer.items))


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
    capacity, span = buffer.capacity, (length - 1) * num_envs
    must = f"length * num_envs must not exceed the capacity ({capacity})"
    require(length * num_envs <= capacity, "replay.sample_sequences", must, length * num_envs, "Raise the capacity.")
    starts = (buffer.size - span).astype(jnp.uint32)  # from the oldest step on
    start = (jax.random.bits(key, (batch_size,), jnp.uint32) % starts).astype(jnp.int32)
    steps = num_envs * jnp.arange(length, dtype=jnp.int32)[:, None]
    index = (buffer.position - buffer.size + start + steps) % capacity
    return shard_batch(jax.tree.map(lambda leaf: leaf.at[index].get(mode="promise_in_bounds"), buffer.items), axis=1)


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
