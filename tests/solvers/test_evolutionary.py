"""Evolutionary stability: closed forms, mutants that do or do not die out, and basins of attraction."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.matrix_games import named
from jaxrl.errors import ConfigError
from jaxrl.solvers.evolutionary import basins, evolutionarily_stable_strategies, stability

# Maynard Smith and Price: hawks and doves over 2 with a cost of 4, and retaliators, who are what they meet.
RETALIATORS = [[-1, 2, -1], [0, 1, 1], [-1, 1, 1]]


def cycle(win, lose):
    return named.symmetric([[0, -lose, win], [win, 0, -lose], [-lose, win, 0]])


def only_ties(form):
    """A game in which all are best against action 0, and a mutant z loses z' form z."""
    return named.symmetric(np.pad(-np.asarray(form, float), ((1, 0), (1, 0))))


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (named.PRISONERS_DILEMMA, [[0, 1]]),
        (named.STAG_HUNT, [[1, 0], [0, 1]]),
        (named.CHICKEN, [[2 / 3, 1 / 3]]),
        (named.ROCK_PAPER_SCISSORS, []),
        (cycle(2, 1), [[1 / 3] * 3]),
        (cycle(1, 2), []),
        (named.symmetric(RETALIATORS), [[1 / 2, 1 / 2, 0]]),
        (named.symmetric(np.ones((3, 3))), []),
        (named.symmetric([[5.0]]), [[1]]),
        (named.symmetric(np.eye(4)), np.eye(4)),
        (named.symmetric(1 - np.eye(4)), [[1 / 4] * 4]),
        (named.symmetric(-np.diag([1.0, 2.0, 3.0])), [[6 / 11, 3 / 11, 2 / 11]]),
    ],
)
def test_games_with_known_answers(table, expected):
    for scale, offset in ((1, 0), (1e-9, 0), (1e9, 0), (1, 1e6)):
        found = evolutionarily_stable_strategies(scale * np.asarray(table) + offset)
        np.testing.assert_allclose([one.strategy for one in found], expected, atol=1e-9)
        assert all(one.stable and one.margin > 0 and one.regret <= 1e-9 * scale for one in found)
    # A constant that is added to all of a column changes no difference.
    shifted = np.asarray(table[0]) + np.arange(len(table[0])) * 7
    np.testing.assert_allclose(
        [one.strategy for one in evolutionarily_stable_strategies(named.symmetric(shifted))], expected, atol=1e-9
    )


@pytest.mark.parametrize(
    ("form", "margin"),
    [
        ([[1, 3], [3, 1]], 1),  # copositive, not positive definite
        ([[1, -0.9], [-0.9, 1]], 0.05),
        ([[1, -1], [-1, 1]], 0),
        ([[1, -2], [-2, 1]], -0.5),
        ([[1e6, -900], [-900, 1]], 0.05),  # shares have units of their own
        ([[0, 1], [1, 1]], 0),
        ([[-4, 1], [1, 1]], -1),
        ([[1, -0.5, -0.5], [-0.5, 1, -0.5], [-0.5, -0.5, 1]], 0),
    ],
)
def test_mutants_of_several_actions(form, margin):
    game = only_ties(form)
    x = np.eye(len(form) + 1)[0]
    found = stability(game, x)
    assert found.margin == pytest.approx(margin, abs=1e-12)
    assert found.stable is (margin > 1e-9)
    against = (found.mutant - x) @ game[0] @ found.mutant
    assert (against < 0) if margin > 0 else (against >= -1e-12)
    assert found.mutant.sum() == pytest.approx(1)


def test_what_is_no_equilibrium_is_invaded_at_once():
    found = stability(named.PRISONERS_DILEMMA, [1, 0])
    assert (found.stable, found.margin, found.regret) == (False, -np.inf, 1.0)
    np.testing.assert_array_equal(found.mutant, [0, 1])
    strict = stability(named.PRISONERS_DILEMMA, [0, 1])
    assert (strict.stable, strict.margin, strict.regret) == (True, np.inf, 0.0)
    np.testing.assert_array_equal(strict.mutant, [0, 1])


@given(st.integers(0, 10_000), st.integers(2, 5), st.booleans())
@settings(max_examples=60, deadline=None)
def test_mutants_near_stable_strategies_die_out(seed, actions, ties):
    """By the definition; and no equilibrium lies on the best answers to a stable strategy (Bishop and Cannings, 1976)."""
    generator = np.random.default_rng(seed)
    table = generator.integers(-2, 3, (actions, actions)).astype(float) if ties else generator.normal(size=(actions, actions))
    found = evolutionarily_stable_strategies(named.symmetric(table))
    for one in found:
        x = one.strategy
        mutants = x + 1e-3 * (generator.dirichlet(np.full(actions, 0.5), 200) - x)
        mutants = mutants[np.abs(mutants - x).max(1) > 1e-6]  # nearer ones are x, up to rounding
        advantage = np.einsum("mi,ij,mj->m", mutants - x, table, mutants)
        assert (advantage < 0).all()
        best = table @ x >= (table @ x).max() - 1e-9
        assert not [other for other in found if other is not one and not (other.strategy[~best] > 0).any()]


