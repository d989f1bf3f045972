"""Exact solvers against closed forms, known numbers and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.finite import tabulate
from jaxrl.tabular.dynamic_programming import (
    action_values,
    certainty_equivalents,
    entropic_value_iteration,
    greedy_policy,
    policy_evaluation,
    policy_iteration,
    value_iteration,
)
from tests import oracles, probes

LAKE = {"4x4": tabulate(envs.make("frozen_lake")), "8x8": tabulate(envs.make("frozen_lake_8x8"))}
EXACT = [
    ("4x4", 0.9, 0.068891),
    ("4x4", 0.95, 0.180472),
    ("4x4", 0.99, 0.542026),
    ("4x4", 0.999, 0.785533),
    ("4x4", 1.0, 14 / 17),
    ("8x8", 0.99, 0.414640),
    ("8x8", 0.999, 0.892635),
    ("8x8", 1.0, 1.0),
]


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(("size", "gamma", "expected"), EXACT)
def test_value_iteration_finds_every_known_number(size, gamma, expected):
    model = LAKE[size]
    solution = value_iteration(model, gamma, tolerance=1e-13)
    assert float(solution.start_value(model)) == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(solution.value, oracles.value_iteration(model, gamma), atol=1e-9)


@pytest.mark.parametrize(("size", "gamma", "expected"), [case for case in EXACT if case[1] < 1])
def test_policy_iteration_agrees_in_few_improvements(size, gamma, expected):
    model = LAKE[size]
    solution = policy_iteration(model, gamma)
    assert float(solution.start_value(model)) == pytest.approx(expected, abs=1e-6)
    if size == "4x4":
        assert solution.iterations <= 10
    policy = greedy_policy(model, solution.action_value)
    np.testing.assert_allclose(oracles.policy_values(model, policy, gamma), solution.value, atol=1e-9)


def test_value_iteration_contracts_by_gamma_at_every_sweep():
    model, gamma = LAKE["4x4"], 0.95
    optimum = oracles.value_iteration(model, gamma)
    value, sweep = jnp.zeros(model.num_states), jax.jit(lambda value: action_values(model, value, gamma).max(-1))
    for _ in range(60):
        new = sweep(value)
        assert np.abs(new - optimum).max() <= gamma * np.abs(value - optimum).max() + 1e-15
        value = new


def test_value_iteration_takes_the_known_number_of_sweeps():
    assert abs(int(value_iteration(LAKE["4x4"], 0.99, tolerance=1e-13).iterations) - 770) <= 1


@pytest.mark.parametrize("gamma", [0.0, 0.9, 0.99, 1.0])
def test_policy_evaluation_of_a_random_policy(gamma):
    model = LAKE["4x4"]
    policy = np.random.default_rng(0).dirichlet(np.ones(4), model.num_states)
    np.testing.assert_allclose(policy_evaluation(model, policy, gamma), oracles.policy_values(model, policy, gamma), atol=1e-10)


def test_policy_evaluation_of_the_uniform_policy_is_the_known_number():
    model = LAKE["4x4"]
    value = policy_evaluation(model, np.full((model.num_states, 4), 0.25), 0.99)
    assert float(model.initial @ value) == pytest.approx(0.012356, abs=1e-6)


def test_policy_evaluation_over_many_policies_at_once_in_single_precision():
    with jax.enable_x64(False):
        model = LAKE["4x4"]
        policies = np.random.default_rng(1).dirichlet(np.ones(4), (512, model.num_states)).astype(np.float32)
        values = jax.jit(jax.vmap(lambda policy: policy_evaluation(model, policy, 0.99)))(policies)
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values[7], oracles.policy_values(model, policies[7], 0.99), atol=1e-5)


def test_cliff_walking_and_its_best_exploring_policy():
    model = tabulate(envs.make("cliff_walking"))
    solution = value_iteration(model, 1.0)
    assert float(solution.start_value(model)) == -13.0
    edge = oracles.greedy(model, np.asarray(solution.value), 1.0, preference=[2, 1, 3, 0])  # ties go right, along the edge
    for epsilon, expected in ((0.1, -45.803322), (0.05, -28.811095), (0.01, -16.066662)):
        policy = (1 - epsilon) * edge + epsilon / 4
        assert float(model.initial @ policy_evaluation(model, policy, 1.0)) == pytest.approx(expected, abs=1e-5)


def test_a_policy_that_never_terminates_gives_a_large_finite_number():
    model = tabulate(envs.make("cliff_walking"))
    value = policy_evaluation(model, np.eye(4)[np.zeros(model.num_states, int)], 1.0)  # for ever into the left wall
    assert np.isfinite(value).all()
    assert float(model.initial @ value) < -1e5


def test_illegal_actions_are_never_used():
    model = tabulate(probes.masked_action())
    for solver in (value_iteration, policy_iteration):
        solution = solver(model, 0.9)
        assert float(solution.start_value(model)) == 0.5
        assert float(solution.action_value[0, 2]) == -np.inf
    assert greedy_policy(model, solution.action_value)[0].tolist() == [1.0, 0.0, 0.0]


def test_a_game_has_a_value_per_agent():
    model = tabulate(envs.make("prisoners_dilemma"))
    uniform = np.full((model.num_states, 4), 0.25)
    value = policy_evaluation(model, uniform, 0.9)
    assert value.shape == (model.num_states, 2)
    np.testing.assert_allclose(model.initial @ value, [-1.5, -1.5])


@pytest.mark.parametrize("aversion", [1e-6, 0.5, 10.0])
def test_certainty_equivalent_of_a_lake_that_pays_once(aversion):
    """The sum of the rewards is 0 or 1, so whoever is averse to risk wants what everyone wants: 1 with probability 14/17."""
    model = LAKE["4x4"]
    solution = entropic_value_iteration(model, aversion, tolerance=1e-13)
    expected = -np.log1p(14 / 17 * np.expm1(-aversion)) / aversion
    assert float(solution.start_value(model)) == pytest.approx(expected, rel=1e-6)


def test_certainty_equivalents_in_numpy():
    """Of stochastic moves with rewards and ends, from any values; and of values that exp() could not hold."""
    model, aversion = tabulate(envs.make("cliff_walking", slip=0.3)), 0.7
    values = np.random.default_rng(0).normal(size=model.num_states)
    onward = model.reward + ~model.terminated * values[model.next_state]
    expected = -np.log((model.probability * np.exp(-aversion * onward)).sum(-1)) / aversion
    np.testing.assert_allclose(certainty_equivalents(model, values, aversion), expected, rtol=1e-10)
    lifted, going_on = np.asarray(certainty_equivalents(model, values + 1e4, aversion)), ~model.terminated.any(-1)
    np.testing.assert_allclose(lifted[going_on], expected[going_on] + 1e4, rtol=1e-10)
