"""The experiment's own parts: copied actions, and the overestimate against a direct computation."""

import jax
import numpy as np
import pytest

import envs
from experiments.control import core_dqn
from jaxrl.algorithms.deep import dqn
from jaxrl.core.finite import tabulate
from jaxrl.evaluation import ExactValue
from jaxrl.testing.conformance import check_environment
from tests import oracles


def test_copies_of_actions_do_the_same():
    env, copied = envs.make("catch"), core_dqn.with_copies(envs.make("catch"))
    check_environment(copied, jax.random.key(0), rebuilt=core_dqn.with_copies(envs.make("catch")))
    model, other = tabulate(env), tabulate(copied)
    assert other.num_actions == 15
    for copy in range(15):
        np.testing.assert_array_equal(other.next_state[:, copy], model.next_state[:, copy // 5])
        np.testing.assert_array_equal(other.reward[:, copy], model.reward[:, copy // 5])


@pytest.mark.slow
def test_the_overestimate_is_belief_minus_truth():
    env = envs.make("noisy_grid")
    config = dqn.Config(gamma=0.95, batch_size=8, buffer_size=50, learning_starts=8, hidden=(8,))
    algorithm, network = dqn.make(env, config), dqn.q_network(env, config)
    exact = ExactValue.of(env, 0.95)
    state = algorithm.init(jax.random.key(0))
    found = core_dqn.Overestimate(exact, network)(jax.random.key(1), algorithm, state)["overestimate"]
    model = tabulate(env)
    q = np.asarray(network.apply(state.params, model.observation))
    policy = np.eye(4)[q.argmax(1)]
    values = np.zeros(model.num_states)
    for _ in range(2000):
        values = (policy * oracles.action_values(model, values, 0.95)).sum(-1)
    np.testing.assert_allclose(found, model.initial @ (q.max(1) - values), rtol=1e-4, atol=1e-4)
