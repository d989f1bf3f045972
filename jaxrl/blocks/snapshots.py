"""Snapshots of a learner: the parts of its state that its policy reads, kept to be played or measured later.

A snapshot has the structure of the state, with None in the place of every leaf that the policy does not read: the optimiser, the
critic, the replay memory, the episodes under way.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters.partial_eval import dce_jaxpr

from jaxrl.blocks.replay import ReplayBuffer
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import PyTree
from jaxrl.core.rollout import View


def read_by_policy(algorithm: Algorithm, state: PyTree, view: View) -> PyTree:
    """Returns which leaves of a state the policy of an algorithm reads, bools in the structure of the state.

    Args:
        algorithm: with a policy.
        state: of it, arrays or shapes.
        view: of a batch of environments, arrays or shapes.
    """

    def act(state, key, view):
        chances = None if algorithm.probabilities is None else algorithm.probabilities(state, view)
        policy: Any = algorithm.policy
        return [policy(state, greedy)(key, view).action for greedy in (False, True)], chances

    program = jax.make_jaxpr(act)(state, jax.random.key(0), view).jaxpr
    _, used = dce_jaxpr(program, [True] * len(program.outvars))
    leaves, structure = jax.tree.flatten(state)
    return jax.tree.unflatten(structure, used[: len(leaves)])


def taken(state: PyTree, read: PyTree) -> PyTree:
    """Returns the snapshot of a state: its leaves where ``read`` is True, None elsewhere and in the place of a replay memory."""

    def one(node: Any, kept: Any) -> Any:
        return node if any(jax.tree.leaves(kept)) else None

    return jax.tree.map(one, state, read, is_leaf=lambda node: isinstance(node, ReplayBuffer))


def completed(snapshot: PyTree, state: PyTree) -> PyTree:
    """Returns a state that acts as a snapshot does: what the snapshot lacks is that of ``state``."""
    return jax.tree.map(lambda kept, leaf: leaf if kept is None else kept, snapshot, state, is_leaf=lambda node: node is None)


def zeros(state: PyTree) -> PyTree:
    """Returns a state of zeros. state: arrays or shapes."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), state)
