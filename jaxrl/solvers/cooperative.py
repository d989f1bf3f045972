"""Cooperative games with transferable utility: Shapley and Banzhaf values, the least core and the nucleolus.

A game of N players is a table ``worth``: float[2^N], what each coalition earns. Coalition number c has player i if bit i of c is
set: 0 is the empty one, which is worth 0, and 2^N - 1 holds all players. ``coalitions`` lists the members.

Source: Shapley (1953), "A value for n-person games"; Banzhaf (1965), "Weighted voting doesn't work"; Shapley and Shubik (1966),
"Quasi-cores in a monetary economy with nonconvex preferences"; Maschler, Peleg and Shapley (1979) on the least core; Schmeidler
(1969), "The nucleolus of a characteristic function game".
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.errors import SolverError, is_traced, require, require_count, require_finite
from jaxrl.solvers.linear_program import linprog, solved
from jaxrl.solvers.precision import ROUNDING

MOST_PLAYERS = 24  # of a table with 2^N entries


class Value(NamedTuple):
    """The payoff of each player; NumPy's float64, of traced tables jax arrays in their own precision.

    payoffs: float[N].
    residual: float[], by how much their sum differs from what it must be: 0 up to rounding.
    """

    payoffs: Any
    residual: Any


def coalitions(players: int) -> np.ndarray:
    """Returns who belongs to each coalition, bool[2^N, N].

    Raises:
        ConfigError: there is no player, or more than ``MOST_PLAYERS``.
    """
    _require_players("coalitions", players)
    return (np.arange(2**players)[:, None] >> np.arange(players) & 1).astype(bool)


def _require_players(where: str, players: int) -> None:
    require_count(where, "players", players)
    must = f"there must be at most {MOST_PLAYERS} players"
    require(players <= MOST_PLAYERS, where, must, players, "Use shapley_samples, which needs no table.")


def _game(where: str, worth: Any) -> tuple[Any, int]:
    """Returns the table, and the number of players."""
    table = worth if is_traced(worth) else require_finite(where, "worth", worth).astype(np.float64)
    players = int(table.size).bit_length() - 1
    shaped = table.ndim == 1 and table.size >= 2 and table.size == 2**players
    fix = "Give every coalition a worth, in the order of coalitions()."
    require(shaped, where, "worth must have shape [2^N]", table.shape, fix)
    _require_players(where, players)
    if not is_traced(table):
        require(bool(table[0] == 0), where, "worth must be 0 of the empty coalition", table[0].item(), "Subtract it from all.")
    return table, players


def _marginals(table: Any, players: int) -> tuple[Any, np.ndarray]:
    """Returns what each player adds to the coalitions without it, float[N, 2^(N-1)], and their sizes, int[N, 2^(N-1)]."""
    numbers = np.arange(2**players)
    without = np.stack([numbers[numbers >> player & 1 == 0] for player in range(players)])
    sizes = coalitions(players).sum(1)
    return table[without | (1 << np.arange(players))[:, None]] - table[without], sizes[without]


def shapley_value(worth: Any) -> Value:
    """Returns what each player adds on average, over all orders in which the players may come. Pure, and vmappable over games.

        phi_i = sum over S without i of |S|! (N - |S| - 1)! / N! [v(S and i) - v(S)]

    Args:
        worth: float[2^N].

    Returns:
        The value, which sums to what all earn together: the residual.

    Raises:
        ConfigError: the table has another shape, is not finite, or pays the empty coalition.

    Source: Shapley (1953), theorem and equation 13.
    """
    table, players = _game("shapley_value", worth)
    added, sizes = _marginals(table, players)
    weight = np.array([1 / (players * math.comb(players - 1, size)) for size in range(players)])[sizes]
    payoffs = (weight.astype(table.dtype) * added).sum(1)
    return Value(payoffs, abs(payoffs.sum() - table[-1]))


def banzhaf_value(worth: Any) -> Value:
    """Returns what each player adds on average, over all coalitions of the others. Pure, and vmappable over games.

    In a game of votes, in which coalitions are worth 0 or 1, that is the probability of being pivotal if all others vote by a
    coin.

    Args:
        worth: float[2^N].

    Returns:
        The value, which sums to the sum over S of (2 |S| - N) v(S) / 2^(N-1): the residual.

    Raises:
        ConfigError: as for ``shapley_value``.

    Source: Banzhaf (1965); Dubey and Shapley (1979), "Mathematical properties of the Banzhaf power index".
    """
    table, players = _game("banzhaf_value", worth)
    payoffs = _marginals(table, players)[0].mean(1)
    weight = (2 * coalitions(players).sum(1) - players) / 2 ** (players - 1)
    return Value(payoffs, abs(payoffs.sum() - (weight.astype(table.dtype) * table).sum()))


class Sampled(NamedTuple):
    """An estimate. payoffs: float[N]. standard_error: float[N], of each. residual: float[], as of ``Value``."""

    payoffs: jax.Array
    standard_error: jax.Array
    residual: jax.Array


def shapley_samples(key: jax.Array, worth: Callable[[jax.Array], jax.Array], players: int, num_orders: int) -> Sampled:
    """Estimates Shapley values from orders of the players, drawn uniformly; unbiased. Pure, and vmappable over keys.

    Args:
        key: of the draws.
        worth: ``(members) -> worth``: of a coalition, bool[N]; a pure function that may be traced.
        players: N (count).
        num_orders: M, orders (count), at least 2; each takes N + 1 worths.

    Raises:
        ConfigError: a count is out of range.

    Source: Castro, Gomez and Tejada (2009), "Polynomial calculation of the Shapley value based on sampling".
    """
    where = "shapley_samples"
    require_count(where, "players", players)
    require_count(where, "num_orders", num_orders, 2)

    def added(key):
        order = jax.random.permutation(key, players)
        come = jnp.argsort(order)  # when each player comes
        worths = jax.vmap(lambda size: worth(come < size))(jnp.arange(players + 1))
        return (worths[1:] - worths[:-1])[come]

    gains = jax.lax.map(added, jax.random.split(key, num_orders), batch_size=min(num_orders, 256))
    payoffs = gains.mean(0)
    error = gains.std(0, ddof=1) / jnp.sqrt(jnp.asarray(num_orders, gains.dtype))
    every, none = (worth(jnp.full(players, flag)) for flag in (True, False))
    return Sampled(payoffs, error, jnp.abs(payoffs.sum() - (every - none)))


def _surplus(table: np.ndarray, players: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns what coalitions earn beyond their members alone, in units of the most of it; what these earn alone; the unit."""
    alone = table[1 << np.arange(players)]
    surplus = table - coalitions(players) @ alone
    unit = float(np.abs(surplus).max()) or 1.0
    return surplus / unit, alone, unit


