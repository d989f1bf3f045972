"""Hedonic games: players care about who is in their coalition, and form a partition. All partitions of few players are looked at.

A game of N players is a table ``utility``: float[N, 2^N], what player i gets in coalition c. Coalitions are numbered as in
``jaxrl.solvers.cooperative``: c has player i if bit i of c is set; entries of coalitions without the player do not count.

    individually rational     no player prefers to be alone
    Nash stable               no player prefers to join another coalition, or to be alone
    individually stable       nor to join one of which no member minds
    contractually stable      nor to do so if no member of the old one minds either
    core stable               no coalition of which all members prefer it to their own

Source: Bogomolnaia and Jackson (2002), "The stability of hedonic coalition structures"; Aziz et al. (2019), "Fractional hedonic
games"; Olsen (2012), "On defining and computing communities", on the modified form.
"""

from typing import Any, NamedTuple

import numpy as np

from jaxrl.errors import require, require_count, require_finite
from jaxrl.solvers.cooperative import coalitions
from jaxrl.solvers.precision import ROUNDING

MOST_PLAYERS = 9  # of whom all 21,147 partitions are looked at


def additive(values: Any) -> np.ndarray:
    """Returns the utilities of players who add up what they think of the others in their coalition, float64[N, 2^N].

    Args:
        values: float[N, N], what player i thinks of player j; the diagonal does not count.

    Raises:
        ConfigError: the values have another shape or are not finite, or there are more than ``cooperative.MOST_PLAYERS``.
    """
    return _sums("additive", values)[0]


def fractional(values: Any) -> np.ndarray:
    """Returns the utilities of players who average over their coalition, themselves included; see ``additive``.

    Source: Aziz et al. (2019).
    """
    sums, size = _sums("fractional", values)
    return sums / np.maximum(size, 1)


def modified_fractional(values: Any) -> np.ndarray:
    """Returns the utilities of players who average over the others in their coalition; see ``additive``.

    Source: Olsen (2012).
    """
    sums, size = _sums("modified_fractional", values)
    return sums / np.maximum(size - 1, 1)


def _sums(where: str, values: Any) -> tuple[np.ndarray, np.ndarray]:
    table = require_finite(where, "values", values).astype(np.float64)
    square = table.ndim == 2 and table.shape[0] == table.shape[1] and table.shape[0] >= 1
    require(square, where, "values must have shape [N, N]", table.shape, "Give a row for each player.")
    members = coalitions(len(table))
    others = table * (1 - np.eye(len(table)))
    return np.where(members.T, others @ members.T, 0.0), members.sum(1)


def partitions(players: int) -> np.ndarray:
    """Returns all partitions of the players, int8[P, N]: in each, the number of every player's coalition.

    Coalitions are numbered in the order of their first players, from 0.

    Raises:
        ConfigError: there is no player, or more than ``MOST_PLAYERS``.

    Source: Knuth, The Art of Computer Programming, volume 4A, section 7.2.1.5, on restricted growth strings.
    """
    require_count("partitions", "players", players)
    must, fix = (
        f"there must be at most {MOST_PLAYERS} players",
        "Follow moves from one partition instead (hedonic_moves).",
    )
    require(players <= MOST_PLAYERS, "partitions", must, players, fix)
    labels = np.zeros((1, 1), np.int8)
    for _ in range(players - 1):
        choices = labels.max(1) + 2
        ends = np.cumsum(choices)
        new = np.arange(ends[-1]) - np.repeat(ends - choices, choices)
        labels = np.column_stack([np.repeat(labels, choices, 0), new.astype(np.int8)])
    return labels


