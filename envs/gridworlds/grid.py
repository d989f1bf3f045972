"""Gridworlds: a map written as text becomes a graph of free cells, and a walk over that graph a finite environment.

A gridworld states its map, what its moves pay and where it ends; its ``outcomes`` say only how the chosen direction may go
astray. Every move is one look-up in a table.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.errors import require
from jaxrl.finite import Initial, Outcomes

LEFT, DOWN, RIGHT, UP = range(4)  # the action order of every gridworld here
MOVES = np.array([(0, -1), (1, 0), (0, 1), (-1, 0)])  # (row, column) of each action


class Grid(NamedTuple):
    """The free cells of a map, numbered row by row.

    neighbour: int32[C, 4], the cell each action leads to; moving into a wall or off the map means staying.
    letter: str of C characters, what the map says of each free cell.
    position: int32[C, 2], (row, column) of each free cell.
    """

    neighbour: np.ndarray
    letter: str
    position: np.ndarray

    def cells(self, letters: str) -> np.ndarray:
        """Returns which free cells bear one of these letters, bool[C]."""
        return np.array([letter in letters for letter in self.letter])

    def cell(self, where: str, position: tuple[int, int]) -> int:
        """Returns the number of the free cell at (row, column)."""
        match = np.flatnonzero((self.position == np.asarray(position)).all(-1))
        require(
            len(match) == 1, where, "(row, column) must be a free cell of the map", position, "Choose a cell that is no wall."
        )
        return int(match[0])

    def entering(self, cells: np.ndarray) -> np.ndarray:
        """Returns which moves lead into one of these cells (bool[C]) from outside them, bool[C, 4]."""
        return cells[self.neighbour] & ~cells[:, None]


def parse(where: str, rows: tuple[str, ...], known: str, wall: str = "#") -> Grid:
    """Reads a map.

    Args:
        where: the environment, for messages.
        rows: lines of equal length.
        known: the letters that may stand in the map, beside the wall.
        wall: the letter of cells that cannot be entered.

    Raises:
        ConfigError: the map is empty, ragged, without a free cell, or has an unknown letter.
    """
    require(any(rows), where, "the map must have at least one row and column", rows, "Write a map.")
    widths = sorted({len(row) for row in rows})
    require(len(widths) == 1, where, "all rows of the map must have the same length", widths, "Pad the short rows.")
    strange = sorted(set("".join(rows)) - set(known) - {wall})
    require(not strange, where, f"the map may only contain {known + wall!r}", strange, "Replace these letters.")
    number = {}
    for r, row in enumerate(rows):
        for c, letter in enumerate(row):
            if letter != wall:
                number[r, c] = len(number)
    require(len(number) > 0, where, "the map must have a free cell", rows, "Open a cell.")
    neighbour = [[number.get((r + dr, c + dc), here) for dr, dc in MOVES] for (r, c), here in number.items()]
    letters = "".join(rows).replace(wall, "")
    return Grid(np.array(neighbour, np.int32), letters, np.array(list(number), np.int32))


@struct.dataclass
class Walk:
    """The parameters of a walk over C free cells.

    neighbour: int32[C, 4], the cell that each direction leads to; absorbing cells lead to themselves.
    reward: float32[C, 4], paid for moving in each direction; 0 in absorbing cells.
    absorbing: bool[C], entering one ends the episode.
    start: int32[K0], the cells from which the first one is drawn uniformly.
    slip: float32[], probability in [0, 1] of moving in another direction than the chosen one.
    """

    neighbour: jax.Array
    reward: jax.Array
    absorbing: jax.Array
    start: jax.Array
    slip: jax.Array


def walk(where: str, neighbour: np.ndarray, reward: np.ndarray, absorbing: np.ndarray, start: np.ndarray, slip: float) -> Walk:
    """Builds the parameters of a walk.

    Args:
        where: the environment, for messages.
        neighbour: int[C, 4], where each move leads to.
        reward: float, broadcast to [C, 4]; what each move pays.
        absorbing: bool[C].
        start: bool[C], the first cell is drawn uniformly from these.
        slip: probability in [0, 1].

    Raises:
        ConfigError: slip is no probability, or there is no cell to start from.
    """
    require(0 <= slip <= 1, where, "slip must lie in [0, 1]", slip, "It is a probability; 0 makes every move certain.")
    require(bool(start.any()), where, "there must be a cell to start from", start.astype(int).tolist(), "Mark one in the map.")
    stuck = absorbing[:, None]
    return Walk(
        jnp.asarray(np.where(stuck, np.arange(len(absorbing))[:, None], neighbour), jnp.int32),
        jnp.asarray(np.where(stuck, 0.0, reward), jnp.float32),
        jnp.asarray(absorbing),
        jnp.asarray(np.flatnonzero(start), jnp.int32),
        jnp.float32(slip),
    )


def move(cell: jax.Array, direction: jax.Array, probability: jax.Array, params: Walk) -> Outcomes:
    """Returns the outcomes of moving from a cell in one of K directions (int32[K], float32[K])."""
    reached = params.neighbour[cell, direction]
    return Outcomes(probability, reached, params.reward[cell, direction], params.absorbing[reached])


def turning(state: jax.Array, action: jax.Array, params: Walk) -> Outcomes:
    """Three outcomes: turned one way, as chosen, turned the other way; a slip turns either way with equal probability."""
    direction = (action + jnp.array([-1, 0, 1], jnp.int32)) % 4
    probability = jnp.stack([params.slip / 2, 1 - params.slip, params.slip / 2])
    return move(state, direction, probability, params)


def scattering(state: jax.Array, action: jax.Array, params: Walk) -> Outcomes:
    """Four outcomes, one for each direction; a slip takes one of the three others with equal probability."""
    direction = jnp.arange(4, dtype=jnp.int32)
    probability = jnp.where(direction == action, 1 - params.slip, params.slip / 3)
    return move(state, direction, probability, params)


def initial(params: Walk) -> Initial:
    """Uniform over the start cells. Only these are listed: every fresh draw looks at the whole list."""
    count = params.start.shape[0]
    return Initial(jnp.full(count, 1 / count), params.start)
