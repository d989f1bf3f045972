"""Deep sea: a diver sinks one row a step, N rows deep; only going right in every row finds the treasure.

The board has N x N cells and the diver starts at the top left. One of the two actions goes right, which costs c / N, the other
one left, which costs nothing; at a wall the diver stays in its column. Going right from the bottom right cell pays 1 on top. The
episode ends after N steps. Which action goes right is drawn for every cell by a seed, so that "always the same action" does not
find the treasure. The optimal return is 1 - c; uniformly random actions find the treasure with probability 2^-N.

Source: Osband et al. (2019), Deep Exploration via Randomized Value Functions, section 4; rules of bsuite (Osband et al. 2020).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require


class State(NamedTuple):
    """row, column: int32[], from the top and from the left; row N is below the board, the end."""

    row: jax.Array
    column: jax.Array


@struct.dataclass
class Params:
    right: jax.Array  # int32[N, N], the action that goes right, 0 or 1, in each cell
    move_cost: jax.Array  # float32[], of going right once
    treasure: jax.Array  # float32[]


def observe(state, params):
    """The cell's number, row by row, and N * N at the end."""
    size = params.right.shape[0]
    return jnp.minimum(state.row * size + state.column, size * size).astype(jnp.int32)


def outcomes(state, action, params):
    """One outcome: every move is certain."""
    last = params.right.shape[0] - 1
    over = state.row > last
    right = action == params.right[jnp.minimum(state.row, last), state.column]
    column = jnp.clip(state.column + jnp.where(right, 1, -1), 0, last)
    found = right & (state.row == last) & (state.column == last)
    reward = jnp.where(found, params.treasure, 0.0) - jnp.where(right, params.move_cost, 0.0)
    successor = State(jnp.minimum(state.row + 1, last + 1), jnp.where(over, state.column, column))
    outcome = Outcomes(jnp.float32(1.0), successor, jnp.where(over, 0.0, reward), successor.row > last)
    return jax.tree.map(lambda leaf: leaf[None], outcome)


def initial(params):
    """The top left cell."""
    return Initial(jnp.ones(1, jnp.float32), State(jnp.zeros(1, jnp.int32), jnp.zeros(1, jnp.int32)))


def make(size: int = 10, seed: int | None = 0, cost: float = 0.01) -> Environment:
    """Builds a deep sea. Two actions. Observation: the cell's number, row by row, and size * size at the end.

    An episode takes ``size`` steps.

    Args:
        size: N, rows and columns, at least 1.
        seed: number of the draw that decides for every cell which action goes right; None lets action 1 do so everywhere.
        cost: c, what going right in every row costs together; not negative.

    Raises:
        ConfigError: one of them is out of range.
    """
    require(size >= 1, "deep_sea", "size must be at least 1", size, "10 is the default.")
    require(seed is None or seed >= 0, "deep_sea", "seed must not be negative", seed, "It numbers a draw.")
    require(cost >= 0, "deep_sea", "cost must not be negative", cost, "0 makes going right free.")
    shape = (size, size)
    right = np.ones(shape) if seed is None else np.random.default_rng(seed).integers(0, 2, shape)
    params = Params(jnp.asarray(right, jnp.int32), jnp.float32(cost / size), jnp.float32(1.0))
    return finite(params, outcomes, initial, Discrete(size * size + 1), Discrete(2), max_steps=size, observe=observe)
