"""Sequences: a block of steps cut into the pieces that minibatches are made of.

A recurrent network is trained on the whole block of each environment, from the memory it had before the first step; any other one
on single steps, in any order.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrl.core.config import require_divisor
from jaxrl.core.environment import PyTree


class Sequences(NamedTuple):
    """B sequences of L steps.

    steps: PyTree[B, L, ...].
    memory: PyTree[B, ...], of the network before the first step; () where it has none.
    """

    steps: PyTree
    memory: PyTree


def cut(steps: PyTree, memory: PyTree, recurrent: bool) -> Sequences:
    """Cuts a block into sequences.

    Args:
        steps: PyTree[T, E, ...].
        memory: PyTree[E, ...], of the network before the block; () where it has none.
        recurrent: whether a sequence is the whole block of one environment (B = E, L = T), or a single step (B = T * E, L = 1).
    """
    if recurrent:
        return Sequences(_swapped(steps), memory)
    return Sequences(jax.tree.map(lambda leaf: leaf.reshape(-1, 1, *leaf.shape[2:]), steps), memory)


def require_minibatches(where: str, config: Any) -> None:
    """Raises ConfigError unless the sequences of a block divide into minibatches.

    Args:
        where: who asks.
        config: has ``num_envs``, ``num_steps``, ``num_minibatches`` and ``memory_size``, 0 where the network is not recurrent.
    """
    count, unit = config.num_envs, "num_envs"
    if not config.memory_size:
        count, unit = config.num_envs * config.num_steps, "num_envs * num_steps"
    require_divisor(where, unit, count, "num_minibatches", config.num_minibatches)


def by_time(sequences: Sequences) -> PyTree:
    """Returns the steps as networks take them: time first, PyTree[L, B, ...]."""
    return _swapped(sequences.steps)


def _swapped(steps: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), steps)