class Structures(NamedTuple):
    """All P partitions of the players of a game, and how much they could gain in each; NumPy's float64.

    The partition is stable in a sense where that gain is not positive; the properties of the same names say so.

    labels: int8[P, N], see ``partitions``.
    payoffs: float64[P, N], what every player gets.
    alone: float64[P], the most that a player gains by being alone.
    nash: float64[P], the most that a player gains by joining another coalition, or by being alone.
    individual: float64[P], likewise, where no member of the joined coalition loses.
    contractual: float64[P], likewise, where no member of the left coalition loses either.
    core: float64[P], the most that all members of a coalition, of any, gain by forming it.
    """

    labels: np.ndarray
    payoffs: np.ndarray
    alone: np.ndarray
    nash: np.ndarray
    individual: np.ndarray
    contractual: np.ndarray
    core: np.ndarray

    @property
    def individually_rational(self) -> np.ndarray:
        return self.alone <= 0

    @property
    def nash_stable(self) -> np.ndarray:
        return self.nash <= 0

    @property
    def individually_stable(self) -> np.ndarray:
        return self.individual <= 0

    @property
    def contractually_stable(self) -> np.ndarray:
        return self.contractual <= 0

    @property
    def core_stable(self) -> np.ndarray:
        return self.core <= 0


def structures(utility: Any) -> Structures:
    """Measures all partitions of the players, on the host in float64. Utilities that only differ by rounding are equal.

    Args:
        utility: float[N, 2^N], of at most ``MOST_PLAYERS`` players.

    Raises:
        ConfigError: the table has another shape or is not finite, or there are too many players.
    """
    where = "structures"
    table = require_finite(where, "utility", utility).astype(np.float64)
    players = len(table) if table.ndim == 2 else 0
    shaped = players >= 1 and table.shape[1] == 2**players
    require(shaped, where, "utility must have shape [N, 2^N]", table.shape, "additive makes one of what players think of others.")
    labels = partitions(players)
    own_bit = 1 << np.arange(players)
    # The coalition with each label, and with no player in the one after the last: int[P, N + 1].
    number = np.arange(players + 1)
    coalition = ((labels[:, None, :] == number[:, None]) * own_bit).sum(-1)
    mine = np.take_along_axis(coalition, labels.astype(np.int64), 1)
    payoffs = table[np.arange(players), mine]

    def gain(new: np.ndarray, old: np.ndarray) -> np.ndarray:
        change = new - old
        return np.where(np.abs(change) <= ROUNDING * np.maximum(np.abs(new), np.abs(old)), 0.0, change)

    alone = gain(table[np.arange(players), own_bit], payoffs)
    nash, individual, contractual = (np.full(len(labels), -np.inf) for _ in range(3))
    for player, other in np.ndindex(players, players + 1):
        joined = coalition[:, other]
        moves = (labels[:, player] != other) & (joined | own_bit[player] != mine[:, player])
        # Of several coalitions without a member, the first is a move to being alone.
        moves &= (joined > 0) | (labels.max(1) + 1 == other)
        after, left = joined | own_bit[player], mine[:, player] & ~own_bit[player]
        won = np.where(moves, gain(table[player, after], payoffs[:, player]), -np.inf)
        unharmed, released = np.ones(len(labels), bool), np.ones(len(labels), bool)
        for third in range(players):
            if third != player:
                harmed = gain(table[third, after], payoffs[:, third]) < 0
                unharmed &= ~harmed | (joined & own_bit[third] == 0)
                lost = gain(table[third, left], payoffs[:, third]) < 0
                released &= ~lost | (left & own_bit[third] == 0)
        nash = np.maximum(nash, won)
        individual = np.maximum(individual, np.where(unharmed, won, -np.inf))
        contractual = np.maximum(contractual, np.where(unharmed & released, won, -np.inf))
    core = np.full(len(labels), -np.inf)
    for number, members in enumerate(coalitions(players)[1:], 1):
        everyone = gain(table[members, number], payoffs[:, members]).min(1)
        core = np.maximum(core, np.where((coalition == number).any(1), -np.inf, everyone))
    return Structures(labels, payoffs, alone.max(1), nash, individual, contractual, core)
