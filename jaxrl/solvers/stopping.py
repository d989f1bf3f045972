"""Optimal stopping: offers come one by one, and to accept one ends the sequence.

Source: Chow, Robbins and Siegmund (1971), "Great Expectations"; secretary: Gilbert and Mosteller (1966), "Recognizing the Maximum
of a Sequence".
"""

from typing import Any, NamedTuple

import numpy as np

from jaxrl.core.finite import TabularModel
from jaxrl.errors import require, require_count, require_distribution, require_finite

ACCEPT, GO_ON = 0, 1  # the actions


def offers(worth: Any, probability: Any = None) -> TabularModel:
    """Builds the model of a sequence of offers: accept the one at hand, which ends it, or see the next one, drawn anew.

    Of a sequence of H offers the horizon is H: to go on from the last one pays nothing.

    Args:
        worth: float[X], what each offer pays.
        probability: float[X], of each offer; by default all are equally likely.

    Raises:
        ConfigError: there is no offer, one is not finite, or the probabilities are no distribution over them.
    """
    worth = require_finite("offers", "worth", worth).astype(np.float64)
    require(worth.ndim == 1 and worth.size > 0, "offers", "worth must have shape [X]", worth.shape, "Give one offer or more.")
    count = worth.size
    chance = np.full(count, 1 / count) if probability is None else require_distribution("offers", "probability", probability)
    require(
        chance.shape == (count,), "offers", f"probability must have shape [{count}]", chance.shape, "Give one for each offer."
    )
    states, shape = np.arange(count, dtype=np.int32), (count, 2, count)
    next_state = np.broadcast_to(states, shape).copy()
    table, reward, ended = np.zeros(shape), np.zeros(shape), np.zeros(shape, bool)
    next_state[:, ACCEPT] = states[:, None]
    table[:, ACCEPT, 0], table[:, GO_ON] = 1.0, chance
    reward[:, ACCEPT], ended[:, ACCEPT] = worth[:, None], True
    return TabularModel(next_state, table, reward, ended, chance, np.ones((count, 2), bool), states, states, (2,))


def uniform_offers_value(num_offers: int) -> float:
    """Returns the most that a sequence of offers, uniform on [0, 1], is worth on average: v_0 = 0, v_n = (1 + v_{n-1}^2) / 2.

    Raises:
        ConfigError: ``num_offers`` is no integer of at least 1.
    """
    require_count("uniform_offers_value", "num_offers", num_offers)
    value = 0.0
    for _ in range(num_offers):
        value = (1 + value**2) / 2
    return value


class Secretary(NamedTuple):
    """The best rule of its kind. skip: candidates that are let go, to accept the first better one. chance: of the best of all."""

    skip: int
    chance: float


def secretary(num_candidates: int) -> Secretary:
    """Returns the best rule to pick the best of n candidates who come in random order and are known by their rank so far.

    To skip r and accept the first better one picks the best with the chance r / n sum_{j=r+1}^n 1 / (j - 1), and 1 / n for r = 0.

    Raises:
        ConfigError: ``num_candidates`` is no integer of at least 1.
    """
    require_count("secretary", "num_candidates", num_candidates)
    skip = np.arange(1, num_candidates)
    later = np.cumsum(1 / skip[::-1])[::-1]  # sum over j from r + 1 to n
    chances = np.concatenate([[1.0], skip * later]) / num_candidates
    return Secretary(int(chances.argmax()), float(chances.max()))
