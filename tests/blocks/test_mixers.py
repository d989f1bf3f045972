"""The monotonic mixer: no agent's value lowers the team's, so that the best joint action is everybody's own best one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.blocks.networks import MonotonicMixer

AGENTS, ACTIONS, INPUTS = 3, 4, 1_000


@pytest.fixture(scope="module")
def mixed():
    """The mixer at random inputs: the function of values and state, and 1000 of both."""
    keys = jax.random.split(jax.random.key(0), 3)
    state = jax.random.normal(keys[0], (INPUTS, 5))
    values = 3 * jax.random.normal(keys[1], (INPUTS, AGENTS, ACTIONS))
    mixer = MonotonicMixer(8)
    params = mixer.init(keys[2], values[..., 0], state)
    return jax.jit(lambda values, state: mixer.apply(params, values, state)), values, state


def test_no_value_of_an_agent_lowers_that_of_the_team(mixed):
    mix, values, state = mixed
    gradient = jax.jit(jax.vmap(jax.grad(mix)))(values[..., 0], state)
    assert (np.asarray(gradient) >= 0).all()
    assert (np.asarray(gradient) > 0).mean() > 0.9


def test_the_best_joint_action_is_the_best_of_every_agent(mixed):
    mix, values, state = mixed
    joint = jnp.stack(jnp.meshgrid(*[jnp.arange(ACTIONS)] * AGENTS, indexing="ij"), -1).reshape(-1, AGENTS)
    of_joint = jax.jit(jax.vmap(lambda action: mix(values[:, jnp.arange(AGENTS), action], state), out_axes=1))(joint)
    own = jax.jit(lambda values: mix(values.max(-1), state))(values)
    np.testing.assert_allclose(of_joint.max(1), own, rtol=1e-5, atol=1e-5)


def test_the_value_by_hand():
    """One agent and a layer of one: |w_2(s)| elu(|w_1(s)| q + b_1(s)) + b_2(s)."""
    mixer, state = MonotonicMixer(1), jnp.array([[0.5]])
    params = mixer.init(jax.random.key(1), jnp.zeros((1, 1)), state)
    layers = jax.tree.map(np.asarray, params["params"])
    linear = [float(0.5 * layers[f"Dense_{i}"]["kernel"][0, 0] + layers[f"Dense_{i}"]["bias"][0]) for i in range(4)]
    for value in (-2.0, 1.5):
        before = abs(linear[0]) * value + linear[1]
        bias = max(linear[3], 0.0) * layers["Dense_4"]["kernel"][0, 0] + layers["Dense_4"]["bias"][0]
        expected = (before if before > 0 else np.expm1(before)) * abs(linear[2]) + bias
        np.testing.assert_allclose(mixer.apply(params, jnp.array([[value]]), state)[0], expected, rtol=1e-5)
