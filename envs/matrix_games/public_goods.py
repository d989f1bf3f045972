"""Public goods game: everybody keeps or contributes; contributions are multiplied and shared by all.

An agent gets ``endowment - contribution + multiplier / N * all contributions``. With a multiplier between 1 and N, contributing
nothing is dominant, and everybody would be better off if all contributed everything.

Source: Ledyard (1995), Public goods: a survey of experimental research; Isaac and Walker (1988).
"""

import jax
import jax.numpy as jnp
from flax import struct

from envs.matrix_games import one_shot
from jaxrl.core.environment import Environment
from jaxrl.errors import require


@struct.dataclass
class Params:
    multiplier: jax.Array  # float32[], of what is contributed
    endowment: jax.Array  # float32[], of every agent


def payoff(action, params):
    """float32[N]: what is kept, and an equal share of the good."""
    return params.endowment - action + params.multiplier * action.sum() / action.shape[0]


def make(agents: int = 4, endowment: int = 5, multiplier: float = 1.6) -> Environment:
    """Builds the game. Action a contributes a.

    Args:
        agents: N.
        endowment: the most that an agent can contribute, in whole units.
        multiplier: of what is contributed, not negative.

    Raises:
        ConfigError: a number is out of range.
    """
    require(agents >= 1, "public_goods", "agents must be at least 1", agents, "Invite somebody.")
    require(endowment >= 1, "public_goods", "endowment must be at least 1", endowment, "Give them something to keep.")
    require(multiplier >= 0, "public_goods", "multiplier must not be negative", multiplier, "1.6 is the default.")
    return one_shot.make(Params(jnp.float32(multiplier), jnp.float32(endowment)), payoff, agents, endowment + 1)
