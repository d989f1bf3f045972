"""Payoffs, regrets and distances from equilibrium: against sums over all joint actions, and where the answers are known."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.matrix_games import named
from jaxrl.errors import ConfigError
from jaxrl.solvers import normal_form

SHAPES = [(2, 3, 3), (2, 2, 4), (1, 3), (3, 2, 3, 4)]


def random_game(shape, seed=0):
    """Returns a payoff table and a profile of random strategies."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=shape), [generator.dirichlet(np.ones(actions)) for actions in shape[1:]]


def summed(table, profile):
    """The expected payoffs, summed over all joint actions one by one."""
    total = np.zeros(len(table))
    for joint in itertools.product(*map(range, table.shape[1:])):
        weight = np.prod([strategy[action] for strategy, action in zip(profile, joint, strict=True)])
        total += weight * table[(slice(None), *joint)]
    return total


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_expected_payoffs_and_regrets(shape):
    table, profile = random_game(shape)
    value = summed(table, profile)
    np.testing.assert_allclose(normal_form.expected_payoffs(jnp.asarray(table), profile), value, rtol=1e-5)
    regrets = normal_form.regrets(jnp.asarray(table), profile)
    for player, actions in enumerate(shape[1:]):
        deviations = [
            summed(table, [*profile[:player], np.eye(actions)[action], *profile[player + 1 :]])[player]
            for action in range(actions)
        ]
        np.testing.assert_allclose(normal_form.action_payoffs(jnp.asarray(table), profile, player), deviations, atol=1e-5)
        assert int(normal_form.best_response(jnp.asarray(table), profile, player)) == np.argmax(deviations)
        assert float(regrets[player]) == pytest.approx(max(deviations) - value[player], abs=1e-5)
    assert float(normal_form.nash_conv(jnp.asarray(table), profile)) == pytest.approx(float(regrets.sum()), abs=1e-6)
    expected = float(regrets.sum()) / shape[0]
    assert float(normal_form.exploitability(jnp.asarray(table), profile)) == pytest.approx(expected, abs=1e-6)


def test_equilibria_and_nothing_else_have_no_nash_conv():
    chicken = jnp.asarray(named.CHICKEN)
    mixed = jnp.array([2 / 3, 1 / 3])
    assert float(normal_form.nash_conv(chicken, [mixed, mixed])) == pytest.approx(0.0, abs=1e-6)
    assert float(normal_form.nash_conv(chicken, normal_form.pure_profile(chicken, (0, 1)))) == 0.0
    assert float(normal_form.nash_conv(chicken, normal_form.pure_profile(chicken, (0, 0)))) == 2.0  # both could dare
    rock = normal_form.pure_profile(jnp.asarray(named.ROCK_PAPER_SCISSORS), (0, 0))
    assert float(normal_form.exploitability(jnp.asarray(named.ROCK_PAPER_SCISSORS), rock)) == 1.0
    uniform = normal_form.uniform_profile(jnp.asarray(named.CLIMB))
    np.testing.assert_allclose(uniform, 1 / 3)


def test_joint_distribution_of_unequal_players():
    _, profile = random_game((3, 2, 3, 4))
    expected = np.einsum("a,b,c->abc", *profile)
    np.testing.assert_allclose(normal_form.joint_distribution(list(map(jnp.asarray, profile))), expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[0] > 1], ids=str)
def test_regrets_of_a_joint_distribution(shape):
    """Against loops over recommendations and deviations, for a distribution that is no product."""
    generator = np.random.default_rng(1)
    table, joint = generator.normal(size=shape), generator.dirichlet(np.ones(np.prod(shape[1:]))).reshape(shape[1:])
    coarse, fine = np.zeros(shape[0]), np.zeros(shape[0])
    for player, actions in enumerate(shape[1:]):
        earned = np.zeros((actions, actions))  # recommended, taken
        for profile in itertools.product(*map(range, shape[1:])):
            for action in range(actions):
                deviation = (player, *profile[:player], action, *profile[player + 1 :])
                earned[profile[player], action] += joint[profile] * table[deviation]
        obeying = np.trace(earned)
        coarse[player] = earned.sum(0).max() - obeying
        fine[player] = earned.max(1).sum() - obeying
    np.testing.assert_allclose(normal_form.coarse_correlated_regrets(jnp.asarray(table), jnp.asarray(joint)), coarse, atol=1e-5)
    np.testing.assert_allclose(normal_form.correlated_regrets(jnp.asarray(table), jnp.asarray(joint)), fine, atol=1e-5)
    assert (fine >= coarse - 1e-12).all()


def test_vmapped_games_equal_single_ones():
    tables = jnp.asarray(np.random.default_rng(2).normal(size=(16, 2, 3, 4)), jnp.float32)
    profiles = tuple(jnp.asarray(np.random.default_rng(3).dirichlet(np.ones(n), 16), jnp.float32) for n in (3, 4))
    together = jax.jit(jax.vmap(normal_form.nash_conv))(tables, profiles)
    single = [normal_form.nash_conv(table, [part[i] for part in profiles]) for i, table in enumerate(tables)]
    np.testing.assert_allclose(together, single, atol=1e-6)
    assert float(together.min()) >= -1e-6


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (
            lambda game: normal_form.regrets(game, [[0.5, 0.4], [0.5, 0.5]]),
            "the strategy of player 0 must sum to 1, got 'a sum of 0.9",
        ),
        (lambda game: normal_form.nash_conv(game, [[2.0, -1.0], [0.5, 0.5]]), "must not be negative, got '-1'"),
        (lambda game: normal_form.exploitability(game, [[0.5, np.nan], [0.5, 0.5]]), "must be finite, got 'nan at index 1'"),
        (lambda game: normal_form.regrets(game, [[0.5, 0.5]]), "a profile must have a strategy for every player"),
        (
            lambda game: normal_form.expected_payoffs(game, [[0.5, 0.5], [1.0]]),
            r"a profile must have .*shapes \[\(2,\), \(2,\)\], got \[\(2,\), \(1,\)\]",
        ),
        (lambda game: normal_form.action_payoffs(game, [[0.5, 0.5]] * 2, 2), r"player must be an integer in \[0, 2\), got 2"),
        (
            lambda game: normal_form.best_response(game, [["a", "b"]] * 2, 0),
            "strategy of player 0 must be an array of real numbers",
        ),
        (
            lambda game: normal_form.pure_profile(game, [0, 5]),
            r"the action of player 1 must be an integer in \[0, 2\), got 5",
        ),
        (lambda game: normal_form.pure_profile(game, [0, 0.5]), "must be an integer"),
        (lambda game: normal_form.pure_profile(game, [0]), "there must be an action for each of 2 players, got .0."),
        (lambda game: normal_form.uniform_profile(game[0]), "payoff must have shape"),
        (lambda game: normal_form.correlated_regrets(game, np.ones((2, 2))), "joint must sum to 1"),
        (lambda game: normal_form.coarse_correlated_regrets(game, np.ones(4) / 4), r"joint must have shape \[2, 2\]"),
    ],
)
def test_what_does_not_fit_the_game_is_refused(measure, message):
    with pytest.raises(ConfigError, match=message):
        measure(named.CHICKEN)
