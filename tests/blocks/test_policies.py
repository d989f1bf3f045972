"""Policies over action values: what is drawn, how often, and what is legal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.blocks.policies import epsilon_greedy_over
from jaxrl.core.rollout import View

TABLE = jnp.array([[0.0, 2.0, 2.0, -1.0], [3.0, 0.0, 9.0, 1.0]])
MASK = jnp.array([[True, True, True, True], [True, True, False, True]])  # the best action of the second row is illegal


def values_of(state, obs):
    return state[obs]


def test_probabilities_by_hand():
    _, probabilities = epsilon_greedy_over(values_of, lambda state: 0.4)
    rows = probabilities(TABLE, View(jnp.arange(2), MASK, ()))
    np.testing.assert_allclose(rows, [[0.1, 0.4, 0.4, 0.1], [0.6 + 0.4 / 3, 0.4 / 3, 0, 0.4 / 3]], rtol=1e-6)


@pytest.mark.parametrize("epsilon", [0.0, 0.4, 1.0])
def test_sampled_actions_follow_the_probabilities(epsilon):
    policy, probabilities = epsilon_greedy_over(values_of, lambda state: epsilon)
    count = 20_000
    obs = jnp.repeat(jnp.arange(2), count)
    action = policy(TABLE, False)(jax.random.key(0), View(obs, MASK[obs], ())).action
    shares = np.stack([np.bincount(rows, minlength=4) / count for rows in np.asarray(action).reshape(2, -1)])
    expected = np.asarray(probabilities(TABLE, View(jnp.arange(2), MASK, ())))
    assert (np.abs(shares - expected) <= 5 * np.sqrt(expected * (1 - expected) / count) + 1e-7).all()


def test_greedy_takes_the_first_best_legal_action():
    policy, _ = epsilon_greedy_over(values_of, lambda state: 0.4)
    view = View(jnp.arange(2), MASK, ())
    np.testing.assert_array_equal(policy(TABLE, True)(jax.random.key(0), view).action, [1, 0])
    np.testing.assert_array_equal(policy(TABLE, True)(jax.random.key(0), view._replace(mask=None)).action, [1, 2])
