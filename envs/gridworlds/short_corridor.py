"""Short corridor: three cells that look alike, the middle one with its two actions swapped; every step costs 1 until the goal.

No deterministic policy of what is observed ever arrives. The best stochastic one goes right with probability 2 - sqrt 2 = 0.586
and returns -(6 + 4 sqrt 2) = -11.66 on average.

Source: Sutton and Barto (2018), Example 13.1.
"""

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require

CELLS, GOAL, SWAPPED = 3, 3, 1


@struct.dataclass
class Params:
    step: jax.Array  # float32[], what every step pays


def observe(state, params):
    """Always 0: all cells look alike."""
    return jnp.zeros_like(state)


def outcomes(state, action, params):
    """One outcome: every move is certain. The goal is never left."""
    over = state == GOAL
    right = jnp.where(state == SWAPPED, action == 0, action == 1)
    successor = jnp.where(over, GOAL, jnp.maximum(state + jnp.where(right, 1, -1), 0)).astype(jnp.int32)
    outcome = Outcomes(jnp.float32(1.0), successor, jnp.where(over, 0.0, params.step), successor == GOAL)
    return jax.tree.map(lambda leaf: leaf[None], outcome)


def initial(params):
    """The left cell."""
    return Initial(jnp.ones(1, jnp.float32), jnp.zeros(1, jnp.int32))


def make(max_steps: int = 1000) -> Environment:
    """Builds the short corridor. Actions: left, right. Observation: always 0.

    Args:
        max_steps: the time limit (the book has none).

    Raises:
        ConfigError: max_steps is not positive.
    """
    require(max_steps >= 1, "short_corridor", "max_steps must be at least 1", max_steps, "1000 is the default.")
    return finite(Params(jnp.float32(-1.0)), outcomes, initial, Discrete(1), Discrete(2), max_steps, observe=observe)
