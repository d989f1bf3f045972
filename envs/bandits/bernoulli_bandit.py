"""Bernoulli bandit: every arm pays 1 with a probability of its own, and 0 otherwise.

It is a finite environment of one state. ``draw`` makes arms from a key, and ``ucb1_regret_bound`` is what UCB1 may lose on them.

Source: Lai and Robbins (1985); the bound is theorem 1 of Auer, Cesa-Bianchi and Fischer (2002).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require


@struct.dataclass
class Params:
    probability: jax.Array  # float32[K], of each arm's paying 1


def draw(key: jax.Array, num_arms: int) -> Params:
    """Draws the probability of each of K arms uniformly from [0, 1]."""
    return Params(jax.random.uniform(key, (num_arms,), jnp.float32))


def outcomes(state, action, params):
    """Two outcomes: the arm pays nothing, or 1. Nothing else happens."""
    pays = params.probability[action]
    stays = jnp.zeros(2, jnp.int32)
    return Outcomes(jnp.stack([1 - pays, pays]), stays, jnp.array([0.0, 1.0], jnp.float32), jnp.zeros(2, bool))


def initial(params):
    """The only state."""
    return Initial(jnp.ones(1, jnp.float32), jnp.zeros(1, jnp.int32))


def of(params: Params, max_steps: int = 1000) -> Environment:
    """Builds the environment of these arms. Actions: arms. Observation: always 0."""
    return finite(params, outcomes, initial, Discrete(1), Discrete(params.probability.shape[-1]), max_steps)


def make(probabilities: Sequence[float] = (0.4, 0.5, 0.6), max_steps: int = 1000) -> Environment:
    """Builds a Bernoulli bandit. Actions: arms. Observation: always 0.

    Args:
        probabilities: in [0, 1], of each arm's paying 1.
        max_steps: pulls in an episode.

    Raises:
        ConfigError: there is no arm, or a number is out of range.
    """
    where = "bernoulli_bandit"
    chances = np.asarray(probabilities, np.float64)
    sound = chances.ndim == 1 and chances.size >= 1 and bool(((chances >= 0) & (chances <= 1)).all())
    require(sound, where, "probabilities must be numbers in [0, 1], one for each arm", probabilities, "Correct them.")
    require(max_steps >= 1, where, "max_steps must be at least 1", max_steps, "1000 is the default.")
    return of(Params(jnp.asarray(chances, jnp.float32)), max_steps)


def ucb1_regret_bound(probabilities: Sequence[float], num_steps: int) -> float:
    """Returns the most that UCB1 loses on average in T pulls: over worse arms, the sum of 8 ln T / gap + (1 + pi^2 / 3) gap."""
    where = "bernoulli_bandit.ucb1_regret_bound"
    require(num_steps >= 1, where, "num_steps must be at least 1", num_steps, "Count the pulls.")
    chances = np.asarray(probabilities, np.float64)
    gap = chances.max() - chances
    gap = gap[gap > 0]
    return float((8 * np.log(num_steps) / gap + (1 + np.pi**2 / 3) * gap).sum())
