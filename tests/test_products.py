"""Products of floats that an exact number depends on keep all their digits on every accelerator.

GPUs and TPUs multiply matrices of float32 with fewer bits unless they are told otherwise. A CPU never does, so the tests look at
the program rather than at its numbers.
"""

import dataclasses
import re

import jax
import jax.numpy as jnp
import pytest

import envs
from envs.bandits import contextual_bandit, linear_dynamical_bandit
from envs.random_mdps import random_mdp
from jaxrl.algorithms.preferences import metrics, overoptimisation
from jaxrl.algorithms.tabular import reinforce
from jaxrl.blocks.networks.layers import orthonormal_columns
from jaxrl.compat import stepping
from jaxrl.core import rollout
from jaxrl.core.environment import Step, uncompiled
from jaxrl.core.finite import tabulate
from jaxrl.evaluation import ExactValue
from jaxrl.solvers import kl_optimal, markov_games
from jaxrl.solvers.mdp.average_reward import average_reward
from jaxrl.solvers.mdp.policy_evaluation import policy_evaluation, return_of_policy
from jaxrl.solvers.mdp.policy_iteration import policy_iteration


def products(function, *arguments):
    """Returns the precision of every product of matrices in a compiled function, in its own words."""
    return re.findall(r"stablehlo\.dot_general.*?precision = \[(.*?)\]", jax.jit(function).lower(*arguments).as_text())


def assert_full(function, *arguments, some=True):
    found = products(function, *arguments)
    assert bool(found) or not some
    assert set(found) <= {"HIGHEST, HIGHEST"}


def test_a_product_of_the_default_precision_would_be_noticed():
    assert products(lambda x: x @ x, jnp.eye(2)) == ["DEFAULT, DEFAULT"]


MULTIPLYING = ("lqr", "linear_bandit", "linear_dynamical_bandit", "contextual_dueling_bandit")


@pytest.mark.parametrize("name", MULTIPLYING)
def test_environments(name):
    env, key = envs.make(name), jax.random.key(0)
    _, state = env.reset(key)
    action = env.action_space.sample(key)
    for one in (env, uncompiled(env)):
        assert_full(lambda key, one=one: one.reset(key), key, some=False)
        assert_full(lambda key, state, action, one=one: one.step(key, state, action), key, state, action)


def turned(key, state, action, params):
    state = params @ state
    return Step(state, state, state.sum(), jnp.bool_(False))


def test_an_environment_of_the_users_within_a_rollout():
    env = envs.make("lqr")
    env = dataclasses.replace(env, step_fn=turned, params=jnp.eye(2), reset_fn=lambda key, params: (jnp.ones(2), jnp.ones(2)))

    def rolled(key):
        episodes = rollout.start(key, env, num_envs=3)
        decision = rollout.Decision(jnp.zeros((3, 1)))
        return rollout.advance_all(key, env, episodes, decision)[1].reward

    assert_full(rolled, jax.random.key(0))


MODEL = tabulate(random_mdp.of(random_mdp.dense(jax.random.key(0), 6, 2)))
POLICY, REWARD = jnp.full((6, 2), 0.5), jnp.ones((6, 2, 6))
UNIFORM = jnp.full(3, 1 / 3)
FILTER = envs.make("linear_dynamical_bandit").params
SEEN = jnp.zeros(FILTER.readout.shape[0])
BELIEF = linear_dynamical_bandit.first_belief(FILTER, SEEN)
EXACT = ExactValue.of(envs.make("frozen_lake"), 0.99)
MULTIPLY = {
    "policy_evaluation": lambda: policy_evaluation(MODEL, POLICY, 0.9).start_value(MODEL),
    "policy_iteration": lambda: policy_iteration(MODEL, 0.9),
    "average_reward": lambda: average_reward(MODEL),
    "return_of_policy": lambda: return_of_policy(MODEL, POLICY, 20),
    "ExactValue": lambda: EXACT.gap(jnp.full((16, 4), 0.25)),
    "psi_optimal": lambda: kl_optimal.psi_optimal(jnp.log(UNIFORM), jnp.full((3, 3), 0.5), UNIFORM, 1.0, kl_optimal.logit),
    "epic_distance": lambda: metrics.epic_distance(REWARD, REWARD, 0.9),
    "overoptimisation": lambda: overoptimisation.by_kl_penalty(UNIFORM, UNIFORM[None], UNIFORM[None], jnp.ones(2)),
    "a_contextual_bandit": lambda: contextual_bandit.draw(jax.random.key(0), 3, 4, 2),
    "orthonormal_columns": lambda: orthonormal_columns(jnp.eye(3)),
    "expected_reward": lambda: linear_dynamical_bandit.expected_reward(FILTER, BELIEF),
    "prediction_variance": lambda: linear_dynamical_bandit.prediction_variance(FILTER, BELIEF),
    "next_belief": lambda: linear_dynamical_bandit.next_belief(FILTER, BELIEF, jnp.int32(0), jnp.float32(0), SEEN),
}


@pytest.mark.parametrize("name", MULTIPLY)
def test_exact_answers(name):
    assert_full(MULTIPLY[name])


def test_values_of_games():
    game = tabulate(envs.make("rock_paper_scissors"))
    policies = jnp.full((game.num_states, 2, 3), 1 / 3)
    assert_full(lambda policies: markov_games.nash_conv(game, policies, 0.9), policies)
    assert_full(lambda: markov_games.shapley(game, 0.9))


def test_episodes_that_end_together():
    algorithm = reinforce.make(envs.make("corridor"), reinforce.Config(num_envs=4, num_steps=2))
    assert_full(algorithm.update, algorithm.init(jax.random.key(0)), jax.random.key(1))


def test_a_global_observation_seen_from_outside():
    env = dataclasses.replace(envs.make("lqr"), global_obs_fn=lambda state, params: params.dynamics @ state)
    stream = jax.tree.map(lambda leaf: leaf[0], stepping.begin_all(env, stepping.keys([0]))[0])
    assert_full(lambda stream: stepping.global_obs(env, stream, None), stream)
