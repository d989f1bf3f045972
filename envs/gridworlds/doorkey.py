"""DoorKey: fetch the key, unlock the door in the wall and reach the goal behind it, seeing only what lies ahead.

The board is n x n with a border of walls. A wall from top to bottom, with a locked door in it, parts the agent and the key on
the left from the goal in the bottom right corner. Column of the wall, row of the door, and the places of agent and key are drawn
anew for every episode. The agent turns and moves forward; it picks up, drops and toggles what lies in front of it. Reaching the
goal in step t ends the episode and pays 1 - 0.9 t / T with the time limit T = 10 n^2.

Source: Chevalier-Boisvert et al. (2023), Minigrid and Miniworld, environment DoorKey, with the same rules, encoding and actions
(without "done"); images have the row first.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.gridworlds import egocentric
from envs.gridworlds.egocentric import (
    CLOSED,
    DOOR,
    EMPTY,
    FORWARD,
    GOAL,
    HEADINGS,
    KEY,
    LOCKED,
    OPEN,
    VIEW,
    WALL,
    Room,
    below,
    is_at,
    outcome,
    same,
    turned,
    with_clock,
)
from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, TabularModel, finite
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import require

PICK_UP, DROP, TOGGLE = range(3, 6)  # beside turning left, right and going forward


class State(NamedTuple):
    """All int32; places are (row, column).

    position: [2], of the agent. heading: [], 0 .. 3, right, down, left, up. key: [2], (-1, -1) while it is carried.
    door: [], OPEN, CLOSED or LOCKED. wall: [], its column. doorway: [], the row of the door. time: [], steps so far, or 0.
    """

    position: jax.Array
    heading: jax.Array
    key: jax.Array
    door: jax.Array
    wall: jax.Array
    doorway: jax.Array
    time: jax.Array


@struct.dataclass
class Params(Room):
    """Those of every room."""


def outcomes(state, action, params):
    """One outcome: everything is certain. The goal is never left."""
    front = state.position + jnp.asarray(HEADINGS)[state.heading]
    in_wall = params.border[front[0], front[1]] | ((front[1] == state.wall) & (front[0] != state.doorway))
    at_door = same(front, jnp.stack([state.doorway, state.wall]))
    at_key, carrying = same(front, state.key), state.key[0] < 0

    enters = (action == FORWARD) & ~in_wall & ~at_key & (~at_door | (state.door == OPEN))
    picks = (action == PICK_UP) & at_key
    drops = (action == DROP) & carrying & ~in_wall & ~at_door & ~same(front, params.goal)
    unlocks = carrying | (state.door != LOCKED)
    toggled = jnp.where(unlocks, jnp.where(state.door == OPEN, CLOSED, OPEN), LOCKED)

    successor = State(
        jnp.where(enters, front, state.position),
        turned(state.heading, action),
        jnp.where(picks, -1, jnp.where(drops, front, state.key)),
        jnp.where((action == TOGGLE) & at_door, toggled, state.door).astype(jnp.int32),
        state.wall,
        state.doorway,
        state.time + params.counts,
    )
    return outcome(state, successor, params)


def contents(row, column, state, params):
    """The content of each cell, as (object, colour, state), uint8[..., 3]; the agent is left out.

    By comparing coordinates rather than by looking them up, which is many times as fast for the view of a batch of agents.
    """
    last = params.size - 1
    in_wall = (row <= 0) | (column <= 0) | (row >= last) | (column >= last) | (column == state.wall)
    door = jnp.asarray(DOOR).at[2].set(state.door.astype(jnp.uint8))
    codes = jnp.where(in_wall[..., None], WALL, EMPTY)
    codes = jnp.where(is_at(row, column, (state.doorway, state.wall))[..., None], door, codes)
    codes = jnp.where(is_at(row, column, params.goal)[..., None], GOAL, codes)
    at_key = is_at(row, column, state.key) & (state.key[0] >= 0)
    return jnp.where(at_key[..., None], KEY, codes)


def board(state, params):
    """The content of every cell, uint8[n, n, 3]; see ``contents``."""
    return egocentric.everything(lambda row, column: contents(row, column, state, params), params.size)


def observe_all(state, params):
    """The whole board with the agent, uint8[n, n, 3]."""
    size = params.size
    return egocentric.with_agent(lambda row, column: contents(row, column, state, params), size, state.position, state.heading)


def observe_ahead(state, params):
    """The view of the agent, uint8[7, 7, 3]; see ``egocentric.ahead``."""
    carried = jnp.where(state.key[0] < 0, KEY, EMPTY)
    return egocentric.ahead(lambda row, column: contents(row, column, state, params), state.position, state.heading, carried)


def _left_of(wall, index, size):
    """Returns the cell of this number on the left of the wall, (row, column); there are (size - 2) (wall - 1)."""
    return jnp.stack([1 + index // (wall - 1), 1 + index % (wall - 1)], axis=-1).astype(jnp.int32)


def _first(wall, doorway, heading, agent, key, size):
    """Returns the first state: agent and key are numbers of cells on the left, the key's among those that the agent left."""
    key, ones = key + (key >= agent), jnp.ones_like(wall)
    return State(_left_of(wall, agent, size), heading, _left_of(wall, key, size), LOCKED * ones, wall, doorway, 0 * ones)


