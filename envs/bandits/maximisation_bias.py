"""Maximisation bias: a choice between an end that pays nothing and a bandit whose arms all lose on average.

In state 0, "right" ends the episode with reward 0, and "left" leads with reward 0 to state 1. There any of K arms ends it with a
normal reward of mean -0.1 and deviation 1. Left is the worse choice by 0.1, but the largest of several noisy estimates is
positive: learners who value state 1 by its maximum go left for a long time.

Source: Sutton and Barto (2018), Example 6.7.
"""

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core.environment import Environment, Step
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require, require_count

LEFT, RIGHT = 0, 1
START, ARMS, OVER = 0, 1, 2  # states


@struct.dataclass
class Params:
    """mean, deviation: float32[], of the reward of every arm. arms: float32[K], zeros; their number is K."""

    mean: jax.Array
    deviation: jax.Array
    arms: jax.Array


def reset(key, params):
    """Begins in state 0, which is observed."""
    return jnp.int32(START), jnp.int32(START)


def step(key, state, action, params):
    """Pays only where an arm is pulled. Left leads on to the arms, everything else ends the episode."""
    pulled, goes_on = state == ARMS, (state == START) & (action == LEFT)
    reward = params.mean + params.deviation * jax.random.normal(key, (), jnp.float32)
    after = jnp.where(goes_on, ARMS, OVER).astype(jnp.int32)
    return Step(after, after, jnp.where(pulled, reward, 0.0), ~goes_on)


def action_mask(state, params):
    """In state 0 the first two actions are legal, in state 1 all arms."""
    number = jnp.arange(params.arms.shape[0])
    return (state != START) | (number <= RIGHT)


def make(num_arms: int = 10, mean: float = -0.1, deviation: float = 1.0) -> Environment:
    """Builds the problem. Actions: left and right in state 0, arms in state 1. Observation: the state, three numbers.

    Args:
        num_arms: K, at least 2.
        mean: of the reward of every arm.
        deviation: of that reward, not negative; 0 leaves the randomness out.

    Raises:
        ConfigError: num_arms is below 2, or deviation is negative.
    """
    require_count("maximisation_bias", "num_arms", num_arms, 2)
    require(deviation >= 0, "maximisation_bias", "deviation must not be negative", deviation, "Try deviation=1.0.")
    params = Params(jnp.float32(mean), jnp.float32(deviation), jnp.zeros(num_arms, jnp.float32))
    spaces = Discrete(3), Discrete(num_arms)
    return Environment(params, reset, step, *spaces, max_steps=2, action_mask_fn=action_mask)
