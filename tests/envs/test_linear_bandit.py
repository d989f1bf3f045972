"""Contextual linear bandit: features on the sphere, linear rewards, and a weight that regression finds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.bandits import linear_bandit
from jaxrl.errors import ConfigError


def test_features_are_uniform_on_the_sphere():
    env = linear_bandit.make(num_arms=4, num_features=3)
    obs, state = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 5000))
    assert obs.shape == (5000, 4, 3)
    np.testing.assert_array_equal(obs, state)
    np.testing.assert_allclose(np.linalg.norm(obs, axis=-1), 1.0, atol=1e-5)
    flat = np.asarray(obs).reshape(5000, -1)
    np.testing.assert_allclose(np.cov(flat.T), np.eye(12) / 3, atol=0.03)
    np.testing.assert_allclose(np.sort(flat[:, 0])[::500], np.linspace(-1, 1, 11)[:10], atol=0.06)  # uniform in 3 dimensions


def test_rewards_are_linear_and_the_next_features_are_new():
    env = linear_bandit.make(num_arms=6, num_features=4, deviation=0.2, seed=3)
    weight = np.asarray(env.params.weight, np.float64)
    assert np.linalg.norm(weight) == pytest.approx(1.0, abs=1e-6)
    keys = jax.random.split(jax.random.key(1), 8000)
    _, state = jax.vmap(env.reset)(jax.random.split(jax.random.key(2), 8000))
    arms = jnp.arange(8000, dtype=jnp.int32) % 6
    step = jax.jit(jax.vmap(env.step))(keys, state, arms)
    seen = np.asarray(state, np.float64)[np.arange(8000), np.asarray(arms)]
    found, residual, _, _ = np.linalg.lstsq(seen, np.asarray(step.reward, np.float64))
    np.testing.assert_allclose(found, weight, atol=0.02)
    assert np.sqrt(residual.item() / 8000) == pytest.approx(0.2, abs=0.01)
    means = np.asarray(state) @ weight
    np.testing.assert_allclose(step.info["regret"], means.max(1) - means[np.arange(8000), np.asarray(arms)], atol=1e-5)
    assert abs(np.corrcoef(np.ravel(step.obs), np.ravel(state))[0, 1]) < 0.02


def test_weights_can_be_drawn_under_vmap():
    params = jax.vmap(lambda key: linear_bandit.draw(key, 5, 3))(jax.random.split(jax.random.key(0), 2000))
    np.testing.assert_allclose(np.cov(np.asarray(params.weight).T), np.eye(3) / 3, atol=0.04)
    assert linear_bandit.of(params).observation_space.shape == (5, 3)


@pytest.mark.parametrize("parameters", [dict(num_arms=0), dict(num_features=0), dict(deviation=-1.0), dict(max_steps=0)])
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError, match="linear_bandit"):
        linear_bandit.make(**parameters)
