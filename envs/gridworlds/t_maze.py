"""T-maze: a cue seen only at the first step tells which way to turn at the far end of a corridor.

The corridor has L + 1 cells. The agent starts in cell 0 and turns at the junction, cell L: up or down there ends the episode,
with reward 1 if the turn matches the cue and 0 if not. Every other move into a wall means staying. The observation tells the
cue at step 0 and after that only "corridor" or "junction": neither the cell nor, in cell 0, the cue again. With memory the
optimal return is 1, without it 0.5.

All four moves of the gridworlds are allowed, so that the corridor can be walked back. The time limit of 10 L leaves a random
walk some chance to reach the junction; the optimal policy needs L + 1 steps.

Source: after the T-maze of Bakker (2002), Reinforcement Learning with Long Short-Term Memory, with rewards 1 and 0.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.gridworlds.grid import DOWN, LEFT, RIGHT, UP
from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import ConfigError, EnvError, JaxrlError, is_traced, require

CUE_DOWN, CUE_UP, CORRIDOR, JUNCTION = range(4)  # the observations


class State(NamedTuple):
    """place: int32[], -1 = cell 0 at step 0, 0 .. L = that cell later on, L + 1 = turned. cue: int32[], CUE_DOWN or CUE_UP."""

    place: jax.Array
    cue: jax.Array


@struct.dataclass
class Params:
    length: jax.Array  # int32[], L, cells from the start to the junction


def observe(state, params):
    """The cue at step 0; then corridor or junction."""
    later = jnp.where(state.place < params.length, CORRIDOR, JUNCTION)
    return jnp.where(state.place < 0, state.cue, later).astype(jnp.int32)


def outcomes(state, action, params):
    """One outcome: every move is certain."""
    junction = params.length
    step = (action == RIGHT).astype(jnp.int32) - (action == LEFT).astype(jnp.int32)
    walked = jnp.clip(jnp.maximum(state.place, 0) + step, 0, junction)
    over = state.place > junction
    turns = (state.place == junction) & ((action == UP) | (action == DOWN))
    right_way = jnp.where(state.cue == CUE_UP, action == UP, action == DOWN)
    place = jnp.where(turns | over, junction + 1, walked).astype(jnp.int32)
    reward = (turns & right_way).astype(jnp.float32)
    outcome = Outcomes(jnp.float32(1.0), State(place, state.cue), reward, turns | over)
    return jax.tree.map(lambda leaf: leaf[None], outcome)


def initial(params):
    """Cell 0 at step 0, either cue with probability 1/2."""
    return Initial(jnp.full(2, 0.5, jnp.float32), State(jnp.full(2, -1, jnp.int32), jnp.array([CUE_DOWN, CUE_UP], jnp.int32)))


def limited(params, max_steps, error: type[JaxrlError] = EnvError):
    """Returns the parameters, unless the junction lies beyond the time limit: then raises ``error``."""
    within = is_traced(params) or bool(np.all(max_steps > np.asarray(params.length)))
    must, fix = "max_steps must exceed length, or the turn is never reached", f"Set it above {params.length}."
    require(within, "t_maze", must, max_steps, fix, error)
    return params


def make(length: int = 10, max_steps: int | None = None) -> Environment:
    """Builds a T-maze. Actions: left, down, right, up. Observations: cue down, cue up, corridor, junction.

    Args:
        length: L, moves from the start to the junction, at least 1.
        max_steps: the time limit, by default 10 * length.

    Raises:
        ConfigError: one of them is out of range.
    """
    require(length >= 1, "t_maze", "length must be at least 1 cell", length, "10 is the default.")
    max_steps = 10 * length if max_steps is None else max_steps
    params = limited(Params(jnp.int32(length)), max_steps, ConfigError)
    env = finite(params, outcomes, initial, Discrete(4), Discrete(4), max_steps, observe=observe)
    return dataclasses.replace(env, limit_fn=limited)
