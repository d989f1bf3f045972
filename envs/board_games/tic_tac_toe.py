"""Tic-tac-toe: three stones in a row on a 3 x 3 board win. With best play on both sides it is a draw.

Finite: 5478 positions. See ``envs.board_games.in_a_row`` for the rules.
"""

import jax
import jax.numpy as jnp

from envs.board_games import in_a_row
from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Box, Discrete

SIZE = 3


def outcomes(state, action, params):
    """One outcome: a stone in the cell, if it is empty."""
    cell = jnp.arange(SIZE * SIZE).reshape(SIZE, SIZE) == action[state.mover]
    reached, reward = in_a_row.place(state, cell & (state.board == in_a_row.EMPTY), length=3)
    return Outcomes(jnp.ones(1, jnp.float32), jax.tree.map(lambda leaf: leaf[None], reached), reward[None], reached.over[None])


def initial(params):
    """The empty board."""
    return Initial(jnp.ones(1, jnp.float32), jax.tree.map(lambda leaf: leaf[None], in_a_row.empty(SIZE, SIZE)))


def observe(state, params):
    """float32[2, 3, 3, 3], see ``in_a_row.observe``."""
    return in_a_row.observe(state)


def action_mask(state, params):
    """The empty cells, for the player to move."""
    return in_a_row.mask(state, state.board.reshape(-1) == in_a_row.EMPTY)


def make() -> Environment:
    """Builds tic-tac-toe. Actions: cells, row by row. Observation: see ``in_a_row.observe``."""
    space = Box(0.0, 1.0, (SIZE, SIZE, 3))
    cells = SIZE * SIZE
    return finite(
        in_a_row.Params(),
        outcomes,
        initial,
        space,
        Discrete(cells),
        cells,
        observe=observe,
        num_agents=2,
        action_mask=action_mask,
    )
