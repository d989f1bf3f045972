"""Mountain car, discrete and continuous, against Gymnasium, step by step."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.control import mountain_car
from jaxrl.errors import ConfigError

NUM_STEPS = 1000
GYMNASIUM = {
    "discrete": ("MountainCar-v0", mountain_car.make),
    "continuous": ("MountainCarContinuous-v0", mountain_car.make_continuous),
}


def draw_actions(kind, random, count):
    if kind == "discrete":
        return random.integers(3, size=count)
    return random.uniform(-2, 2, size=(count, 1)).astype(np.float32)  # some beyond the limits


@pytest.mark.parametrize("kind", GYMNASIUM)
def test_steps_are_gymnasiums(kind):
    """From states all over the road, a new one every ten steps, so that many steps end at the wall and at the flag."""
    name, make = GYMNASIUM[kind]
    theirs, ours = gymnasium.make(name), make()
    random = np.random.default_rng(0)
    actions = draw_actions(kind, random, NUM_STEPS)
    states, results = [], []
    for index, action in enumerate(actions):
        if index % 10 == 0:
            theirs.reset(seed=index)
            theirs.unwrapped.state = random.uniform([-1.2, -0.07], [0.6, 0.07]).astype(np.float32)
        states.append(np.array(theirs.unwrapped.state))
        obs, reward, terminated, _, _ = theirs.step(action)
        results.append((obs, reward, terminated))
    keys = jax.random.split(jax.random.key(0), NUM_STEPS)
    steps = jax.jit(jax.vmap(ours.step))(keys, jnp.asarray(np.stack(states), jnp.float32), jnp.asarray(actions))
    next_states, rewards, terminated = (np.array(column) for column in zip(*results, strict=True))
    np.testing.assert_allclose(steps.state, next_states, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(steps.obs, steps.state)
    np.testing.assert_allclose(steps.reward, rewards, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(steps.terminated, terminated)
    assert terminated.sum() > 20
    assert ((next_states == np.float32([-1.2, 0])).all(-1)).any()  # stopped by the wall
    assert ours.max_steps == theirs.spec.max_episode_steps
    assert ours.observation_space.contains(steps.obs)


@pytest.mark.parametrize("kind", GYMNASIUM)
def test_a_whole_episode_is_gymnasiums(kind):
    """Pushing as the car moves reaches the flag after the same number of steps, along the same way."""
    name, make = GYMNASIUM[kind]
    theirs, ours = gymnasium.make(name), make()
    obs, _ = theirs.reset(seed=1)
    step = jax.jit(ours.step)
    state = jnp.asarray(theirs.unwrapped.state, jnp.float32)
    count = 0
    for _ in range(199):
        right = obs[1] >= 0
        action = (2 if right else 0) if kind == "discrete" else np.array([1.0 if right else -1.0], np.float32)
        obs, _, terminated, _, _ = theirs.step(action)
        done = step(jax.random.key(0), state, jnp.asarray(action))
        state, count = done.state, count + 1
        np.testing.assert_allclose(state, obs, atol=1e-4)
        assert bool(done.terminated) == terminated
        if terminated:
            break
    assert 60 < count < 199


def test_reset_stands_in_the_valley():
    obs, _ = jax.vmap(mountain_car.make().reset)(jax.random.split(jax.random.key(0), 1000))
    np.testing.assert_allclose([obs[:, 0].min(), obs[:, 0].max()], [-0.6, -0.4], atol=0.001)
    assert not obs[:, 1].any()


@pytest.mark.parametrize("make", [mountain_car.make, mountain_car.make_continuous])
@pytest.mark.parametrize("parameters", [dict(force=-1.0), dict(gravity=-1.0), dict(goal_position=0.7), dict(max_steps=0)])
def test_wrong_parameters(make, parameters):
    with pytest.raises(ConfigError, match="mountain_car"):
        make(**parameters)
