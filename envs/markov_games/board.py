"""Boards on which several agents move at the same time: moves, borderless boards (tori), and where a game starts.

A torus looks the same from everywhere, so only differences of positions matter: states and observations are offsets, (row,
column) in the range 0 .. size - 1.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.env import Environment
from jaxrl.finite import Initial, finite
from jaxrl.spaces import Box, Discrete

MOVES = np.array([(0, 0), (0, -1), (1, 0), (0, 1), (-1, 0)], np.int32)  # stay, left, down, right, up, as (row, column)


def moves(action: jax.Array) -> jax.Array:
    """Returns the moves (row, column) of actions, int32[..., 2]; by arithmetic, which is faster than a look-up in MOVES."""
    row = (action == 2).astype(jnp.int32) - (action == 4).astype(jnp.int32)
    column = (action == 3).astype(jnp.int32) - (action == 1).astype(jnp.int32)
    return jnp.stack([row, column], axis=-1)


def wrapped(offset: jax.Array, size: int) -> jax.Array:
    """Brings offsets from -size .. 2 size - 1 back into 0 .. size - 1; cheaper than a remainder."""
    return offset + size * ((offset < 0).astype(jnp.int32) - (offset >= size).astype(jnp.int32))


def distance(offset: jax.Array, size: int) -> jax.Array:
    """Returns the Manhattan distance of offsets int32[..., 2], the shorter way round, int32[...]."""
    return jnp.minimum(offset, size - offset).sum(-1)


def uniform_initial(params) -> Initial:
    """Uniform over the states in ``params.start``, PyTree[K0, ...]."""
    count = jax.tree.leaves(params.start)[0].shape[0]
    return Initial(jnp.full(count, 1 / count), params.start)


@dataclasses.dataclass(frozen=True)
class UniformReset:
    """Draws from ``uniform_initial`` without looking at the whole list, as a step that may end an episode must do it often."""

    observe: Callable

    def __call__(self, key, params):
        count = jax.tree.leaves(params.start)[0].shape[0]
        index = jax.random.randint(key, (), 0, count, jnp.int32)
        state = jax.tree.map(lambda leaf: leaf[index], params.start)
        return self.observe(state, params), state


def game(params, outcomes: Callable, features: int, max_steps: int, observe: Callable, global_obs: Callable) -> Environment:
    """Builds a game of two agents who take ``MOVES``, begun in any state of ``params.start`` with equal probability.

    Args:
        params: numbers and tables that the functions read; ``start`` is one of them.
        outcomes: see ``jaxrl.finite.finite``.
        features: of an agent's observation, each in [0, 1].
        max_steps: the time limit.
        observe: ``(state, params) -> float32[2, features]``.
        global_obs: ``(state, params) -> float32[G]``.
    """
    env = finite(
        params,
        outcomes,
        uniform_initial,
        Box(0.0, 1.0, (features,)),
        Discrete(len(MOVES)),
        max_steps,
        observe=observe,
        num_agents=2,
        global_obs=global_obs,
    )
    return dataclasses.replace(env, reset_fn=UniformReset(observe))
