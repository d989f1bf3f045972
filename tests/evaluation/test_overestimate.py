"""By how much the values of a learner exceed what its greedy policy is worth, against a direct computation."""

import jax
import numpy as np
import pytest

import envs
from jaxrl.algorithms.deep import dqn
from jaxrl.core.finite import tabulate
from jaxrl.errors import EnvError
from jaxrl.evaluation import ExactValue, Overestimate
from tests import oracles

CONFIG = dqn.Config(gamma=0.95, batch_size=8, buffer_size=50, learning_starts=8, hidden=(8,))


@pytest.mark.slow
def test_the_overestimate_is_belief_minus_truth():
    env = envs.make("noisy_grid")
    algorithm, network = dqn.make(env, CONFIG), dqn.q_network(env, CONFIG)
    state = algorithm.init(jax.random.key(0))
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
