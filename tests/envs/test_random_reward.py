"""Random rewards over environments of every kind: the same transitions, other rewards, still solved exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.random_mdps import random_mdp, random_reward
from jaxrl.core.finite import tabulate
from jaxrl.core.spaces import flatten
from jaxrl.core.transforms import with_reward
from jaxrl.solvers.mdp.value_iteration import value_iteration
from jaxrl.testing.conformance import check_environment
from tests import oracles


def rewarded(env, key, **arguments):
    weights = random_reward.draw(key, env.observation_space, env.action_space, **arguments)
    return with_reward(env, random_reward.RandomReward(env.observation_space), weights)


@pytest.mark.parametrize("name", ["frozen_lake", "garnet", "catch"])
def test_keeps_the_protocol(name):
    env = envs.make(name)
    one, other = (rewarded(env, jax.random.key(seed)) for seed in (0, 1))
    check_environment(one, jax.random.key(0), rebuilt=other)


def test_table_has_the_drawn_rewards_and_the_old_transitions():
    env = envs.make("garnet")
    new = rewarded(env, jax.random.key(3))
    old_model, model = tabulate(env), tabulate(new)
    weights = np.asarray(new.params.reward, np.float64)
    np.testing.assert_allclose(model.reward, np.broadcast_to(weights[:, :, None], model.reward.shape), atol=1e-6)
    np.testing.assert_array_equal(model.next_state, old_model.next_state)
    np.testing.assert_array_equal(model.probability, old_model.probability)


def test_rewards_of_features_are_linear():
    env = envs.make("catch")
    new = rewarded(env, jax.random.key(4))
    obs, state = new.reset(jax.random.key(0))
    for action in range(3):
        step = new.step(jax.random.key(1), state, jnp.int32(action))
        expected = np.asarray(flatten(env.observation_space, obs)) @ np.asarray(new.params.reward)[:, action]
        assert float(step.reward) == pytest.approx(float(expected), abs=1e-5)


def test_many_rewards_are_solved_at_once():
    """Over one process, rewards vmapped over keys; against the oracle on the tables of the transformed environments."""
    env = envs.make("random_mdp")
    keys = jax.random.split(jax.random.key(0), 6)
    table = random_mdp.table(env.params)

    @jax.jit
    @jax.vmap
    def solve(key):
        weights = random_reward.draw(key, env.observation_space, env.action_space)
        return value_iteration(table.replace(reward=jnp.broadcast_to(weights[..., None], table.reward.shape)), 0.9).value

    for key, value in zip(keys, solve(keys), strict=True):
        np.testing.assert_allclose(value, oracles.value_iteration(tabulate(rewarded(env, key)), 0.9), atol=1e-4)


def test_weights_are_normal_and_as_sparse_as_asked():
    env = envs.make("frozen_lake_8x8")
    weights = np.asarray(
        jax.vmap(lambda key: random_reward.draw(key, env.observation_space, env.action_space, 0.25, 2.0))(
            jax.random.split(jax.random.key(0), 100)
        )
    )
    assert weights.shape == (100, 64, 4)
    assert np.mean(weights != 0) == pytest.approx(0.25, abs=0.015)
    assert weights[weights != 0].std() == pytest.approx(2.0, abs=0.05)
