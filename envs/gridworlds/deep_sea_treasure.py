"""Deep sea treasure: the deeper a treasure lies, the more it is worth and the longer it takes; two objectives, one reward.

A submarine starts at the top left of a sea of 11 rows and 10 columns, whose floor falls to the right. One treasure lies on the
floor of every column; reaching it ends the episode, as does the end of the air, without a treasure. A move against the floor or
out of the sea changes nothing but takes its step as well. The objectives are the treasure found and minus the steps taken:
treasures are reached in 1, 3, 5, 7, 8, 9, 13, 14, 17 and 19 steps at best. The reward is their weighted sum.

With the classic treasures all ten outcomes are undominated, but only the first and the last are best for some weights: the others
lie below the line between these two. With the concave ones nine are. A policy that draws between two treasures has an expected
outcome on the line between them, which dominates all classic outcomes under that line: outcomes and expected ones have different
fronts.

Source: Vamplew et al. (2011), "Empirical evaluation methods for multiobjective reinforcement learning algorithms", section 4.1;
the concave treasures: Yang, Sun and Narasimhan (2019), "A Generalized Algorithm for Multi-Objective Reinforcement Learning".
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, TabularModel, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require, require_count, require_finite, unknown_name

ROWS, COLUMNS = 11, 10
FLOOR = (1, 2, 3, 4, 4, 4, 7, 7, 9, 10)  # the row in which the treasure of each column lies
TREASURES = {
    "classic": (1.0, 2.0, 3.0, 5.0, 8.0, 16.0, 24.0, 50.0, 74.0, 124.0),
    "concave": (0.7, 8.2, 11.5, 14.0, 15.1, 16.1, 19.6, 20.3, 22.4, 23.7),
}
MOVES = np.array([[0, -1], [1, 0], [0, 1], [-1, 0]], np.int32)  # left, down, right, up


class State(NamedTuple):
    """row, column: int32[], from the top and from the left. taken: int32[], steps so far."""

    row: jax.Array
    column: jax.Array
    taken: jax.Array


@struct.dataclass
class Params:
    """floor: int32[C], the row of each treasure. treasure: float32[C]. weights: float32[2], of the objectives. air: int32[]."""

    floor: jax.Array
    treasure: jax.Array
    weights: jax.Array
    air: jax.Array


def is_over(state: State, params: Params) -> jax.Array:
    """Returns whether the episode has ended, bool[]: a treasure is found, or the air is used up."""
    return (state.row == params.floor[state.column]) | (state.taken >= params.air)


def objectives(state: State, params: Params) -> jax.Array:
    """Returns what the step into a state earns, float32[2]: the treasure found, and -1 for the step."""
    found = state.row == params.floor[state.column]
    return jnp.stack([jnp.where(found, params.treasure[state.column], 0.0), jnp.float32(-1.0)])


def observe(state: State, params: Params) -> jax.Array:
    """The cell's number, row by row; the steps taken are not seen."""
    return (state.row * params.floor.shape[0] + state.column).astype(jnp.int32)


def moved(state: State, action: jax.Array, params: Params) -> State:
    """Returns the successor of a state, itself where the episode is over."""
    row, column = state.row + jnp.asarray(MOVES)[action, 0], state.column + jnp.asarray(MOVES)[action, 1]
    within = (row >= 0) & (column >= 0) & (column < params.floor.shape[0])
    free = within & (row <= params.floor[jnp.clip(column, 0, params.floor.shape[0] - 1)])
    after = State(jnp.where(free, row, state.row), jnp.where(free, column, state.column), state.taken + 1)
    return jax.tree.map(lambda new, old: jnp.where(is_over(state, params), old, new).astype(jnp.int32), after, state)


def outcomes(state: State, action: jax.Array, params: Params) -> Outcomes:
    """One outcome: every move is certain."""
    after = moved(state, action, params)
    reward = jnp.where(is_over(state, params), 0.0, params.weights @ objectives(after, params))
    outcome = Outcomes(jnp.float32(1.0), after, reward, is_over(after, params))
    return jax.tree.map(lambda leaf: leaf[None], outcome)


def initial(params: Params) -> Initial:
    """The top left cell, with all the air."""
    return Initial(jnp.ones(1, jnp.float32), State(*(jnp.zeros(1, jnp.int32) for _ in State._fields)))


def objective_table(model: TabularModel, params: Params) -> np.ndarray:
    """Returns the objectives of every outcome of the exact model, float64[X, A, K, 2], beside its ``reward``."""
    earned = np.asarray(jax.vmap(objectives, in_axes=(0, None))(model.state, params), np.float64)
    over = np.asarray(jax.vmap(is_over, in_axes=(0, None))(model.state, params))
    return np.where(over[:, None, None, None], 0.0, earned[model.next_state])


@dataclass(frozen=True)
class _ObjectiveStep:
    """Adds to what a step tells about itself the objectives, and as costs their negatives."""

    step: Any

    def __call__(self, key, state, action, params):
        step = self.step(key, state, action, params)
        earned = jnp.where(is_over(state, params), 0.0, objectives(step.state, params))
        return step._replace(info={"objectives": earned, "cost": -earned})


def _limited(params: Params, max_steps: int) -> Params:
    return params.replace(air=jnp.int32(max_steps))  # pyright: ignore


def make(
    treasures: str | tuple[float, ...] = "classic", weights: tuple[float, float] = (1.0, 1.0), max_steps: int = 25
) -> Environment:
    """Builds a deep sea with treasures. Actions: left, down, right, up. Observation: 10 * row + column.

    ``Step.info`` holds the objectives, float32[2]: the treasure and -1 of the step; and ``cost``, their negatives, as
    constraints take them.

    Args:
        treasures: "classic" or "concave", or one number for each of the ten columns, from the left.
        weights: of the treasure and of minus the steps in the reward.
        max_steps: how long the air lasts, at least 1; the episode ends then (it terminates: nothing follows).

    Raises:
        ConfigError: a number is missing or not finite, or max_steps is no integer of at least 1.
        UnknownNameError: there are no treasures of that name.
    """
    where = "deep_sea_treasure"
    if isinstance(treasures, str):
        if treasures not in TREASURES:
            raise unknown_name(where, "list of treasures", treasures, TREASURES)
        treasures = TREASURES[treasures]
    values = np.asarray(require_finite(where, "treasures", treasures, "Give ten numbers."), np.float32)
    require(values.shape == (COLUMNS,), where, f"there must be {COLUMNS} treasures", values.shape, "Try 'classic'.")
    weighed = np.asarray(require_finite(where, "weights", weights, "Give two numbers."), np.float32)
    require(weighed.shape == (2,), where, "there must be two weights", weighed.shape, "Try (1.0, 1.0).")
    require_count(where, "max_steps", max_steps)
    params = Params(jnp.asarray(FLOOR, jnp.int32), jnp.asarray(values), jnp.asarray(weighed), jnp.int32(max_steps))
    env = finite(
        params, outcomes, initial, Discrete(ROWS * COLUMNS), Discrete(len(MOVES)), max_steps=int(max_steps), observe=observe
    )
    return dataclasses.replace(env, step_fn=_ObjectiveStep(env.step_fn), limit_fn=_limited)
