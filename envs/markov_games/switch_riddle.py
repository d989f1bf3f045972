"""The switch riddle: n prisoners, one bulb, and the question whether all have been in the room with the bulb.

Every day one prisoner, drawn at random, is in the room, alone sees whether the bulb is on, and leaves it off or on, or says
that all have been there. If that is true all prisoners are paid 1, otherwise -1, and the game ends; it also ends, without pay,
after day 4 n - 6. The others do nothing.

No protocol can earn more than the probability that all have been there in time (``bound``), which those reach who tell as soon
as it is so. Without a bulb, those in the room can only tell or do nothing: a channel of the learner's own may take its place.

Source: Foerster et al. (2016), "Learning to communicate with deep multi-agent reinforcement learning", section 6.1.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import require

OFF, ON, TELL = range(3)


class State(NamedTuple):
    """been: int32[n], 1 for those who were in the room before today. visitor, bulb, day: int32[]; the first day is 0.

    Once the game is over, day is the number of days.
    """

    been: jax.Array
    visitor: jax.Array
    bulb: jax.Array
    day: jax.Array


@struct.dataclass
class Params:
    number: jax.Array  # int32[n], the numbers 0 .. n - 1 of the prisoners
    days: jax.Array  # int32[]
    actions: jax.Array  # bool[3], legal in the room


def outcomes(state, action, params):
    """n outcomes, one for each visitor of the next day."""
    over = state.day >= params.days
    choice = action[state.visitor]
    been = jnp.where(over, state.been, state.been | (params.number == state.visitor).astype(jnp.int32))
    told = choice == TELL
    pay = jnp.where(told & ~over, 2.0 * been.all() - 1.0, 0.0).astype(jnp.float32)
    day = jnp.where(over | told, params.days, state.day + 1)
    bulb = jnp.where(over | told, state.bulb, choice)
    ended, count = day >= params.days, len(params.number)
    # There are no visits after the end: then all outcomes but the first are impossible.
    visitor = jnp.where(ended, state.visitor, params.number)
    probability = jnp.where(ended, params.number == 0, 1 / count).astype(jnp.result_type(float))
    reached = State(*(jnp.broadcast_to(leaf, (count, *leaf.shape)) for leaf in (been, state.visitor, bulb, day)))
    return Outcomes(probability, reached._replace(visitor=visitor), jnp.broadcast_to(pay, (count, count)), jnp.full(count, ended))


def initial(params):
    """The bulb is off, and anybody is in the room."""
    count = len(params.number)
    zero = jnp.zeros(count, jnp.int32)
    return Initial(jnp.full(count, 1 / count), State(jnp.zeros((count, count), jnp.int32), params.number, zero, zero))


def observe(state, params):
    """float32[n, 4]: whether one is in the room, whether the bulb is on there, whether one was there before, and the time passed.

    The bulb is 0 for those outside. The time is a share of all days.
    """
    inside = (params.number == state.visitor).astype(jnp.float32)
    time = jnp.broadcast_to(state.day / params.days, inside.shape)
    return jnp.stack([inside, inside * state.bulb, state.been.astype(jnp.float32), time], axis=-1).astype(jnp.float32)


def action_mask(state, params):
    """bool[n, 3]: those outside can only do nothing, which is action 0."""
    inside = (params.number == state.visitor)[:, None]
    return (inside & params.actions) | (jnp.arange(3) == 0)


def global_obs(state, params):
    """float32[2 n + 2]: who is in the room, who was, whether the bulb is on, and the time passed."""
    obs = observe(state, params)
    return jnp.concatenate([obs[:, 0], obs[:, 2], state.bulb[None].astype(jnp.float32), obs[:1, 3]])


def make(num_agents: int = 3, bulb: bool = True) -> Environment:
    """Builds the riddle. Actions: leave the bulb off, leave it on, tell; outside, nothing. Observation: see ``observe``.

    Args:
        num_agents: n, at least 3.
        bulb: whether there is one; without, it is never left on.

    Raises:
        ConfigError: there are too few.
    """
    require(num_agents >= 3, "switch_riddle", "num_agents must be at least 3", num_agents, "3 is the default.")
    days = last_day(num_agents)
    params = Params(jnp.arange(num_agents, dtype=jnp.int32), jnp.int32(days), jnp.array([True, bulb, True]))
    return finite(
        params,
        outcomes,
        initial,
        Box(0.0, 1.0, (4,)),
        Discrete(3),
        max_steps=days,
        observe=observe,
        num_agents=num_agents,
        action_mask=action_mask,
        global_obs=global_obs,
    )


def last_day(num_agents: int) -> int:
    """Returns the number of days."""
    return 4 * num_agents - 6


def bound(num_agents: int) -> float:
    """Returns the probability that all have been in the room by the last day, by inclusion and exclusion."""
    n, days = num_agents, last_day(num_agents)
    return sum((-1) ** absent * math.comb(n, absent) * (1 - absent / n) ** days for absent in range(n + 1))
