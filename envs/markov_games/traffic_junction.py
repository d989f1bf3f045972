"""Traffic junction: cars on two one-way roads that cross choose between gas and brake, and see no further than themselves.

One road leads to the right, the other down; each has ``length`` cells, and they share the middle one. In every step cars that
give gas move on by one cell and leave at the end of their road; then on each road, with some probability, a new car enters its
first cell, if that is free and there are fewer than N cars. Cars in one cell have collided: each pays 10, and drives on. A car
that has been there for t steps also pays 0.01 t in each. There is no terminal state; success is an episode without a collision.

Source: Sukhbaatar, Szlam and Fergus (2016), section 4.2.1, the easy version of Singh, Jain and Sukhbaatar (2019) with two
one-way roads. There, cars also enter where another one stands; here a collision is always the drivers' fault.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from envs.markov_games.agents import without_diagonal
from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import require

BRAKE, GAS = range(2)
ABSENT = -1


class State(NamedTuple):
    """All int32[N]. road: 0 right, 1 down, -1 the car is not there. place: 0 .. length - 1. age: steps since it came."""

    road: jax.Array
    place: jax.Array
    age: jax.Array


@struct.dataclass
class Params:
    cars: jax.Array  # int32[N], the numbers 0 .. N - 1
    places: jax.Array  # int32[length], the numbers of the cells of a road
    arrival: jax.Array  # float32[2], the probability in [0, 1] that a car comes on each road in a step
    oldest: jax.Array  # int32[], where ages stop to grow


def collided(state, params):
    """bool[N], which cars are in a cell with another one."""
    cell = _cell(state, params)
    same = (cell[:, None] == cell) & (cell >= 0)
    return without_diagonal(same).any(-1)


def _cell(state, params):
    """int32[N], a number for the cell of each car, the same on both roads where they cross; -1 for absent ones."""
    length = len(params.places)
    crossing = (state.road == 1) & (state.place == length // 2)
    return jnp.where(state.road == ABSENT, -1, jnp.where(crossing, 0, state.road) * length + state.place)


def _arrived(state, road, comes, params):
    """Lets a car come, if there is room; bool[] ``comes``. Returns the state."""
    blocked = ((state.road == road) & (state.place == 0)).any()
    free = state.road == ABSENT
    slot = free & (jnp.cumsum(free) == 1) & comes & ~blocked
    return State(jnp.where(slot, road, state.road), jnp.where(slot, 0, state.place), jnp.where(slot, 0, state.age))


def outcomes(state, action, params):
    """Four outcomes: on each road a car would come, or not."""
    there = state.road != ABSENT
    place = state.place + ((action == GAS) & there).astype(jnp.int32)
    leaves = place >= len(params.places)
    stays = there & ~leaves
    moved = State(
        jnp.where(stays, state.road, ABSENT),
        jnp.where(stays, place, 0),
        jnp.where(stays, jnp.minimum(state.age + 1, params.oldest), 0),
    )
    reward = (-10.0 * collided(moved, params) - 0.01 * moved.age).astype(jnp.float32)
    come = jnp.array([[False, False], [False, True], [True, False], [True, True]])
    reached = jax.vmap(lambda each: _arrived(_arrived(moved, 0, each[0], params), 1, each[1], params))(come)
    probability = jnp.where(come, params.arrival, 1 - params.arrival).prod(-1)
    return Outcomes(probability, reached, jnp.broadcast_to(reward, (4, len(reward))), jnp.zeros(4, bool))


def initial(params):
    """No cars."""
    none = jnp.zeros((1, len(params.cars)), jnp.int32)
    return Initial(jnp.ones(1), State(none + ABSENT, none, none))


def observe(state, params):
    """float32[N, length + 2 + N]: one's place on the road, the road, and one's number, each one-hot; zeros for absent cars."""
    place = state.place[:, None] == params.places
    road = state.road[:, None] == jnp.arange(2)
    number = params.cars[:, None] == params.cars
    seen = jnp.concatenate([place, road, number], axis=-1)
    return (seen & (state.road != ABSENT)[:, None]).astype(jnp.float32)


def action_mask(state, params):
    """bool[N, 2]: absent cars can only brake."""
    return (state.road != ABSENT)[:, None] | (jnp.arange(2) == BRAKE)


def global_obs(state, params):
    """float32[N (length + 2 + N)]: what all cars see."""
    return observe(state, params).reshape(-1)


def limited(params, max_steps):
    """Lets ages grow until another time limit."""
    return dataclasses.replace(params, oldest=jnp.full_like(params.oldest, max_steps))


def make(num_cars: int = 5, length: int = 7, arrival: float = 0.3, max_steps: int = 20) -> Environment:
    """Builds the junction. Actions: brake, gas. Observation: see ``observe``.

    Args:
        num_cars: N, at most as many are there.
        length: cells of each road, odd and at least 3.
        arrival: probability in [0, 1] that a car comes on a road in a step.
        max_steps: the time limit.

    Raises:
        ConfigError: one of them is out of range.
    """
    require(num_cars >= 1, "traffic_junction", "num_cars must be at least 1", num_cars, "5 is the default.")
    odd = length >= 3 and length % 2 == 1
    require(odd, "traffic_junction", "length must be odd and at least 3, with a cell in the middle", length, "7 is the default.")
    require(0 <= arrival <= 1, "traffic_junction", "arrival must lie in [0, 1]", arrival, "It is a probability; 0.3 is usual.")
    require(max_steps >= 1, "traffic_junction", "max_steps must be at least 1", max_steps, "20 is the default.")
    params = Params(
        jnp.arange(num_cars, dtype=jnp.int32),
        jnp.arange(length, dtype=jnp.int32),
        jnp.full(2, arrival, jnp.float32),
        jnp.int32(max_steps),
    )
    features = length + 2 + num_cars
    env = finite(
        params,
        outcomes,
        initial,
        Box(0.0, 1.0, (features,)),
        Discrete(2),
        max_steps,
        observe=observe,
        num_agents=num_cars,
        action_mask=action_mask,
        global_obs=global_obs,
    )
    return dataclasses.replace(env, limit_fn=limited)
