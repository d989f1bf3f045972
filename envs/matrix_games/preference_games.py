"""Preference games: two players name one of K responses each, and the player who names the preferred one wins.

A preference is float32[K, K]: how likely the response of the row is preferred to that of the column, with ``P + P.T = 1``. The
game pays ``2 P - 1``, the chance to be preferred less the chance not to be, so it is zero-sum with value 0. Its equilibrium is
the distribution of responses that no other is preferred to, and exists where preferences run in circles and no utility explains
them. The draws are pure functions of a key.

Source: Munos et al. (2024), Nash learning from human feedback, section 3; Dudik et al. (2015), Contextual dueling bandits (von
Neumann winner).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from envs.matrix_games import matrix_game
from jaxrl.core.environment import Environment
from jaxrl.errors import require, unknown_name


def of_log_odds(log_odds: jax.Array) -> jax.Array:
    """Returns the preference with these log-odds, float[K, K], of which the skew-symmetric part counts."""
    return jax.nn.sigmoid((log_odds - log_odds.T) / 2)


def bradley_terry(key: jax.Array, responses: int) -> jax.Array:
    """Draws standard normal utilities; the log-odds of preferring one response to another are their difference."""
    utility = jax.random.normal(key, (responses,), jnp.float32)
    return of_log_odds(2 * jnp.broadcast_to(utility[:, None], (responses, responses)))


def skewed(key: jax.Array, responses: int, noise: jax.Array | float = 1.0) -> jax.Array:
    """Draws utilities as ``bradley_terry`` does, and log-odds that differ from their differences by skew-symmetric noise.

    Args:
        key: one key.
        responses: K; static.
        noise: its standard deviation, not negative.
    """
    utility_key, noise_key = jax.random.split(key)
    utility = jax.random.normal(utility_key, (responses, 1), jnp.float32)
    # The skew-symmetric part of independent numbers has 1 / sqrt(2) of their deviation.
    disorder = noise * 2**0.5 * jax.random.normal(noise_key, (responses, responses), jnp.float32)
    return of_log_odds(2 * utility + disorder)


def cyclic(key: jax.Array, responses: int, strength: jax.Array | float = 0.9) -> jax.Array:
    """Returns a preference whose first three responses beat each other in a circle, and all others, with one probability.

    Args:
        key: one key, for the preference among the others (``bradley_terry``).
        responses: K, at least 3; static.
        strength: in (1/2, 1], how likely a response is preferred to one that it beats.
    """
    number = jnp.arange(responses)
    row, column = number[:, None], number[None, :]
    circle = (row < 3) & (column < 3) & ((column - row) % 3 == 1)
    above = (row < 3) & (column >= 3)
    beats = circle | above
    preference = jnp.where((row >= 3) & (column >= 3), bradley_terry(key, responses), 0.5)
    return jnp.where(beats, strength, jnp.where(beats.T, 1 - strength, preference))


def majority(key: jax.Array, responses: int, groups: int = 3) -> jax.Array:
    """Draws groups of people with utilities of their own: how many of the groups like one response better than the other.

    Args:
        key: one key.
        responses: K; static.
        groups: all of the same size; static.
    """
    utility = jax.random.normal(key, (groups, responses), jnp.float32)
    return ((jnp.sign(utility[:, :, None] - utility[:, None, :]) + 1) / 2).mean(0)


KINDS: dict[str, Callable[..., jax.Array]] = {
    "bradley_terry": bradley_terry,
    "cyclic": cyclic,
    "majority": majority,
    "skewed": skewed,
}


def payoffs(preference: jax.Array) -> jax.Array:
    """Returns the payoff table of the game, float[2, K, K]."""
    return jnp.stack([2 * preference - 1, 1 - 2 * preference])


def make(
    kind: str = "skewed", responses: int = 10, seed: int = 0, rounds: int | None = 1, max_steps: int | None = None
) -> Environment:
    """Builds a preference game drawn from a seed. Action k names response k.

    Args:
        kind: a name in ``KINDS``.
        responses: K, at least 3.
        seed: numbers the draw.
        rounds, max_steps: see ``matrix_game.make``.

    Raises:
        ConfigError: there are too few responses.
        UnknownNameError: no kind has this name.
    """
    if kind not in KINDS:
        raise unknown_name("preference_game", "kind", kind, KINDS)
    require(responses >= 3, "preference_game", "responses must be at least 3", responses, "Fewer cannot run in a circle.")
    preference = KINDS[kind](jax.random.key(seed), responses)
    return matrix_game.make(np.asarray(payoffs(preference)), rounds, max_steps)
