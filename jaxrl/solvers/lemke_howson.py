"""The Lemke-Howson algorithm: one Nash equilibrium of a two-player game by complementary pivoting.

Pure and without LAPACK: jit it, vmap it over games and labels. Every answer is checked by its regret. If float32 leaves too much
of it, the path is followed again in float64, for no other of the games side by side.

Source: Lemke and Howson (1964); von Stengel (2002), Computing equilibria for two-person games, sections 2.3 and 2.5.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.errors import is_traced, nan_unless, require, require_count, require_finite, require_index, require_real
from jaxrl.solvers.precision import ROUNDING, first_smallest, refined

TOLERANCE = 1e-4  # the largest regret of an answer that is returned, as a share of what is at stake for the player


class Solution(NamedTuple):
    """An equilibrium, or NaN where none was found.

    row: float[A], column: float[B], the strategies.
    regret: float[2], how much each player would gain by its best response: 0 up to rounding; payoffs that differ by the rounding
        of float64 are equal. If it exceeds ``TOLERANCE`` times the regret that a pure strategy of the player can rule out, the
        strategies are NaN.
    pivots: int32[], how many it took. If they reach ``max_pivots`` the path had not ended, and the strategies are NaN.
    """

    row: jax.Array
    column: jax.Array
    regret: jax.Array
    pivots: jax.Array


class _Path(NamedTuple):
    """tableau: float[L, 2 L + 1]. basis: int32[L], the variable of each row. entering, leaving: int32[], variables."""

    tableau: jax.Array
    basis: jax.Array
    entering: jax.Array
    leaving: jax.Array
    pivots: jax.Array


def lemke_howson(payoff: Any, label: jax.Array | int = 0, max_pivots: int = 1_000) -> Solution:
    """Follows the path of a dropped label to an equilibrium.

    With scaled payoffs R and C, the best-response conditions are ``R y <= 1`` and ``C' x <= 1`` for unscaled x, y >= 0. Action k
    is a label: it is missing where x_k > 0 although a slack says that k is no best response. The path starts at x = y = 0,
    lets one label go and pivots until it has come back. Ties between rows are broken lexicographically, so that the path
    cannot run in a circle in degenerate games either.

    Args:
        payoff: float[2, A, B].
        label: the label to drop, in [0, A + B): the row player's actions, then the column player's. Different labels may lead
            to different equilibria.
        max_pivots: an end of paths that are too long; in some games they grow exponentially with the number of actions.

    Returns:
        The solution, in the precision that jax is set to.

    Raises:
        ConfigError: the payoffs have another shape or are not finite, there is no such label, or ``max_pivots`` is no integer of
            at least 1. Of traced values the shapes alone are checked.
    """
    where = "lemke_howson"
    table: Any = payoff if is_traced(payoff) else require_real(where, "payoff", payoff)
    shape = jnp.shape(table)
    must, fix = "payoff must have shape [2, A, B]", "Stack one table for each player."
    require(len(shape) == 3 and shape[0] == 2 and min(shape) >= 1, where, must, shape, fix)
    if not is_traced(payoff):
        require_finite(where, "payoffs", table)
    require_index(where, "label", label, shape[1] + shape[2])
    require_count(where, "max_pivots", max_pivots)
    return _solve(jnp.asarray(table, jnp.result_type(float)), jnp.asarray(label, jnp.int32), max_pivots)


def from_all_labels(payoffs: Any, max_pivots: int = 1_000) -> Solution:
    """Follows the paths of all labels in many games of one size, in one compiled call and in float64.

    Args:
        payoffs: float[G, 2, A, B].
        max_pivots: as for ``lemke_howson``.

    Returns:
        Solutions on the host, every array with the leading axes [G, A + B].

    Raises:
        ConfigError: the payoffs have another shape or are not finite.
    """
    where = "from_all_labels"
    tables = require_finite(where, "payoffs", payoffs)
    fits = tables.ndim == 4 and tables.shape[1] == 2 and min(tables.shape) >= 1
    require(fits, where, "payoffs must have shape [G, 2, A, B]", tables.shape, "Stack one table for each player of each game.")
    with jax.enable_x64(True):
        labels = jnp.arange(sum(tables.shape[2:]))
        paths = jax.vmap(jax.vmap(partial(lemke_howson, max_pivots=max_pivots), (None, 0)), (0, None))
        return jax.tree.map(np.asarray, jax.jit(paths)(jnp.asarray(tables), labels))


@partial(jax.jit, static_argnames="max_pivots")
def _solve(payoff: jax.Array, label: jax.Array, max_pivots: int) -> Solution:
    def solve(game: tuple[jax.Array, jax.Array]) -> tuple[Solution, jax.Array]:
        solution, stake = _followed(*game, max_pivots)
        finished = solution.pivots < max_pivots
        return solution, finished & (solution.regret <= TOLERANCE * stake).all()

    solution, solved = refined(solve, (payoff, label))
    row, column = (nan_unless(solved, strategy) for strategy in (solution.row, solution.column))
    return solution._replace(row=row, column=column)


def _followed(payoff: jax.Array, label: jax.Array, max_pivots: int) -> tuple[Solution, jax.Array]:
    """Returns where the path ends, and what is at stake for both players, float[2]."""
    dtype, (actions, answers) = payoff.dtype, payoff.shape[1:]
    labels = actions + answers
    own_first = payoff[0], payoff[1].T
    missed = [_missed(table) for table in own_first]
    stakes = [_stake(table) for table in missed]
    # Equilibria do not change if a number is added to what a player gets against one action of the other, or if its payoffs are
    # scaled. Measured from the best answer and in units of the stake, payoffs that are never played cost no precision; and some
    # action earns at least 1 against every answer, which bounds the polytopes.
    row, column = (2 - table / stake for table, stake in zip(missed, stakes, strict=True))
    nothing = jnp.zeros((labels, labels), dtype)
    constraints = nothing.at[:actions, actions:].set(row).at[actions:, :actions].set(column)
    # Variables 0 .. L-1 are x and y, L .. 2 L-1 the slacks of their labels; the last column is the right-hand side.
    tableau = jnp.concatenate([constraints, jnp.eye(labels, dtype=dtype), jnp.ones((labels, 1), dtype)], axis=1)

    def unfinished(path: _Path):
        return (path.leaving % labels != label) & (path.pivots < max_pivots) | (path.pivots == 0)

    def pivot(path: _Path):
        row = _leaving_row(path.tableau, path.entering)
        pivot_row = path.tableau[row] / path.tableau[row, path.entering]
        column = path.tableau[:, path.entering].at[row].set(0)
        tableau = (path.tableau - column[:, None] * pivot_row).at[row].set(pivot_row)
        leaving = path.basis[row]
        basis = path.basis.at[row].set(path.entering)
        return _Path(tableau, basis, (leaving + labels) % (2 * labels), leaving, path.pivots + 1)

    slacks = jnp.arange(labels, 2 * labels, dtype=jnp.int32)
    path = jax.lax.while_loop(unfinished, pivot, _Path(tableau, slacks, label, label, jnp.int32(0)))
    values = jnp.zeros(2 * labels, dtype).at[path.basis].set(path.tableau[:, -1])
    x, y = (jnp.maximum(part, 0) for part in (values[:actions], values[actions:labels]))
    x, y = x / x.sum(), y / y.sum()
    lost = (missed[0] * y).sum(1), (missed[1] * x).sum(1)
    regret = jnp.stack([(own * loss).sum() - loss.min() for own, loss in zip((x, y), lost, strict=True)])
    return Solution(x, y, regret, path.pivots), jnp.stack(stakes)


def _missed(table: jax.Array) -> jax.Array:
    """Returns how much better the best answer would have been, float[own, other]; 0 where only rounding tells them apart."""
    best = table.max(0)
    missed = best - table
    return jnp.where(missed <= ROUNDING * jnp.abs(best), 0, missed)


def _stake(missed: jax.Array) -> jax.Array:
    """Returns the regret that some action never exceeds; the smallest regret there is, where an action has none.

    Args:
        missed: float[own, other], how much better the best answer would have been.
    """
    stake = missed.max(1).min()
    least = jnp.where(missed > 0, missed, jnp.inf).min()
    return jnp.where(stake > 0, stake, jnp.where(jnp.isfinite(least), least, 1))


def _leaving_row(tableau: jax.Array, entering: jax.Array) -> jax.Array:
    """Returns the row that limits the entering variable; of several the lexicographically smallest, int32[]."""
    labels = tableau.shape[0]
    rounding = 1e2 * jnp.finfo(tableau.dtype).eps
    pivot = tableau[:, entering]
    possible = pivot > rounding
    ratios = jnp.concatenate([tableau[:, -1:], tableau[:, labels : 2 * labels]], axis=1) / jnp.where(possible, pivot, 1)[:, None]

    def narrow(possible, ratio):
        smallest = jnp.where(possible, ratio, jnp.inf).min()
        return possible & (ratio <= smallest + rounding * (1 + jnp.abs(smallest))), None

    possible, _ = jax.lax.scan(narrow, possible, ratios.T)
    return first_smallest(jnp.where(possible, 0, 1).astype(tableau.dtype))
