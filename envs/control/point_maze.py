"""Point maze: a point mass is pushed through a maze in the plane to a goal, which pays 1 and ends the episode.

The maze is a map of text; a cell is a square of side 1 and positions are (row, column), counted from the top left corner of the
map. The point moves in a straight line until it meets a wall: there the velocity into the wall is lost and the rest of the move
slides along it. The speed is limited to half a cell a step, so a move enters at most one cell along each axis. These are entered
in the order in which the line meets them, each only if it is free: no wall is passed, cut at a corner or squeezed through. With
probability ``slip`` a push is turned by a quarter, either way alike. ``MOVES`` are the four pushes along the axes, from which
``jaxrl.core.transforms.with_discrete_actions`` makes a maze for learners of Discrete actions; with damping * time_step = 1 the
point has no inertia, and every push is a move of its own.

Source: the point mass of Maze2D of Fu et al. (2020), D4RL, with exact collisions instead of a physics engine.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.gridworlds import grid
from jaxrl.core.environment import Environment, Step
from jaxrl.core.spaces import Box
from jaxrl.errors import require, unknown_name

MAPS = {
    "open": ("S....", ".....", ".....", ".....", "....G"),
    "u": ("S...", "###.", "G..."),
    "medium": ("S..#....", ".#.#.##.", ".#...#..", "...#.#.#", ".#.#....", ".#.##.#.", "...#..#.", "##...#.G"),
}
MAX_MOVE = 0.5  # cells a step
MOVES = tuple(tuple(map(float, move)) for move in grid.MOVES)  # full pushes to the left, down, right and up, (row, column)
START_SPREAD = 0.25  # cells, from the middle of the first cell along each axis


class State(NamedTuple):
    """position, goal: float32[2], (row, column) in cells. velocity: float32[2], cells/s."""

    position: jax.Array
    velocity: jax.Array
    goal: jax.Array


@struct.dataclass
class Params:
    """All float32 and traced but for ``free``, which is bool and traced.

    free: [R + 2, C + 2], the cells that can be entered, with a border of wall.
    start, goal: [S, 2] and [G, 2], the middles of the cells where the point and the goal may be, each equally likely.
    force: cells/s^2, of a full push. damping: 1/s. max_speed: cells/s. time_step: s. goal_radius: cells.
    distance_cost: paid at every step for each cell of distance to the goal, as the crow flies.
    slip: probability in [0, 1] that a push is turned by a quarter, either way alike.
    """

    free: jax.Array
    start: jax.Array
    goal: jax.Array
    force: jax.Array
    damping: jax.Array
    max_speed: jax.Array
    time_step: jax.Array
    goal_radius: jax.Array
    distance_cost: jax.Array
    slip: jax.Array


def _observe(state):
    return jnp.concatenate(state)


def reset(key, params):
    """Draws a first cell, a place around its middle and a goal; the point rests."""
    start_key, place_key, goal_key = jax.random.split(key, 3)
    start = params.start[jax.random.randint(start_key, (), 0, params.start.shape[0], jnp.int32)]
    place = jax.random.uniform(place_key, (2,), jnp.float32, -START_SPREAD, START_SPREAD)
    goal = params.goal[jax.random.randint(goal_key, (), 0, params.goal.shape[0], jnp.int32)]
    state = State(start + place, jnp.zeros(2, jnp.float32), goal)
    return _observe(state), state


def _cell(position):
    return jnp.floor(position).astype(jnp.int32)


def _along(axis, position, move, params):
    """Moves along one axis (bool[2], one True) as far as the next wall; returns the position and where a wall stopped it."""
    cell, target = _cell(position), position + jnp.where(axis, move, 0.0)
    row, column = _cell(target) + 1
    stopped = axis & ~params.free[row, column]
    # A cell owns its lower edges. At an upper edge the last place that is still inside is the number before it.
    edge = jnp.where(move > 0, jnp.nextafter((cell + 1).astype(jnp.float32), -jnp.inf), cell.astype(jnp.float32))
    return jnp.where(stopped, edge, target), stopped


def slide(position, move, params):
    """Moves in a straight line, and along the walls that are met.

    Args:
        position: float32[2], in a free cell.
        move: float32[2], at most ``MAX_MOVE`` along each axis.

    Returns:
        The position, float32[2], and which components of the move were lost to a wall, bool[2].
    """
    cell = _cell(position)
    distance = jnp.where(move > 0, cell + 1, cell) - position
    leaves = _cell(position + move) != cell
    when = jnp.where(leaves, distance / jnp.where(leaves, move, 1.0), jnp.inf)
    first = jnp.arange(2) == jnp.argmin(when)
    position, stopped_first = _along(first, position, move, params)
    position, stopped_second = _along(~first, position, move, params)
    return position, stopped_first | stopped_second


def step(key, state, action, params):
    """Pushes with a force of up to 1 along each axis, cut to that, for one time step."""
    draw, turned = jax.random.uniform(key, (), jnp.float32), jnp.stack([-action[1], action[0]])
    action = jnp.where(draw < params.slip / 2, turned, jnp.where(draw < params.slip, -turned, action))
    push = params.force * jnp.clip(action, -1.0, 1.0) - params.damping * state.velocity
    velocity = state.velocity + params.time_step * push
    # ``make`` allows no speed beyond the second limit; it holds for parameters that are randomised later, too.
    limit = jnp.minimum(params.max_speed, MAX_MOVE / params.time_step)
    velocity = velocity * jnp.minimum(1.0, limit / jnp.maximum(jnp.sqrt(jnp.sum(velocity**2)), 1e-6))
    position, stopped = slide(state.position, params.time_step * velocity, params)
    state = State(position, jnp.where(stopped, 0.0, velocity), state.goal)
    distance = jnp.sqrt(jnp.sum((position - state.goal) ** 2))
    reached = distance <= params.goal_radius
    return Step(_observe(state), state, jnp.where(reached, 1.0, 0.0) - params.distance_cost * distance, reached)


def make(
    map: str | tuple[str, ...] = "u",
    force: float = 10.0,
    damping: float = 1.0,
    max_speed: float = 5.0,
    time_step: float = 0.1,
    goal_radius: float = 0.5,
    distance_cost: float = 0.0,
    slip: float = 0.0,
    max_steps: int = 200,
) -> Environment:
    """Builds a point maze. Action: a push in [-1, 1]^2 along (row, column). Observation: position, velocity and goal, float32[6].

    Args:
        map: a name in ``MAPS``, or rows of letters # (wall), S (may be the first cell), G (may be the goal) and . (free).
        force: cells/s^2, of a full push along one axis. damping: 1/s, share of the velocity lost.
        max_speed: cells/s. time_step: s between decisions.
        goal_radius: cells, how near the goal the episode ends.
        distance_cost: what each cell of distance to the goal costs at every step; 0 leaves the goal as the only reward.
        slip: probability in [0, 1] that a push is turned by a quarter, either way alike.
        max_steps: the time limit.

    Raises:
        ConfigError: a number is out of range, or the map is malformed or lacks S or G.
        UnknownNameError: no map has this name.
    """
    where = "point_maze"
    if isinstance(map, str) and map not in MAPS:
        raise unknown_name(where, "map", map, MAPS)
    rows = MAPS[map] if isinstance(map, str) else tuple(map)
    cells = grid.parse(where, rows, known=".SG")
    ends = [cells.cells(letter) for letter in "SG"]
    require(all(end.any() for end in ends), where, "the map must have an S and a G", rows, "Add them.")
    values = dict(
        force=force,
        damping=damping,
        max_speed=max_speed,
        time_step=time_step,
        goal_radius=goal_radius,
        distance_cost=distance_cost,
        slip=slip,
    )
    for name in ("force", "max_speed", "time_step", "goal_radius"):
        require(values[name] > 0, where, f"{name} must be positive", values[name], "Give a positive number.")
    for name in ("damping", "distance_cost"):
        require(values[name] >= 0, where, f"{name} must not be negative", values[name], "0 leaves it out.")
    require(0 <= slip <= 1, where, "slip must lie in [0, 1]", slip, "It is a probability; 0 makes every push certain.")
    must = f"max_speed * time_step must be at most {MAX_MOVE} cells a step"
    require(max_speed * time_step <= MAX_MOVE + 1e-9, where, must, max_speed * time_step, "Shorten the time step.")
    require(
        damping * time_step <= 1, where, "damping * time_step must be at most 1", damping * time_step, "Shorten the time step."
    )
    require(max_steps >= 1, where, "max_steps must be at least 1", max_steps, "200 is the default.")
    free = np.zeros((len(rows) + 2, len(rows[0]) + 2), bool)
    free[tuple(cells.position.T + 1)] = True
    start, goal = (jnp.asarray(cells.position[end] + 0.5, jnp.float32) for end in ends)
    params = Params(jnp.asarray(free), start, goal, **{name: jnp.float32(value) for name, value in values.items()})
    size = (float(len(rows)), float(len(rows[0])))
    speed = (float("inf"),) * 2
    place = Box((0.0, 0.0, -speed[0], -speed[1], 0.0, 0.0), (*size, *speed, *size), (6,))
    return Environment(params, reset, step, place, Box(-1.0, 1.0, (2,)), max_steps=max_steps)
