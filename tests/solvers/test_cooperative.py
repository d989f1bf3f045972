"""Cooperative games: closed forms, averages over all orders, balanced collections, and errors of samples that are calibrated."""

import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrl.errors import ConfigError
from jaxrl.solvers.cooperative import banzhaf_value, coalitions, least_core, nucleolus, shapley_samples, shapley_value

MEMBERS = coalitions(3)
GLOVES = (MEMBERS[:, 0] & MEMBERS[:, 1:].any(1)).astype(float)  # one left glove, two right ones
MAJORITY = (MEMBERS.sum(1) >= 2).astype(float)
UNANIMITY = MEMBERS.all(1).astype(float)
AIRPORT = np.where(MEMBERS, [1.0, 2.0, 3.0], 0).max(1)  # a runway that is long enough for all, as a cost
WEIGHTED = (coalitions(4) @ np.array([4, 3, 2, 1]) >= 6).astype(float)


@pytest.mark.parametrize(
    ("worth", "shapley", "banzhaf"),
    [
        (GLOVES, [2 / 3, 1 / 6, 1 / 6], [3 / 4, 1 / 4, 1 / 4]),
        (MAJORITY, [1 / 3] * 3, [1 / 2] * 3),
        (UNANIMITY, [1 / 3] * 3, [1 / 4] * 3),
        (AIRPORT, [1 / 3, 1 / 3 + 1 / 2, 1 / 3 + 1 / 2 + 1], [1 / 4, 1 / 4 + 1 / 2, 1 / 4 + 1 / 2 + 1]),
        (WEIGHTED, [5 / 12, 1 / 4, 1 / 4, 1 / 12], [5 / 8, 3 / 8, 3 / 8, 1 / 8]),
        (np.array([0.0, 7.0]), [7], [7]),
    ],
)
def test_values_in_closed_form(worth, shapley, banzhaf):
    for value, expected in ((shapley_value(worth), shapley), (banzhaf_value(worth), banzhaf)):
        np.testing.assert_allclose(value.payoffs, expected, atol=1e-14)
        assert value.residual < 1e-14


@given(st.lists(st.floats(-10, 10), min_size=15, max_size=15))
@settings(max_examples=25, deadline=None)
def test_shapley_values_are_averages_over_orders(worths):
    worth = np.array([0.0, *worths])
    expected = np.zeros(4)
    for order in itertools.permutations(range(4)):
        coalition = 0
        for player in order:
            expected[player] += worth[coalition | 1 << player] - worth[coalition]
            coalition |= 1 << player
    np.testing.assert_allclose(shapley_value(worth).payoffs, expected / math.factorial(4), atol=1e-12)


def test_games_are_valued_side_by_side():
    tables = np.random.default_rng(0).normal(size=(16, 32)) * (np.arange(32) > 0)
    for value in (shapley_value, banzhaf_value):
        together = jax.jit(jax.vmap(value))(jnp.asarray(tables, jnp.float32))
        for number, table in enumerate(tables):
            np.testing.assert_allclose(together.payoffs[number], value(table).payoffs, atol=1e-5)
        assert together.residual.max() < 1e-5


def test_samples_know_their_error():
    """Standardised errors of 400 estimates have variance 1; the sum is exact in each."""
    table = jnp.asarray(np.random.default_rng(1).normal(size=32) * (np.arange(32) > 0), jnp.float32)

    def worth(members):
        return table[(members * 2 ** jnp.arange(5)).sum()]

    estimate = jax.jit(jax.vmap(partial(shapley_samples, worth=worth, players=5, num_orders=100)))
    found = estimate(jax.random.split(jax.random.key(0), 400))
    apart = (np.asarray(found.payoffs) - shapley_value(np.asarray(table)).payoffs) / np.asarray(found.standard_error)
    np.testing.assert_allclose(apart.mean(0), 0, atol=0.2)
    np.testing.assert_allclose(apart.std(0), 1, atol=0.15)
    assert found.residual.max() < 1e-5


@pytest.mark.parametrize(
    ("worth", "excess", "empty"),
    [
        (GLOVES, 0, False),
        (MAJORITY, 1 / 3, True),
        (UNANIMITY, -1 / 3, False),
        (np.arange(4.0), 0, False),
        (np.zeros(8), 0, False),
    ],
)
def test_the_least_core_of_small_games(worth, excess, empty):
    players = len(worth).bit_length() - 1
    for scale, salaries in ((1, 0), (1e-9, 0), (1e9, 0), (1, 1e6)):
        found = least_core(scale * worth + salaries * coalitions(players).sum(1))
        assert found.excess / scale == pytest.approx(excess, abs=1e-8)
        assert found.core_is_empty is empty
        assert found.gap <= 1e-8 * scale
        assert found.payoffs.sum() == pytest.approx(scale * worth[-1] + players * salaries, rel=1e-12)
        assert (found.payoffs >= salaries + scale * (worth[1 << np.arange(players)] - excess) - 1e-6 * scale).all()


def test_the_core_of_gloves_is_one_point():
    np.testing.assert_allclose(least_core(GLOVES).payoffs, [1, 0, 0], atol=1e-9)


def test_convex_games_have_a_core_that_holds_the_shapley_value():
    """Shapley (1971); no payoffs have a smaller excess than those of the least core."""
    generator = np.random.default_rng(2)
    members = coalitions(5)
    for _ in range(10):
        weights = generator.uniform(size=5)
        worth = (members @ weights) ** 2
        found, value = least_core(worth), shapley_value(worth).payoffs
        assert not found.core_is_empty
        assert (members @ value >= worth - 1e-12).all()
        complaints = (worth - members @ value)[1:-1].max()
        assert found.excess <= complaints + 1e-9
        for _ in range(50):
            other = generator.dirichlet(np.ones(5)) * worth[-1]
            assert (worth - members @ other)[1:-1].max() >= found.excess - found.gap - 1e-12


