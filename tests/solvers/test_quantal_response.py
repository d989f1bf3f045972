"""Logit equilibria against root finders and continuation by SciPy, limits by theory; levels of reasoning by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special, stats

from envs.matrix_games import named
from jaxrl.errors import ConfigError
from jaxrl.solvers.normal_form import nash_conv
from jaxrl.solvers.quantal_response import cognitive_hierarchy, level_k, logit_equilibrium

UNEVEN = np.random.default_rng(0).normal(size=(5, 3, 2, 3, 2))
PENNIES = np.array([[[9, 0], [0, 1]], [[0, 1], [1, 0]]], np.float64)  # asymmetric matching pennies


def logit_answers(table, profile, precision):
    players = range(len(profile))
    values = []
    for player in players:
        own = table[player]
        for other in reversed(players):
            if other != player:
                own = np.tensordot(own, profile[other], (other, 0))
        values.append(special.softmax(precision * own))
    return values


def continued(table, precision, steps=400):
    """The same branch, by SciPy's root finder at ever larger precisions, each from the last."""
    counts = table.shape[1:]
    cuts = np.cumsum(counts)[:-1]
    profile = np.concatenate([np.full(n, 1 / n) for n in counts])
    for now in np.linspace(0, precision, steps + 1)[1:]:
        found = optimize.root(lambda x: x - np.concatenate(logit_answers(table, np.split(x, cuts), now)), profile, tol=1e-13)  # noqa: B023
        profile = found.x
    return np.split(profile, cuts)


def test_the_branch_of_random_games_of_three_is_scipys():
    solve = jax.jit(jax.vmap(logit_equilibrium, in_axes=(0, None)))
    with jax.enable_x64(True):
        found = jax.device_get(solve(jnp.asarray(UNEVEN), 1.5))
    for number, table in enumerate(UNEVEN):
        for ours, theirs in zip(found.profile, continued(table, 1.5), strict=True):
            np.testing.assert_allclose(ours[number], theirs, atol=1e-8)
    assert found.residual.max() < 1e-9
    single = solve(jnp.asarray(UNEVEN, jnp.float32), 1.5)
    for ours, theirs in zip(single.profile, found.profile, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_asymmetric_matching_pennies():
    """One equation in one unknown at every precision; all of them in one call."""
    precisions = np.array([0.0, 0.1, 1.0, 3.0, 10.0])
    found = jax.jit(jax.vmap(partial(logit_equilibrium, jnp.asarray(PENNIES, jnp.float32))))(jnp.asarray(precisions, jnp.float32))
    for number, precision in enumerate(precisions):

        def column(p):
            return special.expit(precision * (1 - 2 * p))  # noqa: B023

        p = optimize.brentq(lambda p: p - special.expit(precision * (10 * column(p) - 1)), 0, 1, xtol=1e-14)  # noqa: B023
        np.testing.assert_allclose(found.profile[0][number, 0], p, atol=1e-5)
        np.testing.assert_allclose(found.profile[1][number, 0], column(p), atol=1e-5)
    assert (found.residual < 1e-4).all()


@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (1e-9, 0), (1e9, 0), (1, 1e9)])
def test_large_precisions_lead_to_an_equilibrium(scale, offset):
    """Of two pure equilibria of a game of coordination, the principal branch ends in the risk-dominant one (Turocy, 2005)."""
    for table in (named.PURE_COORDINATION, named.BATTLE_OF_THE_SEXES + np.array([[[1, 0], [0, 0]]] * 2), named.PRISONERS_DILEMMA):
        found = logit_equilibrium(scale * np.asarray(table) + offset, 1e3 / scale)
        with jax.enable_x64(True):
            assert float(nash_conv(jnp.asarray(table), [np.asarray(part, np.float64) for part in found.profile])) < 1e-2
    found = logit_equilibrium(scale * np.asarray(named.PURE_COORDINATION) + offset, 1e3 / scale)
    np.testing.assert_allclose(found.profile, [[1, 0], [1, 0]], atol=1e-6)
    assert found.residual < 1e-4
    assert found.steps < 100


def test_a_path_that_turns_back_is_followed():
    """In this game of three precision falls along a part of the path: there are two equilibria of precision 3.5 on it, of which
    the first is returned. The other one is found by SciPy from the end of the path, backwards.
    """
    table = np.random.default_rng(5).normal(size=(40, 3, 2, 2, 2))[1]
    with jax.enable_x64(True):
        before, after = (np.concatenate(logit_equilibrium(table, precision).profile) for precision in (3.5, 3.8))
    np.testing.assert_allclose(before, np.concatenate(continued(table, 3.5)), atol=1e-8)
    back = after
    for now in np.linspace(3.8, 3.5, 100):
        answers = partial(logit_answers, table, precision=now)
        back = optimize.root(lambda x: x - np.concatenate(answers(np.split(x, 3))), back, tol=1e-13).x  # noqa: B023
    assert np.abs(back - after).max() < 0.2
    assert np.abs(back - before).max() > 0.3


