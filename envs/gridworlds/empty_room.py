"""EmptyRoom: turn and walk to the goal in the corner of a bare room, as Minigrid's agents do.

The board is n x n with a border of walls and the goal in the bottom right corner. The agent starts in the top left corner,
looking right, or anywhere. Reaching the goal in step t ends the episode and pays 1 - 0.9 t / T with the time limit T = 4 n^2.

Source: Chevalier-Boisvert et al. (2023), Minigrid and Miniworld, environment Empty, with the same rules and encoding; of its
actions only the three that can do something.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from envs.gridworlds import egocentric
from envs.gridworlds.egocentric import (
    EMPTY,
    FORWARD,
    GOAL,
    HEADINGS,
    VIEW,
    WALL,
    Room,
    below,
    is_at,
    outcome,
    turned,
    with_clock,
)
from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, finite
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import require


class State(NamedTuple):
    """All int32. position: [2], (row, column). heading: [], 0 .. 3, right, down, left, up. time: [], steps so far, or 0."""

    position: jax.Array
    heading: jax.Array
    time: jax.Array


@struct.dataclass
class Params(Room):
    """Those of every room."""


def _at_rest(row, column, heading):
    return State(jnp.stack([row, column], -1).astype(jnp.int32), heading.astype(jnp.int32), jnp.zeros_like(heading, jnp.int32))


def _cell(index, size):
    """Returns row and column of an inner cell by its number; the last is the goal's."""
    return 1 + index // (size - 2), 1 + index % (size - 2)


def corner(params):
    """The top left corner, looking right."""
    return Initial(jnp.ones(1), _at_rest(jnp.ones(1), jnp.ones(1), jnp.zeros(1)))


def everywhere(params):
    """Every heading in every cell but the goal."""
    size = params.size
    index, heading = jnp.indices(((size - 2) ** 2 - 1, 4), jnp.int32).reshape(2, -1)
    return Initial(jnp.full(index.shape, 1 / index.size), _at_rest(*_cell(index, size), heading))


@dataclasses.dataclass(frozen=True)
class _Reset:
    """Draws from ``everywhere`` part by part: a step that may end an episode draws often, and the list is long."""

    observe: Callable

    def __call__(self, key, params):
        size, draws = params.size, jax.random.uniform(key, (2,), jnp.float32)
        state = _at_rest(*_cell(below(draws[0], (size - 2) ** 2 - 1), size), below(draws[1], 4))
        return self.observe(state, params), state


def outcomes(state, action, params):
    """One outcome: everything is certain. The goal is never left."""
    front = state.position + jnp.asarray(HEADINGS)[state.heading]
    enters = (action == FORWARD) & ~params.border[front[0], front[1]]
    position = jnp.where(enters, front, state.position)
    return outcome(state, State(position, turned(state.heading, action), state.time + params.counts), params)


def contents(row, column, params):
    """The content of each cell, as (object, colour, state), uint8[..., 3]; the agent is left out."""
    last = params.size - 1
    in_wall = (row <= 0) | (column <= 0) | (row >= last) | (column >= last)
    codes = jnp.where(in_wall[..., None], WALL, EMPTY)
    return jnp.where(is_at(row, column, params.goal)[..., None], GOAL, codes)


def board(state, params):
    """The content of every cell, uint8[n, n, 3]; see ``contents``."""
    return egocentric.everything(lambda row, column: contents(row, column, params), params.size)


def observe_all(state, params):
    """The whole board with the agent, uint8[n, n, 3]."""
    size = params.size
    return egocentric.with_agent(lambda row, column: contents(row, column, params), size, state.position, state.heading)


def observe_ahead(state, params):
    """The view of the agent, uint8[7, 7, 3]; see ``egocentric.ahead``."""
    where = state.position, state.heading
    return egocentric.ahead(lambda row, column: contents(row, column, params), *where, jnp.asarray(EMPTY), through_walls=True)


def make(
    size: int = 8, view: str = "ahead", anywhere: bool = False, timed: bool = True, max_steps: int | None = None
) -> Environment:
    """Builds an EmptyRoom. Actions: turn left, turn right, forward.

    Args:
        size: n, at least 4; 5, 6, 8 and 16 are usual.
        view: "ahead", the 7 x 7 cells before the agent, uint8[7, 7, 3], or "all", the board with the agent, uint8[n, n, 3].
        anywhere: whether the first place (any but the goal) and heading are drawn, uniformly.
        timed: whether later successes pay less. If not, each pays 1, and the environment is finite: the time is no part of the
            state.
        max_steps: the time limit, by default 4 n^2.

    Raises:
        ConfigError: one of them is out of range.
    """
    require(size >= 4, "empty_room", "size must be at least 4", size, "8 is usual.")
    require(view in ("ahead", "all"), "empty_room", "view must be 'ahead' or 'all'", view, "Choose one.")
    max_steps = 4 * size**2 if max_steps is None else max_steps
    require(max_steps >= 1, "empty_room", "max_steps must be at least 1", max_steps, "Leave it out for 4 n^2.")
    params = Params.of(size, timed, max_steps)
    observe, shape = (observe_ahead, (VIEW, VIEW, 3)) if view == "ahead" else (observe_all, (size, size, 3))
    initial = everywhere if anywhere else corner
    env = finite(params, outcomes, initial, Box(0, 10, shape, jnp.uint8), Discrete(3), max_steps, observe=observe)
    if anywhere:
        env = dataclasses.replace(env, reset_fn=_Reset(observe))
    return with_clock(env) if timed else env
