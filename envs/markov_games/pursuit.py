"""Pursuit: two predators on a torus hunt a prey that runs at random; it is caught when both are next to it.

All three move at the same time, the prey by one of its five moves with equal probability. Every step costs both predators 1,
until both are within Manhattan distance 1 of the prey. Predators may share a cell, and stand on the prey.

Source: after Benda, Jagannathan and Dodhiawala (1986), with two predators as in Tan (1993).
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.markov_games import board
from jaxrl.core.environment import Environment
from jaxrl.core.finite import Outcomes
from jaxrl.errors import require


@struct.dataclass
class Params:
    rows: jax.Array  # int32[n], the numbers 0 .. n - 1 of the rows, and of the columns
    start: jax.Array  # int32[K0, 2, 2], the states in which the prey is free


def _caught(state, params):
    return (board.distance(state, len(params.rows)) <= 1).all(-1)


def outcomes(state, action, params):
    """Five outcomes, one for each move of the prey. The state is where each predator is, seen from the prey, int32[2, 2]."""
    over = _caught(state, params)
    reached = board.wrapped(state + board.moves(action) - board.MOVES[:, None], len(params.rows))
    reached = jnp.where(over, state, reached)
    reward = jnp.broadcast_to(jnp.where(over, 0.0, -1.0).astype(jnp.float32), (5, 2))
    return Outcomes(jnp.full(5, 0.2), reached, reward, _caught(reached, params))


def _one_hot(offset, params):
    """Row and column, each one-hot: int32[..., 2] becomes float32[..., 2 n]."""
    features = (offset[..., None] == params.rows).astype(jnp.float32)
    return features.reshape(*offset.shape[:-1], 2 * len(params.rows))


def observe(state, params):
    """float32[2, 4 n]: for each predator, where the prey and the other predator are, seen from it."""
    size = len(params.rows)
    prey, other = board.wrapped(-state, size), board.wrapped(state[::-1] - state, size)
    return jnp.concatenate([_one_hot(prey, params), _one_hot(other, params)], axis=-1)


def global_obs(state, params):
    """float32[4 n]: where both predators are, seen from the prey."""
    return _one_hot(state, params).reshape(-1)


def make(size: int = 5, max_steps: int = 100) -> Environment:
    """Builds pursuit. Actions: stay, left, down, right, up. Observation: see ``observe``.

    Args:
        size: rows and columns of the torus, at least 3.
        max_steps: the time limit.

    Raises:
        ConfigError: one of them is out of range.
    """
    require(size >= 3, "pursuit", "size must be at least 3 cells", size, "5 is the default.")
    require(max_steps >= 1, "pursuit", "max_steps must be at least 1", max_steps, "100 is the default.")
    states = np.indices((size,) * 4, np.int32).reshape(4, -1).T.reshape(-1, 2, 2)
    free = (np.minimum(states, size - states).sum(-1) > 1).any(-1)
    params = Params(jnp.arange(size, dtype=jnp.int32), jnp.asarray(states[free]))
    return board.game(params, outcomes, 4 * size, max_steps, observe, global_obs)
