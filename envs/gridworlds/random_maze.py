"""Random mazes: every episode another one, carved from a key inside the compiled program, with one way between any two places.

A maze of odd size n has rooms in its odd rows and columns. Carving removes the wall between a room that is reached already and
one that is not, until all are reached, so the maze is connected and without loops. Depth-first carving goes on from the newest
room and makes long winding corridors; Prim's picks any border between reached and unreached and makes many short dead ends.

The agent walks from the top left room to the bottom right one; entering it pays 1 and ends the episode. ``text`` writes a maze
down as a map for ``envs.gridworlds.gridworld``, which makes it a finite environment.

Source: Prim (1957), with random choices; depth-first search with random choices is folklore.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.gridworlds.grid import MOVES
from jaxrl.core.environment import Environment, Step
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import require, unknown_name


class State(NamedTuple):
    """position: int32[2], (row, column). walls: bool[n, n]."""

    position: jax.Array
    walls: jax.Array


@struct.dataclass
class Params:
    board: jax.Array  # float32[n, n], zeros; its shape is the size of the maze
    reward: jax.Array  # float32[], of entering the goal


def _rooms(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the R rooms as (row, column), int32[R, 2], and the room beyond each of their four walls, int32[R, 4], or -1."""
    side = (size - 1) // 2
    room = np.indices((side, side), np.int32).reshape(2, -1).T
    beyond = room[:, None] + MOVES
    inside = ((beyond >= 0) & (beyond < side)).all(-1)
    return 2 * room + 1, np.where(inside, beyond @ (side, 1), -1).astype(np.int32)


def depth_first(key: jax.Array, size: int) -> jax.Array:
    """Carves a maze from the newest room on. Returns its walls, bool[size, size]; size is odd and at least 3."""
    place, beyond = (jnp.asarray(each) for each in _rooms(size))
    count = len(place)
    root_key, choice_key = jax.random.split(key)
    root = jax.random.randint(root_key, (), 0, count, jnp.int32)
    choices = jax.random.uniform(
        choice_key, (2 * count - 2, 4), jnp.float32
    )  # every room but the first is entered once and left once

    def carve(carry, choice):
        walls, reached, path, depth = carry
        room = path[depth]
        fresh = (beyond[room] >= 0) & ~reached[beyond[room]]
        direction = jnp.argmax(jnp.where(fresh, choice, -1.0))
        goes_on, target = fresh.any(), beyond[room, direction]
        opening = place[room] + jnp.asarray(MOVES, jnp.int32)[direction]
        walls = walls.at[opening[0], opening[1]].min(~goes_on)
        reached = reached.at[target].max(goes_on)
        depth = jnp.where(goes_on, depth + 1, depth - 1)
        path = path.at[depth].set(jnp.where(goes_on, target, path[depth]))
        return (walls, reached, path, depth), None

    start = (_closed(size), jnp.arange(count) == root, jnp.full(count, root), jnp.int32(0))
    return jax.lax.scan(carve, start, choices)[0][0]


def prim(key: jax.Array, size: int) -> jax.Array:
    """Carves a maze at any border of what is reached. Returns its walls, bool[size, size]; size is odd and at least 3."""
    place, beyond = _rooms(size)
    room, direction = np.nonzero(beyond >= 0)
    one, other = jnp.asarray(room), jnp.asarray(beyond[room, direction])
    opening = jnp.asarray((place[room] + MOVES[direction]).astype(np.int32))
    root_key, choice_key = jax.random.split(key)
    root = jax.random.randint(root_key, (), 0, len(place), jnp.int32)
    choices = jax.random.uniform(choice_key, (len(place) - 1, len(room)), jnp.float32)

    def carve(carry, choice):
        walls, reached = carry
        edge = jnp.argmax(jnp.where(reached[one] & ~reached[other], choice, -1.0))
        return (walls.at[opening[edge, 0], opening[edge, 1]].set(False), reached.at[other[edge]].set(True)), None

    return jax.lax.scan(carve, (_closed(size), jnp.arange(len(place)) == root), choices)[0][0]


def _closed(size):
    return jnp.ones((size, size), bool).at[1::2, 1::2].set(False)


