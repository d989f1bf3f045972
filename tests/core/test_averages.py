"""Averages are divided last: parts of any size add up, nothing is missing, and what does not count may be anything.

Arrays become columns, and what is declared as optional may be missing.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.multiagent import mappo
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.averages import Average, average, column_names, columns, counted, divided, is_sound, optional, pooled
from jaxrl.training.runner import run
from tests.marks import slow

VALUES = jnp.array([1.0, 5.0, 3.0, 7.0, jnp.nan, 2.0])
COUNTS = jnp.array([True, True, False, True, False, True])


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_the_average_of_unequal_parts_is_that_of_the_whole(parts):
    pieces = jax.vmap(average)(VALUES.reshape(parts, -1), COUNTS.reshape(parts, -1))
    np.testing.assert_allclose(pooled({"x": pieces})["x"].mean, (1 + 5 + 7 + 2) / 4)


def test_what_does_not_count_is_an_average_of_nothing():
    metrics = {"x": Average(jnp.array([jnp.nan, 6.0]), jnp.array([3.0, 2.0])), "y": jnp.array([jnp.nan, 5.0])}
    found = pooled(jax.vmap(counted)(metrics, jnp.array([False, True])))
    assert (float(found["x"].mean), float(found["y"].mean), float(found["y"].count)) == (3.0, 5.0, 1.0)


def test_averages_of_each_agent_are_pooled_over_the_minibatches_alone():
    values = jnp.arange(24.0).reshape(4, 2, 3)  # minibatches, items, agents
    counts = jnp.array([[True, True], [True, False], [False, False], [False, True]])[..., None]
    pieces = {"x": jax.vmap(lambda x, n: average(x, n, axis=0))(values, counts), "y": values.sum(1), "z": values.sum((1, 2))}
    found = pooled(pieces, axes=1)
    np.testing.assert_allclose(found["x"].mean, (values[0, 0] + values[0, 1] + values[1, 0] + values[3, 1]) / 4)
    np.testing.assert_allclose(found["y"], values.sum(1).mean(0))
    np.testing.assert_allclose(found["z"], values.sum((1, 2)).mean())


def test_columns_are_named_by_the_entry():
    metrics = {"loss": np.ones(5), "q": np.arange(30.0).reshape(5, 2, 3), "r": Average(np.ones((5, 2)), np.full((5, 2), 2.0))}
    found = columns(metrics, axes=1)
    assert list(found) == ["loss", "q/0/0", "q/0/1", "q/0/2", "q/1/0", "q/1/1", "q/1/2", "r/0", "r/1"]
    np.testing.assert_array_equal(found["q/1/0"], metrics["q"][:, 1, 0])
    np.testing.assert_array_equal(found["r/1"], np.full(5, 0.5))
    assert column_names(jax.eval_shape(lambda: jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), metrics))) == list(found)


def test_what_is_optional_is_missing_where_it_is_nan_or_said_to_be():
    value = jnp.array([1.0, jnp.nan, jnp.inf, 4.0])
    np.testing.assert_array_equal(columns({"x": optional(value)})["x/1"], np.nan)
    np.testing.assert_array_equal(divided({"x": optional(value)})["x"], value)
    np.testing.assert_array_equal(divided({"x": optional(value, value < 2)})["x"], [1.0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(divided({"x": optional(3)})["x"], 3.0)
    assert bool(is_sound(optional(value[:2])))
    assert not bool(is_sound(optional(value)))  # an infinity is never missing
    assert optional(value).total.dtype == optional(True).total.dtype == jnp.float32


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
