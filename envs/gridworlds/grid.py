"""Gridworlds: a map written as text becomes a graph of free cells, and a walk over that graph a finite environment.

The language of maps, one letter a cell:

    #        a wall; what lies beyond the map is one too
    . or F   a free cell                     +  a free cell that is a hallway
    S        a first cell; of several one is drawn uniformly, without any all cells that end nothing are
    G        a goal: entering it ends the episode
    H        a hole: entering it ends the episode and pays nothing
    L        lava: the same, and is punished
    C        a cliff: stepping on it is punished and leads back to the start
    < v > ^  a one-way cell, entered only in this direction
    0 .. 9   a free cell where a wind blows, upwards by so many cells a step
    a .. z   a cell that pays what ``rewards`` says of its letter, whenever a step ends there (v is taken)

A move into a wall means staying. Wind and move add up: the agent slides sideways first, then up or down, until a wall stops it.

A gridworld states its map, what its moves pay and where it ends; its ``outcomes`` say only how the chosen direction may go
astray. Every move is one look-up in a table.
"""

import string
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import ConfigError, is_traced, require, require_finite

LEFT, DOWN, RIGHT, UP = range(4)  # the action order of every gridworld here
MOVES = np.array([(0, -1), (1, 0), (0, 1), (-1, 0)])  # (row, column) of each action
ONE_WAY = {"<": (0, -1), "v": (1, 0), ">": (0, 1), "^": (-1, 0)}  # the move with which a one-way cell is entered
PAYING = string.ascii_lowercase.replace("v", "")
LANGUAGE = f".FS+GHLC{''.join(ONE_WAY)}{string.digits}{PAYING}"
WALL = "#"


class Grid(NamedTuple):
    """The free cells of a map, numbered row by row.

    neighbour: int32[C, A], the cell each action leads to; moving into a wall or off the map means staying.
    letter: str of C characters, what the map says of each free cell.
    position: int32[C, 2], (row, column) of each free cell.
    rows: tuple[str, ...], the map.
    """

    neighbour: np.ndarray
    letter: str
    position: np.ndarray
    rows: tuple[str, ...]

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
        """Returns which moves lead into one of these cells (bool[C]) from outside them, bool[C, A]."""
        return cells[self.neighbour] & ~cells[:, None]


def parse(
    where: str, rows: Sequence[str], known: str = LANGUAGE, wall: str = WALL, moves: np.ndarray = MOVES, gust: int = 0
) -> Grid:
    """Reads a map.

    Args:
        where: the environment, for messages.
        rows: lines of equal length.
        known: the letters that may stand in the map, beside the wall.
        wall: the letter of cells that cannot be entered.
        moves: int[A, 2], (row, column) of each action.
        gust: what is added to the wind, where there is one.

    Raises:
        ConfigError: the map is empty, ragged, without a free cell, or has an unknown letter; the message says where.
    """
    rows = tuple(rows)
    require(any(rows), where, "the map must have at least one row and column", rows, "Write a map.")
    letters = {(r, c): letter for r, row in enumerate(rows) for c, letter in enumerate(row)}
    for r, row in enumerate(rows):
        must, fix = f"all rows of the map must have the same length as row 0, {len(rows[0])}", "Pad the short rows."
        _require_at(len(row) == len(rows[0]), where, must, f"{len(row)} letters", f"row {r}", fix)
    for (r, c), letter in letters.items():
        fix = "Replace this letter."
        must = f"the map may only contain {known + wall!r}"
        _require_at(letter in known + wall, where, must, repr(letter), f"row {r}, column {c}", fix)
    free = [position for position, letter in letters.items() if letter != wall]
    require(len(free) > 0, where, "the map must have a free cell", rows, "Open a cell.")
    number = {position: index for index, position in enumerate(free)}
    neighbour = [[number[_slide(letters, wall, here, move, gust)] for move in moves.tolist()] for here in free]
    return Grid(np.array(neighbour, np.int32), "".join(letters[each] for each in free), np.array(free, np.int32), rows)


def _require_at(condition: bool, where: str, must: str, found: str, place: str, fix: str) -> None:
    if not condition:
        raise ConfigError(f"{where}: {must}, got {found} in {place}. {fix}")


def _slide(letters: Mapping, wall: str, here: tuple[int, int], move: Sequence[int], gust: int) -> tuple[int, int]:
    """Returns where a move and the wind lead: sideways, then up or down, cell by cell, until something stops it."""
    wind = int(letters[here]) + gust if letters[here] in "123456789" else 0
    down, right = move[0] - wind, move[1]
    for step in [(0, int(np.sign(right)))] * abs(right) + [(int(np.sign(down)), 0)] * abs(down):
        there = here[0] + step[0], here[1] + step[1]
        letter = letters.get(there, wall)
        if letter == wall or ONE_WAY.get(letter, step) != step:
            continue
        here = there
    return here


@struct.dataclass
class Walk:
    """The parameters of a walk over C free cells, with D directions.

    neighbour: int32[C, D], the cell that each direction leads to; absorbing cells lead to themselves.
    reward: float32[C, D], paid for moving in each direction; 0 in absorbing cells.
    absorbing: bool[C], entering one ends the episode.
    start: int32[K0], the cells from which the first one is drawn uniformly.
    slip: float32[], probability in [0, 1] of moving in another direction than the chosen one.
    letters: uint8[R, W], the map as ASCII codes; it is looked at by pictures only.
    """

    neighbour: jax.Array
    reward: jax.Array
    absorbing: jax.Array
    start: jax.Array
    slip: jax.Array
    letters: jax.Array


