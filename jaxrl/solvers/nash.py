"""One Nash equilibrium of a two-player game, selected by a rule, inside compiled code: what players agree on who share the rule.

A game may have many equilibria, and players who each choose one of their own need not be in equilibrium. Two rules select:

    first   where the path of Lemke and Howson ends that drops the row player's first action; should rounding lead it astray, that
            of the next action, and so on
    best    of the equilibria in pure strategies the one in which both players together get most, the first among equals, row by
            row; if there is none, as "first". A regret within the rounding of the payoffs' precision is none

``jaxrl.solvers.equilibria.support_enumeration`` lists all equilibria, on the host: in some games a mixed one pays more than those
in pure strategies, and is not selected. Every answer comes with its regrets.

Source: Lemke and Howson (1964); the rules: after Hu and Wellman (2003), Nash Q-learning for general-sum stochastic games.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrl.errors import is_traced, require, require_finite, require_real, unknown_name
from jaxrl.solvers.lemke_howson import lemke_howson

RULES = ("first", "best")


class Selection(NamedTuple):
    """An equilibrium, or NaN where the rule finds none whose regret is small.

    row: float[A], column: float[B], the strategies.
    payoff: float[2], what each player gets.
    regret: float[2], how much each player would gain by its best response: within rounding in pure strategies, else as small as
        ``jaxrl.solvers.lemke_howson`` promises.
    """

    row: jax.Array
    column: jax.Array
    payoff: jax.Array
    regret: jax.Array


def select(payoff: Any, rule: str = "best", row_mask: Any = None, column_mask: Any = None) -> Selection:
    """Returns the equilibrium that a rule selects.

    Args:
        payoff: float[2, A, B].
        rule: "first" or "best".
        row_mask: bool[A], True = legal, at least one; None where every action is legal. An illegal action is never played, and
            what it pays does not matter, but it must be finite.
        column_mask: bool[B], likewise.

    Returns:
        The selection, in the precision that jax is set to.

    Raises:
        ConfigError: the payoffs have another shape or are not finite, a mask does not fit, is not bool or leaves nothing, or
            there is no such rule. Of traced values the shapes and types alone are checked.
    """
    where = "nash.select"
    if rule not in RULES:
        raise unknown_name(where, "rule", rule, RULES)
    table: Any = payoff if is_traced(payoff) else require_real(where, "payoff", payoff)
    shape = jnp.shape(table)
    must, fix = "payoff must have shape [2, A, B]", "Stack one table for each player."
    require(len(shape) == 3 and shape[0] == 2 and min(shape) >= 1, where, must, shape, fix)
    if not is_traced(payoff):
        require_finite(where, "payoffs", table)
    masks = [_require_mask(where, *named) for named in (("row_mask", row_mask, shape[1]), ("column_mask", column_mask, shape[2]))]
    return _select(jnp.asarray(table, jnp.result_type(float)), *masks, rule=rule)


def _require_mask(where: str, name: str, mask: Any, actions: int) -> jax.Array | None:
    if mask is None:
        return None
    fix = "Give a flag for each action."
    flags: Any = mask if is_traced(mask) else require_real(where, name, mask, fix)
    require(flags.shape == (actions,), where, f"{name} must have shape [{actions}]", flags.shape, fix)
    require(flags.dtype == bool, where, f"{name} must be bool", str(flags.dtype), f"Pass {name}.astype(bool).")
    if not is_traced(mask):
        require(bool(flags.any()), where, f"{name} must leave an action legal", flags.tolist(), "Set one to True.")
    return jnp.asarray(flags)


@partial(jax.jit, static_argnames="rule")
def _select(payoff: jax.Array, row_mask: jax.Array | None, column_mask: jax.Array | None, rule: str) -> Selection:
    actions, answers = payoff.shape[1:]
    game = payoff
    if row_mask is not None or column_mask is not None:
        rows = jnp.ones(actions, bool) if row_mask is None else row_mask
        columns = jnp.ones(answers, bool) if column_mask is None else column_mask
        game = _without_illegal(payoff, rows, columns)

    if rule == "first":
        return _path(game)
    pure, found = _best_pure(game)
    # Under vmap a path is followed in every game. Where it is not needed it is one of two steps, in a game of one outcome.
    easy = jnp.zeros_like(game).at[:, 0, 0].set(1)
    return jax.tree.map(lambda one, other: jnp.where(found, one, other), pure, _path(jnp.where(found, easy, game)))


def _path(game: jax.Array) -> Selection:
    """Returns where the first path ends that leads to an equilibrium, of the labels in their order."""

    def follow(label: jax.Array) -> tuple[jax.Array, Selection]:
        row, column, regret, _ = lemke_howson(game, label)
        paid = ((row[:, None] * game).sum(1) * column).sum(1)  # sums, as precise on every device
        return label + 1, Selection(row, column, paid, regret)

    def astray(carry: tuple[jax.Array, Selection]) -> jax.Array:
        return jnp.isnan(carry[1].payoff).any() & (carry[0] < sum(game.shape[1:]))

    return jax.lax.while_loop(astray, lambda carry: follow(carry[0]), follow(jnp.int32(0)))[1]


def _best_pure(game: jax.Array) -> tuple[Selection, jax.Array]:
    """Returns the equilibrium in pure strategies in which both players get most, and whether there is one, bool[]."""
    actions, answers = game.shape[1:]
    regret = jnp.stack([game[0].max(0) - game[0], game[1].max(1, keepdims=True) - game[1]])
    rounding = 8 * float(jnp.finfo(game.dtype).eps) * jnp.abs(game).max((1, 2), keepdims=True)
    stable = (regret <= rounding).all(0)
    row, column = jnp.unravel_index(jnp.argmax(jnp.where(stable, game.sum(0), -jnp.inf)), stable.shape)
    one, other = jax.nn.one_hot(row, actions, dtype=game.dtype), jax.nn.one_hot(column, answers, dtype=game.dtype)
    return Selection(one, other, game[:, row, column], regret[:, row, column]), stable.any()


def _without_illegal(payoff: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Returns the game in which illegal actions pay their player less than any legal outcome, so that none is ever played."""
    legal = rows[:, None] & columns
    lowest = jnp.where(legal, payoff, jnp.inf).min((1, 2), keepdims=True)
    highest = jnp.where(legal, payoff, -jnp.inf).max((1, 2), keepdims=True)
    forbidding = lowest - jnp.where(highest > lowest, highest - lowest, 1)
    own = jnp.stack([jnp.broadcast_to(rows[:, None], legal.shape), jnp.broadcast_to(columns, legal.shape)])
    return jnp.where(legal, payoff, jnp.where(own, lowest, forbidding))
