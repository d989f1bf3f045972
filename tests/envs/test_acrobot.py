"""Acrobot against Gymnasium, step by step."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.control import acrobot
from jaxrl.errors import ConfigError

NUM_STEPS = 1000


def play(theirs, restart, random):
    """Plays random torques from a new state every ``restart`` steps. Returns states, actions, and their results."""
    states, actions, results = [], random.integers(3, size=NUM_STEPS), []
    for index, action in enumerate(actions):
        if index % restart == 0:
            theirs.reset(seed=index)
            high = np.array([np.pi, np.pi, 2 * np.pi, 4.5 * np.pi])
            theirs.unwrapped.state = random.uniform(-high, high).astype(np.float32)
        states.append(np.array(theirs.unwrapped.state))
        obs, reward, terminated, _, _ = theirs.step(action)
        results.append((obs, np.array(theirs.unwrapped.state), reward, terminated))
    return np.stack(states), actions, [np.array(column) for column in zip(*results, strict=True)]


def test_steps_are_gymnasiums():
    """From states all over the space, so that many steps end above the line and some at the limits of the speeds."""
    theirs, ours = gymnasium.make("Acrobot-v1"), acrobot.make()
    states, actions, (observations, next_states, rewards, terminated) = play(theirs, 10, np.random.default_rng(0))
    keys = jax.random.split(jax.random.key(0), NUM_STEPS)
    steps = jax.jit(jax.vmap(ours.step))(keys, jnp.asarray(states, jnp.float32), jnp.asarray(actions, jnp.int32))
    # A Runge-Kutta step at full speed multiplies the rounding of the state by about a hundred.
    np.testing.assert_allclose(steps.obs, observations, rtol=1e-4, atol=5e-4)
    turned = np.abs(steps.state[:, :2] - next_states[:, :2]) % (2 * np.pi)
    np.testing.assert_allclose(np.minimum(turned, 2 * np.pi - turned), 0.0, atol=5e-4)
    np.testing.assert_array_equal(steps.reward, rewards)
    np.testing.assert_array_equal(steps.terminated, terminated)
    assert 50 < terminated.sum() < 950
    assert ours.max_steps == theirs.spec.max_episode_steps
    assert ours.observation_space.contains(steps.obs)


def test_a_slow_swing_is_gymnasiums():
    """Forty steps in a row from rest, pushing as the first link moves."""
    theirs, ours = gymnasium.make("Acrobot-v1"), acrobot.make()
    theirs.reset(seed=3)
    state, step = jnp.asarray(theirs.unwrapped.state, jnp.float32), jax.jit(ours.step)
    for _ in range(40):
        action = 2 if theirs.unwrapped.state[2] < 0 else 0
        obs, _, terminated, _, _ = theirs.step(action)
        done = step(jax.random.key(0), state, jnp.int32(action))
        state = done.state
        np.testing.assert_allclose(done.obs, obs, atol=1e-3)
        assert bool(done.terminated) == terminated


def test_energy_is_kept_without_torque():
    """The equations are those of a double pendulum: with a short time step its energy stays."""
    env = acrobot.make(time_step=0.01, torque=0.0)

    def energy(state):
        angle_1, angle_2, speed_1, speed_2 = state
        both = speed_1 + speed_2
        speed = speed_1**2 + 0.25 * both**2 + speed_1 * both * jnp.cos(angle_2)  # of the second centre of mass, squared
        moving = 0.5 * (0.25 * speed_1**2 + speed_1**2) + 0.5 * (speed + both**2)
        return moving - 9.8 * (0.5 * jnp.cos(angle_1) + jnp.cos(angle_1) + 0.5 * jnp.cos(angle_1 + angle_2))

    state = jnp.array([1.0, 0.5, 0.3, -0.4], jnp.float32)
    key = jax.random.key(0)
    states = jax.jit(lambda s: jax.lax.scan(lambda s, _: (env.step(key, s, 1).state,) * 2, s, None, 500))(state)[1]
    energies = jax.vmap(energy)(states)
    np.testing.assert_allclose(energies, energy(state), atol=0.01)
    assert np.ptp(np.asarray(states[:, 0])) > 1.0


def test_reset_hangs_down():
    _, state = jax.vmap(acrobot.make().reset)(jax.random.split(jax.random.key(0), 1000))
    np.testing.assert_allclose(np.abs(state).max(0), 0.1, atol=0.001)


@pytest.mark.parametrize("parameters", [dict(mass_1=0.0), dict(length_1=-1.0), dict(time_step=0.0), dict(max_steps=0)])
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError, match="acrobot"):
        acrobot.make(**parameters)
