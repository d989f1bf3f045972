"""Sequences: what is cut is the block again, by time, and memories stay with their environments."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.blocks import sequences
from jaxrl.errors import ConfigError

STEPS = {"time": jnp.arange(5)[:, None] * jnp.ones((1, 3), jnp.int32), "env": jnp.ones((5, 1), jnp.int32) * jnp.arange(3)}


def test_a_recurrent_network_sees_whole_blocks_from_their_memory():
    found = sequences.cut(STEPS, jnp.array([[0.0], [1.0], [2.0]]), recurrent=True)
    np.testing.assert_array_equal(found.steps["time"], [np.arange(5)] * 3)
    np.testing.assert_array_equal(found.memory[:, 0], found.steps["env"][:, 0])
    for name, leaf in sequences.by_time(found).items():
        np.testing.assert_array_equal(leaf, STEPS[name])


def test_any_other_network_sees_single_steps():
    found = sequences.cut(STEPS | {"vector": jnp.zeros((5, 3, 2))}, (), recurrent=False)
    assert jax.tree.map(jnp.shape, found.steps) == {"time": (15, 1), "env": (15, 1), "vector": (15, 1, 2)}
    np.testing.assert_array_equal(found.steps["time"][:, 0], np.repeat(np.arange(5), 3))
    assert found.memory == ()
    assert sequences.by_time(found)["vector"].shape == (1, 15, 2)


@pytest.mark.parametrize(
    ("memory_size", "message"),
    [
        (0, r"num_envs \* num_steps \(40\) must be divisible by num_minibatches, got 3. Try num_minibatches=2"),
        (4, r"num_envs \(4\) must be divisible by num_minibatches, got 3. Try num_minibatches=2"),
    ],
)
def test_sequences_that_do_not_divide_are_refused(memory_size, message):
    config = types.SimpleNamespace(num_envs=4, num_steps=10, num_minibatches=3, memory_size=memory_size)
    with pytest.raises(ConfigError, match=f"here: {message}"):
        sequences.require_minibatches("here", config)
    config.num_minibatches = 4
    sequences.require_minibatches("here", config)
