"""Beer game: a retailer, wholesaler, distributor and factory order from each other, and what they order comes weeks later.

Every week each of the four stages receives what was shipped to it two weeks ago and, from downstream, the order that was placed a
week ago; the retailer receives the customers' demand of this week. It ships what is ordered and what it still owes, as far as it
has it, and then places its own order upstream, 0 to ``highest`` units; what the factory orders is brewed. Each is paid minus the
cost of its week: ``holding`` for each unit in stock, ``backlog`` for each that it owes.

Source: Sterman (1989), Modeling managerial behavior; random demand as in Chen et al. (2000), Quantifying the bullwhip effect in a
simple supply chain.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core.environment import Environment, Step
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import require_count, require_within

STAGES, LEAD = 4, 2  # the factory is the last stage; weeks from a shipment to its arrival
FIRST_STOCK, FIRST_FLOW = 12, 4  # units in stock, and in every shipment and order under way, at first
UNIT = 10.0  # of what is observed


class State(NamedTuple):
    """All int32.

    stock: [4], less what is owed. coming: [4, 2], shipments that arrive next week and the week after. placed: [4], last orders.
    outstanding: [4], ordered and not arrived. incoming: [4], the last orders received. week: [], how many were played.
    """

    stock: jax.Array
    coming: jax.Array
    placed: jax.Array
    outstanding: jax.Array
    incoming: jax.Array
    week: jax.Array


@struct.dataclass
class Params:
    demand: jax.Array  # int32[], customers order 0 to so many units a week, all equally likely
    holding: jax.Array  # float32[], cost of a unit in stock and week
    backlog: jax.Array  # float32[], cost of a unit that is owed and week
    weeks: jax.Array  # int32[]


def observe(state):
    """float32[4, 8]: what each stage has, awaits and was last asked for, in tens of units; weeks / 52; which stage, one-hot."""
    own = jnp.stack([state.stock, state.outstanding, state.incoming], -1).astype(jnp.float32) / UNIT
    week = jnp.full((STAGES, 1), state.week, jnp.float32) / 52
    return jnp.concatenate([own, week, jnp.eye(STAGES, dtype=jnp.float32)], -1)


def reset(key, params):
    """Always begins alike."""
    each = jnp.ones(STAGES, jnp.int32)
    flow = FIRST_FLOW * each
    coming = jnp.full((STAGES, LEAD), FIRST_FLOW, jnp.int32)
    state = State(FIRST_STOCK * each, coming, flow, (LEAD + 1) * flow, flow, jnp.int32(0))
    return observe(state), state


def step(key, state, action, params):
    """Receives, ships, orders and pays."""
    customers = jax.random.randint(key, (1,), 0, params.demand + 1, jnp.int32)
    incoming = jnp.concatenate([customers, state.placed[:-1]])
    arrived = state.coming[:, 0]
    owed = jnp.maximum(-state.stock, 0) + incoming
    shipped = jnp.minimum(jnp.maximum(state.stock, 0) + arrived, owed)
    stock = state.stock + arrived - incoming
    sent = jnp.concatenate([shipped[1:], state.placed[-1:]])  # to each stage; the factory brews what it ordered
    coming = jnp.concatenate([state.coming[:, 1:], sent[:, None]], 1)
    order = action.astype(jnp.int32)
    outstanding = state.outstanding - arrived + order
    over = state.week >= params.weeks
    cost = params.holding * jnp.maximum(stock, 0) + params.backlog * jnp.maximum(-stock, 0)
    later = State(stock, coming, order, outstanding, incoming, state.week + 1)
    later = jax.tree.map(lambda now, then: jnp.where(over, now, then), state, later)
    reward = jnp.where(over, 0.0, -cost).astype(jnp.float32)
    return Step(observe(later), later, reward, later.week >= params.weeks)


def make(demand: int = 8, highest: int = 15, weeks: int = 36, holding: float = 0.5, backlog: float = 1.0) -> Environment:
    """Builds the game. Actions: units to order. Observation: see ``observe``.

    Args:
        demand: customers order 0 to so many units a week, all equally likely.
        highest: order that may be placed.
        weeks: of a game.
        holding: cost of a unit in stock and week.
        backlog: cost of a unit that is owed and week.

    Raises:
        ConfigError: an argument is out of range.
    """
    for name, count in (("demand", demand), ("highest", highest), ("weeks", weeks)):
        require_count("beer_game", name, count)
    for name, cost in (("holding", holding), ("backlog", backlog)):
        require_within("beer_game", name, cost, 0, float("inf"), "0.5 and 1 are the defaults.", below=True)
    params = Params(jnp.int32(demand), jnp.float32(holding), jnp.float32(backlog), jnp.int32(weeks))
    seen = Box(-jnp.inf, jnp.inf, (4 + STAGES,))
    return Environment(params, reset, step, seen, Discrete(highest + 1), max_steps=weeks, num_agents=STAGES)