CARVE = {"depth_first": depth_first, "prim": prim}


def distances(walls: jax.Array, goal: tuple[int, int] | jax.Array) -> jax.Array:
    """Returns the fewest steps from every cell to the goal, int32[n, n], by relaxing all cells at once; -1 in walls.

    Args:
        walls: bool[n, n], true at the border. Vmap it over mazes.
        goal: (row, column) of a free cell.
    """
    far = jnp.int32(walls.size)
    goal = jnp.asarray(goal, jnp.int32)
    start = jnp.full(walls.shape, far).at[goal[0], goal[1]].set(0)

    def relax(carry):
        distance, _ = carry
        nearest = jnp.stack([jnp.roll(distance, shift, axis) for axis in (0, 1) for shift in (-1, 1)]).min(0)
        closer = jnp.where(walls, far, jnp.minimum(distance, jnp.minimum(nearest + 1, far)))
        return closer, (closer != distance).any()

    distance = jax.lax.while_loop(lambda carry: carry[1], relax, (start, jnp.bool_(True)))[0]
    return jnp.where(distance < far, distance, -1)


def text(seed: int, size: int = 9, carve: str = "depth_first") -> tuple[str, ...]:
    """Returns a maze as a map in the language of ``envs.gridworlds.grid``, with start and goal.

    Args:
        seed: which maze.
        size, carve: see ``make``.
    """
    _check(size, carve)
    walls = np.asarray(CARVE[carve](jax.random.key(seed), size))
    letters = np.where(walls, "#", ".")
    letters[1, 1], letters[-2, -2] = "S", "G"
    return tuple("".join(row) for row in letters)


def _observe(state):
    """float32[n, n, 3]: 1 where walls are, where the agent is, and where the goal is."""
    empty = jnp.zeros(state.walls.shape, jnp.float32)
    agent = empty.at[state.position[0], state.position[1]].set(1.0)
    return jnp.stack([state.walls.astype(jnp.float32), agent, empty.at[-2, -2].set(1.0)], axis=-1)


@dataclass(frozen=True)
class _Reset:
    """Carves a maze and puts the agent into its first room."""

    carve: Any

    def __call__(self, key, params):
        state = State(jnp.ones(2, jnp.int32), self.carve(key, params.board.shape[0]))
        return _observe(state), state


def step(key, state, action, params):
    """Moves into the next cell unless it is a wall."""
    target = state.position + jnp.asarray(MOVES, jnp.int32)[action]
    position = jnp.where(state.walls[target[0], target[1]], state.position, target)
    state = State(position, state.walls)
    arrived = (position == params.board.shape[0] - 2).all()
    return Step(_observe(state), state, jnp.where(arrived, params.reward, 0.0), arrived)


def _check(size: int, carve: str) -> None:
    require(size >= 5 and size % 2 == 1, "random_maze", "size must be odd and at least 5", size, "7 to 15 are usual.")
    if carve not in CARVE:
        raise unknown_name("random_maze", "way to carve", carve, CARVE)


def make(size: int = 9, carve: str = "depth_first", max_steps: int | None = None) -> Environment:
    """Builds random mazes. Actions: left, down, right, up. Observation: see ``_observe``.

    A reset carves a maze, which takes many times as long as a step: give ``unroll`` a pool of resets, or episodes some length.

    Args:
        size: n, rows and columns with the border, odd, at least 5.
        carve: "depth_first" or "prim".
        max_steps: the time limit, by default 2 n^2; the goal is at most (n - 1)^2 / 2 steps away.

    Raises:
        ConfigError: size or max_steps is out of range.
        UnknownNameError: there is no such way to carve.
    """
    _check(size, carve)
    max_steps = 2 * size**2 if max_steps is None else max_steps
    require(max_steps >= 1, "random_maze", "max_steps must be at least 1", max_steps, "Leave it out for 2 n^2.")
    params = Params(jnp.zeros((size, size), jnp.float32), jnp.float32(1.0))
    return Environment(params, _Reset(CARVE[carve]), step, Box(0.0, 1.0, (size, size, 3)), Discrete(4), max_steps=max_steps)
