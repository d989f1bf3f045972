"""Cournot competition: firms choose quantities, and what all of them make together sets the price.

The price is ``intercept - slope * total``, never below 0, and a firm earns ``(price - cost) * quantity``. In equilibrium each of
N firms makes ``(intercept - cost) / (slope (N + 1))``; a cartel would share ``(intercept - cost) / (2 slope)``.

Source: Cournot (1838); Tirole (1988), The Theory of Industrial Organization, section 5.4.
"""

import jax
import jax.numpy as jnp
from flax import struct

from envs.matrix_games import one_shot
from jaxrl.core.environment import Environment
from jaxrl.errors import require


@struct.dataclass
class Params:
    intercept: jax.Array  # float32[], the price at which demand is zero
    slope: jax.Array  # float32[], by how much each unit lowers the price
    cost: jax.Array  # float32[], of a unit
    unit: jax.Array  # float32[], the quantity of action 1


def payoff(action, params):
    """float32[N]: every firm's profit."""
    quantity = params.unit * action
    price = jnp.maximum(params.intercept - params.slope * quantity.sum(), 0.0)
    return (price - params.cost) * quantity


def make(
    firms: int = 2, highest: int = 12, unit: float = 1.0, intercept: float = 12.0, slope: float = 1.0, cost: float = 0.0
) -> Environment:
    """Builds the game. Action a makes ``unit * a``.

    Args:
        firms: N.
        highest: action, at least 1.
        unit: the quantity of action 1, positive.
        intercept: the price at which demand is zero.
        slope: by how much each unit lowers the price, positive.
        cost: of a unit.

    Raises:
        ConfigError: a number is out of range.
    """
    for name, count in (("firms", firms), ("highest", highest)):
        require(count >= 1, "cournot", f"{name} must be at least 1", count, "2 firms and 12 units are the defaults.")
    for name, number in (("unit", unit), ("slope", slope)):
        require(number > 0, "cournot", f"{name} must be positive", number, "1 is the default.")
    params = Params(jnp.float32(intercept), jnp.float32(slope), jnp.float32(cost), jnp.float32(unit))
    return one_shot.make(params, payoff, firms, highest + 1)
