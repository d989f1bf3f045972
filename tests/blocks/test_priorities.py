"""Priorities: sums of the tree against NumPy, frequencies of draws, and items of priority 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxrl.blocks import priorities, replay
from jaxrl.errors import ConfigError


def dense(order, capacity):
    return np.asarray(order.levels[-1]).reshape(-1)[:capacity]


@pytest.mark.parametrize("capacity", [1, 16, 17, 300, 5000])
def test_every_node_is_the_sum_of_its_children(capacity):
    rng, assign, known = np.random.default_rng(0), jax.jit(priorities.assign), np.zeros(capacity, np.float32)
    order = priorities.create(capacity)
    for _ in range(20):
        index = rng.integers(0, capacity, 7)
        value = rng.gamma(1.0, size=capacity).astype(np.float32)[index]  # a place that is named twice has one value
        order, known[index] = assign(order, jnp.asarray(index, jnp.int32), jnp.asarray(value)), value
    np.testing.assert_array_equal(dense(order, capacity), known)
    for upper, lower in zip(order.levels, order.levels[1:], strict=False):
        sums = np.asarray(lower).sum(1)
        np.testing.assert_allclose(np.asarray(upper).reshape(-1)[: len(sums)], sums, rtol=1e-6)
        assert not np.asarray(upper).reshape(-1)[len(sums) :].any()
    np.testing.assert_allclose(order.total, known.sum(), rtol=1e-5)
    assert float(order.largest) >= known.max()


def test_items_are_drawn_in_proportion():
    weights = np.random.default_rng(1).gamma(0.3, size=200).astype(np.float32)
    weights[::7] = 0.0
    order = priorities.assign(priorities.create(200), jnp.arange(200, dtype=jnp.int32), jnp.asarray(weights))
    draw = jax.jit(jax.vmap(lambda key: priorities.sample(key, order, 8)))
    index, probability = draw(jax.random.split(jax.random.key(0), 20_000))
    np.testing.assert_allclose(probability, weights[index] / weights.sum(), rtol=1e-5)
    assert not (weights[index] == 0.0).any()
    expected = weights / weights.sum() * index.size
    common = expected > 20.0
    # Draws from equal parts of the total vary less than independent ones: the statistic is below its bound more often.
    found = np.bincount(np.asarray(index).reshape(-1), minlength=200)
    statistic = ((found - expected)[common] ** 2 / expected[common]).sum()
    assert statistic < scipy.stats.chi2.ppf(0.999, common.sum())


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_priorities_of_any_size_are_drawn_without_empty_places(scale):
    weights = np.zeros(1000, np.float32)
    weights[[3, 500, 998]] = np.array([1.0, 1e-3, 1.0]) * scale
    order = priorities.assign(priorities.create(1000), jnp.arange(1000, dtype=jnp.int32), jnp.asarray(weights))
    index, _ = priorities.sample(jax.random.key(2), order, 4000)
    assert set(np.unique(index)) == {3, 500, 998}


def test_weights_correct_for_uneven_draws():
    probability = jnp.array([0.1, 0.4, 0.2])
    np.testing.assert_allclose(priorities.importance_weights(probability, 1.0), [1.0, 0.25, 0.5], rtol=1e-6)
    np.testing.assert_allclose(priorities.importance_weights(probability, 0.5), [1.0, 0.5, 0.5**0.5], rtol=1e-6)
    np.testing.assert_allclose(priorities.importance_weights(probability, 0.0), 1.0)


def test_the_corrected_mean_is_that_of_uniform_draws():
    value = np.arange(50, dtype=np.float32) ** 2
    order = priorities.assign(priorities.create(50), jnp.arange(50, dtype=jnp.int32), jnp.asarray(1.0 + value))
    index, probability = priorities.sample(jax.random.key(3), order, 50_000)
    np.testing.assert_allclose((value[index] / (50 * probability)).mean(), value.mean(), rtol=1e-2)


@pytest.mark.parametrize("capacity", [10, 12])
@pytest.mark.parametrize("delay", [0, 2, 4])
def test_an_item_is_drawn_once_enough_items_follow(capacity, delay):
    """New items are as likely as the likeliest, whether or not the ring is full."""
    buffer, add = replay.create(jnp.int32(0), capacity, prioritised=True), jax.jit(replay.add, static_argnames="delay")
    buffer = buffer.replace(priorities=buffer.priorities.replace(largest=jnp.float32(3.0)))
    for first in range(0, 33, 3):
        buffer = add(buffer, jnp.arange(first, first + 3, dtype=jnp.int32), delay=delay)
        order = dense(buffer.priorities, capacity)
        due = [number for number in range(first + 3 - delay) if number >= first + 3 - capacity]
        drawn = np.zeros(capacity)
        drawn[[number % capacity for number in due]] = 3.0
        np.testing.assert_array_equal(order, drawn)


def test_a_buffer_without_priorities_is_refused():
    with pytest.raises(ConfigError, match=r"must keep priorities. Create it with prioritised=True"):
        replay.sample_by_priority(jax.random.key(0), replay.add(replay.create(jnp.int32(0), 4), jnp.arange(2)), 2)
    with pytest.raises(ConfigError, match="capacity must be at least 1"):
        priorities.create(0)


def test_the_error_of_a_sequence_by_hand():
    """Between the largest and the mean error of its steps: 0.9 3 + 0.1 1.5, and the same for all shares if errors are equal."""
    errors = jnp.array([[0.0, 2.0], [1.5, 2.0], [3.0, 2.0]])
    for share, expected in ((0.9, [2.85, 2.0]), (0.0, [1.5, 2.0]), (1.0, [3.0, 2.0])):
        np.testing.assert_allclose(priorities.sequence_error(errors, share), expected, rtol=1e-6)
