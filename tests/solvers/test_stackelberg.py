"""Commitments: golden values, breakpoints by hand in exact order, bounds by other solution concepts, and games in odd units."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.matrix_games import named
from jaxrl.errors import ConfigError
from jaxrl.solvers.equilibria import minimax, support_enumeration
from jaxrl.solvers.stackelberg import mixed_commitment, pure_commitment

# Conitzer and Sandholm (2006), section 1: the row player earns 2 in the only equilibrium, 3 by committing to its second action,
# and 3.5 by committing to both with the same probability.
PAPER = np.array([[[2, 4], [1, 3]], [[1, 0], [0, 1]]], np.float64)


def two_action_value(table):
    """The best commitment of a leader with two actions: at an end, or where the follower is indifferent between two answers."""
    own, theirs = table
    slopes, ends = theirs[1] - theirs[0], theirs[0]
    apart = slopes[:, None] - slopes[None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        crossings = (ends[None, :] - ends[:, None]) / apart
    places = np.concatenate([[0, 1], crossings[np.isfinite(crossings) & (crossings > 0) & (crossings < 1)]])
    best = -np.inf
    for place in places:
        mix = np.array([1 - place, place])
        answers = mix @ theirs
        best = max(best, (mix @ own)[answers >= answers.max() - 1e-12].max())
    return best


def test_the_papers_example():
    pure, mixed = pure_commitment(PAPER), mixed_commitment(PAPER)
    np.testing.assert_allclose(pure.leader, [0, 1])
    np.testing.assert_allclose(pure.payoffs, [3, 1])
    np.testing.assert_allclose(mixed.leader, [0.5, 0.5], atol=1e-12)
    np.testing.assert_allclose(mixed.follower, [0, 1])
    np.testing.assert_allclose(mixed.payoffs, [3.5, 0.5], atol=1e-12)
    assert mixed.gap <= 1e-12
    assert abs(mixed.regret) <= 1e-12


@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e9])
def test_the_best_of_two_actions_is_at_a_breakpoint(scale):
    for table in np.random.default_rng(0).normal(size=(50, 2, 2, 5)):
        found = mixed_commitment(scale * table)
        assert found.payoffs[0] / scale == pytest.approx(two_action_value(table), abs=1e-9)
        assert found.regret <= 1e-9 * scale
        assert found.gap <= 1e-9 * scale


def test_a_commitment_is_worth_any_equilibrium_and_any_other_commitment():
    generator = np.random.default_rng(1)
    for table in generator.normal(size=(20, 2, 4, 4)):
        found = mixed_commitment(table)
        np.testing.assert_allclose(found.payoffs, np.einsum("nab,a,b->n", table, found.leader, found.follower), atol=1e-9)
        assert found.payoffs[0] >= pure_commitment(table).payoffs[0] - 1e-9
        for equilibrium in support_enumeration(table):
            assert found.payoffs[0] >= equilibrium.row @ table[0] @ equilibrium.column - 1e-9
        for mix in generator.dirichlet(np.ones(4), 200):
            assert found.payoffs[0] + found.gap >= mix @ table[0][:, (mix @ table[1]).argmax()] - 1e-9
    for row in generator.normal(size=(10, 4, 6)):
        found = mixed_commitment(named.zero_sum(row))
        assert found.payoffs[0] == pytest.approx(minimax(named.zero_sum(row)).value, abs=1e-9)


def test_ties_are_broken_for_or_against_the_leader():
    """Against the first action the follower is indifferent, and the leader earns 5 or -1; the second is worth 1."""
    table = np.array([[[5, -1], [1, 1]], [[0, 0], [1, 0]]], np.float64)
    assert pure_commitment(table).payoffs[0] == 5
    cautious = pure_commitment(table, pessimistic=True)
    assert cautious.payoffs[0] == 1
    assert cautious.leader.tolist() == [0, 1]
    assert mixed_commitment(table).payoffs[0] == pytest.approx(5)


def test_pure_commitments_are_vmapped_and_compiled():
    tables = np.random.default_rng(2).integers(0, 3, size=(64, 2, 3, 4)).astype(np.float32)  # with ties
    for pessimistic in (False, True):
        solve = partial(pure_commitment, pessimistic=pessimistic)
        together = jax.jit(jax.vmap(solve))(jnp.asarray(tables))
        for number, table in enumerate(tables):
            worth = []
            for own, theirs in zip(*table, strict=True):
                answers = own[theirs == theirs.max()]
                worth.append(answers.min() if pessimistic else answers.max())
            assert together.payoffs[number, 0] == max(worth)
            np.testing.assert_array_equal(together.leader[number], solve(table).leader)
            assert together.regret[number] == 0


@pytest.mark.parametrize("extreme", [1e7, -1e7, 1e10, -1e10])
def test_one_payoff_far_from_all_others(extreme):
    for table in np.random.default_rng(3).normal(size=(20, 2, 2, 3)):
        table[0, 0, 1] = extreme
        found = mixed_commitment(table)
        assert found.payoffs[0] == pytest.approx(two_action_value(table), abs=1e-6 * max(1, found.payoffs[0]))
        table[0, 0, 1], table[1, 1, 2] = 0, extreme
        found = mixed_commitment(table)
        assert found.payoffs[0] == pytest.approx(two_action_value(table), abs=1e-6)


def test_degenerate_games():
    constant = mixed_commitment(np.full((2, 3, 2), 0.7))
    assert constant.payoffs.tolist() == [0.7, 0.7]
    assert mixed_commitment(np.array([[[1.0], [2.0]], [[0.0], [0.0]]])).payoffs[0] == 2
    assert mixed_commitment(np.array([[[1.0, 2.0]], [[0.0, 0.0]]])).payoffs[0] == 2
    # An answer that is best against one action alone, and only as good as another there.
    table = np.array([[[0, 9], [1, 9]], [[1, 1], [1, 0]]], np.float64)
    found = mixed_commitment(table)
    np.testing.assert_allclose(found.leader, [1, 0], atol=1e-9)
    assert found.payoffs[0] == pytest.approx(9)
    offset = mixed_commitment(PAPER + 1e6)
    np.testing.assert_allclose(offset.payoffs - 1e6, [3.5, 0.5], atol=1e-9)


@pytest.mark.parametrize("solve", [pure_commitment, mixed_commitment])
def test_what_is_no_game_of_two_is_refused(solve):
    for payoff, message in (
        (np.zeros((3, 2, 2, 2)), "the game must have two players, got 3"),
        (np.full((2, 2, 2), np.nan), "payoffs must be finite"),
        (np.zeros((2, 2)), "payoff must have shape"),
        ("chicken", "array of real numbers"),
    ):
        with pytest.raises(ConfigError, match=message):
            solve(payoff)
