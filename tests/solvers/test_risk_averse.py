"""Players who avoid variance: best responses by hand and by quadratic programmes, variances by sampling, play step by step."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from envs.matrix_games.named import symmetric
from jaxrl.errors import ConfigError
from jaxrl.solvers import dynamics, risk_averse
from jaxrl.solvers.risk_averse import action_covariance, best_response, regrets, respond, utilities

STAG = symmetric([[10, -2], [3, 3]])
HALF = ([0.5, 0.5], [0.5, 0.5])


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def test_the_stag_hunt_by_hand():
    np.testing.assert_allclose(action_covariance(STAG, HALF, 0), [[36, 0], [0, 0]])
    np.testing.assert_allclose(utilities(STAG, HALF, 0.1), [3.5 - 0.9] * 2)  # both halves of a variance of 36
    # With the own draw it is 0.5 (0.5^2 + 36) + 0.5 0.5^2: the law is 10, -2, 3 and 3.
    law = np.array([10, -2, 3, 3])
    np.testing.assert_allclose(utilities(STAG, HALF, 0.1, own_mixing=True), [3.5 - 0.1 * law.var()] * 2)
    for aversion in (0.0, 0.01, 1 / 72, 0.02, 1 / 36, 0.03, 0.1, 3.0):
        found = best_response(STAG, HALF, 0, aversion)
        stag = min(1.0, 1 / (72 * aversion)) if aversion else 1.0
        np.testing.assert_allclose(found.strategy, [stag, 1 - stag], atol=1e-12)
        assert found.gap == pytest.approx(0, abs=1e-12)
    assert best_response(STAG, HALF, 0, 0.027, own_mixing=True).strategy[0] == 1
    assert best_response(STAG, HALF, 0, 0.028, own_mixing=True).strategy[0] == 0


def test_utilities_are_those_of_samples():
    generator = np.random.default_rng(0)
    payoff = generator.normal(size=(3, 2, 3, 2))
    profile = [generator.dirichlet(np.ones(n)) for n in (2, 3, 2)]
    drawn = [generator.choice(len(own), 200_000, p=own) for own in profile]
    for player in range(3):
        earned = payoff[(player, *drawn)]
        assert utilities(payoff, profile, 1.0, own_mixing=True)[player] == pytest.approx(earned.mean() - earned.var(), abs=0.02)
        own = np.moveaxis(payoff[player], player, 0)
        others = [one for number, one in enumerate(drawn) if number != player]
        averaged = profile[player] @ own[(slice(None), *others)]
        assert utilities(payoff, profile, 1.0)[player] == pytest.approx(averaged.mean() - averaged.var(), abs=0.02)


def test_best_responses_solve_their_quadratic_programmes():
    """The gap bounds how much is left; another package finds no more."""
    generator = np.random.default_rng(1)
    means, factors = generator.normal(size=(50, 4)), generator.normal(size=(50, 4, 3))  # covariances of rank 3
    covariances = factors @ factors.swapaxes(1, 2)
    found = jax.device_get(jax.vmap(partial(respond, aversion=0.7))(jnp.asarray(means), jnp.asarray(covariances)))
    assert found.gap.max() < 1e-10
    assert (found.strategy >= 0).all()
    np.testing.assert_allclose(found.strategy.sum(1), 1)
    for mean, covariance, strategy in zip(means[:10], covariances, found.strategy, strict=False):

        def loss(x, mean=mean, covariance=covariance):
            return 0.7 * x @ covariance @ x - mean @ x

        constraint = {"type": "eq", "fun": lambda x: x.sum() - 1}
        other = optimize.minimize(loss, np.full(4, 0.25), bounds=[(0, 1)] * 4, constraints=constraint, method="SLSQP")
        assert loss(strategy) <= other.fun + 1e-6
        np.testing.assert_allclose(strategy, other.x, atol=2e-3)


def test_an_equilibrium_has_no_regret():
    found = regrets(STAG, ([1.0, 0.0], [1.0, 0.0]), 10.0)  # nothing varies where all is certain
    np.testing.assert_allclose(found, 0, atol=1e-12)
    # Stag with probability p answers itself where 12 p - 5 = 288 w p^2 (1 - p): here at p = 1/2, with w = 1/36.
    np.testing.assert_allclose(regrets(STAG, HALF, 1 / 36), 0, atol=1e-12)
    assert regrets(STAG, HALF, 0.0)[0] == pytest.approx(0.5)
    assert regrets(STAG, HALF, 0.0, own_mixing=True)[0] == pytest.approx(0.5)


def test_play_without_aversion_is_fictitious_play():
    games = np.random.default_rng(2).integers(-2, 3, (64, 2, 3, 3)).astype(float)  # with many ties
    for own_mixing in (False, True):
        averse = partial(dynamics.risk_averse_play, num_steps=40, num_records=40, aversion=0.0, own_mixing=own_mixing)
        plain = partial(dynamics.fictitious_play, num_steps=40, num_records=40)
        ours, theirs = (dynamics.over_games(play, jnp.asarray(games)).history.profile for play in (averse, plain))
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("own_mixing", [False, True])
def test_the_aversion_decides_between_stag_and_hare(own_mixing):
    play = partial(dynamics.risk_averse_play, STAG, 500, own_mixing=own_mixing, start=HALF)
    ends = jax.vmap(lambda aversion: play(aversion=aversion).average[0][0])(jnp.array([0, 0.02, 0.027, 0.029, 0.3]))
    np.testing.assert_array_equal(np.asarray(ends) > 0.9, [True, True, True, False, False])
    np.testing.assert_array_equal(np.asarray(ends) < 0.1, [False, False, False, True, True])


@pytest.mark.parametrize(
    ("solve", "message"),
    [
        (lambda: utilities(STAG, HALF, -0.1), "aversion must"),
        (lambda: best_response(STAG, HALF, 2, 0.1), r"player must be an integer in \[0, 2\)"),
        (lambda: best_response(STAG, HALF, 0, np.nan), "aversion must"),
        (lambda: regrets(STAG, ([1.0], [1.0]), 0.1), "a profile must have a strategy for every player"),
        (lambda: action_covariance(STAG, ([0.5, 0.6], [1.0, 0.0]), 0), "must sum to 1"),
        (lambda: dynamics.risk_averse_play(STAG, 3, aversion=-1.0), "aversion must"),
    ],
)
def test_unsound_arguments_are_refused(solve, message):
    with pytest.raises(ConfigError, match=message):
        solve()


def test_one_player_alone_risks_nothing():
    assert risk_averse.utilities(np.array([[1.0, 2.0]]), [[0.5, 0.5]], 1.0)[0] == pytest.approx(1.5)
