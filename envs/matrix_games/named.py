"""Payoff tables of well-known games, and of families of games with parameters.

A table is float64[N, A_0, ..., A_{N-1}]: ``table[i, a0, a1, ...]`` is what player i gets. ``matrix_game.make(CHICKEN)`` makes a
table an environment; ``jaxrl.solvers`` solves it. ``TABLES`` holds all tables by name, families with their default parameters.

Sources: Shoham and Leyton-Brown (2008), Multiagent Systems, chapter 3, unless an entry names another one.
"""

import itertools

import numpy as np

from envs.matrix_games import matrix_game
from jaxrl.core.environment import Environment
from jaxrl.errors import require


def symmetric(row) -> np.ndarray:
    """Two players in the same position: the column player's table is the transpose. row: float[A, A]."""
    return np.stack([np.asarray(row, np.float64), np.asarray(row, np.float64).T])


def common(payoff) -> np.ndarray:
    """Two players who are paid the same. payoff: float[A, B]."""
    return np.stack([np.asarray(payoff, np.float64)] * 2)


def zero_sum(row) -> np.ndarray:
    """A zero-sum game: one player wins the amount that the other loses. row: float[A, B]."""
    return np.stack([np.asarray(row, np.float64), -np.asarray(row, np.float64)])


PRISONERS_DILEMMA = symmetric([[-1, -3], [0, -2]])
"""Prisoner's dilemma: whatever the other does, defecting pays more, and both would be better off cooperating. Actions:
cooperate, defect.
"""

STAG_HUNT = symmetric([[4, 1], [3, 2]])
"""Stag hunt: hunting the stag together pays most, hunting a hare is safe. Actions: stag, hare.

Source: Rousseau; Skyrms (2004).
"""

CHICKEN = symmetric([[6, 2], [7, 0]])
"""Chicken: daring pays against who swerves and is ruinous for both; the game in which correlation pays. Actions: swerve, dare.

Source: Aumann (1974).
"""

BATTLE_OF_THE_SEXES = np.array([[[3, 0], [0, 2]], [[2, 0], [0, 3]]], np.float64)
"""Battle of the sexes: both want to meet, but not at the same place. Actions: her favourite, his favourite.

Source: Luce and Raiffa (1957).
"""

MATCHING_PENNIES = zero_sum([[1, -1], [-1, 1]])
"""Matching pennies: the row player wins where both show the same side. Actions: heads, tails."""

PURE_COORDINATION = common([[2, 0], [0, 1]])
"""Pure coordination: two ways of meeting, one of them better."""

