"""Random games: payoff tables of any number of players, drawn from a key. Pure: they compile, and vmap over keys.

All payoffs are standard normal. In a general game they are all independent; in a common-payoff game all players get the same; in
a zero-sum game of two players one gets what the other loses; in a symmetric one both are in the same position.

Source: Nudelman et al. (2004), Run the GAMUT, for the families.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from envs.matrix_games import matrix_game
from jaxrl.core.environment import Environment
from jaxrl.errors import require, unknown_name


def general(key: jax.Array, actions: Sequence[int]) -> jax.Array:
    """Draws a game in which all payoffs are independent, float32[N, A_0, ..., A_{N-1}]; ``actions`` of each player are static."""
    return jax.random.normal(key, (len(actions), *actions), jnp.float32)


def common_payoff(key: jax.Array, actions: Sequence[int]) -> jax.Array:
    """Draws a game in which all players get the same, float32[N, A_0, ..., A_{N-1}]."""
    payoff = jax.random.normal(key, tuple(actions), jnp.float32)
    return jnp.broadcast_to(payoff, (len(actions), *actions))


def zero_sum(key: jax.Array, actions: Sequence[int]) -> jax.Array:
    """Draws a game in which player 1 loses what player 0 gets, float32[2, A, B]."""
    row, column = actions
    payoff = jax.random.normal(key, (row, column), jnp.float32)
    return jnp.stack([payoff, -payoff])


def symmetric(key: jax.Array, actions: Sequence[int]) -> jax.Array:
    """Draws a game of two players in the same position, float32[2, A, A]."""
    row, column = actions
    payoff = jax.random.normal(key, (row, column), jnp.float32)
    return jnp.stack([payoff, payoff.T])


KINDS: dict[str, Callable[..., jax.Array]] = {
    "general": general,
    "common_payoff": common_payoff,
    "zero_sum": zero_sum,
    "symmetric": symmetric,
}


def make(
    kind: str = "general", actions: tuple[int, ...] = (3, 3), seed: int = 0, rounds: int | None = 1, max_steps: int | None = None
) -> Environment:
    """Builds a random game drawn from a seed.

    Args:
        kind: a name in ``KINDS``.
        actions: of each player.
        seed: numbers the draw.
        rounds, max_steps: see ``matrix_game.make``.

    Raises:
        ConfigError: no player, a player without actions, or sizes that the kind does not know.
        UnknownNameError: no kind has this name.
    """
    where = "random_game"
    if kind not in KINDS:
        raise unknown_name(where, "kind", kind, KINDS)
    fits = len(actions) >= 1 and min(actions) >= 1
    require(fits, where, "every player must have at least 1 action", actions, "(3, 3) is the default.")
    pairs = kind not in ("zero_sum", "symmetric") or len(actions) == 2
    require(pairs, where, f"a {kind} game must have two players", actions, "Take a general game.")
    square = kind != "symmetric" or len(set(actions)) == 1
    require(square, where, "the players of a symmetric game must have equally many actions", actions, "Make them equal.")
    return matrix_game.make(np.asarray(KINDS[kind](jax.random.key(seed), actions)), rounds, max_steps)
