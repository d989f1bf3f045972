"""Averages are divided last: parts of any size add up, nothing is missing, and what does not count may be anything."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.multiagent import mappo
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.averages import Average, average, divided, is_sound, pooled
from jaxrl.training.runner import run
from tests.marks import slow

VALUES = jnp.array([1.0, 5.0, 3.0, 7.0, jnp.nan, 2.0])
COUNTS = jnp.array([True, True, False, True, False, True])


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_the_average_of_unequal_parts_is_that_of_the_whole(parts):
    pieces = jax.vmap(average)(VALUES.reshape(parts, -1), COUNTS.reshape(parts, -1))
    np.testing.assert_allclose(pooled({"x": pieces})["x"].mean, (1 + 5 + 7 + 2) / 4)


def test_weights_count():
    found = average(jnp.array([1.0, 4.0, jnp.inf]), weight=jnp.array([2.0, 1.0, 0.0]))
    np.testing.assert_allclose(found, (6.0, 3.0))


def test_an_average_of_nothing_is_sound_and_missing():
    nothing = average(VALUES, jnp.zeros(6, bool))
    assert bool(is_sound(nothing))
    assert np.isnan(divided({"x": jax.device_get(nothing)})["x"])
    assert not bool(is_sound(Average(jnp.nan, jnp.float32(1))))
    assert not bool(is_sound(jnp.inf))


def test_the_gradient_of_what_counts_is_not_touched_by_what_does_not():
    gradient = jax.grad(lambda x: average(jnp.log(jnp.where(COUNTS, x, 1.0)), COUNTS).total)(jnp.where(COUNTS, VALUES, -1.0))
    np.testing.assert_allclose(gradient, [1, 0.2, 0, 1 / 7, 0, 0.5], rtol=1e-6)


def alternating(task, config):
    """Two items in every third update."""

    def update(state, key):
        counts = jnp.arange(2) < jnp.where(state % 3 == 0, 2, 0)
        return state + 1, {"x": average(jnp.array([1.0, 2.0]), counts), "step": state.astype(jnp.float32)}

    return Algorithm(lambda key: jnp.int32(0), update)


def test_a_run_divides_on_the_host_and_a_missing_value_is_no_failure():
    done = run(alternating, (), {}, seeds=3, num_updates=6, chunk_length=2)
    assert not done.summary.failed_seeds
    np.testing.assert_array_equal(done.metrics["x"], [[1.5, np.nan, np.nan, 1.5, np.nan, np.nan]] * 3)


@pytest.mark.parametrize("num_minibatches", [slow(1), slow(4), slow(16), 32])
def test_entropy_is_the_same_in_any_number_of_minibatches(num_minibatches):
    """Turns: in every state one of two agents chooses between two actions, so the entropy of a first policy is near log 2."""
    env = envs.make("kuhn")
    config = mappo.Config(num_envs=8, num_steps=4, num_epochs=1, num_minibatches=num_minibatches, learning_rate=1e-9, hidden=(8,))
    done = run(mappo.make, env, config, seeds=2, num_updates=1)
    np.testing.assert_allclose(done.metrics["entropy"], np.log(2), rtol=1e-3)
