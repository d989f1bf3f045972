"""The normal-form game that ours and the peers play, and the numbers by which their answers are compared. Needs numpy alone."""

from collections.abc import Mapping
from typing import Any

import numpy as np

STEP = 0.01  # time in one step of the replicator
SEED = 1  # in its games no two best responses to what was played tie: ours takes the first, nashpy draws one
# Payoffs are multiples of 1 / GRID up to 1 in size: so many plays of them add up without rounding, in float32, too.
GRID = 2**13
MOST_PLAYS = 2**24 // GRID


def payoffs(actions: int) -> np.ndarray:
    """Returns a random zero-sum game of two players, float64[2, A, A], with A = ``actions``."""
    row = np.random.default_rng(SEED).integers(-GRID, GRID, (actions, actions), endpoint=True) / GRID
    return np.stack([row, -row])


def uniform(actions: int) -> list[np.ndarray]:
    """Returns the profile from which the replicator starts, two of float64[A]."""
    return [np.full(actions, 1 / actions)] * 2


def described(table: np.ndarray, row: Any, column: Any) -> Mapping[str, float]:
    """Returns numbers that tell one profile from another.

    Args:
        table: float64[2, A, A].
        row, column: [A] each, probabilities, or counts of plays.

    Returns:
        ``payoff`` of the row player; ``nash_conv``, the sum of the gains of the players' best responses; and the mean numbers of
        their actions over A, ``row`` and ``column``.
    """
    x, y = (weight / weight.sum() for weight in (np.asarray(row, np.float64), np.asarray(column, np.float64)))
    payoff, gains = x @ table[0] @ y, ((table[0] @ y).max(), (x @ table[1]).max())
    places = np.arange(len(x)) / len(x)
    return {"payoff": payoff, "nash_conv": sum(gains) - payoff - x @ table[1] @ y, "row": x @ places, "column": y @ places}
