"""Rewards of sets: sums that telescope, gains by hand, and set functions that are submodular or not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.blocks.set_rewards import ball, coverage, diminishing, lone_gains, marginal_gains
from jaxrl.errors import ConfigError

KEY = jax.random.key(0)
COUNT = coverage(ball(3, 3, 1), np.ones(9, np.float32))


def test_balls_by_hand():
    near = ball(3, 3, 1)
    np.testing.assert_array_equal(np.flatnonzero(near[4]), [1, 3, 4, 5, 7])
    np.testing.assert_array_equal(np.flatnonzero(near[0]), [0, 1, 3])
    np.testing.assert_array_equal(ball(2, 4, 0), np.eye(8, dtype=bool))
    assert ball(2, 4, 4).all()


def test_gains_by_hand():
    visits = jnp.array([0, 4, 4, 8])
    np.testing.assert_array_equal(marginal_gains(COUNT, visits, 9), [3, 3, 0, 1])
    np.testing.assert_array_equal(lone_gains(COUNT, visits, 9), [3, 5, 5, 3])


def test_gains_of_any_function_add_up():
    weight = jax.random.normal(KEY, (9,))

    def odd(visited):  # worth something if nothing is visited
        return jnp.cos((visited * weight).sum()) + 2

    for seed in range(5):
        visits = jax.random.randint(jax.random.key(seed), (12,), 0, 9)
        visited = jnp.zeros(9, bool).at[visits].set(True)
        total = marginal_gains(odd, visits, 9).sum()
        assert total == pytest.approx(float(odd(visited) - odd(jnp.zeros(9, bool))), abs=1e-5)


def test_coverage_has_diminishing_returns_and_a_square_has_not():
    worth = coverage(ball(4, 5, 1), jax.random.uniform(KEY, (20,)))
    assert diminishing(KEY, worth, 20, 500).min() >= -1e-5
    assert diminishing(KEY, worth, 20, 500).max() > 0.1

    def square(visited):
        return visited.sum(dtype=jnp.float32) ** 2

    gaps = diminishing(KEY, square, 20, 500)
    assert gaps.max() <= 0
    assert gaps.min() < -1


@pytest.mark.parametrize(
    ("solve", "message"),
    [
        (lambda: coverage(np.eye(2, dtype=bool), np.ones(3)), "broadcast|covers must have shape"),
        (lambda: coverage(np.ones(2, bool), np.ones(2)), r"covers must have shape \[C, K\]"),
        (lambda: coverage(np.eye(2, dtype=bool), [-1.0, 1.0]), "weights must not be negative"),
        (lambda: coverage(np.eye(2), np.ones(2)), "covers must be bool"),
        (lambda: marginal_gains(COUNT, jnp.zeros(1, int), 0), "size must be an integer of at least 1"),
        (lambda: diminishing(KEY, COUNT, 1, 5), "size must be an integer of at least 2"),
        (lambda: ball(0, 3, 1), "height must be an integer of at least 1"),
    ],
)
def test_unsound_arguments_are_refused(solve, message):
    with pytest.raises(ConfigError, match=message):
        solve()
