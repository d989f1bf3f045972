"""Extra actions: a grid whose agent has K actions beside the four moves, and nearly always nearly all of them do nothing.

Every other extra action works in hallways (two opposite walls), the others in corners (two adjacent ones); anywhere else they
leave everything as it is. Where they work they are a move: the left, down, right and up of the hallways, then those of the
corners, and so on again. A move into a wall does nothing either. So which actions do something follows from the walls around a
cell, ``surroundings``, and holds on every map. Entering the goal pays 1 and ends the episode.

Source: Ardon (2022), "Inapplicable Actions Learning for Knowledge Transfer in Reinforcement Learning", for the question: the maps
and the extra actions are ours.
"""

import jax
import jax.numpy as jnp
import numpy as np

from envs.gridworlds import four_rooms, grid
from envs.gridworlds.grid import MOVES, Walk
from jaxrl.core.environment import Environment
from jaxrl.errors import require_count

NUM_MOVES = len(MOVES)
NUM_SURROUNDINGS = 2**NUM_MOVES
# The map of FourRooms with its goal in the last corner, and one of the same size with other walls, hallways and another goal.
MAP = (*four_rooms.MAP[:-2], "#.....#....G#", four_rooms.MAP[-1])
MOVED_MAP = (
    "#############",
    "#....#.....G#",
    "#....#......#",
    "#...........#",
    "#....###.####",
    "#....#......#",
    "#....#......#",
    "#....#......#",
    "##.###......#",
    "#...........#",
    "#....#......#",
    "#....#......#",
    "#############",
)


def surroundings(state: jax.Array, params: Walk) -> jax.Array:
    """Returns which of the four moves a wall stops in a cell, as one of 16 patterns, float32[16], one-hot.

    In a cell that ends the episode nothing moves any more, as if walls were all around it.
    """
    stopped = params.neighbour[state, :NUM_MOVES] == state
    pattern = (stopped * 2 ** jnp.arange(NUM_MOVES, dtype=jnp.int32)).sum()
    return jax.nn.one_hot(pattern, NUM_SURROUNDINGS, dtype=jnp.float32)


def applicable(env: Environment) -> np.ndarray:
    """Returns which actions change the state, bool[C, 4 + K], by the numbers of the cells."""
    neighbour = np.asarray(env.params.neighbour)
    return neighbour != np.arange(len(neighbour))[:, None]


def outcomes(state, action, params):
    """One outcome: everything is certain."""
    return grid.move(state, action[None], jnp.ones(1, jnp.float32), params)


def make(map: tuple[str, ...] = MAP, extra_actions: int = 10, max_steps: int = 200) -> Environment:
    """Builds a grid with extra actions. Actions: left, down, right, up, and K more. Observation: the free cell's number.

    Args:
        map: rows of letters # (wall), S (may be the first cell; if there is none, every cell but the goals may), G (goal) and
            . (free).
        extra_actions: K, at least 0.
        max_steps: the time limit.

    Raises:
        ConfigError: the map is malformed, K is negative, or max_steps is not positive.
    """
    where = "extra_actions"
    require_count(where, "extra_actions", extra_actions, 0)
    cells = grid.parse(where, map, known=".SG")
    at_goal, here = cells.cells("G"), np.arange(len(cells.letter))
    stopped = cells.neighbour == here[:, None]
    two = stopped.sum(1) == 2
    hallway = two & (stopped[:, 0] == stopped[:, 2])
    kind, move = np.arange(extra_actions) % 2, np.arange(extra_actions) // 2 % NUM_MOVES
    works = np.stack([hallway, two & ~hallway], 1)[:, kind]
    neighbour = np.hstack([cells.neighbour, np.where(works, cells.neighbour[:, move], here[:, None])])
    pays = at_goal[neighbour] & ~at_goal[:, None]
    start = cells.cells("S") if "S" in cells.letter else ~at_goal
    params = grid.walk(where, cells, pays, at_goal, start, 0.0, neighbour)
    return grid.world(where, params, outcomes, max_steps, NUM_MOVES + extra_actions)
