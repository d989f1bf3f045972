"""Gridworlds whose optimum is known to six digits: the test bench of exact solvers.

Numbers without a closed form: value iteration in float64, to the last digit.
"""

from collections.abc import Iterator
from typing import NamedTuple

from envs.gridworlds import blocking_maze, cliff_walking, dyna_maze, four_rooms, frozen_lake, windy_grid
from jaxrl.core.environment import Environment

LAKE = {0.99: 0.542026, 0.9: 0.068891, 0.95: 0.180472, 0.999: 0.785533, 1.0: 14 / 17}  # discount: optimum of the 4x4 map
FOUR_ROOMS = {  # goal: {slip: optimum at discount 0.99}
    (11, 11): {0.0: 0.826169, 1 / 3: 0.701625},
    (9, 9): {0.0: 0.860058, 1 / 3: 0.749416},
    (6, 2): {0.0: 0.950990, 1 / 3: 0.907251},
}


class Problem(NamedTuple):
    """An environment, how it is discounted, and the optimal value of its first state."""

    name: str
    env: Environment
    gamma: float
    optimum: float


def problems() -> Iterator[Problem]:
    """Gridworlds with the optimum of their start, to six digits."""
    lake, large = frozen_lake.make(), frozen_lake.make(map="8x8")
    for gamma, optimum in LAKE.items():
        yield Problem("lake", lake, gamma, optimum)
    yield Problem("lake without slip", frozen_lake.make(slip=0.0), 0.99, 0.99**5)
    yield Problem("Dyna maze", dyna_maze.make(), 0.95, 0.95**13)
    for gamma, optimum in {0.99: 0.414640, 0.999: 0.892635, 1.0: 1.0}.items():
        yield Problem("8x8 lake", large, gamma, optimum)
    yield Problem("8x8 lake without slip", frozen_lake.make(map="8x8", slip=0.0), 0.99, 0.99**13)
    yield Problem("cliff", cliff_walking.make(), 1.0, -13.0)
    for moves, gust, optimum in (("four", 0.0, -15), ("king", 0.0, -7), ("king_and_stay", 0.0, -7)):
        yield Problem(f"wind, {moves}", windy_grid.make(moves=moves, gust=gust), 1.0, optimum)
    for moves, optimum in {"king": -10.964609, "four": -20.628258}.items():
        yield Problem(f"gusts, {moves}", windy_grid.make(moves=moves, gust=2 / 3), 1.0, optimum)
    for goal, by_slip in FOUR_ROOMS.items():
        for slip, optimum in by_slip.items():
            yield Problem(f"four rooms, {goal}, slip {slip:.2f}", four_rooms.make(goal=goal, slip=slip), 0.99, optimum)
    for opening, steps in {"right": 10, "left": 16}.items():
        yield Problem(f"wall open {opening}", blocking_maze.make(opening=opening), 0.95, 0.95 ** (steps - 1))
