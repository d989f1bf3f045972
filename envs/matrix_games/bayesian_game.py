"""Bayesian games: nature draws a type for each player, who sees its own, and all choose at the same time.

Played once. The payoff of a player depends on all types and all actions. A strategy names an action for every type, and
``ex_ante`` is the table of what strategies earn before types are drawn: its Nash equilibria are the Bayes-Nash equilibria, so the
solvers of ``jaxrl.solvers`` apply.

Source: Harsanyi (1967); Shoham and Leyton-Brown (2008), Multiagent Systems, section 6.3.
"""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.matrix_games import matrix_game
from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require


class State(NamedTuple):
    """types: int32[N]. played: bool[]."""

    types: jax.Array
    played: jax.Array


@struct.dataclass
class Params:
    payoff: jax.Array  # float32[N, T_0, ..., T_{N-1}, A, ..., A], for all types and actions
    prior: jax.Array  # float32[T_0, ..., T_{N-1}], of the types
    legal: jax.Array  # bool[N, A], the actions that each player has


def outcomes(state, action, params):
    """One outcome: the game has been played."""
    players = state.types.shape[0]
    index = tuple(state.types[i] for i in range(players)) + tuple(action[i] for i in range(players))
    reward = jnp.where(state.played, 0.0, params.payoff[(slice(None), *index)])
    reached = State(state.types[None], jnp.ones(1, bool))
    return Outcomes(jnp.ones(1, jnp.float32), reached, reward[None], jnp.ones(1, bool))


def initial(params):
    """The types are drawn."""
    types = np.indices(params.prior.shape, np.int32).reshape(params.prior.ndim, -1).T
    return Initial(params.prior.reshape(-1), State(jnp.asarray(types), jnp.zeros(len(types), bool)))


def observe(state, params):
    """int32[N]: each player's own type."""
    return state.types


def legal_actions(state, params):
    """The actions that each player has, always the same."""
    return params.legal


def make(payoff: Any, prior: Any) -> Environment:
    """Builds the game. Observation: the player's own type.

    Args:
        payoff: float[N, T_0, ..., T_{N-1}, A_0, ..., A_{N-1}], what each player gets for all types and actions.
        prior: float[T_0, ..., T_{N-1}], the probability of all types, which may depend on each other.

    Raises:
        ConfigError: the tables do not fit together, or the prior is no distribution.
    """
    table, prior = _tables(payoff, prior)
    padded, legal = matrix_game.pad(table)
    players, widest = legal.shape
    params = Params(padded, jnp.asarray(prior, jnp.float32), legal)
    mask = None if legal.all() else legal_actions
    space, actions = Discrete(max(prior.shape)), Discrete(widest)
    return finite(params, outcomes, initial, space, actions, 1, observe=observe, num_agents=players, action_mask=mask)


def strategies(types: int, actions: int) -> np.ndarray:
    """Returns the pure strategies of a player, int[A ** T, T]: an action for each type, in lexicographic order."""
    return np.array(list(itertools.product(range(actions), repeat=types)), int).reshape(-1, types)


def ex_ante(payoff: Any, prior: Any) -> np.ndarray:
    """Returns what pure strategies earn before types are drawn, float64[N, A_0 ** T_0, ..., A_{N-1} ** T_{N-1}].

    Args:
        payoff, prior: as for ``make``.

    Raises:
        ConfigError: the tables do not fit together, or the prior is no distribution.
    """
    table, prior = _tables(payoff, prior)
    choices = [strategies(types, actions) for types, actions in zip(prior.shape, table.shape[1 + prior.ndim :], strict=True)]
    value = np.zeros((table.shape[0], *(len(choice) for choice in choices)))
    for types, probability in np.ndenumerate(prior):
        taken = np.ix_(*(choice[:, own] for choice, own in zip(choices, types, strict=True)))
        value += probability * table[(slice(None), *types, *taken)]
    return value


def _tables(payoff: Any, prior: Any) -> tuple[np.ndarray, np.ndarray]:
    table, prior = np.asarray(payoff, np.float64), np.asarray(prior, np.float64)
    players = prior.ndim
    fits = players >= 1 and table.ndim == 1 + 2 * players and table.shape[: 1 + players] == (players, *prior.shape)
    must = "payoff must have shape [N, T_0, ..., T_{N-1}, A_0, ..., A_{N-1}] and prior [T_0, ..., T_{N-1}]"
    require(fits and table.size > 0, "bayesian_game", must, (table.shape, prior.shape), "Give all players an axis of both.")
    require(bool(np.isfinite(table).all()), "bayesian_game", "payoffs must be finite", payoff, "Replace those that are not.")
    sound = bool((prior >= 0).all()) and abs(prior.sum() - 1) < 1e-6
    require(sound, "bayesian_game", "prior must be non-negative and sum to 1", prior, "Normalise it.")
    return table, prior / prior.sum()


def four_games() -> tuple[np.ndarray, np.ndarray]:
    """Returns payoffs and prior of the example of Shoham and Leyton-Brown (2008), figure 6.7; see ``make_four_games``."""
    pennies = [[[2, 0], [0, 2]], [[0, 2], [2, 0]]]
    dilemma = [[[2, 0], [3, 1]], [[2, 3], [0, 1]]]
    coordination = [[[2, 0], [0, 1]], [[2, 0], [0, 1]]]
    sexes = [[[2, 0], [0, 1]], [[1, 0], [0, 2]]]
    payoff = np.array([[pennies, dilemma], [coordination, sexes]], np.float64)  # [row's type, column's type, N, A, A]
    return np.moveaxis(payoff, 2, 0), np.array([[0.3, 0.1], [0.2, 0.4]])


def make_four_games() -> Environment:
    """Builds the game of ``four_games``.

    Nature draws one of four games: matching pennies (0.3), the prisoner's dilemma (0.1), coordination (0.2) and the battle of the
    sexes (0.4). The row player knows whether it is one of the first two, the column player whether it is the first or the third.
    """
    return make(*four_games())
