"""Hazard grid: the short way to the goal leads through three hazards, and being in one has a cost that is not the reward.

A constrained problem: every step pays -1 until the goal ends the episode, every step that ends in a hazard costs 1 (bumping into
a wall there as well), and the discounted cost must stay within a budget. Four steps lead through all hazards, six around them;
for budgets in between, the best policy must randomise.

Moving in the chosen direction succeeds with probability 1 - slip; otherwise one of the three other directions is taken.

Source: Altman (1999), Constrained Markov Decision Processes, for the problem class; the grid is ours.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.gridworlds import grid
from jaxrl.core.environment import Environment
from jaxrl.core.finite import TabularModel
from jaxrl.errors import require

HAZARD = "h"
MAP = (".....", ".....", ".....", ".....", "ShhhG")


@struct.dataclass
class Params(grid.Walk):
    """Adds cost: float32[C], of ending a step in each cell."""

    cost: jax.Array


def cost(params: Params, obs: Any, action: Any, next_obs: Any) -> jax.Array:
    """Returns the cost of a step, float32[]; what is observed tells it, so a learner can compute it from its transitions."""
    return params.cost[next_obs]


def cost_table(model: TabularModel, params: Params) -> np.ndarray:
    """Returns the cost of every outcome of the exact model, float64[X, A, K], beside its ``reward``."""
    return np.asarray(params.cost, np.float64)[model.observation][model.next_state]


@dataclass(frozen=True)
class _CostStep:
    """Adds the cost to what a step tells about itself, ``info["cost"]``."""

    step: Any

    def __call__(self, key, state, action, params):
        step = self.step(key, state, action, params)
        return step._replace(info={"cost": cost(params, state, action, step.state)})


def make(map: tuple[str, ...] = MAP, slip: float = 0.0, max_steps: int = 200) -> Environment:
    """Builds a hazard grid. Actions: left, down, right, up. Observation: 5 * row + column, 25 numbers.

    Args:
        map: rows of letters S (start), G (goal), h (hazard), . (free), # (wall); the observation is the free cell's number.
        slip: probability in [0, 1] of moving in one of the other three directions instead.
        max_steps: the time limit.

    Raises:
        ConfigError: the map is malformed or lacks a hazard, slip is no probability, or max_steps is not positive.
    """
    where = "hazard_grid"
    walk = grid.read(where, map, known=f".SG{HAZARD}", step=-1.0, goal=-1.0, rewards={HAZARD: -1.0}, slip=slip)
    hazards = grid.parse(where, map).cells(HAZARD)
    require(bool(hazards.any()), where, f"the map must have a hazard {HAZARD!r}", map, "Add one.")
    params = Params(**vars(walk), cost=jnp.asarray(hazards, jnp.float32))
    env = grid.world(where, params, grid.scattering, max_steps)
    return dataclasses.replace(env, step_fn=_CostStep(env.step_fn))
