"""Evaluation by episodes and exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithm import Algorithm
from jaxrl.errors import EnvironmentError
from jaxrl.evaluation import ExactValue, TeamReturn, evaluate
from jaxrl.rollout import Decision, uniform_policy
from tests import probes
from tests.test_rollout import MEMORY, counter, remember


def test_only_the_first_episode_counts():
    outcome = evaluate(jax.random.key(0), counter(5.0, 100), remember, 3, memory=MEMORY)
    np.testing.assert_array_equal(outcome.return_, 15.0)
    np.testing.assert_array_equal(outcome.length, 5)


def test_discounting_and_time_limits():
    outcome = evaluate(jax.random.key(0), counter(100.0, 3), remember, 2, gamma=0.5, memory=MEMORY)
    np.testing.assert_allclose(outcome.discounted_return, 1 + 0.5 * 2 + 0.25 * 3)


def test_episodes_of_different_lengths_are_not_under_represented():
    """The mean return of the uniform policy on the lake is its known success rate within the time limit, 0.013940."""
    lake = envs.make("frozen_lake")
    outcome = jax.jit(lambda key: evaluate(key, lake, uniform_policy(lake), 40_000))(jax.random.key(0))
    assert float(outcome.return_.mean()) == pytest.approx(0.013940, abs=0.002)


def test_agents_get_a_return_each():
    game = envs.make("prisoners_dilemma")

    def defect_against_cooperation(key, view):
        return Decision(jnp.tile(jnp.array([1, 0], jnp.int32), (2, 1)))

    outcome = evaluate(jax.random.key(0), game, defect_against_cooperation, 2)
    np.testing.assert_array_equal(outcome.return_, [[0.0, -3.0]] * 2)


def test_exact_value_respects_masks():
    exact = ExactValue.of(probes.masked_action(), 0.9)
    assert float(exact.optimum) == 0.5
    assert exact.masked


def test_exact_value_of_the_lake():
    assert float(ExactValue.of(envs.make("frozen_lake"), 0.99).optimum) == pytest.approx(0.542026, abs=1e-6)


def test_team_return_of_the_pursuit():
    """An optimal pair needs 3.121267 steps on average; one that draws its moves uniformly is worth what episodes show."""
    env = envs.make("pursuit")
    exact = TeamReturn.of(env)
    assert float(exact.optimum) == pytest.approx(-3.121267, abs=1e-5)
    uniform = Algorithm(None, None, lambda state, greedy: uniform_policy(env), probabilities=_uniform_probabilities)
    metrics = jax.jit(lambda key: exact(key, uniform, None))(jax.random.key(0))
    played = jax.jit(lambda key: evaluate(key, env, uniform_policy(env), 4096))(jax.random.key(1)).return_.mean()
    assert float(metrics["sampled_exact_return"]) == pytest.approx(float(played), abs=1.0)
    assert float(metrics["sampled_optimality_gap"]) == pytest.approx(-3.121267 - float(metrics["sampled_exact_return"]), abs=1e-4)


def _uniform_probabilities(state, view):
    return jnp.full((*view.obs.shape[:2], 5), 0.2)


def test_team_return_is_of_teams():
    with pytest.raises(EnvironmentError, match="the environment must have an agent axis, got None"):
        TeamReturn.of(probes.masked_action())
