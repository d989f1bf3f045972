"""Gaussian squeeze: each of N agents contributes 0 to 9; all are paid alike, most where the sum x is neither small nor large.

    reward = x exp(-(x - mu)^2 / sigma^2)

Played once.

Source: HolmesParker, Agogino and Tumer (2014); as in Yang et al. (2018), "Mean field multi-agent reinforcement learning",
section 5.1.
"""

import math

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core.environment import Environment, Step
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require

CONTRIBUTIONS = 10  # 0 .. 9


@struct.dataclass
class Params:
    agents: jax.Array  # int32[N], the numbers 0 .. N - 1
    mu: jax.Array  # float32[]
    sigma: jax.Array  # float32[]


def worth(total, params):
    """Returns the reward for a sum of contributions."""
    return total * jnp.exp(-jnp.square((total - params.mu) / params.sigma))


def best_total(mu: float, sigma: float) -> float:
    """Returns the sum that pays most, a real number: where the derivative 1 - 2 x (x - mu) / sigma^2 is 0."""
    return (mu + math.sqrt(mu**2 + 2 * sigma**2)) / 2


def reset(key, params):
    """Always begins alike, with nothing to be seen."""
    return jnp.zeros_like(params.agents), jnp.bool_(False)


def step(key, state, action, params):
    """Pays once. The state is whether the game has been played, bool[]."""
    reward = jnp.where(state, 0.0, worth(action.sum().astype(jnp.float32), params))
    return Step(jnp.zeros_like(action), jnp.bool_(True), jnp.broadcast_to(reward, action.shape), jnp.bool_(True))


def make(num_agents: int = 100, mu: float = 400.0, sigma: float = 200.0) -> Environment:
    """Builds the game. Actions: what one contributes, 0 .. 9. Observation: nothing, 0.

    Args:
        num_agents: N.
        mu, sigma: see above; sigma is positive.

    Raises:
        ConfigError: one of them is out of range.
    """
    require(num_agents >= 1, "gaussian_squeeze", "num_agents must be at least 1", num_agents, "100 is the default.")
    require(sigma > 0, "gaussian_squeeze", "sigma must be positive", sigma, "200 is the default.")
    params = Params(jnp.arange(num_agents, dtype=jnp.int32), jnp.float32(mu), jnp.float32(sigma))
    return Environment(params, reset, step, Discrete(1), Discrete(CONTRIBUTIONS), max_steps=1, num_agents=num_agents)
