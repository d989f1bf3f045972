"""Counters at their ceiling: where others wrap to negative numbers or stand still at 2^24, and what depends on them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.algorithms.deep import dqn
from jaxrl.algorithms.multiagent import iql, minimax_q
from jaxrl.algorithms.tabular import entropic_td, q_learning
from jaxrl.blocks import tables
from jaxrl.blocks.exploration import harmonic_schedule
from jaxrl.core import counters
from tests import probes
from tests.algorithms.multiagent.test_minimax_q import WEIGHTED
from tests.copies import copies

FLOAT32_END = 2**24  # where adding 1 to a float32 changes nothing


@pytest.mark.parametrize(("count", "by", "expected"), [(0, 1, 1), (FLOAT32_END, 1, FLOAT32_END + 1), (5, 0, 5)])
def test_ordinary_counts(count, by, expected):
    assert int(counters.advanced(jnp.int32(count), by)) == expected


@pytest.mark.parametrize("by", [1, 7, 1000])
def test_a_counter_stays_at_the_ceiling(by):
    near = jnp.array([counters.CEILING - by, counters.CEILING - by + 1, counters.CEILING], jnp.int32)
    np.testing.assert_array_equal(counters.advanced(near, by), counters.CEILING)
    assert counters.advanced(near, by).dtype == jnp.int32


def test_places_named_twice_count_twice_and_never_wrap():
    count = jnp.array([[0, FLOAT32_END], [counters.CEILING, counters.CEILING - 2]], jnp.int32)
    place = (jnp.array([0, 0, 0, 1]), jnp.array([0, 0, 1, 0]))
    np.testing.assert_array_equal(
        counters.advanced_at(count, place), [[2, FLOAT32_END + 1], [counters.CEILING, counters.CEILING - 2]]
    )
    found = count
    for _ in range(3):
        found = counters.advanced_at(found, (jnp.array([1, 1]), jnp.array([1, 1])))
    assert counters.CEILING - 2 <= int(found[1, 1]) <= counters.CEILING


def test_visits_are_counted_beyond_what_a_float_can_hold():
    """The step size goes on falling, and stays positive at the ceiling."""
    step_size = harmonic_schedule(0.5, 200.0, 0.0)
    first = jnp.zeros(1, jnp.int32)
    for start, expected in ((FLOAT32_END, FLOAT32_END + 1), (counters.CEILING, counters.CEILING)):
        visits = jnp.full((1, 1), start, jnp.int32)
        q, visits = tables.learn(jnp.zeros((1, 1)), visits, (first, first), jnp.ones(1), step_size)
        assert int(visits[0, 0]) == expected
        np.testing.assert_allclose(q, 0.5 / (1 + start / 200), rtol=1e-5)


LEARNERS = {
    "q_learning": (q_learning.make, probes.constant_reward(), q_learning.Config(num_steps=4), "visits"),
    "iql": (iql.make, copies(probes.constant_reward(), 2), iql.Config(num_steps=4), "visits"),
    "entropic_td": (entropic_td.make, probes.constant_reward(), entropic_td.Config(num_envs=2, num_steps=4), "updates"),
}


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("start", [FLOAT32_END, counters.CEILING])
def test_counts_of_every_table_go_on(name, start):
    make, env, config, field = LEARNERS[name]
    algorithm = make(env, config)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    before = jnp.full_like(getattr(state, field), start)
    assert before.dtype == jnp.int32
    after, _ = jax.jit(algorithm.update)(state.replace(**{field: before}), jax.random.key(1))
    change = np.asarray(getattr(after, field), np.int64) - start
    assert (change >= 0).all()
    assert (change.sum() > 0) == (start == FLOAT32_END)
    assert np.isfinite(after.q).all()


def test_the_time_of_minimax_q_goes_on():
    """At 2^24 steps a float32 clock stood still, and the step size with it."""
    from envs.matrix_games import matrix_game

    env = matrix_game.make(np.stack([WEIGHTED, -WEIGHTED]))
    algorithm = minimax_q.make(env, minimax_q.Config(num_steps=3))
    state = jax.jit(algorithm.init)(jax.random.key(0))
    update = jax.jit(algorithm.update)
    for start, expected in ((FLOAT32_END, FLOAT32_END + 3), (counters.CEILING, counters.CEILING)):
        after, _ = update(state.replace(steps=jnp.int32(start)), jax.random.key(1))
        assert int(after.steps) == expected
        assert np.isfinite(after.q).all()


def test_epsilon_stays_at_its_end_and_targets_move_for_ever():
    """An int32 step counter wrapped after 2^31 steps, and epsilon became 8161."""
    config = dqn.Config(
        num_envs=2, num_steps=2, num_rounds=3, batch_size=4, buffer_size=16, learning_starts=4, hidden=(4,), target_interval=2
    )
    algorithm = dqn.make(probes.delayed_reward(), config)
    state = jax.jit(algorithm.init)(jax.random.key(0)).replace(steps=jnp.int32(counters.CEILING - 3))
    update = jax.jit(algorithm.update)
    for i in range(3):
        before, (state, metrics) = state, update(state, jax.random.key(i))
        np.testing.assert_allclose(metrics["epsilon"], config.epsilon_end, rtol=1e-6)
        assert int(state.steps) == counters.CEILING
        assert 0 <= int(state.since_target) < 2
        moved = [
            not np.array_equal(one, other)
            for one, other in zip(*map(jax.tree.leaves, (before.target_params, state.target_params)), strict=True)
        ]
        assert any(moved)
