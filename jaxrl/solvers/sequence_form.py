"""Two-player zero-sum games in extensive form, solved exactly on the host by one linear programme, in float64.

The programme has a variable for every sequence of the one player and for every information set of the other, so its size is that
of the game tree, where that of the normal form is exponential.

Source: Koller, Megiddo and von Stengel (1996), Efficient computation of equilibria for extensive two-person games.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.errors import SolverError, require, require_zero_sums
from jaxrl.solvers import extensive
from jaxrl.solvers.extensive import ExtensiveGame
from jaxrl.solvers.linear_program import linprog, solved


class Minimax(NamedTuple):
    """value: what player 0 gets if both play these strategies, float64[2, I, A]; uniform where a player does not come.

    gap: the sum of what both could gain by their best responses: 0 up to rounding. The value of the game is that near.
    """

    value: float
    strategy: np.ndarray
    gap: float


def minimax(game: ExtensiveGame) -> Minimax:
    """Solves a game.

    Args:
        game: of two players, from ``extensive.from_environment``.

    Raises:
        ConfigError: the game has another number of players, or is not zero-sum.
        SolverError: the programme has no solution, or one with a gap of more than a millionth of what is won and lost in it.
    """
    where = "sequence_form.minimax"
    require(game.num_players == 2, where, "the game must have two players", game.num_players, "Use regret minimisation.")
    require_zero_sums(where, np.asarray(game.payoff, np.float64), "Use regret minimisation.")
    least, most = float(game.payoff[:, 0].min()), float(game.payoff[:, 0].max())
    middle, spread = (least + most) / 2, (most - least) / 2
    weights = [_best_guarantee(game, player, (-1) ** player * middle, spread or 1.0) for player in range(2)]
    strategy = np.stack([_behaviour(game, player, weight) for player, weight in enumerate(weights)])
    with jax.enable_x64(True):
        value = float(extensive.expected_payoffs(game, jnp.asarray(strategy))[0])
        gap = float(extensive.nash_conv(game, jnp.asarray(strategy)))
        apart = jnp.abs(jnp.asarray(game.payoff, jnp.float64) - jnp.array([value, -value]))
        stake = float(extensive.expected_payoffs(dataclasses.replace(game, payoff=apart), jnp.asarray(strategy))[0])
    must = f"the gap between the players must be at most 1e-6 of what they win and lose, {stake:g} on average"
    rounding = 1e-12 * spread + 1e-14 * abs(middle)
    require(gap <= 1e-6 * stake + rounding, where, must, gap, "Round payoffs that are far from all others.", SolverError)
    return Minimax(value, strategy, max(gap, 0.0))


def _best_guarantee(game: ExtensiveGame, player: int, middle: float, spread: float) -> np.ndarray:
    """Returns the realisation weights, float64[1 + I A], that guarantee a player the most.

    Payoffs are taken in units of ``spread`` from ``middle``: some end is reached for certain, so that a constant changes nothing.

    Maximise p . e over weights x and the other's values p, with E x = e and F^T p <= U^T x: whatever sequence the other ends
    with, it leaves at least what the values say.
    """
    from scipy.sparse import coo_matrix, hstack

    other = 1 - player
    own, others = _constraints(game, player), _constraints(game, other)
    count = own.shape[1]
    gain = game.chance * (game.payoff[:, player] - middle) / spread
    table = coo_matrix((gain, (game.sequence[:, other], game.sequence[:, player])), shape=(count, count))
    cost = np.zeros(count + others.shape[0])
    cost[count] = -1.0
    equal = hstack([own, coo_matrix((own.shape[0], others.shape[0]))])
    bounds = [(0, None)] * count + [(None, None)] * others.shape[0]
    most = hstack([-table, others.T]).tocsr()
    solution = linprog(cost, most, np.zeros(count), equal.tocsr(), np.eye(1, own.shape[0])[0], bounds)
    return solved("sequence_form.minimax", solution).x[:count]


def _constraints(game: ExtensiveGame, player: int) -> Any:
    """Returns E, sparse [1 + I, 1 + I A]: having done nothing weighs 1, and the weights of actions add up to their parent's."""
    from scipy.sparse import coo_matrix

    legal = np.asarray(game.legal[player])
    sets, actions = np.nonzero(legal)
    entries = [(0, 0, 1.0)]
    entries += [(1 + i, int(parent), -1.0) for i, parent in enumerate(game.parent[player])]
    entries += [(1 + i, 1 + i * legal.shape[1] + a, 1.0) for i, a in zip(sets, actions, strict=True)]
    row, column, value = zip(*entries, strict=True)
    return coo_matrix((value, (row, column)), shape=(1 + legal.shape[0], 1 + legal.size))


def _behaviour(game: ExtensiveGame, player: int, weight: np.ndarray) -> np.ndarray:
    """Returns the strategy with these realisation weights, float64[I, A]."""
    legal = np.asarray(game.legal[player], np.float64)
    taken = np.maximum(weight[1:].reshape(legal.shape), 0) * legal
    total = taken.sum(-1, keepdims=True)
    reached = total > 1e-12
    return np.where(reached, taken / np.where(reached, total, 1), legal / legal.sum(-1, keepdims=True))
