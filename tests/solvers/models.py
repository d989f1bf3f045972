"""Models of decision processes for tests of solvers."""

import jax
import numpy as np

from envs.random_mdps import random_mdp
from jaxrl.core.finite import TabularModel
from tests import oracles


def garnet(seed, num_states=8, num_actions=3):
    """The model of a random process with rewards in [-1, 1], in float64. Nothing ends it."""
    model = random_mdp.table(random_mdp.garnet(jax.random.key(seed), num_states, num_actions))
    model = jax.tree.map(np.asarray, model)
    chance = model.probability.astype(np.float64)
    return model.replace(
        probability=chance / chance.sum(-1, keepdims=True),
        reward=2 * model.reward.astype(np.float64) - 1,
        initial=np.full(num_states, 1 / num_states),
    )


def ring(num_states):
    """The model of steps round a ring: the only action leads on, and the last state pays 1."""
    here = np.arange(num_states, dtype=np.int32)
    return TabularModel(
        ((here + 1) % num_states)[:, None, None],
        np.ones((num_states, 1, 1)),
        (here == num_states - 1).astype(float)[:, None, None],
        np.zeros((num_states, 1, 1), bool),
        np.eye(1, num_states)[0],
        np.ones((num_states, 1), bool),
        here,
        here,
        (1,),
    )


def best_policy(model, gamma):
    """Returns an optimal policy, float[X, A], by Howard's policy iteration with linear solves."""
    policy = oracles.uniform(model)
    for _ in range(50):
        values = oracles.action_values(model, oracles.policy_values(model, policy, gamma), gamma)
        policy = np.eye(model.num_actions)[values.argmax(-1)]
    return policy


def with_a_ruinous_action(ends=False):
    """One state: the first action pays 1 (and goes on with probability 0.9, if it ends); the second costs more than anything."""
    chance = np.array([[[0.9, 0.1]] * 2]) if ends else np.ones((1, 2, 1))
    reward = np.array([[[1.0, 0.0], [-1e9, -1e9]]]) if ends else np.array([[[1.0], [-1e9]]])
    over = np.broadcast_to(np.array([False, True]), chance.shape).copy() if ends else np.zeros(chance.shape, bool)
    states, legal = np.arange(1), np.ones((1, 2), bool)
    return TabularModel(np.zeros(chance.shape, np.int32), chance, reward, over, np.ones(1), legal, states, states, (2,))
