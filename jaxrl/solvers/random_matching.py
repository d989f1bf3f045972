"""Pure equilibria of games of random matching: each of N players meets one of the others, anyone as likely as another.

A player has one strategy for all meetings, as it does not know the kind of the other. Players of a kind are alike, so
that a profile is how many of each kind play each strategy; all profiles are looked at, on the host, in float64.

Source: Kandori, Mailath and Rob (1993) and Weibull (1995), Evolutionary Game Theory, on random matching; the game of N players is
polymatrix, Yanovskaya (1968).
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxrl.errors import require, require_count, require_finite, require_tolerance

MOST_PROFILES = 1_000_000
WHERE = "random_matching"


class PureEquilibria(NamedTuple):
    """All pure equilibria, E of them.

    counts: for each kind, int[E, S_k], how many of its players play each strategy.
    payoff: for each kind, float64[E], what its players get on average, 0 where there are none.
    mean: float64[E], what all players get on average.
    regret: float64[E], the most that a player could gain by another strategy, at most the tolerance.
    """

    counts: tuple[np.ndarray, ...]
    payoff: tuple[np.ndarray, ...]
    mean: np.ndarray
    regret: np.ndarray


def pure_equilibria(payoff: Sequence[Sequence[Any]], players: Sequence[int], tolerance: float = 1e-9) -> PureEquilibria:
    """Enumerates the pure equilibria of a population of K kinds.

    Args:
        payoff: K rows of K tables; that of kinds k and l, float[S_k, S_l], is what one of kind k gets if it meets one of kind l.
        players: K numbers of players, two or more in all.
        tolerance: gains up to this one are none, in units of payoffs.

    Raises:
        ConfigError: tables do not fit together or are not finite, there are fewer than two players, or more than a million
            profiles.
    """
    tables, sizes = _tables(payoff)
    require_tolerance(WHERE, tolerance)
    require(np.iterable(players), WHERE, "players must be of each kind", players, "Give a list of numbers.")
    counts = [_int(count) for count in players]
    fix = "Give one number for each kind."
    require(len(counts) == len(sizes), WHERE, f"players must be of {len(sizes)} kinds", players, fix)
    require(sum(counts) >= 2, WHERE, "there must be two players or more", sum(counts), "Somebody must be met.")
    profiles = math.prod(math.comb(size + count - 1, count) for size, count in zip(sizes, counts, strict=True))
    must = f"there must be at most {MOST_PROFILES:,} profiles"
    require(profiles <= MOST_PROFILES, WHERE, must, profiles, "Give fewer players or strategies.")
    chosen = [_ways(size, count) for size, count in zip(sizes, counts, strict=True)]
    places = np.indices([len(ways) for ways in chosen]).reshape(len(chosen), -1)
    played = [ways[place] for ways, place in zip(chosen, places, strict=True)]  # of each kind, [P, S_k]
    regret, payoffs = np.zeros(profiles), []
    for kind, own in enumerate(played):
        everybody = np.sum([other @ tables[kind][rival].T for rival, other in enumerate(played)], axis=0)  # [P, S_k]
        # A player does not meet itself: who plays s and would play a sees everybody less one who plays s, [P, a, s].
        would = (everybody[:, :, None] - tables[kind][kind]) / (sum(counts) - 1)
        gets = np.diagonal(would, axis1=1, axis2=2)
        missed = np.where(own > 0, would.max(1) - gets, 0.0)
        regret = np.maximum(regret, missed.max(1))
        payoffs.append((own * gets).sum(1) / max(counts[kind], 1))
    found = regret <= tolerance
    mean = sum(value * count for value, count in zip(payoffs, counts, strict=True)) / sum(counts)
    return PureEquilibria(
        tuple(own[found] for own in played), tuple(value[found] for value in payoffs), np.asarray(mean)[found], regret[found]
    )


def _int(count: int) -> int:
    require_count(WHERE, "every number of players", count, 0)
    return int(count)


def _tables(payoff: Sequence[Sequence[Any]]) -> tuple[list[list[np.ndarray]], list[int]]:
    rows = [list(row) if np.iterable(row) else [] for row in payoff] if np.iterable(payoff) else []
    tables = [[require_finite(WHERE, "payoff", table).astype(np.float64) for table in row] for row in rows]
    shapes = [[table.shape for table in row] for row in tables]
    sizes = [row[kind][0] if kind < len(row) and len(row[kind]) == 2 else 0 for kind, row in enumerate(shapes)]
    fits = bool(sizes) and min(sizes) >= 1 and shapes == [[(own, other) for other in sizes] for own in sizes]
    must = "payoff must have a table of shape [S_k, S_l] for each two kinds"
    require(fits, WHERE, must, shapes, "One kind is [[table]].")
    return tables, sizes


def _ways(size: int, count: int) -> np.ndarray:
    """Returns all ways in which players of a kind may choose, int[W, S]: how many take each strategy."""
    ways = list(itertools.combinations_with_replacement(range(size), count))
    picked = np.array(ways, int).reshape(len(ways), count)
    return (picked[:, :, None] == np.arange(size)).sum(1)
