"""By how much the values of a learner exceed what its greedy policy is worth, against a direct computation."""

import dataclasses
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.deep import dqn
from jaxrl.blocks import value_heads
from jaxrl.blocks.policies import epsilon_greedy_over
from jaxrl.core.finite import tabulate
from jaxrl.core.transforms import with_action_mask
from jaxrl.errors import ConfigError, EnvError
from jaxrl.evaluation import ExactValue, Overestimate
from tests import oracles, probes

CONFIG = dqn.Config(gamma=0.95, batch_size=8, buffer_size=50, learning_starts=8, hidden=(8,))


def laws():
    """DQN with a law of the return for each action, and its evaluator's parts."""
    env, config = envs.make("noisy_grid"), dataclasses.replace(CONFIG, head="categorical", num_atoms=5)
    return env, dqn.make(env, config), dqn.q_network(env, config), value_heads.make(config)


@pytest.mark.slow
def test_the_belief_in_a_law_is_its_mean():
    env, algorithm, network, head = laws()
    state = jax.jit(algorithm.init)(jax.random.key(0))
    exact = ExactValue.of(env, 0.95)
    found = Overestimate(exact, network, head)(jax.random.key(1), algorithm, state)["overestimate"]
    assert found.shape == ()
    logits = np.asarray(network.apply(state.params, exact.model.observation), np.float64)
    law = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    believed = exact.model.initial @ (law @ np.linspace(-10, 10, 5)).max(1)
    worth = exact(jax.random.key(1), algorithm, state)["greedy_exact_value"]
    np.testing.assert_allclose(found, believed - worth, rtol=1e-4, atol=1e-4)


def test_the_head_must_be_that_of_the_network():
    env, _, network, _ = laws()
    with pytest.raises(ConfigError, match="head must have as many outputs for each action as the network"):
        Overestimate(ExactValue.of(env, 0.95), network).validate(env)


@pytest.mark.slow
def test_the_overestimate_is_belief_minus_truth():
    env = envs.make("noisy_grid")
    algorithm, network = dqn.make(env, CONFIG), dqn.q_network(env, CONFIG)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    found = Overestimate(ExactValue.of(env, 0.95), network)(jax.random.key(1), algorithm, state)["overestimate"]
    model = tabulate(env)
    q = np.asarray(network.apply(state.params, model.observation))
    policy = np.eye(4)[q.argmax(1)]
    values = np.zeros(model.num_states)
    for _ in range(2000):
        values = (policy * oracles.action_values(model, values, 0.95)).sum(-1)
    np.testing.assert_allclose(found, model.initial @ (q.max(1) - values), rtol=1e-4, atol=1e-4)


def test_it_belongs_to_its_environment():
    env = envs.make("noisy_grid")
    evaluator = Overestimate(ExactValue.of(env, 0.95), dqn.q_network(env, CONFIG))
    with pytest.raises(EnvError, match="spaces"):
        evaluator.validate(envs.make("catch"))


class Table(NamedTuple):
    """A network that is a table float32[X, A], by observation number."""

    num_atoms: int = 0

    def apply(self, params, obs):
        return params[obs]


def forbidden(state, params):
    return jnp.array([True, False])


def test_the_value_of_a_forbidden_action_is_no_belief():
    """Two steps that pay 0 and 1: the legal column is the exact values, so that nothing is too high."""
    env = with_action_mask(probes.delayed_reward(), forbidden)
    policy, _ = epsilon_greedy_over(lambda state, obs: state.params[obs], lambda state: 0.0)
    state = SimpleNamespace(params=jnp.array([[0.5, 9.0], [1.0, 9.0], [0.0, 9.0]]))
    algorithm: Any = SimpleNamespace(policy=policy, probabilities=None, memory=())
    network: Any = Table()
    found = Overestimate(ExactValue.of(env, 0.5), network)(jax.random.key(0), algorithm, state)["overestimate"]
    np.testing.assert_allclose(found, 0.0, atol=1e-6)
