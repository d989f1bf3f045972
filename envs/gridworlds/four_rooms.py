"""FourRooms: four rooms joined by four hallways; reward 1 for reaching the goal, which ends the episode.

Moving in the chosen direction succeeds with probability 1 - slip; otherwise one of the three other directions is taken.

Source: Sutton, Precup and Singh (1999), Figure 2 (there with slip 1/3). The map with its border is 13 x 13 and has 104 free
cells.
"""

from typing import NamedTuple

import numpy as np

from envs.gridworlds import grid
from jaxrl.core.environment import Environment
from jaxrl.errors import require

MAP = (
    "#############",
    "#.....#.....#",
    "#.....#.....#",
    "#...........#",
    "#.....#.....#",
    "#.....#.....#",
    "##.####.....#",
    "#.....###.###",
    "#.....#.....#",
    "#.....#.....#",
    "#...........#",
    "#.....#.....#",
    "#############",
)
HALLWAYS = ((3, 6), (6, 2), (7, 9), (10, 6))  # (row, column)


def make(
    start: tuple[int, int] | None = (1, 1), goal: tuple[int, int] = (11, 11), slip: float = 0.0, max_steps: int = 500
) -> Environment:
    """Builds FourRooms. Actions: left, down, right, up. Observation: the free cell's number, row by row, 104 in all.

    Args:
        start: (row, column) of the first cell, the border counted; None draws it uniformly from all cells but the goal.
        goal: (row, column) of the goal.
        slip: probability in [0, 1] of moving in one of the other three directions instead.
        max_steps: the time limit.

    Raises:
        ConfigError: start or goal is no free cell, they coincide, slip is no probability, or max_steps is not positive.
    """
    require(start is None or tuple(start) != tuple(goal), "four_rooms", "start must not be the goal", start, "Move one of them.")
    rooms = grid.parse("four_rooms", MAP, known=".")
    cell = np.arange(len(rooms.letter))
    at_goal = cell == rooms.cell("four_rooms", goal)
    at_start = ~at_goal if start is None else cell == rooms.cell("four_rooms", start)
    params = grid.walk("four_rooms", rooms, rooms.entering(at_goal), at_goal, at_start, slip)
    return grid.world("four_rooms", params, grid.scattering, max_steps)


class Room(NamedTuple):
    """One of the four rooms. cells: bool[104], without its hallways. doorways: the numbers of its two hallways."""

    cells: np.ndarray
    doorways: tuple[int, ...]


def rooms() -> list[Room]:
    """Returns the four rooms, in the order of their first cells."""
    free = grid.parse("four_rooms", MAP, known=".")
    hallways = [free.cell("four_rooms", position) for position in HALLWAYS]
    inside = ~np.isin(np.arange(len(free.letter)), hallways)
    first = np.arange(len(inside))  # the first cell that each has been found to be connected to
    for _ in first:
        reached = np.where(inside[free.neighbour], first[free.neighbour], first[:, None]).min(1)
        first = np.where(inside, np.minimum(first, reached), first)
    found = [inside & (first == number) for number in np.unique(first[inside])]
    return [Room(cells, tuple(door for door in hallways if cells[free.neighbour[door]].any())) for cells in found]
