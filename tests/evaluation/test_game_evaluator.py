"""The evaluator of what agents learned in a matrix game: known distances, unequal players, policies without probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.matrix_games import named
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.rollout import Decision
from jaxrl.evaluation import NashConv

# One state of two players; the second has an action more. As (row, column): what each is paid.
UNEQUAL = np.array([[[1, 0, 3], [0, 2, 0]], [[1, 0, 0], [0, 1, 2]]], float)


def fixed(actions, probabilities):
    """An algorithm whose players always do the same."""

    def policy(state, greedily):
        return lambda key, view: Decision(jnp.array([actions]))

    def chances(state, view):
        return jnp.asarray(probabilities, jnp.float32)[None]

    return Algorithm(None, None, policy, probabilities=None if probabilities is None else chances)


def measured(payoff, actions, probabilities):
    metrics = NashConv(payoff)(jax.random.key(0), fixed(actions, probabilities), None)
    return {name: float(value) for name, value in metrics.items()}


def test_chicken():
    found = measured(named.CHICKEN, (1, 1), np.full((2, 2), 0.5))
    # Both dare and get nothing; each would get 2 by swerving. Mixed halves earn 15 / 4 each, swerving 4, daring 3.5.
    assert found == pytest.approx(
        {"greedy_nash_conv": 4.0, "greedy_welfare": 0.0, "sampled_nash_conv": 0.5, "sampled_welfare": 7.5}
    )


def test_players_with_unequal_actions():
    found = measured(UNEQUAL, (0, 2), [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]])
    # (0, 2) pays 3 and 0; the column player could have 1. Mixed: rows earn 1.5 or 1, columns 0.5, 0.5 or 1.
    expected = {"greedy_nash_conv": 1.0, "greedy_welfare": 3.0, "sampled_nash_conv": 0.25 + 0.25, "sampled_welfare": 1.25 + 0.75}
    assert found == pytest.approx(expected)


def test_policies_without_probabilities_are_evaluated_greedily():
    assert set(measured(named.CHICKEN, (0, 1), None)) == {"greedy_nash_conv", "greedy_welfare"}
