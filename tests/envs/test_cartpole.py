"""CartPole against Gymnasium, step by step."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.control import cartpole
from jaxrl.errors import ConfigError

NUM_STEPS = 1000


def test_steps_are_gymnasiums():
    theirs, ours = gymnasium.make("CartPole-v1"), cartpole.make()
    random = np.random.default_rng(0)
    theirs.reset(seed=0)
    states, actions, results = [], [], []
    for _ in range(NUM_STEPS):
        states.append(np.array(theirs.unwrapped.state))
        actions.append(random.integers(2))
        _, reward, terminated, truncated, _ = theirs.step(actions[-1])
        results.append((np.array(theirs.unwrapped.state), reward, terminated))
        if terminated or truncated:
            theirs.reset()
    keys = jax.random.split(jax.random.key(0), NUM_STEPS)
    states, actions = jnp.asarray(np.stack(states), jnp.float32), jnp.asarray(actions, jnp.int32)
    steps = jax.jit(jax.vmap(ours.step))(keys, states, actions)
    next_states, rewards, terminated = (np.array(column) for column in zip(*results, strict=True))
    np.testing.assert_allclose(steps.state, next_states, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(steps.obs, steps.state)
    np.testing.assert_array_equal(steps.reward, rewards)
    np.testing.assert_array_equal(steps.terminated, terminated)
    assert terminated.any()
    assert ours.max_steps == theirs.spec.max_episode_steps


def test_reset_stays_near_the_middle():
    obs, _ = jax.vmap(cartpole.make().reset)(jax.random.split(jax.random.key(0), 1000))
    assert np.abs(obs).max() <= 0.05
    assert np.abs(obs).max() > 0.049


@pytest.mark.parametrize("parameters", [dict(mass_pole=0.0), dict(time_step=-1.0), dict(max_steps=0)])
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError):
        cartpole.make(**parameters)