def test_one_worth_far_from_all_others():
    """Two who earn 1e8 together, and a third who earns 0.1 alone and gets e: they complain of e, and it of 0.1 - e."""
    worth = np.where(MEMBERS[:, 0] & MEMBERS[:, 1], 1e8, MEMBERS.sum(1) / 10.0)
    found = least_core(worth)
    assert found.excess == pytest.approx(0.05, abs=1e-6)
    assert found.payoffs[2] == pytest.approx(0.05, abs=1e-6)
    assert found.core_is_empty
    assert found.gap <= 1e-6


def bankruptcy(estate):
    """Debts of 100, 200 and 300 of an estate: a coalition is sure of what the others' debts leave."""
    return np.maximum(estate - (~MEMBERS) @ np.array([100, 200, 300]), 0.0)


APEX = np.array([(row[0] and row.sum() > 1) or row[1:].all() for row in coalitions(4)], float)


@pytest.mark.parametrize(
    ("worth", "expected"),
    [
        (bankruptcy(100), [100 / 3] * 3),  # the Talmud, as explained by Aumann and Maschler (1985)
        (bankruptcy(200), [50, 75, 75]),
        (bankruptcy(300), [50, 100, 150]),
        (GLOVES, [1, 0, 0]),
        (MAJORITY, [1 / 3] * 3),
        (APEX, [2 / 5, 1 / 5, 1 / 5, 1 / 5]),
        (MEMBERS @ np.array([1.0, 2.0, 3.0]) - AIRPORT, [1 / 2, 2 - 3 / 4, 3 - 7 / 4]),  # Littlechild (1974)
        (np.array([0.0, 1.0, 2.0, 7.0]), [3, 4]),
        (np.zeros(8), [0, 0, 0]),
    ],
)
def test_the_nucleolus_in_closed_form(worth, expected):
    players = len(worth).bit_length() - 1
    for scale, salaries in ((1, 0), (1e-9, 0), (1e9, 0), (1, 1e6)):
        found = nucleolus(scale * worth + salaries * coalitions(players).sum(1))
        size = max(abs(np.asarray(expected)).max(), 1) * scale
        np.testing.assert_allclose(found.payoffs - salaries, scale * np.asarray(expected), atol=1e-7 * size)
        assert found.gap <= 1e-8 * size
    assert (np.diff(found.excesses) <= 1e-7 * size).all()


def test_no_other_payoffs_have_smaller_complaints_than_the_nucleolus():
    """Complaints are compared from the largest on; the first is that of the least core, if nobody loses there."""
    generator = np.random.default_rng(3)
    members = coalitions(4)
    for _ in range(15):
        worth = np.maximum(generator.normal(1, 1, size=16) * members.sum(1), 0) * (members.sum(1) > 1)
        worth[-1] = abs(worth[-1]) + 1
        found = nucleolus(worth)
        assert found.payoffs.min() >= -1e-9
        assert found.payoffs.sum() == pytest.approx(worth[-1])
        ours = np.sort((worth - members @ found.payoffs)[1:-1])[::-1]
        assert found.excesses[0] == pytest.approx(ours[0], abs=1e-8)
        core = least_core(worth)
        if core.payoffs.min() >= 0:
            assert ours[0] == pytest.approx(core.excess, abs=1e-8)
        for size in (1.0, 0.1, 1e-3):
            for other in generator.dirichlet(np.ones(4), 100) * worth[-1]:
                theirs = np.sort((worth - members @ (found.payoffs + size * (other - found.payoffs)))[1:-1])[::-1]
                apart = theirs - ours
                assert apart[np.abs(apart) > 1e-7][:1].sum() >= 0


def test_payoffs_that_leave_a_player_less_than_alone_are_no_imputations():
    with pytest.raises(ConfigError, match="players must not earn more alone than all earn together, got 2"):
        nucleolus(np.array([0.0, 1.0, 1.0, 1.0]))
    with pytest.raises(ConfigError, match="two players or more"):
        nucleolus(np.array([0.0, 1.0]))


@pytest.mark.parametrize("solve", [shapley_value, banzhaf_value, least_core, nucleolus])
@pytest.mark.parametrize(
    ("worth", "message"),
    [
        (np.zeros(3), r"worth must have shape \[2\^N\]"),
        (np.zeros((2, 2)), r"worth must have shape \[2\^N\]"),
        (np.zeros(1), r"worth must have shape \[2\^N\]"),
        (np.array([0, np.nan]), "worth must be finite"),
        (np.array([1.0, 2.0, 3.0, 4.0]), "worth must be 0 of the empty coalition, got 1.0"),
        ("gloves", "worth must be an array of real numbers"),
    ],
)
def test_unsound_tables_are_refused(solve, worth, message):
    with pytest.raises(ConfigError, match=message):
        solve(worth)


def test_unsound_numbers_are_refused():
    with pytest.raises(ConfigError, match="two players or more"):
        least_core(np.array([0.0, 1.0]))
    with pytest.raises(ConfigError, match="at most 24 players"):
        coalitions(25)
    with pytest.raises(ConfigError, match="outside of compiled code"):
        jax.jit(lambda worth: least_core(worth).excess)(MAJORITY)
    for numbers, message in (({"players": 0, "num_orders": 9}, "players"), ({"players": 3, "num_orders": 1}, "num_orders")):
        with pytest.raises(ConfigError, match=f"{message} must be an integer of at least"):
            shapley_samples(jax.random.key(0), lambda members: members.sum() * 1.0, **numbers)
