"""The evaluator of what agents learned in a matrix game: known distances, unequal players, policies without probabilities."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.matrix_games import matrix_game, named
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.finite import tabulate
from jaxrl.core.rollout import Decision
from jaxrl.errors import EnvError
from jaxrl.evaluation import GreedyActions, NashConv, ValueGap

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


def test_greedy_actions_are_numbered():
    found = GreedyActions(UNEQUAL)(jax.random.key(0), fixed((0, 2), None), None)
    assert {name: float(value) for name, value in found.items()} == {"greedy_action_0": 0.0, "greedy_action_1": 2.0}


def test_value_gap_looks_at_visited_states_alone():
    """A minimax-Q that is off by 0.5 about one state, for the second player, and by more about one that was seldom visited."""
    env = envs.make("soccer")
    model = tabulate(env)
    evaluator = ValueGap.of(env, 0.9, least_visits=3)
    observations = int(model.observation.max()) + 1
    value = np.zeros((2, observations), np.float32)
    value[:, model.observation[:, 0]] = np.stack([evaluator.value, -evaluator.value])
    visits = np.zeros((2, observations, 25), int)
    often, seldom = (int(model.observation[state, 0]) for state in (3, 4))
    visits[0, often, :3], visits[0, seldom, :2] = 1, 1
    value[1, often] += 0.5
    value[0, seldom] += 2.0
    found = evaluator(None, None, SimpleNamespace(value=jnp.asarray(value), visits=jnp.asarray(visits)))
    assert {name: float(one) for name, one in found.items()} == pytest.approx({"value_error": 0.5, "visited_states": 1.0})


def test_value_gap_wants_a_zero_sum_game():
    with pytest.raises(EnvError, match="zero"):
        ValueGap.of(matrix_game.make(named.CHICKEN), 0.9)
