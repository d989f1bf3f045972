"""Marks of single cases: which run is to make them."""

from collections.abc import Iterable
from typing import Any

import pytest

# One of each kind; the same checks of all others are made by ``make conformance``.
ENVIRONMENTS = (
    "cartpole",
    "frozen_lake",
    "gaussian_bandit",
    "kuhn",
    "matching_pennies",
    "random_mdp",
    "restless_bandit",
    "single_asset",
    "soccer",
    "tic_tac_toe",
    "token_mdp",
)
ALGORITHMS = ("q_learning", "minimax_q", "ppo", "mappo", "reward_fitting", "cfr")


def slow(*values: Any) -> Any:
    """A case that ``make test-all`` runs and ``make test`` does not: a variant of cases that both run, and slow to compile."""
    return pytest.param(*values, marks=pytest.mark.slow)


def each(*values: Any) -> Any:
    """A case that ``make conformance`` runs: a variant of cases that ``make test`` runs, and nothing else has."""
    return pytest.param(*values, marks=pytest.mark.each)


def every(names: Iterable[str]) -> list:
    """All environments or algorithms: one of each kind as usual, the others for ``make conformance``."""
    return [name if name in ENVIRONMENTS + ALGORITHMS else each(name) for name in names]


def rest_is_slow(names: Iterable[str], quick: Iterable[str]) -> list:
    """All environments or algorithms, of which only ``quick`` ones are not left to ``make test-all``."""
    return [name if name in quick else slow(name) for name in names]
