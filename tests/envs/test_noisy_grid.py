"""Noisy grid: exact values, and rewards that are what they should be on average."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.gridworlds import noisy_grid
from envs.gridworlds.grid import LEFT, RIGHT, UP
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from tests import oracles


@pytest.mark.parametrize(("size", "gamma"), [(3, 0.95), (3, 0.5), (5, 0.95)])
def test_optimal_value_is_that_of_the_shortest_way(size, gamma):
    steps = 2 * (size - 1)
    model = tabulate(noisy_grid.make(size))
    expected = 5 * gamma**steps - sum(gamma**t for t in range(steps))
    assert oracles.start_value(model, oracles.value_iteration(model, gamma)) == pytest.approx(expected)


def test_value_of_the_source():
    model = tabulate(noisy_grid.make())
    assert oracles.start_value(model, oracles.value_iteration(model, 0.95)) == pytest.approx(0.36, abs=0.005)


def test_rewards_are_drawn_and_the_goal_ends_the_episode():
    env = noisy_grid.make()
    keys = jax.random.split(jax.random.key(0), 1000)
    walk = jax.vmap(env.step, in_axes=(0, None, None))(keys, jnp.int32(6), jnp.int32(UP))
    assert set(np.unique(walk.reward)) == {-12.0, 10.0}
    assert abs(float(walk.reward.mean()) + 1) < 1.5
    assert (np.asarray(walk.state) == 3).all()
    assert not walk.terminated.any()
    for action in (LEFT, RIGHT):
        last = env.step(keys[0], jnp.int32(2), jnp.int32(action))
        assert (float(last.reward), bool(last.terminated), int(last.obs)) == (5.0, True, 9)
    assert int(env.step(keys[0], jnp.int32(6), jnp.int32(LEFT)).state) == 6


@pytest.mark.parametrize("parameters", [dict(size=1), dict(max_steps=0)])
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError):
        noisy_grid.make(**parameters)