ROCK_PAPER_SCISSORS = zero_sum([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
"""Rock, paper, scissors: in this order each is beaten by the next, in a circle. Actions: rock, paper, scissors."""

WEIGHTED_ROCK_PAPER_SCISSORS = zero_sum([[0, -1, 2], [1, 0, -3], [-2, 3, 0]])
"""Rock, paper, scissors in which winning pays 1, 2 or 3, so that the equilibrium is not uniform: (1/2, 1/3, 1/6). Actions: rock,
paper, scissors.
"""

ROCK_PAPER_SCISSORS_LIZARD_SPOCK = zero_sum(np.array([0, 1, 1, -1, -1])[np.subtract.outer(np.arange(5), np.arange(5)) % 5])
"""Rock, paper, scissors with five actions, each of which beats the two before it, in a circle. Actions: rock, Spock, paper,
lizard, scissors.

Source: Kass and Bryla.
"""

CLIMB = common([[11, -30, 0], [-30, 7, 6], [0, 0, 5]])
"""Climbing game: a climb past dangerous joint actions to the optimum, for two who are paid the same.

Source: Claus and Boutilier (1998), figure 3.
"""

SHAPLEY = np.array([np.roll(np.eye(3), 1, axis=1), np.roll(np.eye(3), 2, axis=1)])
"""Shapley's game: best responses run in a circle of six, so fictitious play never settles.

Source: Shapley (1964).
"""


def penalty_table(k: float = 100.0) -> np.ndarray:
    """Two best joint actions, and a penalty for choosing different ones of them (Claus and Boutilier 1998, figure 2).

    Args:
        k: how much is lost, reward units.
    """
    return common([[10, 0, -k], [0, 2, 0], [-k, 0, 10]])


def blotto_allocations(coins: int = 10, fields: int = 3) -> np.ndarray:
    """Returns the ways to spread coins over fields, int[A, fields], in lexicographic order.

    Raises:
        ConfigError: a number is too small.
    """
    require(coins >= 1, "blotto", "coins must be at least 1", coins, "Give every player some coins.")
    require(fields >= 1, "blotto", "fields must be at least 1", fields, "Give them something to fight for.")
    # Bars between coins: fields - 1 of coins + fields - 1 places hold a bar, and the gaps between bars are allocations.
    bars = np.array(list(itertools.combinations(range(coins + fields - 1), fields - 1)), int).reshape(-1, fields - 1)
    return np.diff(bars, axis=1, prepend=-1, append=coins + fields - 1) - 1


def blotto_table(coins: int = 10, fields: int = 3) -> np.ndarray:
    """Both players spread coins over battlefields; the player who wins more fields wins 1 (Borel 1921).

    Raises:
        ConfigError: a number is too small.
    """
    allocations = blotto_allocations(coins, fields)
    more = allocations[:, None] > allocations[None, :]
    won = more.sum(-1)
    return zero_sum(np.sign(won - won.T))


TABLES: dict[str, np.ndarray] = {
    "battle_of_the_sexes": BATTLE_OF_THE_SEXES,
    "blotto": blotto_table(),
    "chicken": CHICKEN,
    "climb": CLIMB,
    "matching_pennies": MATCHING_PENNIES,
    "penalty": penalty_table(),
    "prisoners_dilemma": PRISONERS_DILEMMA,
    "pure_coordination": PURE_COORDINATION,
    "rock_paper_scissors": ROCK_PAPER_SCISSORS,
    "rock_paper_scissors_lizard_spock": ROCK_PAPER_SCISSORS_LIZARD_SPOCK,
    "shapley": SHAPLEY,
    "stag_hunt": STAG_HUNT,
    "weighted_rock_paper_scissors": WEIGHTED_ROCK_PAPER_SCISSORS,
}


_THIRDS, _FIFTHS = (1 / 3,) * 3, (1 / 5,) * 5
EQUILIBRIA: dict[str, tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]] = {
    "prisoners_dilemma": (((0, 1), (0, 1)),),
    "stag_hunt": (((1, 0), (1, 0)), ((0, 1), (0, 1)), ((1 / 2, 1 / 2), (1 / 2, 1 / 2))),
    "chicken": (((1, 0), (0, 1)), ((0, 1), (1, 0)), ((2 / 3, 1 / 3), (2 / 3, 1 / 3))),
    "battle_of_the_sexes": (((1, 0), (1, 0)), ((0, 1), (0, 1)), ((0.6, 0.4), (0.4, 0.6))),
    "matching_pennies": (((1 / 2, 1 / 2), (1 / 2, 1 / 2)),),
    "pure_coordination": (((1, 0), (1, 0)), ((0, 1), (0, 1)), ((1 / 3, 2 / 3), (1 / 3, 2 / 3))),
    "rock_paper_scissors": ((_THIRDS, _THIRDS),),
    "weighted_rock_paper_scissors": (((1 / 2, 1 / 3, 1 / 6), (1 / 2, 1 / 3, 1 / 6)),),
    "rock_paper_scissors_lizard_spock": ((_FIFTHS, _FIFTHS),),
    "climb": (((1, 0, 0), (1, 0, 0)), ((0, 1, 0), (0, 1, 0)), ((0.3125, 0, 0.6875), (0.3125, 0, 0.6875))),
    "penalty": (
        ((1, 0, 0), (1, 0, 0)),
        ((0, 1, 0), (0, 1, 0)),
        ((0, 0, 1), (0, 0, 1)),
        ((1 / 6, 5 / 6, 0), (1 / 6, 5 / 6, 0)),
        ((0, 5 / 6, 1 / 6), (0, 5 / 6, 1 / 6)),
    ),
    "shapley": ((_THIRDS, _THIRDS),),
}
"""All Nash equilibria of the small games of ``TABLES``: name -> pairs of a row and a column strategy."""

BEST_CORRELATED_SUMS: dict[str, float] = {
    "prisoners_dilemma": -4.0,
    "stag_hunt": 8.0,
    "chicken": 10.5,
    "battle_of_the_sexes": 5.0,
    "matching_pennies": 0.0,
    "pure_coordination": 4.0,
    "rock_paper_scissors": 0.0,
    "weighted_rock_paper_scissors": 0.0,
    "rock_paper_scissors_lizard_spock": 0.0,
    "climb": 22.0,
    "penalty": 20.0,
    "shapley": 1.0,
}
"""The largest sum of payoffs in a correlated equilibrium of the same games: name -> reward units."""


def penalty(k: float = 100.0, rounds: int | None = 1, max_steps: int | None = None) -> Environment:
    """Builds the penalty game: two best joint actions, and a penalty for choosing different ones of them.

    Source: Claus and Boutilier (1998), figure 2.

    Args:
        k: how much is lost, reward units.
        rounds, max_steps: see ``matrix_game.make``.
    """
    return matrix_game.make(penalty_table(k), rounds, max_steps)


def blotto(coins: int = 10, fields: int = 3, rounds: int | None = 1, max_steps: int | None = None) -> Environment:
    """Builds Colonel Blotto's game: both spread coins over battlefields, and the player who wins more fields wins 1.

    Source: Borel (1921).

    Args:
        coins: of each player, at least 1.
        fields: at least 1.
        rounds, max_steps: see ``matrix_game.make``.
    """
    return matrix_game.make(blotto_table(coins, fields), rounds, max_steps)
