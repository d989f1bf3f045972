"""Gathering: two players pick apples, which grow back, and can remove each other for a while with a beam.

An apple pays 1 to the player that enters its cell, and grows back there some steps later. Both move at the same time, never into
the cell that the other is in or enters. The beam goes straight ahead to the next wall; a player that it hits is away for some
steps and comes back where it began, as soon as that cell is free. It pays nothing: it buys time alone with the apples, which is
worth the more the fewer apples there are. There is no terminal state.

The game is finite, with many states: each apple's clock multiplies them.

Source: Leibo et al. (2017), "Multi-agent reinforcement learning in sequential social dilemmas", on a smaller map, and with one
hit, not two, to be removed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.gridworlds import grid
from envs.markov_games import board
from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import require

STAND, FORWARD, STEP_LEFT, BACKWARD, STEP_RIGHT, TURN_LEFT, TURN_RIGHT, BEAM = range(8)
# Headings are the directions of the gridworlds, each a quarter turn to the left of the one before: left, down, right, up.
MAP = (
    "...........",
    "....aaa....",
    "S...aaa...S",
    "....aaa....",
    "...........",
)


class State(NamedTuple):
    """All int32.

    cell: [2], where each player is. heading: [2], 0 .. 3.
    away: [2], steps until it comes back, 0 while it is there.
    unripe: [M], steps until each apple is back, 0 while it is there.
    """

    cell: jax.Array
    heading: jax.Array
    away: jax.Array
    unripe: jax.Array


@struct.dataclass
class Params:
    neighbour: jax.Array  # int32[C, 4], the cell that lies in each direction of each cell, or itself
    ahead: jax.Array  # bool[C, 4, C], which cells the beam reaches
    apple: jax.Array  # int32[M], the cells with apples
    start: jax.Array  # int32[2], the cells where the players begin
    heading: jax.Array  # int32[2], where they look then
    regrowth: jax.Array  # int32[], steps until an apple is back
    removal: jax.Array  # int32[], steps for which a player is away
    letters: jax.Array  # uint8[R, W], the map as ASCII codes; it is looked at by pictures only


def _walked(state, action, here, params):
    """int32[2], where the players are after their moves."""
    walks = (action >= FORWARD) & (action <= STEP_RIGHT) & here
    direction = (state.heading + action - FORWARD) % 4
    target = jnp.where(walks, params.neighbour[state.cell, direction], state.cell)
    nowhere = -1 - jnp.arange(2)  # a player that is away blocks no cell
    place, target = jnp.where(here, state.cell, nowhere), jnp.where(here, target, nowhere)
    reached = board.without_collisions(place[:, None], target[:, None])[:, 0]
    return jnp.where(here, reached, state.cell)


def outcomes(state, action, params):
    """One outcome."""
    here = state.away == 0
    cell = _walked(state, action, here, params)
    turn = (action == TURN_LEFT).astype(jnp.int32) - (action == TURN_RIGHT)
    heading = jnp.where(here, (state.heading + turn) % 4, state.heading)

    picks = (cell[:, None] == params.apple) & here[:, None] & (state.unripe == 0)  # [2, M]
    unripe = jnp.where(picks.any(0), params.regrowth, jnp.maximum(state.unripe - 1, 0))

    hits = (action == BEAM) & here & params.ahead[cell, heading, cell[::-1]] & here[::-1]
    removed = hits[::-1]
    occupied = (cell[::-1] == params.start) & here[::-1] & ~removed[::-1]
    waited = jnp.maximum(state.away - 1, occupied)
    away = jnp.where(here, jnp.where(removed, params.removal, 0), waited)
    cell, heading = jnp.where(removed, params.start, cell), jnp.where(removed, params.heading, heading)
    reached = jax.tree.map(lambda leaf: leaf.astype(jnp.int32)[None], State(cell, heading, away, unripe))
    return Outcomes(jnp.ones(1), reached, picks.sum(1).astype(jnp.float32)[None], jnp.zeros(1, bool))


def initial(params):
    """Both at their places, all apples ripe."""
    zero = jnp.zeros((1, 2), jnp.int32)
    return Initial(
        jnp.ones(1), State(params.start[None], params.heading[None], zero, jnp.zeros((1, len(params.apple)), jnp.int32))
    )


def observe(state, params):
    """float32[2, 2 C + 8 + M]: own cell and heading, then the other's, one-hot, zeros for the absent; which apples are ripe."""
    here = state.away[:, None] == 0
    cells, headings = jnp.arange(len(params.neighbour)), jnp.arange(4)
    seen = jnp.concatenate([state.cell[:, None] == cells, state.heading[:, None] == headings], axis=-1) & here
    ripe = jnp.broadcast_to(state.unripe == 0, (2, len(params.apple)))
    return jnp.concatenate([seen, seen[::-1], ripe], axis=-1).astype(jnp.float32)


def global_obs(state, params):
    """float32[2 C + 8 + M]: what player 0 observes."""
    return observe(state, params)[0]


def _ahead(neighbour: np.ndarray) -> np.ndarray:
    """Returns which cells lie straight ahead of each cell in each direction, up to the next wall, bool[C, 4, C]."""
    ahead = np.zeros((len(neighbour), 4, len(neighbour)), bool)
    for cell, direction in np.ndindex(len(neighbour), 4):
        here = cell
        while neighbour[here, direction] != here:
            here = neighbour[here, direction]
            ahead[cell, direction, here] = True
    return ahead


def make(map: Sequence[str] = MAP, regrowth: int = 10, removal: int = 5, max_steps: int = 200) -> Environment:
    """Builds gathering. Observation: see ``observe``.

    Actions: stand, step forward, left, backward, right, turn left, turn right, beam. At first the player whose
    cell comes first in the map looks to the right, the other to the left.

    Args:
        map: rows of # (wall), . (free), a (apple), and two S where the players begin.
        regrowth: steps until an apple is back. removal: steps for which a player is away.
        max_steps: the time limit.

    Raises:
        ConfigError: one of them is out of range, or the map is malformed.
    """
    cells = grid.parse("gathering", map, known=".aS")
    start, apple = np.flatnonzero(cells.cells("S")), np.flatnonzero(cells.cells("a"))
    require(len(start) == 2, "gathering", "two players must begin on the map", len(start), "Mark two cells with S.")
    require(len(apple) > 0, "gathering", "there must be apples on the map", cells.rows, "Mark cells with a.")
    for name, count in (("regrowth", regrowth), ("removal", removal), ("max_steps", max_steps)):
        require(count >= 1, "gathering", f"{name} must be at least 1", count, "10, 5 and 200 are the defaults.")
    params = Params(
        jnp.asarray(cells.neighbour, jnp.int32),
        jnp.asarray(_ahead(cells.neighbour)),
        jnp.asarray(apple, jnp.int32),
        jnp.asarray(start, jnp.int32),
        jnp.array([grid.RIGHT, grid.LEFT], jnp.int32),
        jnp.int32(regrowth),
        jnp.int32(removal),
        jnp.asarray([list(row.encode()) for row in cells.rows], jnp.uint8),
    )
    features = 2 * len(cells.neighbour) + 8 + len(apple)
    return finite(
        params,
        outcomes,
        initial,
        Box(0.0, 1.0, (features,)),
        Discrete(8),
        max_steps,
        observe=observe,
        num_agents=2,
        global_obs=global_obs,
    )
