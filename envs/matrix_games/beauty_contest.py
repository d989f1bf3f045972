"""Guessing game (p-beauty contest): every player names a number, and the one closest to p times the mean wins 1.

Winners share. With p below 1 everybody reasons that the others will go lower: all naming 0 is an equilibrium, and what is left
when dominated numbers are struck out again and again.

Source: Nagel (1995), Unraveling in guessing games; Moulin (1986).
"""

import jax
import jax.numpy as jnp
from flax import struct

from envs.matrix_games import one_shot
from jaxrl.core.environment import Environment
from jaxrl.errors import require

ROUNDING = 1e-5  # guesses as close as this to each other, relative to the highest, share the prize


@struct.dataclass
class Params:
    factor: jax.Array  # float32[], p
    highest: jax.Array  # float32[], the highest number


def payoff(action, params):
    """float32[N]: an equal share of 1 for each of the closest."""
    distance = jnp.abs(action - params.factor * action.mean(dtype=params.factor.dtype))
    closest = distance <= distance.min() + ROUNDING * params.highest
    return closest / closest.sum(dtype=params.factor.dtype)


def forgone(action, params, numbers):
    """float32[N, K]: what each player would have won by each of the K ``numbers``, had the others named what they did."""

    def won(player, number):
        return payoff(action.at[player].set(number), params)[player]

    players = jnp.arange(action.shape[0])
    return jax.vmap(lambda player: jax.vmap(lambda number: won(player, number))(numbers))(players)


def make(agents: int = 5, highest: int = 100, factor: float = 2 / 3) -> Environment:
    """Builds the game. Action a names the number a.

    Args:
        agents: N.
        highest: number that may be named.
        factor: p, not negative.

    Raises:
        ConfigError: a number is out of range.
    """
    require(agents >= 1, "beauty_contest", "agents must be at least 1", agents, "Invite somebody.")
    require(highest >= 1, "beauty_contest", "highest must be at least 1", highest, "100 is the default.")
    require(factor >= 0, "beauty_contest", "factor must not be negative", factor, "2 / 3 is the default.")
    return one_shot.make(Params(jnp.float32(factor), jnp.float32(highest)), payoff, agents, highest + 1)
