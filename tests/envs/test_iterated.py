"""The iterated game: what the players remember, and how tit for tat plays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.matrix_games import iterated, named
from jaxrl.errors import ConfigError
from jaxrl.testing.conformance import check_environment


def test_players_see_their_own_action_first():
    env = iterated.make()
    obs, state = env.reset(jax.random.key(0))
    np.testing.assert_array_equal(obs, [0, 0])
    for action, seen in (((0, 0), (1, 1)), ((0, 1), (2, 3)), ((1, 0), (3, 2)), ((1, 1), (4, 4))):
        step = env.step(jax.random.key(1), state, jnp.array(action, jnp.int32))
        np.testing.assert_array_equal(step.obs, seen)
        np.testing.assert_array_equal(step.reward, named.PRISONERS_DILEMMA[:, action[0], action[1]])
        assert not bool(step.terminated)
        state = step.state


def test_three_players_see_the_others_in_a_circle():
    payoff = np.random.default_rng(0).normal(size=(3, 2, 2, 2))
    env = iterated.make(payoff)
    step = env.step(jax.random.key(0), env.reset(jax.random.key(0))[1], jnp.array([1, 0, 0], jnp.int32))
    np.testing.assert_array_equal(step.obs, [1 + 0b100, 1 + 0b001, 1 + 0b010])
    np.testing.assert_allclose(step.reward, payoff[:, 1, 0, 0], rtol=1e-6)


def test_tit_for_tat_against_defection():
    """The first round is lost, then both defect."""
    env = iterated.make()
    obs, state = env.reset(jax.random.key(0))
    tit_for_tat = jnp.array([0, 0, 1, 0, 1], jnp.int32)  # what the other did last is the lower bit
    rewards = []
    for _ in range(4):
        step = env.step(jax.random.key(1), state, jnp.array([tit_for_tat[obs[0]], 1], jnp.int32))
        obs, state = step.obs, step.state
        rewards.append(step.reward)
    np.testing.assert_array_equal(rewards, [[-3, 0], [-2, -2], [-2, -2], [-2, -2]])


def test_players_with_fewer_actions_are_masked():
    payoff = np.arange(12.0).reshape(2, 2, 3)
    env = iterated.make(payoff, max_steps=7)
    check_environment(env, jax.random.key(0), rebuilt=iterated.make(payoff + 1, max_steps=7))
    np.testing.assert_array_equal(env.action_mask(env.reset(jax.random.key(0))[1]), [[True, True, False], [True, True, True]])


def test_wrong_parameters():
    with pytest.raises(ConfigError, match="max_steps"):
        iterated.make(max_steps=0)
    with pytest.raises(ConfigError, match="must have shape"):
        iterated.make(np.zeros((2, 2)))
