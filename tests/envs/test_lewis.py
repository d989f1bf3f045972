"""Signalling: who sees what when, and what is paid. What codes earn is tested in tests/solvers/test_extensive.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.extensive_games import lewis
from jaxrl.errors import ConfigError


def test_a_signal_and_an_act():
    """World 2 of three, signal 0 of two, and the right act; then the same with a wrong one."""
    env = lewis.make(states=3, signals=2)
    state = lewis.State(jnp.int32(2), jnp.int32(0), jnp.int32(lewis.SENDING))
    np.testing.assert_array_equal(env.action_mask(state), [[True, True, False], [True, False, False]])
    sent = env.step(jax.random.key(0), state, jnp.array([0, 0], jnp.int32))
    np.testing.assert_array_equal(sent.obs, [3, 1])
    np.testing.assert_array_equal(sent.reward, [0, 0])
    assert not bool(sent.terminated)
    np.testing.assert_array_equal(env.action_mask(sent.state), [[True, False, False], [True, True, True]])
    for act, reward in ((2, 1), (1, 0)):
        acted = env.step(jax.random.key(0), sent.state, jnp.array([0, act], jnp.int32))
        np.testing.assert_array_equal(acted.reward, [reward, reward])
        assert bool(acted.terminated)
        again = env.step(jax.random.key(0), acted.state, jnp.array([0, 2], jnp.int32))
        np.testing.assert_array_equal(again.reward, [0, 0])


def test_the_receiver_does_not_see_the_world():
    env = lewis.make(states=4)
    obs, _ = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 64))
    assert set(np.asarray(obs[:, 0]).tolist()) == {1, 2, 3, 4}
    assert not obs[:, 1].any()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (dict(states=0), "states"),
        (dict(signals=0), "signals"),
        (dict(probability=(0.5, 0.6)), "sum to 1"),
        (dict(probability=(1.0,)), "2 non-negative numbers"),
    ],
)
def test_wrong_parameters(parameters, message):
    with pytest.raises(ConfigError, match=message):
        lewis.make(**parameters)
