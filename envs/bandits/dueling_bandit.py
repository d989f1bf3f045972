"""Dueling bandit: two arms are chosen to duel, and all that a learner may look at is which one was preferred.

An action is a pair, numbered ``K * first + second``. The observation is the outcome of the last duel. The reward is not feedback
but the measure of success: minus the regret, the mean over both arms of how much worse than 1/2 each does against the Condorcet
winner, the arm that beats every other. The best thing to do is to let the winner duel with itself. A dueling learner reads
observations and leaves rewards alone; an exact solver needs the rewards.

Source: Yue, Broder, Kleinberg and Joachims (2012), section 2.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require, require_real

LOST, WON, UNKNOWN = range(3)  # what the first arm did in the last duel


@struct.dataclass
class Params:
    preference: jax.Array  # float32[K, K], how likely the arm of the row is preferred to that of the column; 1/2 on the diagonal


def of_utilities(utility: jax.Array) -> Params:
    """Returns arms of these utilities, float[K]: the log-odds of preferring one to another are the difference."""
    return Params(jax.nn.sigmoid(utility[:, None] - utility[None, :]).astype(jnp.float32))


def draw(key: jax.Array, num_arms: int) -> Params:
    """Draws K arms with standard normal utilities."""
    return of_utilities(jax.random.normal(key, (num_arms,), jnp.float32))


def regret(first: jax.Array, second: jax.Array, params: Params) -> jax.Array:
    """Returns the mean over both arms of how much worse than 1/2 each does against the arm that beats every other, float32[]."""
    winner = jnp.argmax(params.preference.min(-1))  # the arm whose hardest duel is easiest
    return (params.preference[winner, first] + params.preference[winner, second]) / 2 - 0.5


def outcomes(state, action, params):
    """Two outcomes: the first arm lost, or won."""
    count = params.preference.shape[0]
    first, second = action // count, action % count
    wins = params.preference[first, second]
    reward = jnp.full(2, -regret(first, second, params))
    return Outcomes(jnp.stack([1 - wins, wins]), jnp.array([LOST, WON], jnp.int32), reward, jnp.zeros(2, bool))


def initial(params):
    """No duel yet."""
    return Initial(jnp.ones(1, jnp.float32), jnp.full(1, UNKNOWN, jnp.int32))


def of(params: Params, max_steps: int = 1000) -> Environment:
    """Builds the environment of these arms. Actions: pairs, K * first + second. Observation: LOST, WON or UNKNOWN."""
    count = params.preference.shape[-1]
    return finite(params, outcomes, initial, Discrete(3), Discrete(count * count), max_steps)


def make(preference: Any = ((0.5, 0.6, 0.7), (0.4, 0.5, 0.6), (0.3, 0.4, 0.5)), max_steps: int = 1000) -> Environment:
    """Builds a dueling bandit.

    Args:
        preference: float[K, K], how likely the arm of the row is preferred to that of the column.
        max_steps: duels in an episode.

    Raises:
        ConfigError: an entry is no probability, the two entries of a pair do not sum to 1, or no arm is preferred to every other.
    """
    where = "dueling_bandit"
    table = require_real(where, "preference", preference).astype(np.float64)
    square = table.ndim == 2 and table.shape[0] == table.shape[1] >= 1
    require(square, where, "preference must be [K, K]", table.shape, "Give a row and a column to every arm.")
    sound = bool(((table >= 0) & (table <= 1)).all() and np.allclose(table + table.T, 1))
    require(
        sound, where, "preference[i, j] and preference[j, i] must be probabilities that sum to 1", preference, "Correct them."
    )
    best = (table + np.eye(len(table))).min(-1)
    require(best.max() > 0.5, where, "one arm must be preferred to every other", best.tolist(), "These are their hardest duels.")
    require(max_steps >= 1, where, "max_steps must be at least 1", max_steps, "1000 is the default.")
    return of(Params(jnp.asarray(table, jnp.float32)), max_steps)
