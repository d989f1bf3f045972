"""Contextual dueling bandit: at every step each arm shows its features, two are chosen to duel, and one of them is preferred.

The log-odds of preferring one arm to another are linear in the difference of their features. Actions, rewards and what a learner
may look at are as in ``dueling_bandit``: the reward is minus the regret against the best arm of the step, and no feedback.

Source: Saha (2021); Bengs, Saha and Huellermeier (2022), with the logistic comparison function.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from envs.bandits import dueling_bandit
from envs.bandits.linear_bandit import draw_features, unit_vectors
from jaxrl.core.environment import Environment, Step
from jaxrl.core.spaces import Box, Dict, Discrete
from jaxrl.errors import require


class State(NamedTuple):
    """features: float32[K, D], of the arms that can be chosen now. outcome: int32[], of the last duel: LOST, WON or UNKNOWN."""

    features: jax.Array
    outcome: jax.Array


@struct.dataclass
class Params:
    """All float32 and traced. arms: [K], as long as there are arms; nothing else is in it."""

    weight: jax.Array  # [D]
    arms: jax.Array


def draw(key: jax.Array, num_arms: int, num_features: int, sharpness: jax.Array | float = 5.0) -> Params:
    """Draws a weight of length ``sharpness`` in a uniform direction in D dimensions."""
    weight = jnp.asarray(sharpness, jnp.float32) * unit_vectors(key, (num_features,))
    return Params(weight, jnp.zeros(num_arms, jnp.float32))


def _shown(key, outcome, params):
    """Returns ``(obs, state)`` with new features."""
    state = State(draw_features(key, params), jnp.int32(outcome))
    return state._asdict(), state


def reset(key, params):
    """Shows the first features. There was no duel yet."""
    return _shown(key, dueling_bandit.UNKNOWN, params)


def step(key, state, action, params):
    """Lets arms ``action // K`` and ``action % K`` duel, and shows new features with the outcome."""
    duel_key, feature_key = jax.random.split(key)
    count = params.arms.shape[0]
    first, second = action // count, action % count
    duel = dueling_bandit.of_utilities(state.features @ params.weight)
    won = jax.random.bernoulli(duel_key, duel.preference[first, second])
    outcome = jnp.where(won, dueling_bandit.WON, dueling_bandit.LOST)
    obs, successor = _shown(feature_key, outcome, params)
    return Step(obs, successor, -dueling_bandit.regret(first, second, duel), jnp.bool_(False))


def of(params: Params, max_steps: int = 5000) -> Environment:
    """Builds the environment of a weight. Actions: pairs, K * first + second. Observation: the features and the last outcome."""
    shape = (params.arms.shape[-1], params.weight.shape[-1])
    shown = Dict.of(features=Box(-1.0, 1.0, shape), outcome=Discrete(3))
    return Environment(params, reset, step, shown, Discrete(shape[0] ** 2), max_steps=max_steps)


def make(num_arms: int = 10, num_features: int = 5, sharpness: float = 5.0, seed: int = 0, max_steps: int = 5000) -> Environment:
    """Builds a contextual dueling bandit with a weight drawn from a seed.

    Args:
        num_arms, num_features: K and D, at least 1.
        sharpness: the length of the weight, not negative; 0 makes every duel a fair coin.
        seed: numbers the draw of the weight.
        max_steps: duels in an episode.

    Raises:
        ConfigError: a number is out of range.
    """
    where = "contextual_dueling_bandit"
    for name, count in (("num_arms", num_arms), ("num_features", num_features), ("max_steps", max_steps)):
        require(count >= 1, where, f"{name} must be at least 1", count, f"Set {name} to 1 or more.")
    require(sharpness >= 0, where, "sharpness must not be negative", sharpness, "It is a length.")
    return of(draw(jax.random.key(seed), num_arms, num_features, sharpness), max_steps)