class LeastCore(NamedTuple):
    """Payoffs with which the coalition that complains most complains least.

    payoffs: float64[N], of the players; they sum to what all earn together.
    excess: the most by which a coalition, other than the empty one and that of all, earns more by itself than it is paid.
    core_is_empty: whether the excess is positive, by more than the gap and the rounding of the worths: no payoffs satisfy all.
    gap: by how much the excess of any other payoffs could at most be smaller: the duality gap.
    """

    payoffs: np.ndarray
    excess: float
    core_is_empty: bool
    gap: float


def least_core(worth: Any) -> LeastCore:
    """Returns payoffs in the least core, on the host in float64, by a linear programme; they are in the core unless it is empty.

    Args:
        worth: float[2^N], of two players or more.

    Raises:
        ConfigError: the table has another shape, is not finite, or pays the empty coalition; or there is one player only.
        SolverError: the programme has no solution, or its duality gap is more than a millionth of what is at stake: the most that
            a coalition adds to, or takes from, what its members earn alone.

    Source: Maschler, Peleg and Shapley (1979), "Geometric properties of the kernel, nucleolus, and related solution concepts";
    Bondareva (1963) and Shapley (1967) on the dual.
    """
    where = "least_core"
    require(not is_traced(worth), where, "worth must be numbers", "traced values", "Call it outside of compiled code.")
    table, players = _game(where, worth)
    fix = "One player gets its worth."
    require(players >= 2, where, "worth must be of two players or more", players, fix)
    members = coalitions(players)[1:-1].astype(np.float64)
    surplus, alone, unit = _surplus(table, players)
    surplus, together = surplus[1:-1], surplus[-1]
    # Variables: the payoffs, and the excess, which is made small: v(S) - x(S) <= excess.
    most = np.column_stack([-members, -np.ones(len(members))])
    equal = np.append(np.ones(players), 0.0)[None]
    bounds = [(None, None)] * (players + 1)
    solution = solved(where, linprog(np.eye(players + 1)[-1], most, -surplus, equal, np.array([together]), bounds))
    payoffs = solution.x[:-1] + (together - solution.x[:-1].sum()) / players
    excess = (surplus - members @ payoffs).max()
    # No payoffs have less than the mean excess of coalitions, which is the same for all where these weights are balanced.
    weights = (-solution.ineqlin.marginals).clip(0)
    weights = weights / weights.sum()
    covered = weights @ members
    unbalanced = np.abs(covered - covered.mean()).max() * np.abs(payoffs).sum()
    gap = excess - (weights @ surplus - covered.mean() * together - unbalanced)
    must, fix = "the duality gap must be at most 1e-6 of what is at stake", "Round worths that are far from all others."
    require(bool(gap <= 1e-6), where, must, float(gap), fix, SolverError)
    rounding = players * ROUNDING * max(1.0, np.abs(table).max() / unit)
    return LeastCore(alone + unit * payoffs, float(unit * excess), bool(excess - gap > rounding), float(unit * max(gap, 0.0)))


