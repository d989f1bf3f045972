"""Windy torus: walk to a goal on a grid without edges; in its right half an eastward wind may carry the agent on by a cell.

The agent moves by one cell; with the wind's probability a step from a cell of the right half ends one column further right. Agent
and goal are drawn anew for every episode, in different cells. Stepping into the goal pays 1 and ends the episode.

Without wind a quarter turn of the picture, with the moves turned alike, changes nothing: the group C4 is a symmetry (``turned``).
The wind breaks it, by as much as its probability (``jaxrl.solvers.mdp.symmetries``).

Source: our version of the broken symmetries of Wang, Walters and Yu (2022) and Park et al. (2025).
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.gridworlds.grid import MOVES
from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, TabularModel, finite
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import require, require_count


class State(NamedTuple):
    """agent, goal: int32[], the numbers of their cells, row by row."""

    agent: jax.Array
    goal: jax.Array


@struct.dataclass
class Params:
    neighbour: jax.Array  # int32[n * n, 4], the cell that each move leads to
    exposed: jax.Array  # bool[n * n], the cells where the wind blows
    wind: jax.Array  # float32[], its probability


def outcomes(state, action, params):
    """Two outcomes: without the wind and with it."""
    calm = params.neighbour[state.agent, action]
    cell = jnp.stack([calm, params.neighbour[calm, 2]])
    blown = params.wind * params.exposed[state.agent]
    over = state.agent == state.goal
    cell = jnp.where(over, state.agent, cell)
    arrived = (cell == state.goal) & ~over
    goal = jnp.full(2, state.goal)
    return Outcomes(jnp.stack([1 - blown, blown]), State(cell, goal), arrived.astype(jnp.float32), arrived | over)


def _apart(agent, other):
    """Returns the state of an agent's cell and of a goal's number among the cells that the agent left."""
    return State(agent, other + (other >= agent))


def initial(params):
    """Uniform over all pairs of different cells."""
    cells = len(params.exposed)
    agent, other = jnp.indices((cells, cells - 1), jnp.int32).reshape(2, -1)
    return Initial(jnp.full(agent.shape, 1 / agent.size), _apart(agent, other))


def observe(state, params):
    """float32[n, n, 2]: 1 where the agent is, and where the goal is."""
    cells = jnp.arange(len(params.exposed))
    size = round(len(params.exposed) ** 0.5)
    both = jnp.stack([cells == state.agent, cells == state.goal], -1)
    return both.reshape(size, size, 2).astype(jnp.float32)


def _reset(key, params):
    """Draws from ``initial`` without looking at the whole list, as a step that may end an episode must do it often."""
    agent_key, goal_key = jax.random.split(key)
    cells = len(params.exposed)
    agent = jax.random.randint(agent_key, (), 0, cells, jnp.int32)
    state = _apart(agent, jax.random.randint(goal_key, (), 0, cells - 1, jnp.int32))
    return observe(state, params), state


def turned(model: TabularModel, quarters: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Returns where a turn of the picture takes the states and the actions of a table: int[X] and int[4].

    Args:
        model: ``tabulate(make(...))``.
        quarters: how many quarter turns, counter-clockwise as ``np.rot90``.
    """
    agent, goal = (np.asarray(cells) for cells in model.state)
    size = round(np.sqrt(max(agent.max(), goal.max()) + 1))
    # Cell c of the turned picture shows what stood at source[c]; its inverse says where each cell goes.
    target = np.argsort(np.rot90(np.arange(size * size).reshape(size, size), quarters).ravel())
    pair = agent * size * size + goal
    order = np.argsort(pair)
    where = order[np.searchsorted(pair[order], target[agent] * size * size + target[goal])]
    return where, (np.arange(4) + quarters) % 4


def make(size: int = 9, wind: float = 0.0, max_steps: int = 40) -> Environment:
    """Builds a windy torus. Actions: left, down, right, up. Observation: see ``observe``.

    Args:
        size: n, rows and columns, at least 3. The wind blows in the last (n - 1) / 2 columns, rounded down.
        wind: its probability in [0, 1].
        max_steps: the time limit.

    Raises:
        ConfigError: one of them is out of range.
    """
    require_count("windy_torus", "size", size, 3)
    require_count("windy_torus", "max_steps", max_steps)
    require(0 <= wind <= 1, "windy_torus", "wind must lie in [0, 1]", wind, "It is a probability; 0 is a calm.")
    place = np.indices((size, size)).reshape(2, -1).T
    neighbour = ((place[:, None] + MOVES) % size) @ (size, 1)
    exposed = place[:, 1] >= size - (size - 1) // 2
    params = Params(jnp.asarray(neighbour, jnp.int32), jnp.asarray(exposed), jnp.float32(wind))
    env = finite(params, outcomes, initial, Box(0.0, 1.0, (size, size, 2)), Discrete(4), max_steps, observe=observe)
    return dataclasses.replace(env, reset_fn=_reset)
