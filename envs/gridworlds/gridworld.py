"""Gridworld: any map of one's own, in the language of ``envs.gridworlds.grid``.

    gridworld.make(("S..a", ".#L#", "...G"), step=-0.1, rewards={"a": 0.5}, slip=0.2)

begins at S, pays 0.5 in the cell of the letter a, and ends in lava L or in the goal G.
"""

from collections.abc import Mapping, Sequence

from envs.gridworlds import grid
from jaxrl.core.environment import Environment
from jaxrl.errors import require

MAP = ("S....#...", ".#.L.+.a.", ".#...#.#.", "...HH#..G")
SLIPS = {"turn": grid.turning, "scatter": grid.scattering}


def make(
    map: Sequence[str] = MAP,
    step: float = -0.01,
    goal: float = 1.0,
    lava: float = -1.0,
    cliff: float = -100.0,
    rewards: Mapping[str, float] | None = None,
    slip: float = 0.0,
    slips: str = "turn",
    max_steps: int = 200,
) -> Environment:
    """Builds a gridworld. Actions: left, down, right, up. Observation: the free cell's number, row by row.

    Args:
        map: rows of equal length in the language of ``envs.gridworlds.grid``.
        step: what every step pays, but those for which one of the following is paid instead.
        goal, lava, cliff: for entering a goal or lava, for stepping on a cliff.
        rewards: for ending a step in a cell with each small letter; by default -0.1 in cells "a".
        slip: probability in [0, 1] of moving in another direction than the chosen one.
        slips: "turn", into one of the two perpendicular directions, or "scatter", into one of all three others.
        max_steps: the time limit.

    Raises:
        ConfigError: the map is malformed (the message says in which row and column, and why), or a number is out of range.
    """
    require(slips in SLIPS, "gridworld", f"slips must be one of {sorted(SLIPS)}", slips, "Choose one.")
    rewards = {"a": -0.1} if rewards is None else rewards
    params = grid.read("gridworld", map, step=step, goal=goal, lava=lava, cliff=cliff, rewards=rewards, slip=slip)
    return grid.world("gridworld", params, SLIPS[slips], max_steps)
