"""Connect four: stones fall to the lowest empty cell of a column, and four in a row win.

See ``envs.board_games.in_a_row`` for the rules. On the usual 6 x 7 board the first player wins with best play (Allis 1988).
"""

from dataclasses import dataclass

import jax.numpy as jnp

from envs.board_games import in_a_row
from jaxrl.core.environment import Environment, Step
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import require


@dataclass(frozen=True)
class _Reset:
    rows: int
    columns: int

    def __call__(self, key, params):
        state = in_a_row.empty(self.rows, self.columns)
        return in_a_row.observe(state), state


@dataclass(frozen=True)
class _Drop:
    length: int

    def __call__(self, key, state, action, params):
        rows, columns = state.board.shape
        free = (state.board == in_a_row.EMPTY).sum(0)  # row 0 is the uppermost
        column = jnp.arange(columns) == action[state.mover]
        lowest = jnp.arange(rows)[:, None] == free - 1
        state, reward = in_a_row.place(state, column & lowest, self.length)
        return Step(in_a_row.observe(state), state, reward, state.over)


def action_mask(state, params):
    """The columns that are not full, for the player to move."""
    return in_a_row.mask(state, state.board[0] == in_a_row.EMPTY)


def make(rows: int = 6, columns: int = 7, length: int = 4) -> Environment:
    """Builds connect four. Actions: columns. Observation: see ``in_a_row.observe``; row 0 is the uppermost.

    Args:
        rows, columns: of the board.
        length: of the row that wins.

    Raises:
        ConfigError: a number is not positive, or no row of that length fits on the board.
    """
    for name, count in (("rows", rows), ("columns", columns), ("length", length)):
        require(count >= 1, "connect_four", f"{name} must be at least 1", count, "6, 7 and 4 are the defaults.")
    fits = length <= max(rows, columns)
    require(fits, "connect_four", f"length must be at most {max(rows, columns)}", length, "Enlarge the board.")
    space = Box(0.0, 1.0, (rows, columns, 3))
    cells, drop = rows * columns, _Drop(length)
    params, reset = in_a_row.Params(), _Reset(rows, columns)
    return Environment(params, reset, drop, space, Discrete(columns), cells, num_agents=2, action_mask_fn=action_mask)
