"""Rooms for an agent with a heading: where the goal is, what reaching it pays, and what the agent sees, encoded as in Minigrid.

A room is n x n with a border of walls and the goal in the bottom right corner.

Every cell is a triple (object, colour, state). The whole board shows the agent among them; the view ahead is turned so that
forward is up; light may or may not pass walls and closed doors.

Source: Chevalier-Boisvert et al. (2023), Minigrid and Miniworld; images have the row first.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core.environment import Environment
from jaxrl.core.finite import Outcomes

TURN_LEFT, TURN_RIGHT, FORWARD = range(3)  # actions
OPEN, CLOSED, LOCKED = range(3)  # states of a door
HEADINGS = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)], np.int32)  # right, down, left, up, as (row, column)
VIEW = 7  # rows and columns that the agent sees, itself in the middle of the last row
# (object, colour, state) of what can lie in a cell; the state of a door is added to it, that of the agent is its heading.
UNSEEN, EMPTY, WALL, DOOR, KEY, GOAL, AGENT = np.array(
    [(0, 0, 0), (1, 0, 0), (2, 5, 0), (4, 4, 0), (5, 4, 0), (8, 1, 0), (10, 0, 0)], np.uint8
)


@struct.dataclass
class Room:
    """The common part of all rooms; every environment extends it, so that its pictures are found by its type."""

    border: jax.Array  # bool[n, n], the outer walls
    counts: jax.Array  # int32[], 1 if the time counts, else 0
    fading: jax.Array  # float32[], what a step takes from the reward

    @classmethod
    def of(cls, size: int, timed: bool, max_steps: int):
        """Builds a room n x n whose goal pays 1, or with ``timed`` 1 - 0.9 t / T in step t of ``max_steps``."""
        border = jnp.ones((size, size), bool).at[1:-1, 1:-1].set(False)
        return limited(cls(border, jnp.int32(timed), jnp.float32(0.0)), max_steps)

    @property
    def size(self) -> int:
        return self.border.shape[0]

    @property
    def goal(self) -> jax.Array:
        """int32[2], (row, column)."""
        return jnp.array([self.size - 2] * 2, jnp.int32)


def limited(room, max_steps: int):
    """Returns the room with another time limit, by which its reward falls to 0.1: see ``Environment.limit_fn``."""
    return room.replace(fading=room.counts * jnp.float32(0.9 / max_steps))


def turned(heading, action):
    """The heading after an action, int32[]."""
    return ((heading + (action == TURN_RIGHT) - (action == TURN_LEFT)) % 4).astype(jnp.int32)


def outcome(state, successor, room: Room) -> Outcomes:
    """The only outcome of a move, everything being certain: the goal pays on arrival and is never left.

    Args:
        state, successor: with ``position`` and ``time``.
        room: where they are.
    """
    over = same(state.position, room.goal)
    successor = jax.tree.map(lambda old, new: jnp.where(over, old, new), state, successor)
    arrives = same(successor.position, room.goal)
    reward = jnp.where(arrives & ~over, 1.0 - room.fading * successor.time, 0.0)
    return jax.tree.map(lambda leaf: leaf[None], Outcomes(jnp.float32(1.0), successor, reward, arrives))


def with_clock(env: Environment) -> Environment:
    """Lets the time of a room count: its reward follows the time limit, and its states are too many for a table."""
    return dataclasses.replace(env, outcomes_fn=None, initial_fn=None, observe_fn=None, limit_fn=limited)


# (rows, columns), int32 each, of one shape or of shapes that broadcast -> codes uint8[..., 3], the agent left out.
Contents = Callable[[jax.Array, jax.Array], jax.Array]


def is_at(row, column, place):
    """Whether cells are this place, bool[...]. Coordinate by coordinate: compilers do badly at sums over two entries."""
    return (row == place[0]) & (column == place[1])


def same(place, other):
    """Whether two places, int32[2], are one, bool[]."""
    return is_at(place[0], place[1], other)


def below(uniform, count):
    """Turns a number in [0, 1) into one of 0 .. count - 1, int32[], equally likely but for one part in 2^24 / count.

    Where one call draws all numbers of a reset, this costs a fraction of a call of ``randint`` for each of them.
    """
    return jnp.minimum((uniform * count).astype(jnp.int32), count - 1)


def everything(contents: Contents, size: int) -> jax.Array:
    """The content of every cell, uint8[n, n, 3]."""
    return contents(*_cells(size))


def with_agent(contents: Contents, size: int, position: jax.Array, heading: jax.Array) -> jax.Array:
    """The whole board with the agent, uint8[n, n, 3]."""
    cells, agent = _cells(size), jnp.asarray(AGENT).at[2].set(heading.astype(jnp.uint8))
    return jnp.where(is_at(*cells, position)[..., None], agent, contents(*cells))


def ahead(
    contents: Contents, position: jax.Array, heading: jax.Array, carried: jax.Array, through_walls: bool = False
) -> jax.Array:
    """The view of the agent, uint8[7, 7, 3]: forward is up; it stands in the middle of the last row, where what it carries is.

    Args:
        contents: what lies where; asked for places beyond the border, too.
        position: int32[2]. heading: int32[]. carried: uint8[3], EMPTY for nothing.
        through_walls: whether walls and closed doors hide nothing.
    """
    headings, there = jnp.asarray(HEADINGS), jnp.arange(VIEW, dtype=jnp.int32)
    forward, right = headings[heading], headings[(heading + 1) % 4]
    onward, aside = (VIEW - 1 - there)[:, None], (there - VIEW // 2)[None, :]
    seen = contents(*(position[axis] + onward * forward[axis] + aside * right[axis] for axis in (0, 1)))
    if not through_walls:
        opaque = (seen[..., 0] == WALL[0]) | ((seen[..., 0] == DOOR[0]) & (seen[..., 2] != OPEN))
        seen = jnp.where(_visible(~opaque)[..., None], seen, UNSEEN)
    return seen.at[-1, VIEW // 2].set(carried)


def _cells(size):
    index = jnp.arange(size, dtype=jnp.int32)
    return index[:, None], index[None, :]


def _visible(clear):
    """Returns which cells light reaches from the middle of the last row, bool[V, V], through those that are clear.

    Row by row it spreads through clear cells to the right and on to the row ahead, then the same to the left. A row is a number
    here, bit j its column j: a few operations on numbers move a whole row. The loop keeps the compiler from computing all rows
    anew for every cell, which takes ten times as long.
    """
    bits = 1 << jnp.arange(VIEW, dtype=jnp.int32)

    def row(lit, clear_row):
        right = _spread(lit, clear_row, jnp.left_shift)
        lit = (lit | (right << 1)) & (2**VIEW - 1)
        left = _spread(lit, clear_row, jnp.right_shift)
        onward_right, onward_left = right & ~bits[-1], left & ~bits[0]  # not past the edge of the view
        return onward_right | (onward_right << 1) | onward_left | (onward_left >> 1), lit | (left >> 1)

    rows = jax.lax.scan(row, jnp.int32(1 << VIEW // 2), (clear * bits).sum(1, dtype=jnp.int32), reverse=True)[1]
    return (rows[:, None] & bits) > 0


def _spread(lit, clear, shift):
    """Returns the clear cells that light reaches in one direction, by doubling the distance."""
    reached, way = lit & clear, clear
    for distance in (1, 2, 4):
        reached |= way & shift(reached, distance)
        way &= shift(way, distance)
    return reached
