"""Two-player zero-sum games solved inside compiled code: the linear program of von Neumann, by the simplex method.

Exact up to rounding, without LAPACK: jit it, vmap it over thousands of games. ``jaxrl.solvers.equilibria.minimax`` solves the
same program on the host.

Payoffs are measured from the lower security level, the most that the row player can secure by a pure strategy, in units of the
distance to the upper one: the value lies between the two. An outcome that is far better or worse than that, but is not played,
then costs no precision. Security levels that differ by the rounding of the payoffs are equal. Every answer is checked by its
duality gap. If float32 leaves too large a gap, the game is solved again in float64, by other paths if need be, and none of the
games beside it.

Source: von Neumann and Morgenstern (1944); Dantzig (1951); the rule against cycling: Bland (1977).
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.errors import is_traced, nan_unless, require, require_count, require_finite, require_real
from jaxrl.solvers.precision import ROUNDING, first_smallest, refined

TOLERANCE = 1e-4  # the largest gap of an answer that is returned, as a share of the distance between the security levels
PRECISE, TRIES = 1e-9, 4  # in float64: the gap that ends the search, in the same unit, and how many tries there are at most


class Solution(NamedTuple):
    """value: float[], what the row player gets if both play these strategies. row: float[A]; column: float[B].

    gap: float[], by how much the row player's best answer to ``column`` earns more than the column player's best answer to
    ``row`` leaves; the value of the game lies in between. If it exceeds ``TOLERANCE`` times the distance between the security
    levels, plus the rounding of the payoffs that are played, nothing was solved and the other fields are NaN.
    """

    value: jax.Array
    row: jax.Array
    column: jax.Array
    gap: jax.Array


class _Tableau(NamedTuple):
    """rows: float[A + 1, B + A + 1], the constraints and below them the objective; the last column is the right-hand side.

    basis: int32[A], the variable of each constraint. pivots: int32[], how many were made.
    """

    rows: jax.Array
    basis: jax.Array
    pivots: jax.Array


def solve(
    payoff: jax.Array, row_mask: jax.Array | None = None, column_mask: jax.Array | None = None, max_pivots: int = 1_000
) -> Solution:
    """Solves a zero-sum game.

    Args:
        payoff: float[A, B], what the row player gets from the column player; finite.
        row_mask: bool[A], True = legal, at least one; None where every action is legal. An illegal action is never played, and
            what it pays does not matter.
        column_mask: bool[B], likewise.
        max_pivots: an end in case of numerical trouble.

    Returns:
        The solution, in the precision that jax is set to.

    Raises:
        ConfigError: a shape does not fit, a mask is not bool, a legal payoff is not finite, no action is legal, or ``max_pivots``
            is no integer of at least 1. Of traced values the shapes and types alone are checked.
    """
    require_count("zero_sum", "max_pivots", max_pivots)
    table = _require_game(payoff, row_mask, column_mask)
    masks = [None if mask is None else jnp.asarray(mask) for mask in (row_mask, column_mask)]
    return _solve(jnp.asarray(table, jnp.result_type(float)), *masks, max_pivots=max_pivots)


@partial(jax.jit, static_argnames="max_pivots")
def _solve(payoff: jax.Array, row_mask: jax.Array | None, column_mask: jax.Array | None, max_pivots: int) -> Solution:
    if row_mask is None and column_mask is None:
        legal = None
    else:
        rows, columns = (True if mask is None else mask for mask in (row_mask, column_mask))
        legal = jnp.broadcast_to(jnp.asarray(rows)[..., None] & columns, payoff.shape)

    def checked(game: tuple[jax.Array, jax.Array | None]) -> tuple[Solution, jax.Array]:
        # float32 has one try: where that fails, float64 is next.
        solve = _tried if game[0].dtype == jnp.float64 else _try
        solution, miss = solve(*game, max_pivots)
        return solution, miss <= TOLERANCE

    solution, solved = refined(checked, (payoff, legal))
    value, row, column = (nan_unless(solved, part) for part in solution[:3])
    return Solution(value, row, column, solution.gap)


def _tried(payoff: jax.Array, legal: jax.Array | None, max_pivots: int) -> tuple[Solution, jax.Array]:
    """Returns the best solution of several tries, which end with the first that is precise, and its miss; see ``_try``.

    Payoffs that nearly tie may lead the simplex method through a vertex where it decides by rounding. Each try takes another
    path: it solves the program of the other player, or that of payoffs moved by a constant.
    """
    actions, answers = payoff.shape
    size = max(actions, answers)
    if actions != answers:  # square, so that the program of either player has the same shape
        legal = jnp.ones(payoff.shape, bool) if legal is None else legal
        payoff, legal = (jnp.pad(table, ((0, size - actions), (0, size - answers))) for table in (payoff, legal))

    def attempt(carry: tuple[jax.Array, Solution, jax.Array]) -> tuple[jax.Array, Solution, jax.Array]:
        number, best, least = carry
        turned = number % 2 == 1
        game = jnp.where(turned, -payoff.T, payoff)
        mask = None if legal is None else jnp.where(turned, legal.T, legal)
        found, miss = _try(game, mask, max_pivots, jnp.where(number < 2, 1, 3).astype(payoff.dtype))
        mine = found._replace(value=jnp.where(turned, -found.value, found.value))
        mine = mine._replace(row=jnp.where(turned, found.column, found.row), column=jnp.where(turned, found.row, found.column))
        return number + 1, *jax.tree.map(lambda new, old: jnp.where(miss < least, new, old), (mine, miss), (best, least))

    def imprecise(carry: tuple[jax.Array, Solution, jax.Array]) -> jax.Array:
        return (carry[2] > PRECISE) & (carry[0] < TRIES)

    nothing = Solution(*(jnp.full(shape, jnp.inf, payoff.dtype) for shape in ((), size, size, ())))
    _, found, miss = jax.lax.while_loop(imprecise, attempt, (jnp.int32(0), nothing, nothing.gap))
    return Solution(found.value, found.row[:actions], found.column[:answers], found.gap), miss


def _try(payoff: jax.Array, legal: jax.Array | None, max_pivots: int, level: Any = 1) -> tuple[Solution, jax.Array]:
    """Returns the solution, in the precision of the payoffs, and its miss: the gap beyond rounding in units of the stake.

    The column player's program, with the payoffs M moved and scaled so that the security levels are ``level``, float[], and 1
    more: maximise the sum of y subject to M y <= 1, y >= 0. Its value is 1 / v, its solution y = column / v and that of its dual
    x = row / v.
    """
    dtype, (actions, answers) = payoff.dtype, payoff.shape
    # Payoffs of illegal actions are put out of sight of the minimum of its row and of the maximum of its column.
    for_rows, for_columns = (payoff, payoff) if legal is None else (_else(legal, payoff, jnp.inf), _else(legal, payoff, -jnp.inf))
    secured, conceded = for_rows.min(1), for_columns.max(0)
    if legal is not None:
        secured, conceded = _else(legal.any(1), secured, -jnp.inf), _else(legal.any(0), conceded, jnp.inf)
    lower, upper = secured.max(), conceded.min()
    stake, size = upper - lower, jnp.maximum(jnp.abs(lower), jnp.abs(upper))
    saddle = stake <= ROUNDING * size
    scaled = (payoff - lower) / jnp.where(saddle, 1, stake)
    # An illegal row of zeros never limits, and an illegal column of zeros never improves: neither enters a strategy.
    positive = level + scaled if legal is None else _else(legal, level + scaled, 0)
    column_cost = -1 if legal is None else -legal.any(0).astype(dtype)
    objective = jnp.zeros(answers + actions + 1, dtype).at[:answers].set(column_cost)
    constraints = jnp.concatenate([positive, jnp.eye(actions, dtype=dtype), jnp.ones((actions, 1), dtype)], axis=1)
    slacks = answers + jnp.arange(actions, dtype=jnp.int32)
    tableau = _Tableau(jnp.concatenate([constraints, objective[None]]), slacks, jnp.int32(0))
    rounding = 100 * float(jnp.finfo(dtype).eps)

    def unfinished(tableau: _Tableau):
        return ~saddle & (tableau.rows[-1, :-1] < -rounding).any() & (tableau.pivots < max_pivots)

    rows, basis, _ = jax.lax.while_loop(unfinished, lambda tableau: _pivot(tableau, rounding), tableau)
    column = jnp.where(basis == jnp.arange(answers, dtype=jnp.int32)[:, None], rows[:-1, -1], 0).sum(1)
    pure_row, pure_column = (jnp.arange(len(loss)) == first_smallest(loss) for loss in (-secured, conceded))
    row = jnp.where(saddle, pure_row, _normalised(rows[-1, answers:-1]))
    column = jnp.where(saddle, pure_column, _normalised(column))
    shifted = payoff - lower if legal is None else _else(legal, payoff - lower, 0)
    most, least = (shifted * column).sum(1), (shifted * row[:, None]).sum(0)
    if legal is not None:
        most, least = _else(legal.any(1), most, -jnp.inf), _else(legal.any(0), least, jnp.inf)
    gap = most.max() - least.min()
    # Where a mask leaves nothing, so that minus infinity stands for the best, nothing is solved either.
    gap = jnp.where(jnp.isfinite(gap), gap, jnp.asarray(jnp.inf, dtype))
    played = (row * (jnp.abs(shifted) * column).sum(1)).sum() + size
    solution = Solution(lower + (row * (shifted * column).sum(1)).sum(), row, column, gap)
    return solution, jnp.maximum(gap - ROUNDING * played, 0) / jnp.where(gap > ROUNDING * played, stake, 1)


def _require_game(payoff: Any, row_mask: Any, column_mask: Any) -> Any:
    """Returns the payoffs, as an array of NumPy unless they are traced."""
    where = "zero_sum"
    table = payoff if is_traced(payoff) else require_real(where, "payoff", payoff)
    shape = jnp.shape(table)
    require(len(shape) == 2 and min(shape) >= 1, where, "payoff must have shape [A, B]", shape, "Give the row player's table.")
    masks = [("row_mask", row_mask), ("column_mask", column_mask)]
    given = [(axis, *named) for axis, named in enumerate(masks) if named[1] is not None]
    legal = np.ones(shape, bool)
    for axis, name, mask in given:
        fix = "Give a flag for each action."
        flags = mask if is_traced(mask) else require_real(where, name, mask, fix)
        require(flags.shape == (shape[axis],), where, f"{name} must have shape [{shape[axis]}]", flags.shape, fix)
        require(flags.dtype == bool, where, f"{name} must be bool", str(flags.dtype), f"Pass {name}.astype(bool).")
        if not is_traced(mask):
            require(bool(flags.any()), where, f"{name} must leave an action legal", flags.tolist(), "Set one to True.")
            legal &= np.expand_dims(flags, 1 - axis)
    if not is_traced(payoff, row_mask, column_mask):
        require_finite(where, "legal payoffs", np.where(legal, table, 0.0))
    return table


def _else(condition: jax.Array, array: jax.Array, other: Any) -> jax.Array:
    return jnp.where(condition, array, jnp.asarray(other, array.dtype))


def _pivot(tableau: _Tableau, rounding: float) -> _Tableau:
    """Exchanges one variable. Look-ups are written as sums over a mask: many games side by side are faster that way."""
    rows, basis, pivots = tableau
    # The variable that improves fastest enters, and of the rows that limit it the one with the largest pivot leaves, which is
    # precise. Should that run in a circle, Bland's rule leads out: the first variable that improves, the first row that limits.
    circling = pivots > 8 * len(basis)
    reduced = rows[-1, :-1]
    improves = reduced < -rounding
    entering = first_smallest(jnp.where(circling, jnp.where(improves, -1, 0), reduced))
    column = jnp.where(jnp.arange(rows.shape[1], dtype=jnp.int32) == entering, rows, 0).sum(1)
    possible = column[:-1] > rounding
    ratio = jnp.where(possible, rows[:-1, -1] / jnp.where(possible, column[:-1], 1), jnp.inf)
    tied = possible & (ratio <= ratio.min() + rounding)
    leaving = first_smallest(jnp.where(tied, jnp.where(circling, basis, -column[:-1]), jnp.inf))
    here = jnp.arange(len(column), dtype=jnp.int32) == leaving
    pivot_row = jnp.where(here[:, None], rows, 0).sum(0) / jnp.where(here, column, 0).sum()
    rows = jnp.where(here[:, None], pivot_row, rows - column[:, None] * pivot_row)
    return _Tableau(rows, jnp.where(here[:-1], entering, basis), pivots + 1)


def _normalised(strategy: jax.Array) -> jax.Array:
    strategy = jnp.maximum(strategy, 0)
    return strategy / strategy.sum()
