"""Equilibria selected by a rule: among all of them, the best of them, with illegal actions, and in thousands of games at once."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.matrix_games import named
from jaxrl.errors import ConfigError, UnknownNameError
from jaxrl.solvers import equilibria, nash, zero_sum
from jaxrl.solvers.lemke_howson import lemke_howson

RNG = np.random.default_rng(0)
GAMES = RNG.normal(size=(64, 2, 3, 3)).astype(np.float32)
BEST, FIRST = (jax.jit(jax.vmap(partial(nash.select, rule=rule))) for rule in ("best", "first"))
PATHS = jax.jit(jax.vmap(lemke_howson))(jnp.asarray(GAMES))
MASKED = jax.jit(partial(nash.select, rule="best"))


def paid(payoff, row, column):
    return np.einsum("a,nab,b->n", row, payoff, column)


def test_the_best_equilibrium_is_the_best_in_pure_strategies_or_where_the_path_ends():
    found = jax.tree.map(np.asarray, BEST(jnp.asarray(GAMES)))
    kinds = set()
    for number, (game, row, column, payoff, regret) in enumerate(zip(GAMES, *found, strict=True)):
        pure = [paid(game, *one[:2]) for one in equilibria.support_enumeration(game) if max(one[0]) > 1 - 1e-9 < max(one[1])]
        if pure:
            np.testing.assert_allclose(payoff, max(pure, key=sum), atol=1e-5)
        else:
            np.testing.assert_allclose(row, PATHS.row[number], atol=1e-5)
            np.testing.assert_allclose(payoff, paid(game, row, column), atol=1e-5)
        assert equilibria_regret(game, row, column) < 1e-5
        assert (np.abs(regret) < 1e-5).all()
        kinds.add(bool(pure))
    assert kinds == {True, False}


def test_the_first_equilibrium_is_where_the_path_of_the_first_label_ends():
    found = FIRST(jnp.asarray(GAMES))
    for one, other in ((found.row, PATHS.row), (found.column, PATHS.column), (found.regret, PATHS.regret)):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("game", "payoff"),
    [("stag_hunt", (4, 4)), ("prisoners_dilemma", (-2, -2)), ("chicken", (2, 7)), ("battle_of_the_sexes", (3, 2))]
    + [("matching_pennies", (0, 0)), ("climb", (11, 11)), ("weighted_rock_paper_scissors", (0, 0))],
)
def test_named_games(game, payoff):
    """Chicken has two pure equilibria of 9 in all, battle of the sexes two of 5: the first of each. The last have none."""
    found = nash.select(named.TABLES[game])
    np.testing.assert_allclose(found.payoff, payoff, atol=1e-5)
    np.testing.assert_allclose(found.regret, 0, atol=1e-5)


def test_a_table_of_zeros_has_an_equilibrium():
    """As at the beginning of learning: everything is an equilibrium, and the first profile is the one selected."""
    for select in (BEST, FIRST):
        found = select(jnp.zeros((1, 2, 3, 3)))
        np.testing.assert_allclose((found.row[0].sum(), found.column[0].sum()), 1, atol=1e-6)
        np.testing.assert_array_equal(found.regret, np.zeros((1, 2)))
    np.testing.assert_array_equal(BEST(jnp.zeros((1, 2, 3, 3))).row[0], [1, 0, 0])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 100.0]), st.booleans())
def test_illegal_actions_are_as_good_as_absent(seed, bait, zero):
    """What they pay does not matter: the game without them has the same equilibrium."""
    rng = np.random.default_rng(seed)
    game = np.zeros((2, 3, 3)) if zero else rng.integers(-2, 3, size=(2, 3, 3)).astype(float)
    rows, columns = (rng.permutation([True, True, False]) for _ in range(2))
    tempting = game.copy()
    tempting[:, ~rows] = rng.choice([-bait, bait], size=tempting[:, ~rows].shape)
    tempting[:, :, ~columns] = rng.choice([-bait, bait], size=tempting[:, :, ~columns].shape)
    found = jax.tree.map(np.asarray, MASKED(jnp.asarray(tempting, jnp.float32), row_mask=rows, column_mask=columns))
    smaller = game[:, rows][:, :, columns]
    assert found.row[~rows] == 0
    assert found.column[~columns] == 0
    assert equilibria_regret(smaller, found.row[rows], found.column[columns]) < 1e-5
    pure = [smaller[:, a, b].sum() for a in range(2) for b in range(2) if is_pure(smaller, a, b)]
    assert found.payoff.sum() >= max(pure, default=-np.inf) - 1e-5


def equilibria_regret(game, row, column):
    return max((game[0] @ column).max() - row @ game[0] @ column, (row @ game[1]).max() - row @ game[1] @ column)


def is_pure(game, a, b):
    return game[0, a, b] >= game[0, :, b].max() and game[1, a, b] >= game[1, a].max()


def test_in_zero_sum_games_it_pays_the_value():
    tables = jnp.asarray(GAMES[:, 0])
    found = BEST(jnp.stack([tables, -tables], axis=1))
    np.testing.assert_allclose(found.payoff[:, 0], jax.vmap(zero_sum.solve)(tables).value, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rule": "second"}, UnknownNameError, "second"),
        ({"payoff": np.zeros((2, 2))}, ConfigError, r"shape \[2, A, B\]"),
        ({"payoff": np.full((2, 2, 2), np.nan)}, ConfigError, "finite"),
        ({"row_mask": np.array([False, False])}, ConfigError, "row_mask must leave an action legal"),
        ({"column_mask": np.array([True])}, ConfigError, r"column_mask must have shape \[2\]"),
        ({"column_mask": np.array([1, 0])}, ConfigError, "column_mask must be bool"),
    ],
)
def test_unsound_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        nash.select(**({"payoff": named.CHICKEN} | arguments))
