"""Liquidity game: dealers of bounded inventories meet at random and are paid what they trade; there is no price.

In every round each dealer offers a parcel: to buy (above 0) or to sell (below) up to two units. Dealers are matched in pairs at
random. Two who want opposite things trade the smaller parcel, or less: no inventory leaves [-B_i, B_i]. Both are paid the units
that they trade. Then clients come: to a dealer with probability ``flow``, to sell it a unit with probability (B_i - x_i) / 2 B_i,
else to buy one, so that inventories x_i return to 0. A game begins with inventories drawn from the law to which clients alone
lead: x_i + B_i is binomial, of 2 B_i fair coins. A dealer knows its own inventory and not those of the others.

Source: Vidler and Walsh (2024), Non-cooperative Liquidity Games, for dealers who are paid the quantity they trade, from bounded
holdings; matching, clients and numbers are ours.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core.environment import Environment, Step
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require, require_count, require_within

LARGEST = 2  # units of a parcel
PARCELS = np.arange(-LARGEST, LARGEST + 1)  # of actions 0 to 4
MOST = 10  # the largest B_i
WHERE = "liquidity_game"


class State(NamedTuple):
    """inventory: int32[N], in [-B_i, B_i]. left: int32[], rounds."""

    inventory: jax.Array
    left: jax.Array


@struct.dataclass
class Params:
    bound: jax.Array  # int32[N], B_i
    rounds: jax.Array  # int32[]
    flow: jax.Array  # float32[], probability that a client comes to a dealer after a round


def traded(parcel, inventory, bound, other_parcel, other_inventory, other_bound):
    """Returns the units that two dealers trade, of arrays that broadcast: 0 unless one buys and the other sells."""
    room = jnp.where(parcel > 0, bound - inventory, bound + inventory)
    other_room = jnp.where(other_parcel > 0, other_bound - other_inventory, other_bound + other_inventory)
    wanted = jnp.minimum(jnp.minimum(abs(parcel), room), jnp.minimum(abs(other_parcel), other_room))
    return jnp.where(parcel * other_parcel < 0, wanted, 0)


def _observe(inventory):
    """int32[N]: inventories, counted from -10."""
    return (inventory + MOST).astype(jnp.int32)


def _binomial(key, bound):
    """Draws the number of heads of 2 B_i fair coins less B_i, int32[N]."""
    fair = jax.random.bernoulli(key, jnp.float32(0.5), (bound.shape[0], 2 * MOST))
    return (fair & (jnp.arange(2 * MOST) < 2 * bound[:, None])).sum(1, dtype=jnp.int32) - bound


def reset(key, params):
    """Draws inventories."""
    inventory = _binomial(key, params.bound)
    return _observe(inventory), State(inventory, params.rounds)


def step(key, state, action, params):
    """Matches, trades, and lets clients come."""
    match_key, client_key, side_key = jax.random.split(key, 3)
    dealers, bound, inventory = params.bound.shape[0], params.bound, state.inventory
    order = jax.random.uniform(match_key, (dealers,), jnp.float32).argsort()  # at random; neighbours in it meet
    partner = jnp.zeros(dealers, order.dtype).at[order].set(order.reshape(-1, 2)[:, ::-1].reshape(-1))
    parcel = action.astype(jnp.int32) - LARGEST
    units = traded(parcel, inventory, bound, parcel[partner], inventory[partner], bound[partner])
    units = jnp.where(state.left > 0, units, 0)
    inventory = inventory + jnp.sign(parcel) * units
    comes = (jax.random.uniform(client_key, (dealers,), jnp.float32) < params.flow) & (state.left > 0)
    sells = jax.random.uniform(side_key, (dealers,), jnp.float32) * 2 * bound < bound - inventory
    inventory = inventory + jnp.where(comes, jnp.where(sells, 1, -1), 0)
    left = jnp.maximum(state.left - 1, 0)
    return Step(_observe(inventory), State(inventory, left), units.astype(jnp.float32), left == 0)


def make(bounds: Sequence[int] = (6, 6, 6, 2, 2, 2), rounds: int = 1, flow: float = 0.5) -> Environment:
    """Builds the game. Actions: parcels of -2 to 2. Observation: a dealer's inventory, counted from -10.

    Args:
        bounds: B_i of each dealer, 1 to 10; an even number of them. Large dealers have 6, small ones 2.
        rounds: of matching and trade.
        flow: probability that a client comes to a dealer after a round.

    Raises:
        ConfigError: an argument is out of range.
    """
    dealers = list(bounds)
    fits = len(dealers) >= 2 and len(dealers) % 2 == 0
    require(fits, WHERE, "bounds must be of an even number of dealers", bounds, "Give two or six of them.")
    for bound in dealers:
        require_count(WHERE, "every bound", bound)
        require(bound <= MOST, WHERE, f"every bound must be at most {MOST}", bound, "6 is a large dealer.")
    require_count(WHERE, "rounds", rounds)
    require_within(WHERE, "flow", flow, 0, 1, "0.5 is the default.")
    params = Params(jnp.asarray(dealers, jnp.int32), jnp.int32(rounds), jnp.float32(flow))
    seen, space = Discrete(2 * MOST + 1), Discrete(len(PARCELS))
    return Environment(params, reset, step, seen, space, max_steps=rounds, num_agents=len(dealers))


def law(bound: int) -> np.ndarray:
    """Returns how likely inventories -B to B are at first, float64[2 B + 1]."""
    return np.array([math.comb(2 * bound, held) for held in range(2 * bound + 1)]) / 4.0**bound


@functools.lru_cache
def units(bound: int, other: int) -> np.ndarray:
    """Returns what two dealers trade by inventory and action of each, int[2 B + 1, 5, 2 B' + 1, 5], read-only."""
    own = np.ix_(np.arange(-bound, bound + 1), PARCELS, np.arange(-other, other + 1), PARCELS)
    table = np.array(traded(own[1], own[0], bound, own[3], own[2], other))
    table.setflags(write=False)
    return table


def expected_units(bounds: Sequence[int], policies: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns what each dealer trades in the first round on average, by its inventory and action.

    Args:
        bounds: B_i of each dealer.
        policies: of each, the action in each inventory, int[2 B_i + 1].

    Returns:
        Of each, float64[2 B_i + 1, 5]: the best of each row, weighted by ``law``, is the most that it could trade.
    """

    def from_(i: int, j: int) -> np.ndarray:
        table = units(bounds[i], bounds[j])
        return table[:, :, np.arange(2 * bounds[j] + 1), policies[j]] @ law(bounds[j])

    everybody = range(len(bounds))
    return [np.mean([from_(i, j) for j in everybody if j != i], axis=0) for i in everybody]


def of_thresholds(bound: int, other: int) -> np.ndarray:
    """Returns what two dealers trade on average by a threshold of each, float64[2 B + 2, 2 B' + 2].

    A dealer with threshold t buys two units if its inventory is one of the t lowest, and sells two if it is not. The more it
    holds, the less room it has to buy and the more to sell: to whatever others do, one of these is a best response.
    """
    first, second = (np.where(np.arange(2 * b + 1) < np.arange(2 * b + 2)[:, None], 4, 0) for b in (bound, other))
    table, inventories = units(bound, other), (np.arange(2 * bound + 1), np.arange(2 * other + 1))
    pairs = table[inventories[0][None, :, None, None], first[:, :, None, None], inventories[1], second]
    return np.einsum("sxty,x,y->st", pairs, law(bound), law(other))