def test_paths_of_many_games_come_to_their_end():
    """Games of three, as they are drawn, of common interest, with ties, and with one payoff that is far from all others."""
    drawn = np.random.default_rng(7).normal(size=(12, 3, 2, 3, 2))
    far, ties = drawn.copy(), np.random.default_rng(8).integers(0, 3, size=drawn.shape)
    far[:, 0, 0, 0, 0] = 1e6
    games = np.concatenate([drawn, far, ties, np.broadcast_to(drawn[:, :1], drawn.shape)])
    found = jax.device_get(jax.jit(jax.vmap(partial(logit_equilibrium, precision=20.0)))(jnp.asarray(games, jnp.float32)))
    assert np.isfinite(np.concatenate(found.profile, -1)).all()
    assert found.residual.max() <= 1e-4


def test_symmetric_branches_go_straight_on():
    found = logit_equilibrium(named.ROCK_PAPER_SCISSORS, 40.0)
    np.testing.assert_allclose(found.profile, 1 / 3, atol=1e-6)
    np.testing.assert_allclose(logit_equilibrium(np.zeros((3, 2, 2, 3)), 5.0).profile[2], 1 / 3, atol=1e-7)
    np.testing.assert_allclose(logit_equilibrium(UNEVEN[0], 0.0).profile[1], 1 / 3, atol=1e-7)


def test_a_path_that_is_cut_off_has_no_end():
    found = logit_equilibrium(named.PRISONERS_DILEMMA, 1e3, max_steps=2)
    assert np.isnan(found.profile[0]).all()


def test_levels_by_hand():
    """A race to the bottom: who asks for one less than the other is paid best, so that each level asks for one less."""
    asked = np.arange(11, 21)
    table = named.symmetric(asked[:, None] + 20.0 * (asked[:, None] == asked[None, :] - 1))  # the 11-20 game
    found = level_k(table, 4, start=[np.eye(10)[9]] * 2)
    np.testing.assert_array_equal(found.profile[0].argmax(1) + 11, [20, 19, 18, 17, 16])
    np.testing.assert_array_equal(found.average[1], np.eye(10)[5])
    np.testing.assert_allclose(found.regret[1:], 0, atol=1e-5)
    assert found.regret[0, 0] == pytest.approx(19 + 20 - 20)


def test_the_hierarchy_answers_averages_of_lower_levels():
    """By loops over levels and joint actions; tau, and games, may be vmapped."""
    tau, levels = 1.5, 6
    with jax.enable_x64(True):
        found = jax.jit(jax.vmap(lambda table: cognitive_hierarchy(table, tau, levels)))(jnp.asarray(UNEVEN))
        beyond = cognitive_hierarchy(UNEVEN[0], tau, levels).beyond
    weights = stats.poisson.pmf(np.arange(levels + 1), tau)
    np.testing.assert_allclose(found.frequency[0], weights / weights.sum(), rtol=1e-9)
    assert beyond == pytest.approx(stats.poisson.sf(levels, tau), rel=1e-9)
    for number, table in enumerate(UNEVEN):
        strategies = [[np.full(n, 1 / n)] for n in table.shape[1:]]
        for level in range(1, levels + 1):
            share = weights[:level] / weights[:level].sum()
            belief = [share @ np.array(own) for own in strategies]
            for player, own in enumerate(strategies):
                values = np.zeros(table.shape[1 + player])
                for joint in np.ndindex(*table.shape[1:]):
                    chance = np.prod([belief[other][a] for other, a in enumerate(joint) if other != player])
                    values[joint[player]] += chance * table[(player, *joint)]
                own.append(np.eye(len(values))[values.argmax()])
        for player, own in enumerate(strategies):
            np.testing.assert_allclose(found.profile[player][number], own, atol=1e-12)
            np.testing.assert_allclose(found.average[player][number], (weights / weights.sum()) @ np.array(own), atol=1e-9)
    np.testing.assert_allclose(found.regret[:, 1:], 0, atol=1e-12)


def test_levels_share_among_best_responses():
    constant = cognitive_hierarchy(np.full((2, 2, 3), 0.1), 0.0, 3)
    np.testing.assert_allclose(constant.profile[1], 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(constant.frequency, [1, 0, 0, 0])
    far = level_k(np.asarray(named.ROCK_PAPER_SCISSORS) + 1e6, 3)
    np.testing.assert_allclose(far.profile[0], 1 / 3, rtol=1e-6)


@pytest.mark.parametrize(
    ("solve", "message"),
    [
        (partial(logit_equilibrium, precision=-1.0), "precision must be a number of at least 0"),
        (partial(logit_equilibrium, precision=np.inf), "precision must be"),
        (partial(logit_equilibrium, precision=1.0, max_steps=0), "max_steps must be an integer of at least 1"),
        (partial(level_k, levels=0), "levels must be an integer of at least 1"),
        (partial(level_k, levels=1, start=[np.ones(2)] * 2), "must sum to 1"),
        (partial(cognitive_hierarchy, tau=np.nan), "tau must be a number of at least 0"),
    ],
)
def test_wrong_arguments(solve, message):
    with pytest.raises(ConfigError, match=message):
        solve(named.CHICKEN)


@pytest.mark.parametrize(
    "solve", [partial(logit_equilibrium, precision=1.0), partial(level_k, levels=1), partial(cognitive_hierarchy, tau=1.0)]
)
def test_what_is_no_game_is_refused(solve):
    for payoff, message in ((np.full((2, 2, 2), np.nan), "payoffs must be finite"), (np.eye(2), "payoff must have shape")):
        with pytest.raises(ConfigError, match=message):
            solve(payoff)
