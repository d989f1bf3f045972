"""Contextual linear bandit: at every step each arm shows its features, and pays what a hidden weight makes of them, and noise.

The features of every step are new, drawn uniformly from the unit sphere, one direction for each arm. Knowledge about the
weight at one arm is thereby known of all.

Source: Li et al. (2010) (LinUCB); Abbasi-Yadkori, Pal and Szepesvari (2011).
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core.environment import Environment, Step
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import require


@struct.dataclass
class Params:
    """All float32 and traced. arms: [K], as long as there are arms; nothing else is in it."""

    weight: jax.Array  # [D]
    deviation: jax.Array  # [], of a reward around its mean
    arms: jax.Array


def draw(key: jax.Array, num_arms: int, num_features: int, deviation: jax.Array | float = 0.1) -> Params:
    """Draws a weight uniformly from the unit sphere in D dimensions."""
    weight = unit_vectors(key, (num_features,))
    return Params(weight, jnp.asarray(deviation, jnp.float32), jnp.zeros(num_arms, jnp.float32))


def unit_vectors(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draws vectors float32[..., D] uniformly from the unit sphere."""
    vector = jax.random.normal(key, shape, jnp.float32)
    return vector / jnp.sqrt(jnp.sum(vector**2, axis=-1, keepdims=True))


def draw_features(key: jax.Array, params: Any) -> jax.Array:
    """Draws the features of the arms, float32[K, D], for parameters with ``arms`` and ``weight``."""
    features = unit_vectors(key, (params.arms.shape[0], params.weight.shape[0]))
    return jnp.clip(features, -1.0, 1.0)  # rounding may lead one unit in the last place beyond


def reset(key, params):
    """Draws the first features, which are state and observation, float32[K, D]."""
    features = draw_features(key, params)
    return features, features


def step(key, state, action, params):
    """Pays, and shows new features. ``info["regret"]`` is how much more the best arm would have paid on average."""
    reward_key, feature_key = jax.random.split(key)
    mean = state @ params.weight
    reward = mean[action] + params.deviation * jax.random.normal(reward_key, (), jnp.float32)
    features = draw_features(feature_key, params)
    return Step(features, features, reward, jnp.bool_(False), {"regret": mean.max() - mean[action]})


def of(params: Params, max_steps: int = 1000) -> Environment:
    """Builds the environment of a weight. Actions: arms. Observation: the features of each, float32[K, D]."""
    shape = (params.arms.shape[-1], params.weight.shape[-1])
    return Environment(params, reset, step, Box(-1.0, 1.0, shape), Discrete(shape[0]), max_steps=max_steps)


def make(num_arms: int = 10, num_features: int = 5, deviation: float = 0.1, seed: int = 0, max_steps: int = 1000) -> Environment:
    """Builds a contextual linear bandit with a weight drawn from a seed.

    Args:
        num_arms, num_features: K and D, at least 1.
        deviation: of a reward around its mean.
        seed: numbers the draw of the weight.
        max_steps: pulls in an episode.

    Raises:
        ConfigError: a number is out of range.
    """
    where = "linear_bandit"
    for name, count in (("num_arms", num_arms), ("num_features", num_features), ("max_steps", max_steps)):
        require(count >= 1, where, f"{name} must be at least 1", count, f"Set {name} to 1 or more.")
    require(deviation >= 0, where, "deviation must not be negative", deviation, "0 pays the mean.")
    return of(draw(jax.random.key(seed), num_arms, num_features, deviation), max_steps)
