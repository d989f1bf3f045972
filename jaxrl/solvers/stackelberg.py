"""Stackelberg equilibria of two-player games: a leader commits to a strategy, and a follower who has seen it answers best.

Player 0 leads. If the follower is indifferent, it chooses what is best for the leader (the strong equilibrium) or, where asked
for, what is worst (the pessimistic one). A mixed commitment is worth at least as much to the leader as any Nash equilibrium.

Source: von Stackelberg (1934); Conitzer and Sandholm (2006), "Computing the optimal strategy to commit to", sections 2 and 3.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxrl.errors import SolverError, is_traced, require, require_payoffs
from jaxrl.solvers.equilibria import in_units_of_rows, tied
from jaxrl.solvers.linear_program import linprog
from jaxrl.solvers.normal_form import game_table
from jaxrl.solvers.precision import ROUNDING


class Commitment(NamedTuple):
    """A commitment and its answer; NumPy's float64, of traced tables jax arrays in their own precision.

    leader: float[A], the strategy. follower: float[B], the answer, a pure one. payoffs: float[2], what both expect.
    regret: float[], what the follower could gain by another answer: 0 up to rounding.
    gap: float[], how much more the leader could at most expect by another commitment: the duality gap; 0 of a pure one, which is
        the best of those that there are.
    """

    leader: Any
    follower: Any
    payoffs: Any
    regret: Any
    gap: Any


def pure_commitment(payoff: Any, pessimistic: bool = False) -> Commitment:
    """Returns the best action to commit to, the first among equals. Pure, and vmappable over games.

    Args:
        payoff: float[2, A, B].
        pessimistic: whether a follower that is indifferent chooses what is worst for the leader, rather than what is best.

    Raises:
        ConfigError: the table is not that of a two-player game, or not finite.
    """
    where = "pure_commitment"
    xp: Any = jnp if is_traced(payoff) else np
    table = game_table(where, payoff) if is_traced(payoff) else require_payoffs(where, payoff)
    _require_two(where, table.shape[0])
    own, theirs = table
    most = theirs.max(1, keepdims=True)
    best = most - theirs <= ROUNDING * xp.maximum(abs(most), abs(theirs))
    answers = xp.where(best, own, xp.inf).argmin(1) if pessimistic else xp.where(best, own, -xp.inf).argmax(1)
    action = xp.take_along_axis(own, answers[:, None], 1)[:, 0].argmax()
    answer = answers[action]
    leader, follower = (xp.arange(n) == place for n, place in zip(own.shape, (action, answer), strict=True))
    zero = xp.zeros((), table.dtype)
    regret = theirs[action].max() - theirs[action, answer]
    return Commitment(leader.astype(table.dtype), follower.astype(table.dtype), table[:, action, answer], regret, zero)


def _require_two(where: str, players: int) -> None:
    require(players == 2, where, "the game must have two players", players, "Let one lead and one follow.")


def mixed_commitment(payoff: Any) -> Commitment:
    """Returns the best mixed strategy to commit to, with a follower that breaks ties for the leader; on the host in float64.

    For every action of the follower, a linear programme finds the best strategy against which it is a best response; the best
    of all these is the commitment. Payoffs of a player that only differ by rounding are equal.

    Args:
        payoff: float[2, A, B].

    Raises:
        ConfigError: the table is not that of a two-player game, or not finite.
        SolverError: a programme has no answer, the follower could gain more than a millionth of what it can lose by an answer, or
            the duality gap is more than a millionth of the distance from the leader's best pure commitment to its largest payoff.

    Source: Conitzer and Sandholm (2006), section 3.1, "multiple LPs".
    """
    where = "mixed_commitment"
    table = require_payoffs(where, payoff)
    _require_two(where, table.shape[0])
    own, theirs = tied(table)
    # In units of what is at stake: the value lies between that of the best pure commitment and the largest payoff.
    pure = pure_commitment(np.stack([own, theirs]))
    lower, upper = float(pure.payoffs[0]), float(own.max())
    if lower == upper:
        return pure
    scaled = (own - lower) / (upper - lower)
    found = [_against(where, scaled[:, answer], theirs - theirs[:, [answer]]) for answer in range(own.shape[1])]
    answer, (leader, value, _) = max(enumerate(found), key=lambda pair: pair[1][1])
    fix = "Round payoffs that are far from all others."
    gap = max(bound for _, _, bound in found) - value
    must = "the duality gap must be at most 1e-6 of the distance from the best pure commitment to the largest payoff"
    require(gap <= 1e-6, where, must, gap, fix, SolverError)
    # Losses are averaged, rather than payoffs: a constant that is added to all costs no precision.
    missed = leader @ (theirs.max(1, keepdims=True) - theirs)
    regret, most = missed[answer] - missed.min(), missed.max()
    must = "the follower must not gain more than 1e-6 of what it can lose by an answer"
    require(bool(regret <= 1e-6 * most), where, must, regret, fix, SolverError)
    follower = np.eye(own.shape[1])[answer]
    payoffs = np.array([lower + (upper - lower) * value, float(leader @ theirs[:, answer])])
    return Commitment(leader, follower, payoffs, np.float64(regret), np.float64(max(gap, 0.0) * (upper - lower)))


def _against(where: str, worth: np.ndarray, gains: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Returns the strategy float[A] of largest mean worth under which no other answer gains, its worth, and a bound of any's.

    Args:
        where: who asks.
        worth: float[A], of the leader's actions against the answer.
        gains: float[A, B], what the follower gains by each other answer.
    """
    actions = len(worth)
    others = in_units_of_rows(gains.T[(gains != 0).any(0)])
    # Where one answer is never as good as another, no strategy makes it a best response.
    if (others > 0).all(1).any():
        return np.full(actions, 1 / actions), -np.inf, -np.inf
    size = np.abs(worth).max() or 1.0
    solution = linprog(-worth / size, others, np.zeros(len(others)), np.ones((1, actions)), np.ones(1), [(0, None)] * actions)
    known = "a linear programme must have a solution or be infeasible"
    require(solution.status in (0, 2), where, known, solution.message, "Round payoffs that are far from all others.", SolverError)
    if solution.status == 2:
        return np.full(actions, 1 / actions), -np.inf, -np.inf
    strategy = solution.x.clip(0)
    strategy /= strategy.sum()
    prices = (-solution.ineqlin.marginals).clip(0) * size if len(others) else np.zeros(0)
    return strategy, float(strategy @ worth), float((worth - prices @ others).max())
