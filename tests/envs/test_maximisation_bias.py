"""Maximisation bias: where each choice leads, what the arms pay, and which actions are legal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.bandits import maximisation_bias
from envs.bandits.maximisation_bias import ARMS, LEFT, OVER, RIGHT, START
from jaxrl.errors import ConfigError


def test_left_leads_to_the_arms_and_right_ends():
    env = maximisation_bias.make()
    assert int(env.reset(jax.random.key(0))[0]) == START
    left, right = (env.step(jax.random.key(1), jnp.int32(START), jnp.int32(action)) for action in (LEFT, RIGHT))
    assert (int(left.obs), float(left.reward), bool(left.terminated)) == (ARMS, 0.0, False)
    assert (int(right.obs), float(right.reward), bool(right.terminated)) == (OVER, 0.0, True)


def test_every_arm_ends_with_a_normal_reward():
    env = maximisation_bias.make(num_arms=4, mean=-0.5, deviation=2.0)
    keys, arms = jax.random.split(jax.random.key(0), 40_000), jnp.arange(40_000, dtype=jnp.int32) % 4
    step = jax.jit(jax.vmap(env.step, in_axes=(0, None, 0)))(keys, jnp.int32(ARMS), arms)
    assert step.terminated.all()
    rewards = np.asarray(step.reward).reshape(-1, 4)
    np.testing.assert_allclose(rewards.mean(0), -0.5, atol=0.09)
    np.testing.assert_allclose(rewards.std(0), 2.0, atol=0.06)


def test_two_actions_are_legal_before_the_arms():
    env = maximisation_bias.make(num_arms=4)
    np.testing.assert_array_equal(env.action_mask(jnp.int32(START)), [True, True, False, False])
    np.testing.assert_array_equal(env.action_mask(jnp.int32(ARMS)), [True] * 4)


@pytest.mark.parametrize(("parameters", "message"), [({"num_arms": 1}, "num_arms"), ({"deviation": -1.0}, "deviation")])
def test_bad_parameters_are_refused(parameters, message):
    with pytest.raises(ConfigError, match=message):
        maximisation_bias.make(**parameters)
