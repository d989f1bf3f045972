"""Payoff tables of well-known games, and of families of games with parameters.

A table is float64[N, A_0, ..., A_{N-1}]: ``table[i, a0, a1, ...]`` is what player i gets. ``matrix_game.make(CHICKEN)`` makes a
table an environment; ``jaxrl.games`` solves it. ``TABLES`` holds all tables by name, families with their default parameters.

Sources: Shoham and Leyton-Brown (2008), Multiagent Systems, chapter 3, unless an entry names another one.
"""

import itertools

import numpy as np

from envs.matrix_games import matrix_game
from jaxrl.env import Environment
from jaxrl.errors import require


def symmetric(row) -> np.ndarray:
    """Two players in the same position: the column player's table is the transpose. row: float[A, A]."""
    return np.stack([np.asarray(row, np.float64), np.asarray(row, np.float64).T])


def common(payoff) -> np.ndarray:
    """Two players who are paid the same. payoff: float[A, B]."""
    return np.stack([np.asarray(payoff, np.float64)] * 2)


def zero_sum(row) -> np.ndarray:
    """What one player wins the other loses. row: float[A, B]."""
    return np.stack([np.asarray(row, np.float64), -np.asarray(row, np.float64)])


# Actions: cooperate, defect.
PRISONERS_DILEMMA = symmetric([[-1, -3], [0, -2]])

# Actions: stag, hare. Safety against efficiency (Rousseau; Skyrms 2004).
STAG_HUNT = symmetric([[4, 1], [3, 2]])

# Actions: swerve, dare. The game in which correlation pays (Aumann 1974).
CHICKEN = symmetric([[6, 2], [7, 0]])

# Actions: her favourite, his favourite (Luce and Raiffa 1957).
BATTLE_OF_THE_SEXES = np.array([[[3, 0], [0, 2]], [[2, 0], [0, 3]]], np.float64)

# Actions: heads, tails. The row player wins where they are equal.
MATCHING_PENNIES = zero_sum([[1, -1], [-1, 1]])

# Two ways of meeting, one of them better.
PURE_COORDINATION = common([[2, 0], [0, 1]])

# Actions: rock, paper, scissors.
ROCK_PAPER_SCISSORS = zero_sum([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])

# Winning pays 1, 2 or 3, so the equilibrium is not uniform: (1/2, 1/3, 1/6).
WEIGHTED_ROCK_PAPER_SCISSORS = zero_sum([[0, -1, 2], [1, 0, -3], [-2, 3, 0]])

# Actions: rock, Spock, paper, lizard, scissors. In this order each beats the two before it, in a circle (Kass and Bryla).
ROCK_PAPER_SCISSORS_LIZARD_SPOCK = zero_sum(np.array([0, 1, 1, -1, -1])[np.subtract.outer(np.arange(5), np.arange(5)) % 5])

# A climb past dangerous joint actions to the optimum (Claus and Boutilier 1998, figure 3).
CLIMB = common([[11, -30, 0], [-30, 7, 6], [0, 0, 5]])

# Best responses run in a circle of six, so fictitious play never settles (Shapley 1964).
SHAPLEY = np.array([np.roll(np.eye(3), 1, axis=1), np.roll(np.eye(3), 2, axis=1)])


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
    """Both players spread coins over battlefields; whoever wins more fields wins 1 (Borel 1921).

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


def penalty(k: float = 100.0, rounds: int | None = 1, max_steps: int | None = None) -> Environment:
    """Builds the penalty game; see ``penalty_table`` and ``matrix_game.make``."""
    return matrix_game.make(penalty_table(k), rounds, max_steps)


def blotto(coins: int = 10, fields: int = 3, rounds: int | None = 1, max_steps: int | None = None) -> Environment:
    """Builds Colonel Blotto's game; see ``blotto_table`` and ``matrix_game.make``."""
    return matrix_game.make(blotto_table(coins, fields), rounds, max_steps)
