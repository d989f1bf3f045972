"""The Lemke-Howson algorithm: one Nash equilibrium of a two-player game by complementary pivoting.

Pure and without LAPACK: jit it, vmap it over games and labels. It computes in the precision jax is set to; float64, inside
``jax.enable_x64(True)``, is advisable beyond about ten actions.

Source: Lemke and Howson (1964); von Stengel (2002), Computing equilibria for two-person games, sections 2.3 and 2.5.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Solution(NamedTuple):
    """row: float[A], column: float[B], the equilibrium; NaN if ``pivots`` ran out. pivots: int32[], how many it took."""

    row: jax.Array
    column: jax.Array
    pivots: jax.Array


class _Path(NamedTuple):
    """tableau: float[L, 2 L + 1]. basis: int32[L], the variable of each row. entering, leaving: int32[], variables."""

    tableau: jax.Array
    basis: jax.Array
    entering: jax.Array
    leaving: jax.Array
    pivots: jax.Array


def lemke_howson(payoff: jax.Array, label: jax.Array | int = 0, max_pivots: int = 1_000) -> Solution:
    """Follows the path of a dropped label to an equilibrium.

    With payoffs made positive, the best-response conditions are ``R y <= 1`` and ``C' x <= 1`` for unscaled x, y >= 0. Action
    k is a label: it is missing where x_k > 0 although a slack says that k is no best response. The path starts at x = y = 0,
    lets one label go and pivots until it has come back. Ties between rows are broken lexicographically, so that the path
    cannot run in a circle in degenerate games either.

    Args:
        payoff: float[2, A, B].
        label: the label to drop, in [0, A + B): the row player's actions, then the column player's. Different labels may lead
            to different equilibria.
        max_pivots: an end in case of numerical trouble.
    """
    dtype = jnp.result_type(float)
    actions, answers = payoff.shape[1:]
    labels = actions + answers
    row, column = _positive(payoff[0].astype(dtype)), _positive(payoff[1].astype(dtype))
    nothing = jnp.zeros((labels, labels), dtype)
    constraints = nothing.at[:actions, actions:].set(row).at[actions:, :actions].set(column.T)
    # Variables 0 .. L-1 are x and y, L .. 2 L-1 the slacks of their labels; the last column is the right-hand side.
    tableau = jnp.concatenate([constraints, jnp.eye(labels, dtype=dtype), jnp.ones((labels, 1), dtype)], axis=1)
    label = jnp.asarray(label, jnp.int32)

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
    values = jnp.where(path.leaving % labels == label, values, jnp.nan)
    x, y = values[:actions], values[actions:labels]
    return Solution(x / x.sum(), y / y.sum(), path.pivots)


def _positive(payoff: jax.Array) -> jax.Array:
    """Moves and scales a table into [1, 2], which changes no equilibrium."""
    span = payoff.max() - payoff.min()
    return 1 + (payoff - payoff.min()) / jnp.where(span > 0, span, 1)


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
    return jnp.argmax(possible).astype(jnp.int32)
