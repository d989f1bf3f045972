"""Policy evaluation against linear solves, known numbers and the policy gradient theorem."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.core.finite import tabulate
from jaxrl.solvers.mdp.backups import greedy_policy
from jaxrl.solvers.mdp.policy_evaluation import _policy_evaluation, policy_evaluation, return_variance
from jaxrl.solvers.mdp.policy_iteration import policy_iteration
from jaxrl.solvers.mdp.value_iteration import value_iteration
from tests import oracles
from tests.solvers.mdp.lakes import LAKE
from tests.solvers.models import ring

pytestmark = pytest.mark.usefixtures("double_precision")
CERTAIN = tabulate(envs.make("frozen_lake", slip=0.0))
IDLE = np.eye(4)[np.zeros(16, int)]  # left, for ever: there is a wall, and nothing is paid


@pytest.mark.parametrize("gamma", [0.0, 0.9, 0.99, 1.0])
def test_policy_evaluation_of_a_random_policy(gamma):
    model = LAKE["4x4"]
    policy = np.random.default_rng(0).dirichlet(np.ones(4), model.num_states)
    found = policy_evaluation(model, policy, gamma)
    np.testing.assert_allclose(found.value, oracles.policy_values(model, policy, gamma), atol=1e-10)


def test_policy_evaluation_of_the_uniform_policy_is_the_known_number():
    model = LAKE["4x4"]
    found = policy_evaluation(model, np.full((model.num_states, 4), 0.25), 0.99)
    assert float(found.start_value(model)) == pytest.approx(0.012356, abs=1e-6)


def test_policy_evaluation_over_many_policies_at_once_in_single_precision():
    with jax.enable_x64(False):
        model = LAKE["4x4"]
        policies = np.random.default_rng(1).dirichlet(np.ones(4), (512, model.num_states)).astype(np.float32)
        values = jax.jit(jax.vmap(lambda policy: policy_evaluation(model, policy, 0.99).value))(policies)
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values[7], oracles.policy_values(model, policies[7], 0.99), atol=1e-5)


def test_cliff_walking_and_its_best_exploring_policy():
    model = tabulate(envs.make("cliff_walking"))
    solution = value_iteration(model, 1.0)
    assert float(solution.start_value(model)) == -13.0
    edge = oracles.greedy(model, np.asarray(solution.value), 1.0, preference=[2, 1, 3, 0])  # ties go right, along the edge
    for epsilon, expected in ((0.1, -45.803322), (0.05, -28.811095), (0.01, -16.066662)):
        policy = (1 - epsilon) * edge + epsilon / 4
        assert float(policy_evaluation(model, policy, 1.0).start_value(model)) == pytest.approx(expected, abs=1e-5)


def test_a_policy_that_never_terminates_gives_a_large_finite_number():
    model = tabulate(envs.make("cliff_walking"))
    found = policy_evaluation(model, np.eye(4)[np.zeros(model.num_states, int)], 1.0)  # for ever into the left wall
    assert np.isfinite(found.value).all()
    assert float(found.start_value(model)) < -1e5
    assert not bool(found.converged)
    assert float(found.error_bound) == np.inf


def test_a_game_has_a_value_per_agent():
    model = tabulate(envs.make("prisoners_dilemma"))
    uniform = np.full((model.num_states, 4), 0.25)
    value = policy_evaluation(model, uniform, 0.9).value
    assert value.shape == (model.num_states, 2)
    np.testing.assert_allclose(model.initial @ value, [-1.5, -1.5])


def test_without_discount_the_error_of_a_policy_is_bounded_by_how_long_it_takes():
    model = tabulate(envs.make("cliff_walking"))
    found = policy_evaluation(model, oracles.uniform(model), 1.0)
    exact = oracles.policy_values(model, oracles.uniform(model), 1.0)
    assert np.abs(found.value - exact).max() <= float(found.error_bound) < 1e-5 * np.abs(exact).max()
    # For ever into a wall that costs nothing, but at the start alone: the value is right, though nothing bounds the error.
    best = greedy_policy(CERTAIN, value_iteration(CERTAIN, 0.9).action_value)
    stays = policy_evaluation(CERTAIN, np.where(CERTAIN.initial[:, None] > 0, IDLE, best), 1.0)
    assert bool(stays.converged)
    assert float(stays.start_value(CERTAIN)) == 0.0
    assert float(stays.value.max()) == 1.0
    assert float(stays.error_bound) == np.inf


@pytest.mark.parametrize("gamma", [0.9, 1.0])
@pytest.mark.parametrize("beyond", [None, 1.0])
def test_sweeps_agree_with_matrices(gamma, beyond):
    model = LAKE["4x4"]
    policy = np.random.default_rng(0).dirichlet(np.ones(4), 16)
    beyond = None if beyond is None else np.full(16, beyond)
    dense, swept = (policy_evaluation(model, policy, gamma, beyond, dense=dense) for dense in (True, False))
    np.testing.assert_allclose(swept.value, dense.value, atol=1e-12)
    assert bool(swept.converged)
    assert float(swept.error_bound) < 1e-10
    for dense in (True, False):
        found = policy_evaluation(CERTAIN, IDLE, 1.0, np.ones(16), max_steps=1000, dense=dense)
        assert float(found.start_value(CERTAIN)) == 1.0


def test_matrices_are_left_where_they_are_too_large():
    """20,000 states in a ring: a matrix would take 3.2 GB."""
    states = 20_000
    model, policy = ring(states), np.ones((states, 1))
    evaluate = _policy_evaluation.lower(model, policy, 0.9, None, None, False).compile()
    assert evaluate.memory_analysis().temp_size_in_bytes < 10_000_000
    found = policy_evaluation(model, policy, 0.9)
    assert float(found.value[0]) == pytest.approx(0.9 ** (states - 1) / (1 - 0.9**states), abs=1e-12)
    assert float(found.value[-1]) == pytest.approx(1 / (1 - 0.9**states))
    assert bool(policy_iteration(model, 0.9).converged)


@pytest.mark.parametrize("dense", [True, False])
def test_the_gradient_of_a_value_is_that_of_the_policy_gradient_theorem(dense):
    """d V(start) / d policy(x, a) = sum of discounted visits to x times Q(x, a), for moves of mass within a row."""
    model, gamma = LAKE["4x4"], 0.95
    policy = np.random.default_rng(3).dirichlet(np.ones(4), 16)
    gradient = jax.grad(lambda policy: policy_evaluation(model, policy, gamma, dense=dense).start_value(model))(policy)
    values = oracles.policy_values(model, policy, gamma)
    onward = np.einsum("xa,xak->xak", policy, model.probability * ~model.terminated)
    transition = np.zeros((16, 16))
    np.add.at(transition, (np.arange(16)[:, None, None], model.next_state), onward)
    visits = np.linalg.solve(np.eye(16) - gamma * transition.T, model.initial)
    expected = visits[:, None] * oracles.action_values(model, values, gamma)
    np.testing.assert_allclose(gradient, expected, atol=1e-10)
    slope = jax.grad(lambda gamma: policy_evaluation(model, policy, gamma, dense=dense).start_value(model))(gamma)
    ahead, behind = (model.initial @ oracles.policy_values(model, policy, gamma + step) for step in (1e-6, -1e-6))
    assert float(slope) == pytest.approx((ahead - behind) / 2e-6, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.9, 0.99, 1.0])
def test_the_variance_of_the_return_is_that_of_its_second_moment(gamma):
    """E[G^2] = E[r^2 + 2 gamma r V'] + gamma^2 E[G'^2], by linear solves."""
    model, policy = LAKE["4x4"], np.random.default_rng(0).dirichlet(np.ones(4), 16)
    value = oracles.policy_values(model, policy, gamma)
    beyond = ~model.terminated * value[model.next_state]
    square = oracles.policy_values(model, policy, gamma**2, model.reward**2 + 2 * gamma * model.reward * beyond)
    found = return_variance(model, policy, gamma)
    np.testing.assert_allclose(found.value, square - value**2, atol=1e-10)
    assert np.abs(found.value - (square - value**2)).max() <= float(found.error_bound) < 1e-9
    assert bool(found.converged)
    if gamma == 1:
        np.testing.assert_allclose(found.value, value * (1 - value), atol=1e-10)  # 0 or 1 is paid


def test_a_return_that_never_ends_has_no_variance():
    found = return_variance(ring(3), np.ones((3, 1)), 1.0)
    assert not bool(found.converged)
    assert float(found.error_bound) == np.inf
