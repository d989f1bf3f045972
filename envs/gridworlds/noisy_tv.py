"""Noisy TV: a grid with a television that shows another picture at every step, for agents that look for what is new.

Entering the goal pays 1 and ends the episode; nothing else pays. In the cell of the television the agent sees one of K pictures,
drawn uniformly at every step that ends there, whatever is done; in all other cells it sees where it is. A bonus for consequences
that cannot be predicted keeps an agent in front of it for ever. Walls and moves are those of every gridworld.

On the default map the goal is 4 steps away: V*(start) = gamma^3.

Source: Burda et al. (2019), "Large-scale study of curiosity-driven learning", section 5, there in a three-dimensional maze;
Schmidhuber (2010), section I.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.gridworlds import grid
from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require

TELEVISION = "T"
MAP = ("S..", "...", "T.G")


@struct.dataclass
class Params:
    """The state is the observation: the free cell's number, and beyond these a number for every picture but the first.

    neighbour: int32[C, 4], the cell that each move leads to. television, goal, start: int32[], cells.
    extra: int32[K - 1], the observations of all pictures but the first, which bears the number of the cell.
    letters: uint8[R, W], the map as ASCII codes; it is looked at by pictures only.
    """

    neighbour: jax.Array
    television: jax.Array
    goal: jax.Array
    start: jax.Array
    extra: jax.Array
    letters: jax.Array


def cell(state: jax.Array, params: Params) -> jax.Array:
    """Returns the cell of a state, int32[]."""
    return jnp.where(state < params.neighbour.shape[0], state, params.television)


def outcomes(state, action, params):
    """K outcomes, one for each picture; elsewhere they are all the same."""
    here = cell(state, params)
    reached = params.neighbour[here, action]
    pictures = jnp.concatenate([params.television[None], params.extra])
    successor = jnp.where(reached == params.television, pictures, reached)
    entered = (reached == params.goal) & (here != params.goal)
    count = pictures.shape[0]
    probability = jnp.full(count, 1 / count, jnp.float32)
    return Outcomes(probability, successor, jnp.full(count, entered, jnp.float32), successor == params.goal)


def initial(params):
    """The start cell."""
    return Initial(jnp.ones(1, jnp.float32), params.start[None])


def make(map: tuple[str, ...] = MAP, pictures: int = 16, max_steps: int = 100) -> Environment:
    """Builds a noisy TV. Actions: left, down, right, up. Observation: the free cell's number, row by row, and in front of the
    television a picture: that number for the first picture, numbers beyond those of the C cells for the others; C + K - 1 in all.

    Args:
        map: rows of letters S (start), T (television), G (goal), . (free), # (wall); one S, one T and one G.
        pictures: K, at least 1; 1 makes it a cell like any other.
        max_steps: the time limit.

    Raises:
        ConfigError: the map is malformed or has another number of S, T or G, or a count is not positive.
    """
    where = "noisy_tv"
    for name, count in (("pictures", pictures), ("max_steps", max_steps)):
        require(count >= 1, where, f"{name} must be at least 1", count, "Leave it out for the default.")
    cells = grid.parse(where, map, known=f".SG{TELEVISION}")
    places = {letter: np.flatnonzero(cells.cells(letter)) for letter in f"S{TELEVISION}G"}
    for letter, found in places.items():
        require(len(found) == 1, where, f"the map must have one {letter}", len(found), "Mark one cell with it.")
    goal, free = places["G"][0], len(cells.letter)
    neighbour = cells.neighbour.copy()
    neighbour[goal] = goal
    params = Params(
        jnp.asarray(neighbour, jnp.int32),
        jnp.int32(places[TELEVISION][0]),
        jnp.int32(goal),
        jnp.int32(places["S"][0]),
        jnp.arange(free, free + pictures - 1, dtype=jnp.int32),
        jnp.asarray([list(row.encode()) for row in cells.rows], jnp.uint8),
    )
    return finite(params, outcomes, initial, Discrete(free + pictures - 1), Discrete(4), max_steps)
