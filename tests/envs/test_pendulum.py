"""Pendulum against Gymnasium, step by step."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.control import pendulum
from jaxrl.errors import ConfigError

NUM_STEPS = 1000


def test_steps_are_gymnasiums():
    theirs, ours = gymnasium.make("Pendulum-v1"), pendulum.make()
    random = np.random.default_rng(0)
    theirs.reset(seed=0)
    states, actions, results = [], [], []
    for _ in range(NUM_STEPS):
        states.append(np.array(theirs.unwrapped.state))
        actions.append(random.uniform(-3, 3, size=1))  # some beyond the limits
        obs, reward, terminated, truncated, _ = theirs.step(actions[-1])
        results.append((obs, np.array(theirs.unwrapped.state), reward))
        assert not terminated
        if truncated:
            theirs.reset()
    keys = jax.random.split(jax.random.key(0), NUM_STEPS)
    states, actions = jnp.asarray(np.stack(states), jnp.float32), jnp.asarray(np.stack(actions), jnp.float32)
    steps = jax.jit(jax.vmap(ours.step))(keys, states, actions)
    observations, next_states, rewards = (np.array(column) for column in zip(*results, strict=True))
    np.testing.assert_allclose(steps.state, next_states, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(steps.obs, observations, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(steps.reward, rewards, rtol=1e-4, atol=1e-4)
    assert not steps.terminated.any()
    assert ours.max_steps == theirs.spec.max_episode_steps
    assert ours.observation_space.contains(steps.obs)


def test_reset_hangs_anywhere():
    obs, state = jax.vmap(pendulum.make().reset)(jax.random.split(jax.random.key(0), 1000))
    np.testing.assert_allclose(np.abs(state).max(0), [np.pi, 1.0], rtol=0.01)
    np.testing.assert_allclose(obs[:, 0], np.cos(state[:, 0]), atol=1e-6)


@pytest.mark.parametrize("parameters", [dict(mass=0.0), dict(length=-1.0), dict(max_steps=0)])
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError):
        pendulum.make(**parameters)