@given(st.integers(0, 10_000), st.integers(2, 5))
@settings(max_examples=60, deadline=None)
def test_equilibria_that_are_not_stable_have_mutants_that_do_not_die_out(seed, actions):
    generator = np.random.default_rng(seed)
    table = generator.normal(size=(actions, actions))
    x = generator.dirichlet(np.ones(actions))
    table -= (table @ x)[:, None]  # all actions earn 0 against x
    found = stability(named.symmetric(table), x)
    assert found.regret < 1e-12
    advantage = (found.mutant - x) @ table @ found.mutant
    assert (advantage < 1e-12) if found.stable else (advantage > -1e-12)
    form = -(table + table.T)[1:, 1:] + (table + table.T)[1:, :1] + (table + table.T)[:1, 1:] - 2 * table[0, 0]
    assert found.stable == (np.linalg.eigvalsh(form).min() > 0)  # Haigh (1975)


def test_basins_of_small_games():
    starts = np.random.default_rng(0).dirichlet(np.ones(3), 400)
    for scale, offset in ((1, 0), (1e6, 0), (1, 1e8)):
        found = basins(scale * named.symmetric(np.eye(3)) + offset, starts)
        first = np.eye(3)[starts.argmax(1)]
        np.testing.assert_allclose(found.share, first.mean(0), atol=1e-3)
        assert (np.abs(found.share - 1 / 3) < 4 * found.standard_error).all()
        assert found.share.sum() + found.elsewhere == pytest.approx(1)
        assert found.speed < 1e-6
    np.testing.assert_allclose(found.rests, np.eye(3))
    assert basins(named.ROCK_PAPER_SCISSORS, starts[:50], np.full((1, 3), 1 / 3)).elsewhere == 1
    np.testing.assert_array_equal(basins(cycle(2, 1), starts[:50]).share, [1])


def test_the_basins_of_the_stag_hunt_meet_at_one_half_and_those_of_coordination_at_one_third():
    first = (np.arange(1000) + 0.5) / 1000
    starts = np.column_stack([first, 1 - first])
    for table, border in ((named.STAG_HUNT, 0.5), (named.PURE_COORDINATION, 1 / 3)):
        found = basins(table, starts)
        np.testing.assert_allclose(found.share, [1 - border, border], atol=1e-3)
        np.testing.assert_array_equal(found.ends[:, 0] > 0.5, first > border)


@pytest.mark.parametrize(
    ("solve", "message"),
    [
        (lambda: evolutionarily_stable_strategies(named.MATCHING_PENNIES), "the second table must be the transpose"),
        (lambda: evolutionarily_stable_strategies(np.zeros((2, 2, 3))), r"payoff must have shape \[2, A, A\]"),
        (lambda: evolutionarily_stable_strategies(np.full((2, 2, 2), np.nan)), "payoffs must be finite"),
        (lambda: evolutionarily_stable_strategies(np.zeros((2, 15, 15))), "at most 14 actions"),
        (lambda: evolutionarily_stable_strategies(named.CHICKEN, -1.0), "tolerance"),
        (lambda: jax.jit(lambda game: stability(game, [1, 0]).margin)(named.CHICKEN), "outside of compiled code"),
        (lambda: stability(named.CHICKEN, [0.5, 0.6]), "strategy must sum to 1"),
        (lambda: stability(named.CHICKEN, [1.0]), r"strategy must have shape \[2\]"),
        (lambda: basins(named.CHICKEN, [[0.5, 0.6]]), "starts must sum to 1"),
        (lambda: basins(named.CHICKEN, np.zeros((0, 2))), "there must be a start"),
        (lambda: basins(named.CHICKEN, [0.5, 0.5]), r"starts must have shape \[S, 2\]"),
        (lambda: basins(named.CHICKEN, [[0.5, 0.5]], [[1.0]]), r"rests must have shape \[S, 2\]"),
        (lambda: basins(named.CHICKEN, [[0.5, 0.5]], num_steps=0), "num_steps"),
        (lambda: basins(named.CHICKEN, [[0.5, 0.5]], radius=0.0), "radius"),
    ],
)
def test_unsound_arguments_are_refused(solve, message):
    with pytest.raises(ConfigError, match=message):
        solve()
