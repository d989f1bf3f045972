"""Epochs of minibatches, and the order in which they visit a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxrl.core.algorithm import epochs_of_minibatches, random_order


@pytest.mark.parametrize("size", [1, 2, 3, 512, 513, 2048, 3000])
def test_random_order_is_a_permutation(size):
    order = np.asarray(random_order(jax.random.key(0), size))
    assert order.dtype == np.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(size))


def test_every_order_is_equally_likely():
    keys = jax.random.split(jax.random.key(1), 24_000)
    orders = np.asarray(jax.vmap(lambda key: random_order(key, 4))(keys))
    _, counts = np.unique(orders @ [64, 16, 4, 1], return_counts=True)
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-4


def test_every_epoch_sees_every_item_once_in_a_new_order():
    def note(seen, minibatch):
        return seen.at[minibatch["item"]].add(1), minibatch["item"]

    seen, visited = epochs_of_minibatches(jax.random.key(0), note, jnp.zeros(12, int), {"item": jnp.arange(12)}, 3, 4)
    np.testing.assert_array_equal(seen, 3)
    assert visited.shape == (3, 4, 3)
    orders = np.asarray(visited).reshape(3, 12)
    np.testing.assert_array_equal(np.sort(orders, 1), np.tile(np.arange(12), (3, 1)))
    assert (orders[0] != orders[1]).any()
