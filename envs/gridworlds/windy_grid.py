"""WindyGrid: cross a grid in which a wind blows upwards, harder in the middle; every step costs 1 until the goal is reached.

The wind is that of the column which is left. It may change from step to step: with probability gust it is then by 1 weaker or
stronger, equally likely.

Source: Sutton and Barto (2018), Example 6.5, and Exercises 6.9 (king's moves) and 6.10 (a stochastic wind, there gust 2/3).
"""

import numpy as np

from envs.gridworlds import grid
from jaxrl.core.environment import Environment
from jaxrl.errors import unknown_name

WIND = "0001112210"
MAP = (WIND, WIND, WIND, "S001112G10", WIND, WIND, WIND)
KING = np.vstack([grid.MOVES, [(1, -1), (1, 1), (-1, 1), (-1, -1)]])
MOVES = {"four": grid.MOVES, "king": KING, "king_and_stay": np.vstack([KING, [(0, 0)]])}


def make(moves: str = "four", gust: float = 0.0, max_steps: int = 500) -> Environment:
    """Builds WindyGrid. Observation: 10 * row + column, 70 numbers.

    Args:
        moves: "four", left, down, right, up; "king", those and down-left, down-right, up-right, up-left; "king_and_stay", those
            and staying.
        gust: probability in [0, 1] that the wind is not as strong as expected; no gust where there is no wind.
        max_steps: the time limit.

    Raises:
        UnknownNameError: there are no such moves.
        ConfigError: gust is no probability, or max_steps is not positive.
    """
    if moves not in MOVES:
        raise unknown_name("windy_grid", "set of moves", moves, MOVES)
    chosen = MOVES[moves]
    params = grid.read("windy_grid", MAP, step=-1.0, goal=-1.0, slip=gust, gusts=(-1, 0, 1), moves=chosen)
    return grid.world("windy_grid", params, grid.gusting, max_steps, len(chosen))
