"""Iterated matrix games: a game in normal form is played again and again by players who remember the last joint action.

Without end: only the time limit truncates an episode, so values beyond it count. A player observes 0 before the first round, and
then 1 + the number of the last joint action, its own action first and those of the others after it, in a circle: so players in
the same position see the same numbers, and tit for tat is one strategy for both. ``jaxrl.solvers.memory_one`` computes exactly
what strategies of this memory earn. ``matrix_game.make(..., rounds=None)`` is the repeated game of players who remember nothing.

Source: Axelrod (1984), The Evolution of Cooperation; Press and Dyson (2012) on memory one.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.matrix_games import matrix_game, named
from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require, require_payoffs

START = -1  # in the place of the actions of the last round, before the first


@struct.dataclass
class Params:
    payoff: jax.Array  # float32[N, A, ..., A], the reward of each player for each joint action
    legal: jax.Array  # bool[N, A], the actions that each player has


def outcomes(state, action, params):
    """One outcome; the state is the last joint action, int32[N]."""
    payoff = params.payoff[(slice(None), *(action[player] for player in range(action.shape[0])))]
    return Outcomes(jnp.ones(1, jnp.float32), action[None].astype(jnp.int32), payoff[None], jnp.zeros(1, bool))


def initial(params):
    """No round yet."""
    return Initial(jnp.ones(1, jnp.float32), jnp.full((1, params.legal.shape[0]), START, jnp.int32))


def observe(state, params):
    """int32[N], the number of the last joint action for each player."""
    players, actions = params.legal.shape
    order = (np.arange(players)[:, None] + np.arange(players)) % players  # [player, itself and those after it]
    weight = actions ** np.arange(players - 1, -1, -1)
    number = (state[order] * weight).sum(-1, dtype=jnp.int32)
    return jnp.where(state[0] == START, 0, 1 + number).astype(jnp.int32)


def legal_actions(state, params):
    """The actions that each player has, always the same."""
    return params.legal


def make(payoff: Any = named.PRISONERS_DILEMMA, max_steps: int = 100) -> Environment:
    """Builds the iterated game; of the prisoner's dilemma unless other payoffs are given.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}], see ``matrix_game.make``.
        max_steps: the time limit.

    Raises:
        ConfigError: the table is no payoff table, or the number is not positive.
    """
    table = require_payoffs("iterated", payoff)
    require(max_steps >= 1, "iterated", "max_steps must be at least 1", max_steps, "100 is the default.")
    params = Params(*matrix_game.pad(table))
    players, widest = params.legal.shape
    mask = None if params.legal.all() else legal_actions
    space, actions = Discrete(1 + widest**players), Discrete(widest)
    return finite(params, outcomes, initial, space, actions, max_steps, observe=observe, num_agents=players, action_mask=mask)
