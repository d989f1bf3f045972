"""Exact costs: of the undominated policies of the hazard grid, of several costs at once, and in a run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.gridworlds import hazard_grid
from jaxrl.algorithms.tabular import q_learning
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.finite import tabulate
from jaxrl.core.rollout import Decision
from jaxrl.errors import ConfigError, EnvError
from jaxrl.evaluation import ExactCost, ExactValue
from jaxrl.training.runner import run

KEY, GAMMA = jax.random.key(0), 0.99
UP, RIGHT, DOWN = 3, 2, 1
STRAIGHT = np.full(25, RIGHT)
AROUND = np.where(np.arange(25) == 20, UP, np.where(np.arange(25) % 5 == 4, DOWN, RIGHT))


def fixed(table):
    """An algorithm that takes the actions of a table, and by chance the one or the other of two tables."""

    def policy(state, greedy):
        return lambda key, view: Decision(jnp.asarray(table)[view.obs])

    def probabilities(state, view):
        both = jax.nn.one_hot(STRAIGHT, 4) + jax.nn.one_hot(AROUND, 4)
        return both[view.obs] / 2

    return Algorithm(lambda key: (), lambda state, key: (state, {}), policy, probabilities=probabilities)


@pytest.fixture(scope="module")
def grid():
    env = envs.make("hazard_grid")
    return env, hazard_grid.cost_table(tabulate(env), env.params)


def test_the_way_through_the_hazards_costs_them_and_the_way_around_nothing(grid):
    env, cost = grid
    evaluator, value = ExactCost.of(env, cost, GAMMA), ExactValue.of(env, GAMMA)
    for table, expected, steps in ((STRAIGHT, 1 + 0.99 + 0.99**2, 4), (AROUND, 0.0, 6)):
        found = evaluator(KEY, fixed(table), ())
        np.testing.assert_allclose(found["greedy_exact_cost"], expected, rtol=1e-5)
        assert found["greedy_exact_cost_error"].total < 1e-3
        worth = value(KEY, fixed(table), ())["greedy_exact_value"]
        np.testing.assert_allclose(worth, -(1 - 0.99**steps) / 0.01, rtol=1e-5)
    # The two tables differ on the way around and at the start, where half of the episodes take the one way and half the other.
    np.testing.assert_allclose(found["sampled_exact_cost"], 0.5 * (1 + 0.99 + 0.99**2), rtol=1e-5)


def test_several_costs_are_those_of_each(grid):
    env, cost = grid
    both = ExactCost.of(env, np.stack([cost, 2 * np.asarray(tabulate(env).reward)], -1), GAMMA)
    found = both(KEY, fixed(STRAIGHT), ())["greedy_exact_cost"]
    np.testing.assert_allclose(found, [2.9701, -2 * 3.940399], rtol=1e-5)


def test_it_evaluates_in_a_run(grid):
    env, cost = grid
    evaluator = ExactCost.of(env, cost, GAMMA)
    done = run(q_learning.make, env, q_learning.Config(num_steps=4), seeds=2, num_updates=2, evaluators=(evaluator,))
    assert np.isfinite(done.evaluations["sampled_exact_cost"]).all()
    assert (done.evaluations["sampled_exact_cost_error"] < 1e-2).all()


def test_what_cannot_be_evaluated_is_refused(grid):
    env, cost = grid
    with pytest.raises(ConfigError, match=r"cost must have shape \[25, 4, 4\], or an axis of costs beyond, got \[25, 4\]"):
        ExactCost.of(env, cost[..., 0], GAMMA)
    with pytest.raises(ConfigError, match=r"cost must be finite, got 'nan at index \(0, 0, 0\)'"):
        ExactCost.of(env, np.where(cost == 0, np.nan, cost), GAMMA)
    with pytest.raises(ConfigError, match="gamma must lie in"):
        ExactCost.of(env, cost, 1.5)
    with pytest.raises(EnvError, match="no agent axis"):
        ExactCost.of(envs.make("climb"), cost, GAMMA)
    with pytest.raises(EnvError, match="spaces of the task"):
        ExactCost.of(env, cost, GAMMA).validate(envs.make("corridor"))
