"""Resets, time limits and memory: the contract that every algorithm rests on."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.control import cartpole
from envs.gridworlds import frozen_lake
from jaxrl.algorithms.tabular import q_learning
from jaxrl.core import rollout
from jaxrl.core.environment import Environment, Step
from jaxrl.core.rollout import Decision
from jaxrl.core.spaces import Box, Discrete
from jaxrl.training.runner import run
from tests import probes


def _reset(key, params):
    start = jax.random.uniform(key, (), jnp.float32)
    return jnp.stack([start, 0.0]), (start, jnp.float32(0.0))


def _step(key, state, action, params):
    start, count = state
    count = count + 1
    return Step(jnp.stack([start, count]), (start, count), count, count >= params)


def counter(ends_at: float, max_steps: int) -> Environment:
    """Shows (a random number drawn at reset, steps so far); pays the number of steps so far; terminates at ``ends_at``."""
    return Environment(jnp.float32(ends_at), _reset, _step, Box(0.0, 100.0, (2,)), Discrete(2), max_steps=max_steps)


def remember(key, view):
    """A policy whose memory counts its own calls and sums what it saw."""
    memory = {"calls": view.memory["calls"] + 1, "sum": view.memory["sum"] + view.obs[:, 1]}
    return Decision(jnp.zeros(view.obs.shape[0], jnp.int32), {"calls": memory["calls"]}, memory)


MEMORY = {"calls": jnp.int32(7), "sum": jnp.float32(7.0)}  # only the shapes matter


@jax.jit
def block(env, key):
    episodes = rollout.start(key, env, 3, MEMORY)
    return episodes, *rollout.unroll(key, env, remember, episodes, 12)


@pytest.fixture(scope="module", params=[(5.0, 100), (100.0, 5)], ids=["terminates", "is cut"])
def played(request):
    ends_at, max_steps = request.param
    return request.param, block(counter(ends_at, max_steps), jax.random.key(3))


def test_ends_and_flags(played):
    (ends_at, _), (_, _, batch) = played
    expected = np.isin(np.arange(12), [4, 9])[:, None] * np.ones(3, bool)
    np.testing.assert_array_equal(batch.done, expected)
    np.testing.assert_array_equal(batch.terminated, expected & (ends_at == 5))
    np.testing.assert_array_equal(batch.truncated, expected & (ends_at != 5))


def test_next_obs_is_the_true_successor(played):
    _, (_, _, batch) = played
    np.testing.assert_array_equal(batch.next_obs[..., 0], batch.obs[..., 0])
    np.testing.assert_array_equal(batch.next_obs[..., 1], batch.obs[..., 1] + 1)


def test_reset_is_a_fresh_draw(played):
    _, (_, _, batch) = played
    draws = np.asarray(batch.obs[::5, :, 0]).ravel()
    assert len(np.unique(draws)) == 9  # three environments, three episodes each


def test_time_and_return(played):
    _, (_, _, batch) = played
    t = np.array([0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1])[:, None] * np.ones(3, int)
    np.testing.assert_array_equal(batch.t, t)
    np.testing.assert_array_equal(batch.reward, t + 1)
    np.testing.assert_array_equal(batch.return_, (t + 1) * (t + 2) / 2)
    metrics = rollout.episode_metrics(batch)
    assert metrics["episodes"] == 6
    assert metrics["episode_return"].mean == 15
    assert metrics["episode_length"].mean == 5


def test_memory_is_zero_at_the_start_of_every_episode(played):
    _, (first, last, batch) = played
    chex.assert_trees_all_equal(first.memory, jax.tree.map(lambda leaf: jnp.zeros((3,), leaf.dtype), MEMORY))
    np.testing.assert_array_equal(batch.extras["calls"], batch.t + 1)
    np.testing.assert_array_equal(last.memory["calls"], 2)
    np.testing.assert_array_equal(last.memory["sum"], 1)


def test_metrics_of_a_block_without_an_end_are_missing():
    env = counter(100.0, 100)
    _, _, batch = block(env, jax.random.key(0))
    metrics = rollout.episode_metrics(batch)
    assert metrics["episodes"] == 0
    assert (metrics["episode_return"].total, metrics["episode_return"].count) == (0, 0)


def test_termination_at_the_time_limit_is_a_termination():
    _, _, batch = block(counter(5.0, 5), jax.random.key(0))
    assert batch.terminated[4].all()
    assert not batch.truncated.any()


def test_unroll_equals_advance_in_law_and_by_hand():
    """One step of unroll is one call of advance with the same keys."""
    env = counter(5.0, 100)
    episodes = rollout.start(jax.random.key(1), env, 2, MEMORY)
    decision = remember(None, rollout.view(env, episodes))
    advanced, seen = rollout.advance_all(jax.random.key(2), env, episodes, decision)
    _, batch = rollout.unroll(jax.random.key(2), env, remember, episodes, 1)
    chex.assert_trees_all_equal(jax.tree.map(lambda leaf: leaf[0], batch), seen)
    np.testing.assert_array_equal(advanced.t, 1)


def test_advance_all_is_advance_in_each_environment():
    env = counter(1.0, 100)  # every step ends an episode, so that resets are drawn
    episodes = rollout.start(jax.random.key(1), env, 3, MEMORY)
    decision = remember(None, rollout.view(env, episodes))
    together = rollout.advance_all(jax.random.key(2), env, episodes, decision)
    for index, key in enumerate(jax.random.split(jax.random.key(2), 3)):
        one = jax.tree.map(lambda leaf, index=index: leaf[index], (episodes, decision, together))
        chex.assert_trees_all_equal(rollout.advance(key, env, *one[:2]), one[2])


def test_reset_pool():
    env = counter(1.0, 100)  # every step ends an episode
    episodes = rollout.start(jax.random.key(1), env, 2, MEMORY)
    _, batch = jax.jit(lambda e: rollout.unroll(jax.random.key(2), env, remember, e, 9, reset_pool=4))(episodes)
    draws = np.asarray(batch.obs[..., 0])
    np.testing.assert_array_equal(draws[1:5], draws[5:9])  # after four episodes the pool is used again
    assert len(np.unique(draws[1:5])) == 8  # each environment has its own pool, of different states
    assert batch.terminated.all()


def test_pool_deep_enough_is_a_fresh_draw_each_time():
    env = cartpole.make()
    policy = rollout.uniform_policy(env)
    episodes = rollout.start(jax.random.key(1), env, 4)
    _, batch = jax.jit(lambda e: rollout.unroll(jax.random.key(2), env, policy, e, 100, reset_pool=20))(episodes)
    starts = np.asarray(batch.obs)[np.asarray(batch.t) == 0]
    assert len(starts) > 8
    assert len(np.unique(starts[:, 0])) == len(starts)
    assert (np.abs(starts) <= 0.05).all()


def test_uniform_policy_covers_actions_and_respects_masks():
    lake = frozen_lake.make()
    episodes = rollout.start(jax.random.key(0), lake, 64)
    _, batch = rollout.unroll(jax.random.key(1), lake, rollout.uniform_policy(lake), episodes, 10)
    assert set(np.unique(batch.action)) == {0, 1, 2, 3}
    from tests.probes import masked_action

    env = masked_action()
    _, batch = rollout.unroll(jax.random.key(1), env, rollout.uniform_policy(env), rollout.start(jax.random.key(0), env, 64), 5)
    assert set(np.unique(batch.action)) == {0, 1}
    np.testing.assert_array_equal(batch.mask[0, 0], [True, True, False])
    np.testing.assert_array_equal(batch.next_mask[0, 0], [True, True, False])


def test_global_observations_are_those_of_the_two_states():
    import envs

    env = envs.make("simple_spread", max_steps=4)
    episodes = rollout.start(jax.random.key(0), env, 3)
    _, batch = rollout.unroll(jax.random.key(1), env, rollout.uniform_policy(env), episodes, 6)
    np.testing.assert_array_equal(batch.global_obs[0], jax.vmap(env.global_obs)(episodes.state))
    going_on = ~np.asarray(batch.done[:-1])
    assert going_on.sum() == 12
    np.testing.assert_array_equal(np.asarray(batch.next_global_obs[:-1])[going_on], np.asarray(batch.global_obs[1:])[going_on])
    np.testing.assert_allclose(
        batch.next_global_obs[..., :2], batch.next_obs[:, :, 0, 2:4], atol=1e-6
    )  # the first one's position
    without = rollout.unroll(
        jax.random.key(1), cartpole.make(), remember, rollout.start(jax.random.key(0), cartpole.make(), 2, MEMORY), 1
    )
    assert without[1].global_obs is None
    assert without[1].next_global_obs is None


def _nothing_in_one(state, params):
    return jnp.array([True, True]) & (state != 1)


def test_a_state_without_a_legal_action_puts_its_seed_into_quarantine():
    """Whatever is done there is illegal: the reward is no number, and the seed is named instead of learning from it."""
    env = probes.delayed_reward().replace(action_mask_fn=_nothing_in_one)
    done = run(q_learning.make, env, q_learning.Config(num_steps=8), seeds=2, num_updates=2)
    assert set(done.summary.failed_seeds) == {0, 1}
    assert {failure.update for failure in done.summary.failed_seeds.values()} == {0}
    fine = run(q_learning.make, probes.masked_action(), q_learning.Config(num_steps=8), seeds=2, num_updates=2)
    assert not fine.summary.failed_seeds
