"""Lemke-Howson checks its own answers: payoffs far from all others, long paths, units, and what it says when it has none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.matrix_games import named, travellers_dilemma
from envs.matrix_games.one_shot import table
from jaxrl.errors import ConfigError
from jaxrl.solvers.lemke_howson import lemke_howson
from tests.marks import slow

every_label = jax.jit(jax.vmap(lemke_howson, (None, 0)))
every_game = jax.jit(jax.vmap(jax.vmap(lemke_howson, (None, 0)), (0, None)))


def regrets(payoff, solution):
    """Returns the larger regret of each solution, in float64, and the smallest probability in it."""
    x, y = (
        np.asarray(strategy, np.float64) / np.asarray(strategy, np.float64).sum(-1, keepdims=True) for strategy in solution[:2]
    )
    earned = np.einsum("la,pab,lb->lp", x, payoff, y)
    best = np.stack([np.einsum("ab,lb->la", payoff[0], y).max(-1), np.einsum("la,ab->lb", x, payoff[1]).max(-1)], -1)
    return (best - earned).max(-1), np.minimum(x.min(-1), y.min(-1))


def test_a_strictly_dominated_row_is_no_answer():
    """Every label used to end in the dominated first row, with a regret of 1: in units of 1e5 that was nothing."""
    payoff = np.array([[[-1, -1, -1], [0, 0, 0], [-1, -1, -1e5]]] * 2)
    solution = every_label(jnp.asarray(payoff, jnp.float32), jnp.arange(6))
    np.testing.assert_array_equal(solution.row, [[0, 1, 0]] * 6)
    np.testing.assert_array_equal(solution.regret, np.zeros((6, 2)))


@pytest.mark.slow
@pytest.mark.parametrize("extreme", [slow(-1e4), slow(1e4), -1e7])
def test_one_extreme_joint_action_costs_no_precision(extreme):
    """Of 200 such games 44 used to be answered with a regret above 0.1."""
    random = np.random.default_rng(0)
    payoffs = random.normal(size=(200, 2, 4, 4))
    payoffs[np.arange(200), :, random.integers(4, size=200), random.integers(4, size=200)] += extreme
    payoffs = payoffs.astype(np.float32)
    solutions = every_game(payoffs, jnp.arange(8))
    found = [regrets(game.astype(np.float64), [part[i] for part in solutions[:2]]) for i, game in enumerate(payoffs)]
    regret, smallest = (np.array(part) for part in zip(*found, strict=True))
    assert np.isfinite(solutions.row).all()
    assert regret.max() < 1e-3
    assert smallest.min() >= 0
    np.testing.assert_allclose(np.asarray(solutions.regret).max(-1), regret, atol=1e-4)


@pytest.mark.slow
def test_every_answer_to_the_travellers_dilemma_is_the_lowest_claim():
    """Paths of later labels are longer than any limit, and rounding along them used to end in probabilities of -2.4."""
    payoff = np.asarray(table(travellers_dilemma.make(high=33)), np.float64)
    with jax.enable_x64(True):
        solution = every_label(jnp.asarray(payoff), jnp.arange(64))
    answered = np.isfinite(solution.row).all(-1)
    assert answered.sum() >= 12
    np.testing.assert_allclose(np.asarray(solution.row)[answered, 0], 1, atol=1e-9)
    np.testing.assert_allclose(np.asarray(solution.column)[answered, 0], 1, atol=1e-9)
    assert (np.asarray(solution.pivots)[~answered] == 1_000).all()  # why there is no answer


def test_payoffs_that_only_rounding_tells_apart_are_equal():
    random = np.random.default_rng(0)
    payoff = random.choice([0.1, 0.7, -0.3, 0.0], size=(100, 2, 4, 4))
    computed = payoff * (1 + random.integers(-2, 3, size=payoff.shape) * np.finfo(float).eps / 2)
    with jax.enable_x64(True):
        solutions = jax.jit(jax.vmap(jax.vmap(lemke_howson, (None, 0)), (0, None)))(computed, jnp.array([0, 5]))
    for number, game in enumerate(computed):
        regret, least = regrets(game, jax.tree.map(lambda leaf, number=number: np.asarray(leaf[number]), solutions))
        assert regret.max() < 1e-14
        assert least.min() >= 0


@pytest.mark.parametrize("unit", [1e-30, 1e-8, 1e12])
def test_units_do_not_matter(unit):
    payoff = jnp.asarray(np.random.default_rng(1).normal(size=(2, 3, 4)), jnp.float32)
    one, other = every_label(payoff, jnp.arange(7)), every_label(payoff * jnp.float32(unit), jnp.arange(7))
    np.testing.assert_allclose(one.row, other.row, atol=1e-5)
    np.testing.assert_allclose(one.column, other.column, atol=1e-5)


def test_an_answer_that_does_not_stand_its_check_is_no_answer():
    payoff = jnp.asarray(named.CHICKEN, jnp.float32)
    assert np.isnan(jax.jit(lemke_howson)(payoff.at[0, 0, 0].set(jnp.nan)).row).all()
    assert np.isnan(lemke_howson(jnp.asarray(named.ROCK_PAPER_SCISSORS, jnp.float32), max_pivots=1).row).all()


@pytest.mark.parametrize(
    ("payoff", "label", "message"),
    [
        (named.CHICKEN[0], 0, r"payoff must have shape \[2, A, B\]"),
        (named.CHICKEN, 4, r"label must be an integer in \[0, 4\), got 4"),
        (named.CHICKEN, -1, r"label must be an integer in \[0, 4\), got -1"),
        (np.full((2, 2, 2), np.inf), 0, "payoffs must be finite"),
    ],
)
def test_games_that_are_none(payoff, label, message):
    with pytest.raises(ConfigError, match=message):
        lemke_howson(payoff, label)


@pytest.mark.parametrize(
    "payoff", [[[["a", "b"]] * 2] * 2, [[[1.0, 2.0], [3.0]]] * 2, [np.full((2, 2), 1j)] * 2, [[[None, {}]] * 2] * 2]
)
def test_payoffs_of_text_and_ragged_ones_are_refused(payoff):
    with pytest.raises(ConfigError, match="payoff must be an array of real numbers"):
        lemke_howson(payoff)
