"""Blocking maze: a wall between start and goal, whose opening moves to the other side, so that what was learned holds no more.

Through the opening at the right the goal is 10 steps away, through that at the left 16. Entering the goal pays 1. Either the
opening stays and the goal ends the episode; or it moves after ``switch_at`` steps, and then the goal leads back to the start, so
that one episode without end goes on through the change. The time is hidden from the agent: the observation is the cell alone.

Source: Sutton (1990); Sutton and Barto (2018), Example 8.2; with openings left, then both, their Example 8.3, the shortcut.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.gridworlds import grid
from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require, unknown_name

FLOOR = "........."
WALLS = {"right": "########.", "left": ".########", "both": ".#######."}


class State(NamedTuple):
    """cell: int32[], the number 9 * row + column. clock: int32[], steps taken, counted up to the switch."""

    cell: jax.Array
    clock: jax.Array


@struct.dataclass
class Params:
    neighbour: jax.Array  # int32[2, 54, 4], where each move leads to, before and after the switch
    letters: jax.Array  # uint8[2, 6, 9], the two maps as ASCII codes, for pictures
    start: jax.Array  # int32[]
    goal: jax.Array  # int32[]
    switch_at: jax.Array  # int32[], steps after which the opening moves
    ends: jax.Array  # bool[], whether the goal ends the episode, or leads back to the start


def maps(opening: str) -> tuple[str, ...]:
    """Returns the map with this opening: "right", "left" or "both"."""
    return (FLOOR[:-1] + "G", FLOOR, FLOOR, WALLS[opening], FLOOR, "...S.....")


def observe(state, params):
    """The cell's number; the clock is hidden."""
    return state.cell


def outcomes(state, action, params):
    """One outcome: every move is certain. A goal that ends the episode is never left."""
    over = (state.cell == params.goal) & params.ends
    moved = params.neighbour[(state.clock >= params.switch_at).astype(jnp.int32), state.cell, action]
    arrives = (moved == params.goal) & ~over
    cell = jnp.where(over | (arrives & params.ends), params.goal, jnp.where(arrives, params.start, moved))
    clock = jnp.where(over, state.clock, jnp.minimum(state.clock + 1, params.switch_at))
    reward = arrives.astype(jnp.float32)
    outcome = Outcomes(jnp.float32(1.0), State(cell, clock), reward, (arrives | over) & params.ends)
    return jax.tree.map(lambda leaf: leaf[None], outcome)


def initial(params):
    """The start, at time 0."""
    return Initial(jnp.ones(1, jnp.float32), State(params.start[None], jnp.zeros(1, jnp.int32)))


def make(opening: str = "right", then: str = "left", switch_at: int | None = None, max_steps: int | None = None) -> Environment:
    """Builds the blocking maze. Actions: left, down, right, up. Observation: 9 * row + column, 54 numbers, the wall's included.

    Args:
        opening: where the wall is open: "right", "left" or "both".
        then: where it is open after the switch.
        switch_at: steps after which the opening moves, at least 1; 1000 in the book. None: it never does.
        max_steps: the time limit, by default 2000 without and 3000 with a switch.

    Raises:
        UnknownNameError: there is no such opening.
        ConfigError: switch_at or max_steps is not positive.
    """
    where = "blocking_maze"
    for each in (opening, then):
        if each not in WALLS:
            raise unknown_name(where, "opening", each, WALLS)
    require(switch_at is None or switch_at >= 1, where, "switch_at must be at least 1", switch_at, "None is never.")
    max_steps = max_steps if max_steps is not None else 2000 if switch_at is None else 3000
    require(max_steps >= 1, where, "max_steps must be at least 1", max_steps, "Leave it out for the default.")
    both = (opening, opening if switch_at is None else then)
    rows = [maps(each) for each in both]
    # The walls of one map are floor in the other, so cells are numbered walls included.
    boards = [grid.parse(where, each) for each in rows]
    width = len(FLOOR)
    neighbour = np.tile(np.arange(len(rows[0]) * width)[:, None], (2, 1, 4))
    for table, board in zip(neighbour, boards, strict=True):
        number = board.position @ (width, 1)
        table[number] = number[board.neighbour]
    flat = "".join(rows[0])
    params = Params(
        jnp.asarray(neighbour, jnp.int32),
        jnp.asarray([[list(row.encode()) for row in each] for each in rows], jnp.uint8),
        jnp.int32(flat.index("S")),
        jnp.int32(flat.index("G")),
        jnp.int32(switch_at or 0),
        jnp.bool_(switch_at is None),
    )
    return finite(params, outcomes, initial, Discrete(len(flat)), Discrete(4), max_steps, observe=observe)
