"""Catch: a ball falls from a random column of the top row, a paddle in the bottom row must be under it when it lands.

The ball falls by one row a step. When it reaches the bottom row the episode ends, with reward 1 if it meets the paddle and -1 if
not. The observation is the board as an image: 1 where the ball and the paddle are, 0 elsewhere. The optimal return is 1.

Source: Mnih et al. (2014), Recurrent Models of Visual Attention, section 4.2; sizes and rules of bsuite (Osband et al. 2020).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import require


class State(NamedTuple):
    """row, column: int32[], of the ball, from the top and from the left. paddle: int32[], its column."""

    row: jax.Array
    column: jax.Array
    paddle: jax.Array


@struct.dataclass
class Params:
    board: jax.Array  # float32[R, C], the empty board
    reward: jax.Array  # float32[2], for missing and for catching the ball


def observe(state, params):
    """The board, float32[R, C, 1]."""
    board = params.board.at[state.row, state.column].set(1.0).at[-1, state.paddle].set(1.0)
    return board[..., None]


def outcomes(state, action, params):
    """One outcome: every move is certain. The last row is never left."""
    rows, columns = params.board.shape
    over = state.row == rows - 1
    paddle = jnp.where(over, state.paddle, jnp.clip(state.paddle + action - 1, 0, columns - 1))
    row = jnp.minimum(state.row + 1, rows - 1)
    landed = row == rows - 1
    caught = (paddle == state.column).astype(jnp.int32)
    reward = jnp.where(landed & ~over, params.reward[caught], 0.0)
    outcome = Outcomes(jnp.float32(1.0), State(row, state.column, paddle), reward, landed)
    return jax.tree.map(lambda leaf: leaf[None], outcome)


def initial(params):
    """The ball in any column of the top row, the paddle in the middle."""
    columns = params.board.shape[1]
    column = jnp.arange(columns, dtype=jnp.int32)
    return Initial(
        jnp.full(columns, 1 / columns, jnp.float32), State(jnp.zeros_like(column), column, jnp.full_like(column, columns // 2))
    )


def make(rows: int = 10, columns: int = 5) -> Environment:
    """Builds Catch. Actions: left, stay, right. Observation: the board, float32[rows, columns, 1], 0 or 1.

    An episode takes rows - 1 steps.

    Args:
        rows: of the board, at least 2.
        columns: of the board, at least 1.

    Raises:
        ConfigError: one of them is out of range.
    """
    require(rows >= 2, "catch", "rows must be at least 2", rows, "The ball needs a row to fall from and one to land in.")
    require(columns >= 1, "catch", "columns must be at least 1", columns, "5 is the default.")
    params = Params(jnp.zeros((rows, columns), jnp.float32), jnp.array([-1.0, 1.0], jnp.float32))
    board = Box(0.0, 1.0, (rows, columns, 1))
    return finite(params, outcomes, initial, board, Discrete(3), max_steps=rows, observe=observe)
