"""Boards on which several agents move at the same time: moves, borderless boards (tori), and where a game starts.

A torus looks the same from everywhere, so only differences of positions matter: states and observations are offsets, (row,
column) in the range 0 .. size - 1.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, finite
from jaxrl.core.spaces import Box, Discrete

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


def without_collisions(position: jax.Array, target: jax.Array) -> jax.Array:
    """Lets agents move at the same time, but into no cell that another one enters, stays in, or is held back in.

    Two may exchange places. No agent is preferred: of several who want one cell, none gets it.

    Args:
        position, target: int32[N, D], where each agent is, all in different cells, and wants to be.

    Returns:
        int32[N, D], where each agent is then, all in different cells.
    """
    another = ~np.eye(len(position), dtype=bool)
    for _ in range(len(position)):  # an agent that is held back may hold back one that wanted its cell
        met = ((target[:, None] == target).all(-1) & another).any(-1)
        target = jnp.where(met[:, None], position, target)
    return target


def not_listed(env: Environment, reset: Callable) -> Environment:
    """Returns a game whose first states, drawn by ``reset``, are too many to be listed: it is played, but cannot be tabulated."""
    return dataclasses.replace(env, reset_fn=reset, outcomes_fn=None, initial_fn=None, observe_fn=None)


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


def game(
    params,
    outcomes: Callable,
    features: int,
    max_steps: int,
    observe: Callable,
    global_obs: Callable,
    num_agents: int = 2,
    num_actions: int = len(MOVES),
    low: float = 0.0,
) -> Environment:
    """Builds a game of agents who take ``MOVES``, begun in any state of ``params.start`` with equal probability.

    Args:
        params: numbers and tables that the functions read; ``start`` is one of them.
        outcomes: see ``jaxrl.core.finite.finite``.
        features: of an agent's observation, each in [low, 1].
        max_steps: the time limit.
        observe: ``(state, params) -> float32[N, features]``.
        global_obs: ``(state, params) -> float32[G]``.
        num_agents: N.
        num_actions: the moves, and what else they can do.
        low: the least that a feature can be.
    """
    env = finite(
        params,
        outcomes,
        uniform_initial,
        Box(low, 1.0, (features,)),
        Discrete(num_actions),
        max_steps,
        observe=observe,
        num_agents=num_agents,
        global_obs=global_obs,
    )
    return dataclasses.replace(env, reset_fn=UniformReset(observe))
