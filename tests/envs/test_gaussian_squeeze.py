"""Gaussian squeeze: what sums pay, and which pays most."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from envs.markov_games import gaussian_squeeze
from jaxrl.errors import ConfigError
from jaxrl.testing.conformance import check_environment


def test_reward():
    env = gaussian_squeeze.make(num_agents=3, mu=10.0, sigma=4.0)
    _, state = env.reset(jax.random.key(0))
    step = env.step(jax.random.key(0), state, jnp.array([9, 0, 3], jnp.int32))
    np.testing.assert_allclose(step.reward, [12 * np.exp(-4 / 16)] * 3, rtol=1e-6)
    assert bool(step.terminated)
    np.testing.assert_array_equal(env.step(jax.random.key(0), step.state, jnp.array([9, 0, 3])).reward, np.zeros(3))


@pytest.mark.parametrize(("mu", "sigma"), [(400.0, 200.0), (50.0, 5.0), (0.0, 1.0)])
def test_best_total(mu, sigma):
    found = optimize.minimize_scalar(
        lambda x: -x * np.exp(-(((x - mu) / sigma) ** 2)), bounds=(0, mu + 3 * sigma), method="bounded", options={"xatol": 1e-8}
    )
    assert gaussian_squeeze.best_total(mu, sigma) == pytest.approx(found.x, rel=1e-5)


def test_extremes_keep_the_protocol():
    env = gaussian_squeeze.make(num_agents=2, mu=1e4, sigma=1e-2)
    check_environment(env, jax.random.key(0), rebuilt=gaussian_squeeze.make(num_agents=2))


@pytest.mark.parametrize("parameters", [dict(num_agents=0), dict(sigma=0.0)])
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError):
        gaussian_squeeze.make(**parameters)
