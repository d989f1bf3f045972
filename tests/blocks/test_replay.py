"""Replay: the ring against a NumPy deque, uniform sampling of what has been written, and one write in place."""

import collections
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.blocks import priorities, replay
from jaxrl.errors import ConfigError


def items(first, count):
    """Items that can be told apart, nested, of several shapes and dtypes."""
    number = np.arange(first, first + count)
    return {
        "number": number.astype(np.int32),
        "image": np.repeat(number, 6).reshape(count, 2, 3).astype(np.float32),
        "nested": (number % 2 == 0, None),
    }


def create(capacity):
    return replay.create(jax.tree.map(lambda leaf: leaf[0], items(0, 1)), capacity)


@pytest.mark.parametrize("capacity", [1, 5, 8])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_newest_items_are_kept(capacity, count):
    """Whether or not the batch divides the capacity."""
    if count > capacity:
        pytest.skip("refused, see below")
    buffer, kept, add = create(capacity), collections.deque(maxlen=capacity), jax.jit(replay.add)
    for first in range(0, 7 * count, count):
        buffer = add(buffer, items(first, count))
        kept.extend(range(first, first + count))
        assert int(buffer.size) == len(kept)
        written = jax.tree.map(np.asarray, buffer.items)
        written = jax.tree.map(operator.itemgetter(slice(len(kept))), written)
        assert sorted(written["number"]) == sorted(kept)
        for number, image, even in zip(written["number"], written["image"], written["nested"][0], strict=True):
            assert (image == number).all()
            assert even == (number % 2 == 0)
        newest = np.asarray(buffer.items["number"])[(int(buffer.position) - 1) % capacity]
        assert newest == kept[-1]


def test_batches_of_different_sizes_follow_each_other():
    buffer, kept, first = create(7), collections.deque(maxlen=7), 0
    for count in (4, 1, 3, 7, 2, 5):
        buffer = replay.add(buffer, items(first, count))
        kept.extend(range(first, first + count))
        first += count
        ring = np.roll(np.asarray(buffer.items["number"]), -int(buffer.position))
        np.testing.assert_array_equal(ring[-len(kept) :], kept)


@pytest.mark.parametrize("delay", [0, 1, 4, 7])
@pytest.mark.parametrize("count", [1, 3, 5, 8])
def test_an_item_is_drawn_once_enough_have_followed_it(delay, count):
    """A batch and its delay may go round the whole ring: then the first that wait are written over."""
    capacity = 8
    buffer = replay.create(np.int32(0), capacity, prioritised=True)
    for first in range(0, 5 * count, count):
        buffer = replay.add(buffer, np.arange(first, first + count, dtype=np.int32), delay=delay)
        newest = first + count - 1
        drawable = [number for number in range(max(newest + 1 - capacity, 0), newest + 1) if number + delay <= newest]
        positive = priorities.priority(buffer.priorities, jnp.arange(capacity)) > 0
        assert sorted(np.asarray(buffer.items)[np.asarray(positive)]) == drawable


def test_dtypes_and_shapes_are_those_of_the_example():
    buffer = replay.add(create(4), items(1, 2))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), buffer.items) == {
        "number": ((4,), np.int32),
        "image": ((4, 2, 3), np.float32),
        "nested": (((4,), np.bool_), None),
    }
    assert buffer.capacity == 4


@pytest.mark.parametrize("written", [1, 5, 8, 11])
def test_samples_are_uniform_over_what_has_been_written(written):
    """Chi-squared over all items, against its 99.99 % quantile; unwritten items (zeros) never appear."""
    from scipy import stats

    buffer = create(8)
    for number in range(1, written + 1):
        buffer = replay.add(buffer, items(number, 1))
    draw = jax.jit(jax.vmap(lambda key: replay.sample(key, buffer, 8)))
    drawn = draw(jax.random.split(jax.random.key(0), 1000))
    numbers = np.asarray(drawn["number"]).ravel()
    expected = np.arange(max(1, written - 7), written + 1)
    assert set(numbers) == set(expected)
    counts = np.array([(numbers == number).sum() for number in expected])
    mean = numbers.size / len(expected)
    assert ((counts - mean) ** 2 / mean).sum() <= stats.chi2.ppf(0.9999, max(1, len(expected) - 1))
    np.testing.assert_array_equal(drawn["image"], np.broadcast_to(drawn["number"][..., None, None], drawn["image"].shape))


def test_samples_depend_on_the_key_alone():
    buffer = replay.add(create(8), items(0, 8))
    one, same, other = (replay.sample(jax.random.key(seed), buffer, 8)["number"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (np.asarray(one) != np.asarray(other)).any()


def test_seeds_have_buffers_of_their_own():
    batch = jax.tree.map(lambda *leaves: np.stack(leaves), items(0, 3), items(10, 3))
    buffers = jax.vmap(lambda items: replay.add(replay.add(create(5), items), items))(batch)
    for seed, first in enumerate((0, 10)):
        alone = replay.add(replay.add(create(5), items(first, 3)), items(first, 3))
        jax.tree.map(lambda many, one, seed=seed: np.testing.assert_array_equal(many[seed], one), buffers, alone)


@pytest.mark.parametrize("count", [1, 3])
def test_a_loop_writes_in_place(count):
    """The compiled loop must not copy the ring: no copy of its shape inside, and its memory is that of one ring."""
    capacity = 1 << 16

    def step(buffer, key):
        batch = jax.random.normal(key, (count, 4))
        buffer = replay.add(buffer, batch)
        return buffer, replay.sample(key, buffer, 8).sum()

    def loop(buffer, keys):
        return jax.lax.scan(step, buffer, keys)

    buffer = replay.create(jnp.zeros(4), capacity)
    compiled = jax.jit(loop, donate_argnums=0).lower(buffer, jax.random.split(jax.random.key(0), 100)).compile()
    memory = compiled.memory_analysis()
    ring = capacity * 4 * 4
    assert memory.alias_size_in_bytes >= ring
    assert memory.temp_size_in_bytes < ring / 4
    assert f"f32[{capacity},4]{{1,0}} copy(" not in compiled.as_text()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: create(0), "capacity must be at least 1, got 0"),
        (lambda: replay.add(create(4), items(0, 5)), r"larger than the buffer \(capacity 4\), got 5"),
        (lambda: replay.sample(jax.random.key(0), create(4), 5), r"larger than the buffer \(capacity 4\), got 5"),
        (lambda: replay.sample(jax.random.key(0), create(4), 0), "got 0"),
        (lambda: replay.add(create(4), items(0, 2), delay=4), r"delay must lie in \[0, 4\)"),
    ],
)
def test_wrong_sizes_are_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
