"""Values of successors in a block of steps, with as few calls of the critic as the ends of episodes require.

Within an episode the successor of a step is the observation of the next step, whose value is known already. The critic must be
called again for the last step of the block, and for the steps at which a time limit cut an episode: there the next step belongs
to another episode. A termination needs no call, since the value beyond it is not used.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxrl.core.environment import PyTree


def open_steps(truncated: jax.Array, max_steps: int) -> jax.Array:
    """Returns the steps of each environment whose successors are not among the observations of the block.

    Args:
        truncated: bool[T, E], the time limit cut the episode at this step.
        max_steps: the time limit in steps: an environment can be cut once in as many, so at most 1 + (T - 1) // max_steps times.

    Returns:
        int32[K, E]: every truncated step, and the last one. An environment that was cut less often than it could have been names
        its last step several times.
    """
    num_steps, num_envs = truncated.shape
    last = num_steps - 1
    cuts = min(1 + last // max_steps, last)
    if not cuts:
        return jnp.zeros((1, num_envs), jnp.int32)
    # Steps are told apart by their distance from the end, which is 0 for the last step and fills up the places.
    distance = jnp.where(truncated, last - jnp.arange(num_steps, dtype=jnp.int32)[:, None], 0)
    farthest = distance.max(0)[None] if cuts == 1 else jax.lax.top_k(distance.T, cuts)[0].T  # top_k always sorts
    index = last - farthest
    return jnp.concatenate([index, jnp.full((1, num_envs), last, jnp.int32)])


def successor_values(value: jax.Array, successors: PyTree, critic: Callable, truncated: jax.Array, max_steps: int) -> jax.Array:
    """Returns the value of each step's true successor, float32[T, E, ...]. Where the episode terminated it means nothing.

    Args:
        value: float32[T, E, ...], of the observation of each step; further axes are those of agents.
        successors: PyTree[T, E, ...], what the critic needs to value the successors: their observations, and the memory that has
            taken in the observations before.
        critic: ``(PyTree[B, ...]) -> float32[B, ...]``, the values of B of these successors.
        truncated: bool[T, E], the time limit cut the episode at this step.
        max_steps: the time limit in steps.
    """
    index = open_steps(truncated, max_steps)
    place = (index, jnp.arange(truncated.shape[1]))
    found = critic(jax.tree.map(lambda leaf: leaf[place].reshape(-1, *leaf.shape[2:]), successors))
    return jnp.roll(value, -1, axis=0).at[place].set(found.reshape(*index.shape, *value.shape[2:]))
