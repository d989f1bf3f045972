"""What the board games share: moves without collisions, and drawing different places."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from envs.markov_games import board
from envs.markov_games.agents import distinct, distinct_among, others, without_diagonal


@pytest.mark.parametrize(
    ("position", "target", "expected"),
    [
        ([0, 2], [1, 1], [0, 2]),  # both want the same cell
        ([0, 1], [1, 1], [0, 1]),  # somebody stays there
        ([0, 1], [1, 0], [1, 0]),  # they exchange places
        ([0, 1, 2], [1, 2, 3], [1, 2, 3]),  # a train
        ([0, 1, 2, 4], [1, 2, 3, 3], [0, 1, 2, 4]),  # its head is held back, and so are all behind it
        ([0, 1, 2], [1, 2, 0], [1, 2, 0]),  # in a circle
    ],
)
def test_collisions(position, target, expected):
    found = board.without_collisions(jnp.array(position)[:, None], jnp.array(target)[:, None])
    np.testing.assert_array_equal(found[:, 0], expected)


def test_agents_stay_apart_and_only_the_blocked_stay():
    cells = np.indices((3, 3)).reshape(2, -1).T
    resolve = jax.jit(jax.vmap(board.without_collisions))
    starts = np.array(list(itertools.permutations(range(9), 3)))
    for joint in itertools.product(range(5), repeat=3):
        position = cells[starts]
        target = np.clip(position + board.MOVES[list(joint)], 0, 2)
        reached = np.asarray(resolve(jnp.asarray(position), jnp.asarray(target)))
        number = reached @ [3, 1]
        assert all(len(set(row)) == 3 for row in number.tolist())
        moved = (reached == target).all(-1)
        assert ((reached == position).all(-1) | moved).all()
        # Whoever did not get its cell was after one that another one wanted too, or is in.
        wanted, held = target @ [3, 1], ~moved
        for row, agent in zip(*np.nonzero(held), strict=True):
            rest = [other for other in range(3) if other != agent]
            assert any(wanted[row, agent] in (wanted[row, other], number[row, other]) for other in rest)


@pytest.mark.parametrize(
    ("draw", "among"),
    [
        (lambda key: distinct_among(key, 2, jnp.array([True, False, True, True, True])), [0, 2, 3, 4]),
        (lambda key: distinct(key, 2, 4), [0, 1, 2, 3]),
        (lambda key: distinct(key, 3, 4), [0, 1, 2, 3]),
        (lambda key: distinct(key, 4, 4), [0, 1, 2, 3]),
    ],
)
def test_distinct_numbers(draw, among):
    drawn = np.asarray(jax.vmap(draw)(jax.random.split(jax.random.key(0), 12_000)))
    orders = list(itertools.permutations(among, drawn.shape[1]))
    counts = [(drawn == order).all(-1).sum() for order in orders]
    assert sum(counts) == 12_000
    assert stats.chisquare(counts).pvalue > 1e-4


def test_others():
    value = jnp.arange(6).reshape(3, 2)
    np.testing.assert_array_equal(others(value), [[[2, 3], [4, 5]], [[0, 1], [4, 5]], [[0, 1], [2, 3]]])
    np.testing.assert_array_equal(without_diagonal(jnp.arange(9).reshape(3, 3)), [[1, 2], [3, 5], [6, 7]])