class Nucleolus(NamedTuple):
    """Payoffs with which the complaints of the coalitions, ordered from the largest, are as small as they can be.

    payoffs: float64[N], of the players; they sum to what all earn together.
    excesses: float64[K], the complaints that were settled, one after the other: the first is that of the least core, if everybody
        gets there what it earns alone.
    gap: by how much an excess could at most have been smaller when it was settled: the largest duality gap.
    """

    payoffs: np.ndarray
    excesses: np.ndarray
    gap: float


def nucleolus(worth: Any) -> Nucleolus:
    """Returns the nucleolus, on the host in float64, by a linear programme for each excess.

    Each programme makes the largest excess of the coalitions that are left small, with what was settled before kept. Coalitions
    with a price in the dual have this excess whatever the solution: they are settled, and so are those that add up from settled
    ones. Every player gets at least what it earns alone.

    Args:
        worth: float[2^N], of two players or more.

    Raises:
        ConfigError: the table has another shape, is not finite, or pays the empty coalition; there is one player only; or players
            earn more alone than all together.
        SolverError: a programme has no solution, or its duality gap is more than a millionth of what is at stake.

    Source: Schmeidler (1969), "The nucleolus of a characteristic function game"; Kopelowitz (1967), "Computation of the kernels
    of simple games and the nucleolus of n-person games", on the programmes.
    """
    where = "nucleolus"
    require(not is_traced(worth), where, "worth must be numbers", "traced values", "Call it outside of compiled code.")
    table, players = _game(where, worth)
    require(players >= 2, where, "worth must be of two players or more", players, "One player gets its worth.")
    surplus, alone, unit = _surplus(table, players)
    together = surplus[-1]
    fix = "least_core takes such games."
    must = "players must not earn more alone than all earn together"
    require(bool(together >= -players * ROUNDING * np.abs(table).max() / unit), where, must, float(alone.sum()), fix)
    together = max(together, 0.0)
    members = coalitions(players)[1:-1].astype(np.float64)
    worths = surplus[1:-1]
    # Settled: the sum of all payoffs, and then that of each coalition in turn; those of others that depend on them are, too.
    rows, sums, excesses, gaps = np.ones((1, players)), np.array([together]), [], [0.0]
    left = np.ones(len(members), bool)
    bounds = [(0, None)] * players + [(None, None)]
    while np.linalg.matrix_rank(rows) < players:
        basis = np.linalg.svd(rows)[2][: np.linalg.matrix_rank(rows)]
        left &= np.linalg.norm(members - members @ basis.T @ basis, axis=1) > 1e-9
        most = np.column_stack([-members[left], -np.ones(left.sum())])
        equal = np.column_stack([rows, np.zeros(len(rows))])
        cost = np.eye(players + 1)[-1]
        solution = solved(where, linprog(cost, most, -worths[left], equal, sums, bounds))
        excess = solution.x[-1]
        prices, kept = (-solution.ineqlin.marginals).clip(0), -solution.eqlin.marginals
        prices, kept = prices / prices.sum(), kept / prices.sum()
        # No payoffs have less than the priced mean of the excesses: what the prices of settled sums leave uncovered is at most
        # this much, as payoffs are not negative and have a sum.
        over = (prices @ members[left] - kept @ rows).max(initial=0.0)
        gaps.append(excess - (prices @ worths[left] - kept @ sums - over * together))
        settled = np.flatnonzero(left)[prices >= prices.max() / 2]
        rows, sums = np.vstack([rows, members[settled]]), np.append(sums, worths[settled] - excess)
        excesses.append(unit * excess)
    payoffs = np.linalg.lstsq(rows, sums, rcond=None)[0]
    payoffs += (together - payoffs.sum()) / players
    gap = max(gaps)
    must, fix = "the duality gap must be at most 1e-6 of what is at stake", "Round worths that are far from all others."
    require(bool(gap <= 1e-6), where, must, float(gap), fix, SolverError)
    return Nucleolus(alone + unit * payoffs, np.array(excesses), float(unit * gap))
