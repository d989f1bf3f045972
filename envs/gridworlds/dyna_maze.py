"""Dyna maze: a maze in which planning pays; reward 1 for reaching the goal, which ends the episode, and 14 steps at least.

Source: Sutton (1990); Sutton and Barto (2018), Example 8.1.
"""

from envs.gridworlds import grid
from jaxrl.core.environment import Environment

MAP = (
    ".......#G",
    "..#....#.",
    "S.#....#.",
    "..#......",
    ".....#...",
    ".........",
)


def make(slip: float = 0.0, max_steps: int = 2000) -> Environment:
    """Builds the Dyna maze. Actions: left, down, right, up. Observation: the free cell's number, row by row, 47 in all.

    Args:
        slip: probability in [0, 1] of moving perpendicularly instead.
        max_steps: the time limit (the book has none; a random walk takes some hundreds of steps).

    Raises:
        ConfigError: slip is no probability, or max_steps is not positive.
    """
    return grid.world("dyna_maze", grid.read("dyna_maze", MAP, slip=slip), grid.turning, max_steps)