def initial(params):
    """Every layout: the column of the wall uniform, then everything else."""
    size, layouts = params.size, []
    for wall in range(2, size - 2):
        cells = (size - 2) * (wall - 1)
        doorway, heading, agent, key = np.indices((size - 3, 4, cells, cells - 1), np.int32).reshape(4, -1)
        layouts.append(np.stack([np.full_like(doorway, wall), doorway + 1, heading, agent, key]))
    counts = [layout.shape[1] for layout in layouts]
    probability = 1 / np.repeat(counts, counts) / len(counts)
    wall, doorway, heading, agent, key = jnp.asarray(np.concatenate(layouts, axis=1))
    return Initial(jnp.asarray(probability, jnp.result_type(float)), _first(wall, doorway, heading, agent, key, size))


@dataclasses.dataclass(frozen=True)
class _Reset:
    """Draws from ``initial`` part by part: the list has thousands of entries, and a step that may end an episode draws often."""

    observe: Callable

    def __call__(self, key, params):
        size = params.size
        draws = jax.random.uniform(key, (5,), jnp.float32)
        wall = 2 + below(draws[0], size - 4)
        doorway = 1 + below(draws[1], size - 3)
        heading = below(draws[2], 4)
        cells = (size - 2) * (wall - 1)
        agent_cell, key_cell = below(draws[3], cells), below(draws[4], cells - 1)
        state = _first(wall, doorway, heading, agent_cell, key_cell, size)
        return self.observe(state, params), state


def optimal_lengths(model: TabularModel) -> np.ndarray:
    """Returns the fewest steps to the goal from every state, int[X], by breadth-first search; -1 where it cannot be reached.

    Args:
        model: of an environment whose moves are certain, such as ``tabulate(make(timed=False))``.
    """
    ends, successor = model.terminated[..., 0], model.next_state[..., 0]
    steps = np.where(ends.any(1) & ~ends.all(1), 1, -1)
    for length in range(1, model.num_states):
        reached = steps == length
        if not reached.any():
            break
        steps[(steps < 0) & (reached[successor] & ~ends).any(1)] = length + 1
    return steps


def make(size: int = 5, view: str = "ahead", timed: bool = True, max_steps: int | None = None) -> Environment:
    """Builds DoorKey. Actions: turn left, turn right, forward, pick up, drop, toggle.

    Args:
        size: n, at least 5; 5, 6 and 8 are usual.
        view: "ahead", the 7 x 7 cells before the agent, uint8[7, 7, 3], or "all", the board with the agent, uint8[n, n, 3].
        timed: whether later successes pay less. If not, each pays 1, and the environment is finite: the time is no part of the
            state. Its table has 540 states at size 5 and 160,590 at size 8: raise ``max_states`` of ``tabulate``.
        max_steps: the time limit, by default 10 n^2.

    Raises:
        ConfigError: one of them is out of range.
    """
    require(size >= 5, "doorkey", "size must be at least 5", size, "5, 6 and 8 are usual.")
    require(view in ("ahead", "all"), "doorkey", "view must be 'ahead' or 'all'", view, "Choose one.")
    max_steps = 10 * size**2 if max_steps is None else max_steps
    require(max_steps >= 1, "doorkey", "max_steps must be at least 1", max_steps, "Leave it out for 10 n^2.")
    params = Params.of(size, timed, max_steps)
    observe, shape = (observe_ahead, (VIEW, VIEW, 3)) if view == "ahead" else (observe_all, (size, size, 3))
    env = finite(params, outcomes, initial, Box(0, 10, shape, jnp.uint8), Discrete(6), max_steps, observe=observe)
    env = dataclasses.replace(env, reset_fn=_Reset(observe))
    return with_clock(env) if timed else env
