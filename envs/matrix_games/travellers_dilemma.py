"""Traveller's dilemma: two travellers name what a lost case was worth; both get the lower claim, and honesty is rewarded.

The player who claims less gets a bonus on top, and the other pays it. It always pays to claim a little less than the other, so
the lowest claim is the only equilibrium, and the worst for both.

Source: Basu (1994), The traveler's dilemma.
"""

import jax
import jax.numpy as jnp
from flax import struct

from envs.matrix_games import one_shot
from jaxrl.core.environment import Environment
from jaxrl.errors import require


@struct.dataclass
class Params:
    low: jax.Array  # float32[], the lowest claim
    bonus: jax.Array  # float32[], for the player who claims less


def payoff(action, params):
    """float32[2]: the lower claim, more for the one who made it, less for the other."""
    lower = jnp.sign(action[::-1] - action)  # 1 for the traveller who claims less
    return params.low + action.min() + params.bonus * lower


def make(low: int = 2, high: int = 100, bonus: float = 2.0) -> Environment:
    """Builds the game. Action a claims ``low + a``.

    Args:
        low, high: the lowest and the highest claim.
        bonus: for the player who claims less, and what the other pays.

    Raises:
        ConfigError: ``high`` is below ``low``.
    """
    require(high >= low, "travellers_dilemma", "high must be at least low", (low, high), "2 and 100 are the defaults.")
    return one_shot.make(Params(jnp.float32(low), jnp.float32(bonus)), payoff, agents=2, actions=high - low + 1)
