"""Soccer: two players on a 4 x 5 field, one ball; who carries it through the goal on the other side wins the game.

Both choose an action, which are carried out in random order. Moving into the other player fails, and the ball goes to the one
who stood still. The goals are rows 1 and 2 of the left side, where A scores, and of the right side, where B scores; who carries
the ball through the wrong goal scores for the other. A goal pays 1 to one player and -1 to the other and ends the episode.

Source: Littman (1994), Figure 2. There, every step ends in a draw with probability 0.1; here that is the discount 0.9. The
squares of the kick-off are parameters.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.markov_games import board
from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require

ROWS, COLUMNS = 4, 5
OVER = 2  # in the place of the ball's owner


class State(NamedTuple):
    """position: int32[2, 2], (row, column) of A and of B. owner: int32[], of the ball: 0 = A, 1 = B, 2 = the game is over."""

    position: jax.Array
    owner: jax.Array


@struct.dataclass
class Params:
    kick_off: jax.Array  # int32[2, 2], (row, column) of A and of B at first
    ball: jax.Array  # float32[2], the probability that A, or B, has the ball at first


def _one_after_the_other(state, action, order):
    """Carries out the actions in this order. Returns the state and what A gets, float32[]."""
    position, owner = state
    goal = jnp.float32(0)
    for player in order:
        target = position[player] + board.moves(action[player])
        row, column = target
        outside = (row < 0) | (row >= ROWS) | (column < 0) | (column >= COLUMNS)
        scores = (owner == player) & ((row == 1) | (row == 2)) & ((column < 0) | (column >= COLUMNS))
        goal = jnp.where(scores, jnp.where(column < 0, 1.0, -1.0), goal).astype(jnp.float32)
        met = (target == position[1 - player]).all()
        stays = outside | met | (owner == OVER)
        position = position.at[player].set(jnp.where(stays, position[player], target))
        owner = jnp.where(scores, OVER, jnp.where(met & (owner != OVER), 1 - player, owner)).astype(jnp.int32)
    return State(jnp.where(owner == OVER, 0, position), owner), goal


def outcomes(state, action, params):
    """Two outcomes: A moves first, or B does."""
    orders = [_one_after_the_other(state, action, order) for order in ((0, 1), (1, 0))]
    reached, goal = jax.tree.map(lambda *leaves: jnp.stack(leaves), *orders)
    return Outcomes(jnp.full(2, 0.5), reached, jnp.stack([goal, -goal], axis=-1), reached.owner == OVER)


def initial(params):
    """The kick-off, with either player having the ball."""
    return Initial(params.ball, State(jnp.stack([params.kick_off] * 2), jnp.arange(2, dtype=jnp.int32)))


def observe(state, params):
    """int32[2], the number of the state, the same for both: who stands where and has the ball; the last one, it is over."""
    cell = state.position[:, 0] * COLUMNS + state.position[:, 1]
    number = (cell[0] * ROWS * COLUMNS + cell[1]) * 2 + state.owner
    return jnp.full(2, jnp.where(state.owner == OVER, 2 * (ROWS * COLUMNS) ** 2, number), jnp.int32)


def make(
    kick_off: tuple[tuple[int, int], tuple[int, int]] = ((1, 3), (2, 1)), ball: float = 0.5, max_steps: int = 100
) -> Environment:
    """Builds soccer. Actions: stay, left, down, right, up. Observation: the number of the state, 801 in all.

    Args:
        kick_off: (row, column) of A and of B at first.
        ball: probability in [0, 1] that A has the ball at first.
        max_steps: the time limit.

    Raises:
        ConfigError: one of them is out of range.
    """
    squares = np.asarray(kick_off)
    fits = squares.shape == (2, 2) and bool(((squares >= 0) & (squares < (ROWS, COLUMNS))).all())
    require(fits, "soccer", "kick_off must be two squares of the 4 x 5 field", kick_off, "((1, 3), (2, 1)) is the default.")
    require(bool((squares[0] != squares[1]).any()), "soccer", "the players must stand apart", kick_off, "Move one of them.")
    require(0 <= ball <= 1, "soccer", "ball must lie in [0, 1]", ball, "It is the probability that A has it.")
    require(max_steps >= 1, "soccer", "max_steps must be at least 1", max_steps, "100 is the default.")
    params = Params(jnp.asarray(squares, jnp.int32), jnp.array([ball, 1 - ball], jnp.float32))
    states = 2 * (ROWS * COLUMNS) ** 2 + 1
    return finite(params, outcomes, initial, Discrete(states), Discrete(5), max_steps, observe=observe, num_agents=2)
