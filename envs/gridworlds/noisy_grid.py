"""Noisy grid: a small open grid whose rewards are so noisy that the largest of several estimates is far too large.

The agent starts in the bottom left cell. Every step pays -12 or +10 with equal probability, whatever is done, until the top
right cell is reached; there any action pays 5 and ends the episode. Walking costs 1 a step on average, so the best policy takes
the shortest way: V*(start) = 5 gamma^4 - (1 + gamma + gamma^2 + gamma^3) on the 3x3 grid.

Source: van Hasselt (2010), Double Q-learning, section 5.2 (there with gamma 0.95).
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.gridworlds import grid
from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require


@struct.dataclass
class Params:
    neighbour: jax.Array  # int32[C + 1, 4], where each move leads to; C is the end
    goal: jax.Array  # int32[], the cell from which the end is reached
    start: jax.Array  # int32[]
    walking: jax.Array  # float32[2], equally likely rewards of a step
    arriving: jax.Array  # float32[], reward of the last step


def outcomes(state, action, params):
    """Two outcomes, which differ in the reward alone."""
    end = params.neighbour.shape[0] - 1
    successor = params.neighbour[state, action]
    reward = jnp.where(state == params.goal, params.arriving, params.walking)
    reward = jnp.where(state == end, 0.0, reward)
    return Outcomes(jnp.full(2, 0.5, jnp.float32), jnp.full(2, successor), reward, jnp.full(2, successor == end))


def initial(params):
    """The bottom left cell."""
    return Initial(jnp.ones(1, jnp.float32), params.start[None])


def make(size: int = 3, low: float = -12.0, high: float = 10.0, max_steps: int = 200) -> Environment:
    """Builds a noisy grid. Actions: left, down, right, up. Observation: the cell's number, row by row, size * size at the end.

    Args:
        size: rows and columns, at least 2.
        low, high: the two rewards of a step.
        max_steps: the time limit.

    Raises:
        ConfigError: size or max_steps is out of range.
    """
    require(size >= 2, "noisy_grid", "size must be at least 2", size, "3 is the default.")
    require(max_steps >= 1, "noisy_grid", "max_steps must be at least 1", max_steps, "200 is the default.")
    cells = size * size
    goal, start = size - 1, cells - size
    neighbour = np.vstack([grid.parse("noisy_grid", ("." * size,) * size, known=".").neighbour, np.full((1, 4), cells)])
    neighbour[goal] = cells
    params = Params(
        jnp.asarray(neighbour, jnp.int32),
        jnp.int32(goal),
        jnp.int32(start),
        jnp.array([low, high], jnp.float32),
        jnp.float32(5.0),
    )
    return finite(params, outcomes, initial, Discrete(cells + 1), Discrete(4), max_steps)
