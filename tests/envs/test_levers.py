"""Levers: what pulling at random and in order pulls, exactly, and who is drawn."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from envs.markov_games import levers
from jaxrl.errors import ConfigError
from jaxrl.testing.conformance import check_environment


def test_pulling_at_random():
    env = levers.make()
    state = env.reset(jax.random.key(0))[1]
    joint = jnp.array(list(itertools.product(range(5), repeat=5)), jnp.int32)
    reward = jax.vmap(lambda action: env.step(jax.random.key(0), state, action).reward)(joint)
    np.testing.assert_allclose(np.asarray(reward, np.float64).mean(0), 1 - 0.8**5, atol=1e-6)
    np.testing.assert_allclose(1 - 0.8**5, 0.672320, atol=5e-7)
    np.testing.assert_allclose(reward[0], 0.2)


def test_pulling_in_order_pulls_all():
    env = levers.make()
    for seed in range(5):
        identity, state = env.reset(jax.random.key(seed))
        step = env.step(jax.random.key(0), state, levers.by_rank(identity, 5))
        np.testing.assert_array_equal(step.reward, np.ones(5))
        assert bool(step.terminated)
        np.testing.assert_array_equal(env.step(jax.random.key(0), step.state, jnp.arange(5)).reward, np.zeros(5))


def test_five_of_the_population_are_drawn():
    drawn = np.asarray(jax.vmap(levers.make(population=20).reset)(jax.random.split(jax.random.key(0), 8_000))[0])
    assert all(len(set(row)) == 5 for row in drawn.tolist())
    for seat in drawn.T:
        assert stats.chisquare(np.bincount(seat, minlength=20)).pvalue > 1e-4


@pytest.mark.parametrize("parameters", [dict(num_agents=1, population=1), dict(num_agents=4, population=4, num_levers=2)])
def test_extremes_keep_the_protocol(parameters):
    check_environment(levers.make(**parameters), jax.random.key(0), rebuilt=levers.make(**parameters))


@pytest.mark.parametrize("parameters", [dict(num_agents=0), dict(population=4), dict(num_levers=0)])
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError):
        levers.make(**parameters)
