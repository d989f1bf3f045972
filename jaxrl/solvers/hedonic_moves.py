"""Moves in hedonic games: players go from coalition to coalition, one at a time, as long as someone gains by it.

Players think something of each other, ``values``: float[N, N], and make of it what they get in a coalition of M members,
themselves included:

    additive             the sum of what they think of the others
    fractional           this sum over M
    modified fractional  this sum over M - 1

Moves are those of ``jaxrl.solvers.hedonic``: a player goes to another coalition or to be alone, and gains. It needs no consent
(Nash stability), that of the coalition which it joins (individual stability), or that of the one which it leaves as well
(contractual stability); members that lose do not consent. Every contractual move raises the sum of what all get, so these moves
end, and if all begin alone, no player ever gets less than 0. Moves without consent end if the game is additive and symmetric:
they raise that sum, too. Others may go on for ever.

Everything compiles and vmaps over games. Every step looks at all N (N + 1) moves, in the time of a product of N x N matrices.

Source: Bogomolnaia and Jackson (2002), "The stability of hedonic coalition structures"; Zech and Bullinger (2025), "Deviation
dynamics in cardinal hedonic games".
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.errors import is_traced, require, require_count, require_finite, require_real, unknown_name

FORMS = ("additive", "fractional", "modified_fractional")
STABILITIES = ("nash", "individual", "contractual")
CHOICES = ("uniform", "largest")
ROUNDINGS = 4  # gains of fewer roundings of the sum of a player's values are 0


class Path(NamedTuple):
    """Partitions of N players that follow each other by T moves at most.

    labels: int32[T + 1, N], the coalition of every player, by the number of its first member. After the last move it stays.
    moves: int32[], how many there were.
    gain: float[], the most that a player could gain by one more: the path has ended where it is not positive.
    """

    labels: jax.Array
    moves: jax.Array
    gain: jax.Array

    @property
    def stable(self) -> jax.Array:
        return self.gain <= 0


def payoffs(values: Any, labels: Any, form: str = "additive") -> jax.Array:
    """Returns what every player gets in a partition, float[N].

    Args:
        values: float[N, N], what player i thinks of player j; the diagonal does not count.
        labels: int[N]; players of one coalition have the same number from 0 to N - 1.
        form: one of ``FORMS``, what players make of it.

    Raises:
        ConfigError: an argument has another shape, values are not finite, or labels no such numbers. Of traced ones the shapes
            alone are checked.
    """
    table, start = _game("payoffs", values, labels, form)
    together = start[:, None] == start
    return jnp.where(together, table, 0).sum(1) / _divisor(form, table)[together.sum(1)]


def moves(
    key: jax.Array,
    values: Any,
    num_steps: int,
    *,
    form: str = "additive",
    stability: str = "contractual",
    choice: str = "uniform",
    start: Any = None,
) -> Path:
    """Lets players move until none gains by it, or ``num_steps`` times.

    Args:
        key: draws among moves.
        values: float[N, N], what player i thinks of player j; the diagonal does not count.
        num_steps: T (count).
        form: one of ``FORMS``, what players make of it.
        stability: who must consent: no player ("nash"), those who are joined, or those who are left as well.
        choice: all moves are equally likely, or the one of the largest gain is made, the first among equals.
        start: int[N], the first partition: players of one coalition have the same number from 0 to N - 1. By default all are
            alone.

    Raises:
        ConfigError: an argument has another shape or is out of range, or values are not finite. Of traced values the shapes
            alone are checked.
    """
    where = "moves"
    require_count(where, "num_steps", num_steps)
    for name, value, known in (("stability", stability, STABILITIES), ("choice", choice, CHOICES)):
        if value not in known:
            raise unknown_name(where, name, value, known)
    alone = np.arange(np.shape(values)[0] if np.ndim(values) else 0)
    table, first = _game(where, values, alone if start is None else start, form)
    asked = jnp.array([stability != "nash", stability == "contractual"])
    return _moves(key, table, _divisor(form, table), asked, jnp.array(choice == "largest"), first, num_steps)


def _game(where: str, values: Any, labels: Any, form: str) -> tuple[jax.Array, jax.Array]:
    """Returns the values with zeros on the diagonal, and the labels by first members."""
    if form not in FORMS:
        raise unknown_name(where, "form", form, FORMS)
    table = jnp.asarray(values) if is_traced(values) else require_finite(where, "values", values)
    square = table.ndim == 2 and table.shape[0] == table.shape[1] and table.shape[0] >= 1
    require(square, where, "values must have shape [N, N]", table.shape, "Give a row for each player.")
    players, fix = len(table), "Number the coalitions from 0."
    number = jnp.asarray(labels) if is_traced(labels) else require_real(where, "the partition", labels, fix)
    require(number.shape == (players,), where, f"the partition must have shape [{players}]", number.shape, fix)
    if not is_traced(labels):
        whole = np.issubdtype(number.dtype, np.integer) and bool(((number >= 0) & (number < players)).all())
        require(whole, where, f"the partition must have numbers from 0 to {players - 1}", labels, fix)
    dtype = jnp.result_type(table.dtype, jnp.float32) if isinstance(values, jax.Array) else jnp.result_type(float)
    others = jnp.where(jnp.eye(players, dtype=bool), 0, jnp.asarray(table, dtype))
    return others, _by_first_members(jnp.asarray(number, jnp.int32))


def _divisor(form: str, table: jax.Array) -> jax.Array:
    """Returns by what sums are divided in coalitions of 0, 1, ..., N members, float[N + 1]."""
    size = np.arange(len(table) + 1)
    divisor = {"additive": np.ones_like(size), "fractional": size, "modified_fractional": size - 1}[form]
    return jnp.asarray(np.maximum(divisor, 1), table.dtype)


def _by_first_members(labels: jax.Array) -> jax.Array:
    return (labels[:, None] == labels).argmax(1).astype(jnp.int32)


def _own(sums: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.take_along_axis(sums, labels[:, None], 1)[:, 0]


def _gains(values: jax.Array, divisor: jax.Array, asked: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns what players gain by joining each coalition, and by being alone, float[N, N + 1]; -inf where they may not.

    asked: bool[2], whether the members of the coalition that is joined must agree, and those of the one that is left.
    """
    players = len(labels)
    rounding = ROUNDINGS * jnp.finfo(values.dtype).eps * jnp.abs(values).sum(1, keepdims=True)
    member = labels[:, None] == jnp.arange(players)
    size = member.sum(0)
    sums = jnp.matmul(values, member.astype(values.dtype), precision="highest")
    own, own_size = _own(sums, labels)[:, None], size[labels][:, None]
    now = own / divisor[own_size]
    joined = jnp.concatenate([sums / divisor[size + 1], jnp.zeros((players, 1), values.dtype)], 1)
    gain = joined - now
    gain = jnp.where(jnp.abs(gain) <= rounding, 0, gain)
    # Who loses, [k, i], if player i joins the coalition of k, or leaves it.
    harmed = (own + values) / divisor[own_size + 1] - now < -rounding
    left = ((own - values) / divisor[own_size - 1] - now < -rounding) & member[:, labels] & ~jnp.eye(players, dtype=bool)
    objected = (harmed.T[:, :, None] & member).any(1)  # [i, c]
    refused = (asked[0] & jnp.pad(objected, ((0, 0), (0, 1)))) | (asked[1] & left.any(0)[:, None])
    other = jnp.concatenate([(size > 0) & ~member, own_size > 1], 1)
    return jnp.where(other & ~refused, gain, -jnp.inf)


@partial(jax.jit, static_argnames="num_steps")
def _moves(key, values, divisor, asked, largest, first, num_steps: int) -> Path:
    players = len(first)

    def step(labels, key):
        gain = _gains(values, divisor, asked, labels)
        drawn = jax.random.uniform(key, gain.shape, gain.dtype)
        score = jnp.where(gain > 0, jnp.where(largest, gain, drawn), -1)
        player, target = jnp.divmod(score.argmax(), players + 1)
        # A player who goes to be alone has a number that no other has, until coalitions are numbered again.
        moved = _by_first_members(labels.at[player].set(target.astype(jnp.int32)))
        moves = (gain > 0).any()
        labels = jnp.where(moves, moved, labels)
        return labels, (labels, moves)

    last, (path, moved) = jax.lax.scan(step, first, jax.random.split(key, num_steps))
    gain = _gains(values, divisor, asked, last).max()
    return Path(jnp.concatenate([first[None], path]), moved.sum(dtype=jnp.int32), gain)
