"""Matrix games: N players choose at the same time and are paid by one look-up in a table.

Played for a number of rounds, the game terminates after the last one, so a single round is the one-shot game of the textbooks.
Played without end (``rounds=None``), it never terminates and is only truncated by the time limit: values beyond it count, as
the infinitely repeated game demands. The players observe nothing: the observation is constant. Where one player has fewer
actions than another, the table is padded and the actions that do not exist are masked.

Source: the repeated stage game of Shoham and Leyton-Brown (2008), Multiagent Systems, Chapter 6.1.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require, require_payoffs


@struct.dataclass
class Params:
    payoff: jax.Array  # float32[N, A, A, ...], the reward of each player for each joint action
    legal: jax.Array  # bool[N, A], the actions that each player has
    rounds: jax.Array  # int32[], rounds in an episode
    used: jax.Array  # int32[], rounds that one play uses up: 1, or 0 in a game without end


def outcomes(state, action, params):
    """One outcome. The state is the number of rounds left; 0 is absorbing."""
    players = params.payoff.shape[0]
    payoff = params.payoff[(slice(None), *(action[player] for player in range(players)))]
    left = jnp.maximum(state - params.used, 0)
    reward = jnp.where(state > 0, payoff, 0.0)
    return Outcomes(jnp.ones(1, jnp.float32), left[None], reward[None], (left == 0)[None])


def initial(params):
    """All rounds left."""
    return Initial(jnp.ones(1, jnp.float32), params.rounds[None])


def observe(state, params):
    """Nothing: 0 for every player."""
    return jnp.zeros(params.payoff.shape[0], jnp.int32)


def legal_actions(state, params):
    """The actions that each player has, always the same."""
    return params.legal


def pad(table: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """Gives all players as many actions as the one with the most.

    Args:
        table: float[N, ..., A_0, ..., A_{N-1}], with an axis for each player's actions at the end.

    Returns:
        The table with zeros for actions that do not exist, float32[N, ..., A, ..., A]; and which ones do, bool[N, A].
    """
    players = table.shape[0]
    counts = np.array(table.shape[-players:])
    missing = [(0, 0)] * (table.ndim - players) + [(0, int(counts.max()) - count) for count in counts]
    legal = np.arange(counts.max()) < counts[:, None]
    return jnp.asarray(np.pad(table, missing), jnp.float32), jnp.asarray(legal)


def make(payoff: Any, rounds: int | None = 1, max_steps: int | None = None) -> Environment:
    """Builds the game with the given payoffs.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}] with one axis of actions for each of the N players: ``payoff[i, a0, a1, ...]`` is
            what player i gets.
        rounds: plays in an episode, which terminates after the last; None for a game without end.
        max_steps: the time limit, by default ``rounds``, or 100 for a game without end.

    Raises:
        ConfigError: the table is no payoff table, or a number is not positive.
    """
    table = require_payoffs("matrix_game", payoff)
    require(rounds is None or rounds >= 1, "matrix_game", "rounds must be at least 1", rounds, "None plays without end.")
    if max_steps is None:
        max_steps = 100 if rounds is None else rounds
    require(max_steps >= 1, "matrix_game", "max_steps must be at least 1", max_steps, "Leave it out for the default.")
    padded, legal = pad(table)
    players, widest = legal.shape
    endless = rounds is None
    params = Params(
        padded,
        legal,
        jnp.int32(1 if endless else rounds),
        jnp.int32(0 if endless else 1),
    )
    mask = None if legal.all() else legal_actions
    space = Discrete(widest)
    return finite(params, outcomes, initial, Discrete(1), space, max_steps, observe=observe, num_agents=players, action_mask=mask)
