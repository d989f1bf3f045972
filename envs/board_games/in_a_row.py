"""Board games in which two players place stones by turns and a row of them wins: what tic-tac-toe and connect four share.

The winner gets 1 and the loser -1; a full board is a draw. A player who is not to move has one legal action, action 0, which has
no effect. An illegal move changes nothing.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

EMPTY = 2


@struct.dataclass
class Params:
    """Nothing: the rules have no numbers."""


class State(NamedTuple):
    """board: int32[R, C], whose stone stands in each cell, 0, 1 or EMPTY. mover: int32[], whose turn it is.

    over: bool[], whether the game is.
    """

    board: jax.Array
    mover: jax.Array
    over: jax.Array


def empty(rows: int, columns: int) -> State:
    """Returns the first state."""
    return State(jnp.full((rows, columns), EMPTY, jnp.int32), jnp.int32(0), jnp.bool_(False))


def has_row(stones: jax.Array, length: int) -> jax.Array:
    """Returns whether ``length`` stones stand next to each other in a row, a column or a diagonal, bool[]; stones: bool[R, C]."""
    rows, columns = stones.shape
    found = jnp.bool_(False)
    for board, down, right in ((stones, 0, 1), (stones, 1, 0), (stones, 1, 1), (stones[:, ::-1], 1, 1)):
        height, width = rows - down * (length - 1), columns - right * (length - 1)
        if height >= 1 and width >= 1:
            shifted = [board[down * i : down * i + height, right * i : right * i + width] for i in range(length)]
            found |= jnp.stack(shifted).all(0).any()
    return found


def place(state: State, here: jax.Array, length: int) -> tuple[State, jax.Array]:
    """Places a stone of the player to move. Returns ``(state, reward float32[2])``.

    Args:
        state: the state.
        here: bool[R, C], the cell, nowhere if the move is illegal.
        length: of the row that wins.
    """
    board = jnp.where(here & ~state.over, state.mover, state.board).astype(jnp.int32)
    moved = (board != state.board).any()
    won = moved & has_row(board == state.mover, length)
    over = state.over | won | (board != EMPTY).all()
    reward = jnp.where(won, jnp.where(jnp.arange(2) == state.mover, 1.0, -1.0), 0.0).astype(jnp.float32)
    return State(board, jnp.where(moved & ~over, 1 - state.mover, state.mover).astype(jnp.int32), over), reward


def observe(state: State) -> jax.Array:
    """float32[2, R, C, 3]: for each player its own stones, those of the other, and whether it is to move, everywhere alike."""
    own, turn = jnp.arange(2)[:, None, None], jnp.arange(2)[:, None, None] == state.mover
    planes = state.board == own, state.board == 1 - own, jnp.broadcast_to(turn & ~state.over, (2, *state.board.shape))
    return jnp.stack(planes, axis=-1).astype(jnp.float32)


def mask(state: State, possible: jax.Array) -> jax.Array:
    """Returns the legal actions of both players, bool[2, A].

    Args:
        state: the state.
        possible: bool[A], where a stone can be placed.
    """
    waits = jnp.arange(possible.shape[0]) == 0
    to_move = (jnp.arange(2)[:, None] == state.mover) & ~state.over
    return jnp.where(to_move, possible, waits)
