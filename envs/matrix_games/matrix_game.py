"""Matrix games: N players choose at the same time and are paid by one look-up in a table.

Played for a number of rounds, the game terminates after the last one, so a single round is the one-shot game of the textbooks.
Played without end (``rounds=None``), it never terminates and is only truncated by the time limit: values beyond it count, as
the infinitely repeated game demands. The players observe nothing: the observation is constant.

Source: the repeated stage game of Shoham and Leyton-Brown (2008), Multiagent Systems, Chapter 6.1.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.env import Environment
from jaxrl.errors import require
from jaxrl.finite import Initial, Outcomes, finite
from jaxrl.spaces import Discrete


@struct.dataclass
class Params:
    payoff: jax.Array  # float32[N, A, A, ...], the reward of each player for each joint action
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


def make(payoff: Any, rounds: int | None = 1, max_steps: int | None = None) -> Environment:
    """Builds the game with the given payoffs.

    Args:
        payoff: float[N, A, ..., A] with one axis of A actions for each of the N players: ``payoff[i, a0, a1, ...]`` is what
            player i gets.
        rounds: plays in an episode, which terminates after the last; None for a game without end.
        max_steps: the time limit, by default ``rounds``, or 100 for a game without end.

    Raises:
        ConfigError: the table is no payoff table, or a number is not positive.
    """
    table = np.asarray(payoff, np.float64)
    players = table.shape[0] if table.ndim else 0
    must = "payoff must have shape [N, A, ..., A] with N action axes of equal length"
    shaped = players >= 1 and table.ndim == players + 1 and len(set(table.shape[1:])) == 1 and table.size > 0
    require(shaped, "matrix_game", must, table.shape, "Stack one table for each player.")
    require(bool(np.isfinite(table).all()), "matrix_game", "payoffs must be finite", payoff, "Replace the infinite ones.")
    require(rounds is None or rounds >= 1, "matrix_game", "rounds must be at least 1", rounds, "None plays without end.")
    if max_steps is None:
        max_steps = 100 if rounds is None else rounds
    require(max_steps >= 1, "matrix_game", "max_steps must be at least 1", max_steps, "Leave it out for the default.")
    endless = rounds is None
    params = Params(jnp.asarray(table, jnp.float32), jnp.int32(1 if endless else rounds), jnp.int32(0 if endless else 1))
    actions = Discrete(table.shape[1])
    return finite(params, outcomes, initial, Discrete(1), actions, max_steps, observe=observe, num_agents=players)


def prisoners_dilemma(rounds: int | None = 1, max_steps: int | None = None) -> Environment:
    """Builds the prisoner's dilemma. Actions: cooperate, defect; the only equilibrium is mutual defection, -2 each."""
    row = np.array([[-1.0, -3.0], [0.0, -2.0]])
    return make(np.stack([row, row.T]), rounds, max_steps)
