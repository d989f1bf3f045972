"""Calls that are one program, whether they stand alone or within another."""

import jax
import jax.numpy as jnp
import numpy as np

import envs
from jaxrl.blocks import datasets
from jaxrl.core import rollout
from jaxrl.core.at_once import at_once


def programs(function):
    """Returns how many programs a call compiles."""
    found = []

    def listen(event, seconds, **_):
        found.extend([event] * event.endswith("backend_compile_duration"))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        function()
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    return len(found)


def test_a_call_is_one_program_and_part_of_one_that_is_being_traced():
    def wave(x):
        return jnp.cos(jnp.sin(x) * 3.25 + 1.125)

    x = jnp.linspace(0.0, 1.0, 7)
    assert programs(lambda: at_once(wave, x)) == 1
    np.testing.assert_allclose(at_once(wave, x), wave(x), rtol=1e-6)
    assert "jit" not in str(jax.make_jaxpr(lambda x: at_once(wave, x))(x))


def test_episodes_of_a_data_set_are_played_by_one_program():
    env, key = envs.make("corridor", length=3), jax.random.key(0)
    policy = rollout.uniform_policy(env)
    assert programs(lambda: datasets.collect(key, env, policy, 2, 4)) <= 3


def test_episodes_are_begun_again_without_a_program():
    env, key = envs.make("corridor", length=3), jax.random.key(0)
    assert programs(lambda: rollout.start(key, env, 5)) >= 1
    assert programs(lambda: rollout.start(key, envs.make("corridor", length=3), 5)) == 0
