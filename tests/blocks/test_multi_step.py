"""Steps that look ahead, against the returns of a whole sequence and by hand."""

import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.blocks import multi_step, replay
from jaxrl.blocks.returns import n_step_returns

with warnings.catch_warnings():
    # tfp-nightly, which rlax imports, reads a name that jax has deprecated.
    warnings.filterwarnings("ignore", message="jax.core.pytype_aval_mappings", category=DeprecationWarning)
    import rlax

GAMMA = 0.8


class Step(NamedTuple):
    obs: jax.Array
    reward: jax.Array
    next_obs: jax.Array
    terminated: jax.Array
    next_mask: jax.Array
    ended: jax.Array


def steps(length, envs, seed=0):
    """Steps [T, E] whose observations number them."""
    rng = np.random.default_rng(seed)
    number = np.arange(length * envs).reshape(length, envs).astype(np.float32)
    terminated, truncated = rng.random((2, length, envs)) < 0.15
    reward = rng.normal(size=(length, envs)).astype(np.float32)
    mask = rng.random((length, envs, 2)) < 0.5
    return Step(number, reward, number + 0.5, terminated, mask, terminated | truncated), truncated & ~terminated


@pytest.mark.parametrize(("num_steps", "capacity"), [(1, 60), (3, 60), (3, 47), (5, 60)])
def test_a_return_is_that_of_the_whole_sequence(num_steps, capacity):
    """Also in a ring that has gone round, whose size the number of environments does not divide."""
    envs, length = 3, 20
    batch, truncated = steps(length, envs)
    flat = jax.tree.map(lambda leaf: jnp.asarray(leaf.reshape(-1, *leaf.shape[2:])), batch)
    buffer = replay.create(jax.tree.map(lambda leaf: leaf[0], flat), capacity)
    for first in range(0, length * envs, 2 * envs):
        buffer = replay.add(buffer, jax.tree.map(lambda leaf, first=first: leaf[first : first + 2 * envs], flat))
    there = np.arange(length * envs - capacity, (length - num_steps + 1) * envs)
    found, discount = multi_step.n_steps_from(buffer, jnp.asarray(there % capacity, jnp.int32), num_steps, envs, GAMMA)
    np.testing.assert_array_equal(found.obs, there)
    value = np.where(found.terminated, 0.0, found.next_obs)
    every = jax.vmap(lambda *each: n_step_returns(*each, GAMMA, num_steps), 1, 1)
    expected = np.asarray(every(batch.reward, batch.next_obs, batch.terminated, truncated)).reshape(-1)[there]
    np.testing.assert_allclose(found.reward + discount * value, expected, rtol=1e-5, atol=1e-5)
    last = (np.asarray(found.next_obs) - 0.5).astype(int)
    np.testing.assert_array_equal(found.next_mask, flat.next_mask[last])


def test_by_hand():
    """Three rewards, or two where the episode ends after two."""
    reward, ended = jnp.array([1.0, 2.0, 4.0, 8.0]), jnp.array([False, False, True, False])
    stored = Step(jnp.arange(4), reward, 10 + jnp.arange(4), ended, jnp.ones((4, 1), bool), ended)
    buffer = replay.add(replay.create(jax.tree.map(lambda leaf: leaf[0], stored), 4), stored)
    found, discount = multi_step.n_steps_from(buffer, jnp.array([0, 1]), 3, 1, 0.5)
    np.testing.assert_allclose(found.reward, [1.0 + 1.0 + 1.0, 2.0 + 2.0])
    np.testing.assert_allclose(discount, [0.125, 0.25])
    np.testing.assert_array_equal(found.next_obs, [12, 12])


@pytest.mark.parametrize("num_steps", [1, 3, 9])
def test_within_sequences_a_return_is_that_of_the_sequence(num_steps):
    """Also where the sequence is shorter than n; the last steps belong to the episode of the first."""
    batch, truncated = steps(7, 40, seed=1)
    batch = jax.tree.map(jnp.asarray, batch)
    found, discount, last = multi_step.n_steps_within(batch, num_steps, GAMMA)
    value = np.where(found.terminated, 0.0, multi_step.at_last(batch.next_obs, last))
    every = jax.vmap(lambda *each: n_step_returns(*each, GAMMA, num_steps), 1, 1)
    expected = every(batch.reward, batch.next_obs, batch.terminated, truncated)
    np.testing.assert_allclose(found.reward + discount * value, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found.next_obs, batch.next_obs)
    ended = np.asarray(batch.ended)
    for t, b in np.ndindex(7, 40):
        assert not ended[t : last[t, b], b].any()
        assert last[t, b] == min(t + num_steps - 1, 6) or ended[last[t, b], b]


def test_within_a_sequence_by_hand():
    """An episode ends after two steps, a time limit cuts the next one after one, and the sequence cuts the last after two."""
    reward, ended = jnp.array([1.0, 2.0, 4.0, 8.0, 16.0])[:, None], jnp.array([0, 1, 1, 0, 0], bool)[:, None]
    terminated = jnp.array([0, 1, 0, 0, 0], bool)[:, None]
    values = 10.0 + jnp.arange(5.0)[:, None]
    found, discount, last = multi_step.n_steps_within(Step(values, reward, values, terminated, ended, ended), 3, 0.5)
    np.testing.assert_array_equal(last[:, 0], [1, 1, 2, 4, 4])
    np.testing.assert_allclose(found.reward[:, 0], [1.0 + 1.0, 2.0, 4.0, 8.0 + 8.0, 16.0])
    np.testing.assert_allclose(discount[:, 0], [0.25, 0.5, 0.5, 0.25, 0.5])
    np.testing.assert_array_equal(found.terminated[:, 0], [True, True, False, False, False])
    np.testing.assert_array_equal(multi_step.at_last(values, last)[:, 0], [11, 11, 12, 14, 14])


def test_rlax_agrees_within_sequences():
    """An oracle for terminations; it has no time limits, and cuts a sum at the end of the sequence likewise."""
    batch, _ = steps(12, 5, seed=2)
    batch = jax.tree.map(jnp.asarray, batch._replace(ended=batch.terminated))
    found, discount, last = multi_step.n_steps_within(batch, 4, GAMMA)
    value = np.where(found.terminated, 0.0, multi_step.at_last(batch.next_obs, last))
    each = jax.vmap(lambda *sequence: rlax.n_step_bootstrapped_returns(*sequence, 4), 1, 1)
    expected = each(batch.reward, GAMMA * (1.0 - batch.terminated), batch.next_obs)
    np.testing.assert_allclose(found.reward + discount * value, expected, rtol=1e-5, atol=1e-5)
