"""Pools of opponents and snapshots: chances by hand, who is kept, which results count, and what of a state is kept."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import envs
from jaxrl.algorithms.deep import ppo
from jaxrl.blocks import opponents, snapshots
from jaxrl.blocks.opponents import Pool
from jaxrl.core import rollout

KEY = jax.random.key(0)


def pool(wins, games, number):
    size = len(number)
    wins, games = (jnp.array(values, jnp.float32) for values in (wins, games))
    return Pool(jnp.arange(float(size)), jnp.array(number, jnp.int32), jnp.int32(size), wins, games)


# The win rates are 3/4, 1/2 and 1/4; the fourth place is empty.
THREE = pool([1.0, 0.5, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0], [0, 1, 2, -1])


@pytest.mark.parametrize(
    ("kind", "power", "expected"),
    [
        ("uniform", 1.0, [1 / 3, 1 / 3, 1 / 3, 0]),
        ("hard", 1.0, [1 / 6, 2 / 6, 3 / 6, 0]),
        ("hard", 2.0, [1 / 14, 4 / 14, 9 / 14, 0]),
        ("hard", 0.0, [1 / 3, 1 / 3, 1 / 3, 0]),
        ("even", 1.0, [0.3, 0.4, 0.3, 0]),
    ],
)
def test_chances_by_hand(kind, power, expected):
    for share in (0.0, 0.25, 1.0):
        found = opponents.chances(THREE, kind, power, share)
        np.testing.assert_allclose(found, [*((1 - share) * np.array(expected)), share], rtol=1e-5)
    np.testing.assert_array_equal(opponents.chances(THREE, "latest", power, 0.0), [0, 0, 0, 0, 1])


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(5)), st.sampled_from(["uniform", "hard", "even"]))
def test_places_mean_nothing(order, kind):
    """Chances go with the snapshots, however they are ordered; a sweep of settings is each by itself."""
    given_ = pool([3, 0, 9.5, 1, 0], [4, 7, 10, 1, 0], [5, 6, 2, 3, -1])
    order = np.array(order)
    moved = Pool(*(leaf[order] if np.ndim(leaf) else leaf for leaf in vars(given_).values()))
    for power in (0.5, 40.0):
        before = opponents.chances(given_, kind, power, 0.2)
        np.testing.assert_allclose(opponents.chances(moved, kind, power, 0.2)[:-1], before[:-1][order], rtol=1e-5)
        np.testing.assert_allclose(before.sum(), 1.0, rtol=1e-5)


def test_the_newest_are_kept_in_turn():
    found = opponents.create(jnp.float32(10.0), 3)
    np.testing.assert_array_equal(opponents.present(found), [True, False, False])
    for snapshot in (11.0, 12.0, 13.0):
        found = opponents.add(KEY, found.replace(wins=found.wins + 1, games=found.games + 2), jnp.float32(snapshot))
    np.testing.assert_array_equal(found.snapshots, [13, 11, 12])
    np.testing.assert_array_equal(found.number, [3, 1, 2])
    np.testing.assert_array_equal(found.games, [0, 4, 2])  # a new snapshot has no past
    np.testing.assert_array_equal(found.wins, [0, 2, 1])
    same = opponents.add(KEY, found, jnp.float32(99.0), where=jnp.bool_(False))
    jax.tree.map(np.testing.assert_array_equal, same, found)


def test_a_reservoir_is_a_fair_sample():
    """Of 8 snapshots, each is among the 3 that are kept in 3/8 of 4000 runs: three standard deviations are 0.023."""

    def after_all(key):
        first = opponents.create(jnp.float32(0.0), 3)
        steps = jnp.arange(1.0, 8.0), jax.random.split(key, 7)
        return jax.lax.scan(lambda p, x: (opponents.add(x[1], p, x[0], "reservoir"), None), first, steps)[0]

    found = jax.jit(jax.vmap(after_all))(jax.random.split(KEY, 4000))
    np.testing.assert_array_equal(found.snapshots, found.number)
    kept = (np.asarray(found.number)[..., None] == np.arange(8)).any(1).mean(0)
    np.testing.assert_allclose(kept, 3 / 8, atol=0.023)


def test_results_count_for_who_was_played():
    """A win and a tie against 0, a loss against 2; the rest is under way, against the learner itself, or against who is gone."""
    slot, number = jnp.array([0, 0, 2, 1, 4, 1]), jnp.array([0, 0, 2, 1, -1, 7])
    lead = jnp.array([0.5, 0.0, -2.0, 1.0, 1.0, 1.0])
    ended = jnp.array([True, True, True, False, True, True])
    found = opponents.recorded(THREE, slot, number, lead, ended, 0.5)
    np.testing.assert_allclose(found.games, [2.5, 0.5, 1.5, 0])
    np.testing.assert_allclose(found.wins, [2.0, 0.25, 0, 0])
    np.testing.assert_allclose(opponents.win_rate(found)[3], 0.5)


def test_a_snapshot_is_what_the_policy_reads():
    env = envs.make("cartpole")
    algorithm = ppo.make(env, ppo.Config(num_envs=2, num_steps=2, hidden=(3,), num_minibatches=1, normalize_observation=True))
    state: Any = jax.jit(algorithm.init)(KEY)
    view = rollout.view(env, state.episodes)
    read = snapshots.read_by_policy(algorithm, state, view)
    kept = snapshots.taken(state, read)
    names = {jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in jax.tree_util.tree_flatten_with_path(kept)[0]}
    assert names
    assert all(name.startswith(("params.params.actor", "observations.")) for name in names)
    other: Any = jax.jit(algorithm.init)(jax.random.key(1))
    whole = snapshots.completed(kept, other)
    np.testing.assert_array_equal(algorithm.probabilities(whole, view), algorithm.probabilities(state, view))
    assert whole.episodes.obs is other.episodes.obs
    assert jax.tree.structure(whole) == jax.tree.structure(state)