def walk(
    where: str,
    cells: Grid,
    reward: np.ndarray,
    absorbing: np.ndarray,
    start: np.ndarray,
    slip: float,
    neighbour: np.ndarray | None = None,
) -> Walk:
    """Builds the parameters of a walk.

    Args:
        where: the environment, for messages.
        cells: the map.
        reward: float, broadcast to [C, D]; what each move pays.
        absorbing: bool[C].
        start: bool[C], the first cell is drawn uniformly from these.
        slip: probability in [0, 1].
        neighbour: int[C, D], where each move leads to, if the map does not tell.

    Raises:
        ConfigError: slip is no probability, or there is no cell to start from.
    """
    require(0 <= slip <= 1, where, "slip must lie in [0, 1]", slip, "It is a probability; 0 makes every move certain.")
    require(bool(start.any()), where, "there must be a cell to start from", cells.rows, "Mark one in the map.")
    stuck, leads_to = absorbing[:, None], cells.neighbour if neighbour is None else neighbour
    return Walk(
        jnp.asarray(np.where(stuck, np.arange(len(absorbing))[:, None], leads_to), jnp.int32),
        jnp.asarray(np.where(stuck, 0.0, reward), jnp.float32),
        jnp.asarray(absorbing),
        jnp.asarray(np.flatnonzero(start), jnp.int32),
        jnp.float32(slip),
        jnp.asarray([list(row.encode()) for row in cells.rows], jnp.uint8),
    )


def read(
    where: str,
    rows: Sequence[str],
    known: str = LANGUAGE,
    *,
    step: float = 0.0,
    goal: float = 1.0,
    lava: float = -1.0,
    cliff: float = -100.0,
    rewards: Mapping[str, float] | None = None,
    slip: float = 0.0,
    gusts: Sequence[int] = (0,),
    moves: np.ndarray = MOVES,
) -> Walk:
    """Reads a map in the language above into the parameters of a walk.

    Args:
        where: the environment, for messages.
        rows: lines of equal length.
        known: the letters of the language that may stand in this map, beside the wall.
        step: what every step pays, but those for which one of the following is paid instead.
        goal, lava, cliff: for entering a goal or lava, for stepping on a cliff.
        rewards: for ending a step in a cell with each letter.
        slip: probability in [0, 1].
        gusts: G changes of the wind that can happen; direction ``G * action + g`` is the action in the gust g.
        moves: int[A, 2], (row, column) of each action.

    Raises:
        ConfigError: the map is malformed, there is no start or (with a cliff) more than one, a letter has no reward, or slip is
            no probability.
    """
    blown = [parse(where, rows, known, moves=moves, gust=gust) for gust in gusts]
    cells = blown[0]
    rewards = dict(rewards or {})
    strange = sorted(set(rewards) - set(PAYING))
    if not is_traced(rewards):
        require_finite(where, "rewards", list(rewards.values()))
    require(not strange, where, f"rewards must belong to letters of {PAYING!r}", strange, "Take other letters.")
    pays = {"G": goal, "H": 0.0, "L": lava, "C": cliff} | rewards
    for (r, c), letter in zip(cells.position, cells.letter, strict=True):
        must, fix = "every small letter of the map must have a reward", "Name it in rewards."
        _require_at(letter not in PAYING or letter in rewards, where, must, repr(letter), f"row {r}, column {c}", fix)
    paid = np.array([pays.get(letter, step) for letter in cells.letter])
    absorbing, falls = cells.cells("GHL"), cells.cells("C")
    start = cells.cells("S") if "S" in cells.letter else ~absorbing & ~falls
    places = cells.position[start].tolist()
    must = "a map with a cliff must have one start (row, column), to fall back to"
    require(not falls.any() or len(places) == 1, where, must, places, "Mark one S.")
    target = np.stack([each.neighbour for each in blown], axis=-1).reshape(len(absorbing), -1)
    neighbour = np.where(falls[target], np.argmax(start), target)
    return walk(where, cells, paid[target], absorbing, start, slip, neighbour)


def move(cell: jax.Array, direction: jax.Array, probability: jax.Array, params: Walk) -> Outcomes:
    """Returns the outcomes of moving from a cell in one of K directions (int32[K], float32[K])."""
    reached = params.neighbour[cell, direction]
    return Outcomes(probability, reached, params.reward[cell, direction], params.absorbing[reached])


def turning(state: jax.Array, action: jax.Array, params: Walk) -> Outcomes:
    """Three outcomes: turned one way, as chosen, turned the other way; a slip turns either way with equal probability."""
    direction = (action + jnp.array([-1, 0, 1], jnp.int32)) % 4
    probability = jnp.stack([params.slip / 2, 1 - params.slip, params.slip / 2])
    return move(state, direction, probability, params)


def gusting(state: jax.Array, action: jax.Array, params: Walk) -> Outcomes:
    """Three outcomes, directions 3 a .. 3 a + 2: the wind weaker, as expected, stronger; a slip is the first or the last."""
    direction = 3 * action + jnp.arange(3, dtype=jnp.int32)
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


def world(where: str, params: Walk, outcomes: Callable, max_steps: int, num_actions: int = 4) -> Environment:
    """Builds the environment of a walk. Observation: the cell's number.

    Raises:
        ConfigError: max_steps is not positive.
    """
    require(max_steps >= 1, where, "max_steps must be at least 1", max_steps, "Leave it out for the default.")
    cells = Discrete(params.absorbing.shape[0])
    return finite(params, outcomes, initial, cells, Discrete(num_actions), max_steps)
