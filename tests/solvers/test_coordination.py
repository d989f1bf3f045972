"""Coordination graphs: exact answers against enumeration, messages on trees, and bounds that hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrl.errors import ConfigError
from jaxrl.solvers import coordination

TREE = ((0, 1), (2, 1), (1, 3), (3, 4))  # one edge the other way round
CYCLE = (*coordination.line(5), (4, 0))
COMPLETE = coordination.complete(range(5))


def payoffs(edges, seed, agents=5, actions=3):
    generator = np.random.default_rng(seed)
    own, pair = generator.normal(size=(agents, actions)), generator.normal(size=(len(edges), actions, actions))
    return edges, own.astype(np.float32), pair.astype(np.float32)


def test_by_hand():
    """Alone, both would take action 0; together they earn 5 by 1 and 1. The agent between them is paid for their disagreement."""
    own = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    both, against = np.array([[0.0, 0.0], [0.0, 5.0]]), np.array([[0.0, 2.0], [2.0, 0.0]])
    found = coordination.variable_elimination(((0, 2), (0, 1), (2, 1)), own, np.stack([both, against, against]))
    np.testing.assert_array_equal(found.action, [1, 0, 1])
    assert float(found.value) == 9.0
    assert coordination.payoff(((0, 2),), own, both[None], np.array([0, 1, 1])) == 1.0


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from([TREE, CYCLE, COMPLETE, ((0, 3),)]))
def test_elimination_is_enumeration(seed, edges):
    exact, found = (solve(*payoffs(edges, seed)) for solve in (coordination.enumeration, coordination.variable_elimination))
    np.testing.assert_array_equal(found.action, exact.action)
    np.testing.assert_allclose(found.value, exact.value, rtol=1e-5)
    assert found.gap == 0


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from([TREE, CYCLE, COMPLETE]))
def test_messages_and_their_bound(seed, edges):
    """Exact on trees, where the gap says so; elsewhere never above the best, which lies within the gap."""
    game = payoffs(edges, seed)
    best, found = float(coordination.enumeration(*game).value), coordination.max_plus(*game)
    np.testing.assert_allclose(found.value, coordination.payoff(*game, found.action), rtol=1e-5)
    assert float(found.value) <= best + 1e-4 <= float(found.value + found.gap) + 2e-4
    if edges is TREE:
        np.testing.assert_allclose(found.value, best, rtol=1e-4, atol=1e-5)
        assert found.gap < 1e-3
        assert found.iterations <= 6  # the longest way, there and back


def test_without_edges_everybody_is_alone():
    game = payoffs((), 0)
    for solve in (coordination.variable_elimination, coordination.max_plus, coordination.enumeration):
        found = solve(*game)
        np.testing.assert_array_equal(found.action, game[1].argmax(-1))
        np.testing.assert_allclose([found.value, found.gap], [game[1].max(-1).sum(), 0], atol=1e-5)


def test_payoffs_side_by_side_are_each_by_itself():
    games = [payoffs(CYCLE, seed) for seed in range(4)]
    own, pair = (jnp.stack([game[place] for game in games]) for place in (1, 2))
    for solve in (coordination.variable_elimination, coordination.max_plus):
        together = jax.vmap(lambda own, pair, solve=solve: solve(CYCLE, own, pair))(own, pair)
        for index, game in enumerate(games):
            alone = solve(*game)
            np.testing.assert_array_equal(together.action[index], alone.action)
            np.testing.assert_allclose(together.value[index], alone.value, rtol=1e-5)


def test_the_cost_of_an_order():
    assert coordination.elimination_order(coordination.line(9), 9)[1] == 1
    assert coordination.elimination_order(CYCLE, 5)[1] == 2
    assert coordination.elimination_order(COMPLETE, 5)[1] == 4
    star = tuple((0, leaf) for leaf in range(1, 9))
    assert coordination.elimination_order(star, 9)[1] == 1  # the leaves go first


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        (((0, 5),), r"edges must be pairs of two different agents of 0 .. 4, got \(\(0, 5\),\)"),
        (((1, 1),), "two different agents"),
        (((0, 1), (1, 0)), "an edge must stand there once"),
        (((0, 1, 2),), "edges must be pairs"),
        (((0, 1), (1, 2)), r"pair must have shape \[2, 3, 3\], got \(1, 3, 3\)"),
    ],
)
def test_wrong_graphs(edges, message):
    with pytest.raises(ConfigError, match=message):
        coordination.variable_elimination(edges, np.zeros((5, 3)), np.zeros((1, 3, 3)))


def test_too_large():
    edges = coordination.complete(range(9))
    with pytest.raises(ConfigError, match=r"at most 10,000,000 entries, got 1000000000. Use max_plus"):
        coordination.variable_elimination(edges, np.zeros((9, 10)), np.zeros((36, 10, 10)))
    with pytest.raises(ConfigError, match=r"there must be at most .* joint actions"):
        coordination.enumeration(edges, np.zeros((9, 10)), np.zeros((36, 10, 10)))
    with pytest.raises(ConfigError, match="max_iterations"):
        coordination.max_plus(edges, np.zeros((9, 10)), np.zeros((36, 10, 10)), max_iterations=0)
