"""Corridor: walk along L cells; entering the last one pays 1 and ends the episode. A move is reversed with probability slip.

Source: after Sutton and Barto (2018), Example 6.2, with slipping added.
"""

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require


@struct.dataclass
class Params:
    reward: jax.Array  # float32[L], paid on entering each cell
    slip: jax.Array  # float32[], probability in [0, 1] that a move is reversed


def outcomes(state, action, params):
    """Two outcomes: as chosen, and reversed. The last cell is never left."""
    last = params.reward.shape[0] - 1
    move = jnp.where(state == last, 0, 2 * action - 1) * jnp.array([1, -1], jnp.int32)
    position = jnp.clip(state + move, 0, last)
    reward = jnp.where(state == last, 0.0, params.reward[position])
    return Outcomes(jnp.stack([1 - params.slip, params.slip]), position, reward, position == last)


def initial(params):
    """The first cell."""
    return Initial(jnp.ones(1, jnp.float32), jnp.zeros(1, jnp.int32))


def make(length: int = 8, slip: float = 0.0, max_steps: int | None = None) -> Environment:
    """Builds a corridor. Actions: left, right. Observation: the position, 0 .. length - 1.

    Args:
        length: number of cells, at least 2.
        slip: probability in [0, 1] that a move is reversed.
        max_steps: the time limit, by default 4 * length.

    Raises:
        ConfigError: one of them is out of range.
    """
    require(length >= 2, "corridor", "length must be at least 2 cells", length, "Give it a first and a last cell.")
    require(0 <= slip <= 1, "corridor", "slip must lie in [0, 1]", slip, "It is a probability; 0 makes every move certain.")
    max_steps = 4 * length if max_steps is None else max_steps
    require(max_steps >= 1, "corridor", "max_steps must be at least 1", max_steps, "Leave it out for 4 * length.")
    params = Params(jnp.zeros(length, jnp.float32).at[-1].set(1.0), jnp.float32(slip))
    return finite(params, outcomes, initial, Discrete(length), Discrete(2), max_steps)
