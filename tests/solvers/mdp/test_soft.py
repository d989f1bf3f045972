"""Soft value iteration: closed forms, the plain optimum as the limit, and the value of its policy with entropy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from jaxrl.solvers.mdp.soft import soft_value_iteration
from jaxrl.solvers.mdp.value_iteration import value_iteration
from tests import probes
from tests.solvers.mdp.lakes import LAKE


def test_a_choice_between_two_rewards(double_precision):
    """In each of two states one action pays 1: V = alpha log(exp(1 / alpha) + 1)."""
    model = tabulate(probes.action_dependent_reward())
    found = soft_value_iteration(model, 0.9, 0.5)
    np.testing.assert_allclose(found.solution.start_value(model), 0.5 * np.log(np.exp(2.0) + 1.0), rtol=1e-12)
    np.testing.assert_allclose(found.policy[0].max(), 1 / (1 + np.exp(-2.0)), rtol=1e-12)


def test_entropy_is_paid_until_the_episode_ends(double_precision):
    """A loop that pays 1 and has two equal actions: V = (1 + alpha log 2) / (1 - gamma)."""
    model = tabulate(probes.time_limit_loop())
    found = soft_value_iteration(model, 0.9, 0.3, tolerance=1e-12)
    np.testing.assert_allclose(found.solution.start_value(model), (1 + 0.3 * np.log(2.0)) / 0.1, rtol=1e-9)
    assert bool(found.solution.converged)


def test_a_small_temperature_is_the_plain_optimum(double_precision):
    model = LAKE["4x4"]
    plain = value_iteration(model, 0.95, 1e-12)
    found = soft_value_iteration(model, 0.95, 1e-6, 1e-12)
    np.testing.assert_allclose(found.solution.start_value(model), plain.start_value(model), atol=1e-4)


@pytest.mark.parametrize("temperature", [0.01, 0.3])
def test_the_value_is_that_of_its_policy_with_entropy(temperature, double_precision):
    """By a linear system of NumPy: v = r_pi + alpha H_pi + gamma P_pi v."""
    model, gamma = tabulate(envs.make("frozen_lake")), 0.9
    found = soft_value_iteration(model, gamma, temperature, 1e-13)
    policy = np.asarray(found.policy)
    chance = policy[:, :, None] * model.probability
    count = model.num_states
    matrix = np.zeros((count, count))
    onward = np.where(model.terminated, 0.0, chance)
    np.add.at(matrix, (np.broadcast_to(np.arange(count)[:, None, None], onward.shape), model.next_state), onward)
    entropy = -(policy * np.log(policy)).sum(1)
    live = np.asarray(found.solution.value) != 0  # nothing is paid after the end
    paid = np.where(live, (chance * model.reward).sum((1, 2)) + temperature * entropy, 0.0)
    np.testing.assert_allclose(found.solution.value, np.linalg.solve(np.eye(count) - gamma * matrix, paid), atol=1e-9)


@pytest.mark.parametrize("ruin", [-1e3, -1e6, -1e9])
@pytest.mark.parametrize("gamma", [0.9, 0.99])
def test_an_action_that_is_never_taken_hides_nothing(ruin, gamma):
    """A loop whose other action is ruinous: the soft value is that of the loop, as near as float32 can tell."""
    model = tabulate(probes.time_limit_loop())
    reward = np.array(model.reward)
    reward[:, 1] = np.where(np.asarray(model.reward)[:, 1] > 0, ruin, 0.0)
    found = soft_value_iteration(dataclasses.replace(model, reward=reward), gamma, 0.1)
    assert bool(found.solution.converged)
    np.testing.assert_allclose(found.solution.start_value(model), 1 / (1 - gamma), rtol=5e-5)  # float32, at its limit


def test_illegal_actions_have_no_chance():
    model = tabulate(probes.masked_action())
    found = soft_value_iteration(model, 0.9, 1.0)
    np.testing.assert_allclose(found.policy[0, 2], 0.0)
    np.testing.assert_allclose(found.solution.start_value(model), np.log(np.exp(0.5) + 1.0), rtol=1e-6)


def test_temperatures_are_vmapped():
    found = jax.vmap(lambda alpha: soft_value_iteration(LAKE["4x4"], 0.9, alpha).solution.value)(jnp.array([0.1, 0.2]))
    np.testing.assert_allclose(found[1], soft_value_iteration(LAKE["4x4"], 0.9, 0.2).solution.value, atol=1e-5)


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(ConfigError, match="temperature must be a positive number"):
        soft_value_iteration(LAKE["4x4"], 0.9, 0.0)
