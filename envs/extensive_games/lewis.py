"""Lewis signalling game: one agent sees the state of the world and sends a signal, the other sees the signal and acts.

Both get 1 if the act is the right one for the state, its own number. Signals mean nothing by themselves: with at least as many
signals as states, every one-to-one code is an equilibrium and earns 1, and so is babbling, which earns less.

Source: Lewis (1969), Convention; Skyrms (2010), Signals, chapter 1.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.extensive_games import turns
from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require, require_real

SENDING, ACTING, OVER = range(3)


class State(NamedTuple):
    """world: int32[]. signal: int32[], 0 before it is sent. stage: int32[], SENDING, ACTING or OVER."""

    world: jax.Array
    signal: jax.Array
    stage: jax.Array


@struct.dataclass
class Params:
    probability: jax.Array  # float32[W], of the states of the world
    signals: jax.Array  # bool[A], the actions that are signals
    acts: jax.Array  # bool[A], the actions that are acts


def outcomes(state, action, params):
    """One outcome: first the signal is sent, then the act is paid."""
    sending, acting = state.stage == SENDING, state.stage == ACTING
    signal = jnp.where(sending, action[0], state.signal).astype(jnp.int32)
    reached = State(state.world, signal, jnp.minimum(state.stage + 1, OVER))
    reward = jnp.full(2, acting & (action[1] == state.world), jnp.float32)
    one = jax.tree.map(lambda leaf: leaf[None], reached)
    return Outcomes(jnp.ones(1, jnp.float32), one, reward[None], (reached.stage == OVER)[None])


def initial(params):
    """The world is drawn."""
    worlds = jnp.arange(params.probability.shape[0], dtype=jnp.int32)
    nothing = jnp.zeros_like(worlds)
    return Initial(params.probability / params.probability.sum(), State(worlds, nothing, nothing))


def observe(state, params):
    """int32[2]: the sender sees 1 + the state of the world, the receiver 0, and then 1 + the signal."""
    return jnp.stack([1 + state.world, jnp.where(state.stage == SENDING, 0, 1 + state.signal)])


def action_mask(state, params):
    """The signals for the sender, then the acts for the receiver."""
    legal = jnp.where(state.stage == SENDING, params.signals, params.acts & (state.stage == ACTING))
    return turns.mask(legal, (state.stage != SENDING).astype(jnp.int32))


def make(states: int = 2, signals: int | None = None, probability: Any = None) -> Environment:
    """Builds the game. Agent 0 sends and agent 1 acts. Observation: see ``observe``.

    Args:
        states: of the world, as many as acts.
        signals: by default as many as states.
        probability: float[states], of the states, by default all the same.

    Raises:
        ConfigError: a number is not positive, or the probabilities are none.
    """
    signals = states if signals is None else signals
    for name, count in (("states", states), ("signals", signals)):
        require(count >= 1, "lewis", f"{name} must be at least 1", count, "2 is the least that can mean anything.")
    uniform = np.full(states, 1 / states)
    weight = uniform if probability is None else require_real("lewis", "probability", probability).astype(np.float64)
    sound = weight.shape == (states,) and bool((weight >= 0).all()) and abs(weight.sum() - 1) < 1e-6
    require(sound, "lewis", f"probability must be {states} non-negative numbers that sum to 1", probability, "Normalise it.")
    widest = np.arange(max(states, signals))
    params = Params(jnp.asarray(weight, jnp.float32), jnp.asarray(widest < signals), jnp.asarray(widest < states))
    space, actions = Discrete(1 + len(widest)), Discrete(len(widest))
    return finite(params, outcomes, initial, space, actions, 2, observe=observe, num_agents=2, action_mask=action_mask)
