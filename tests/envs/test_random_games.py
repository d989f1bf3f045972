"""Games drawn from a key: what defines each kind, the distribution of payoffs, and preferences that run in circles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.matrix_games import preference_games, random_games
from jaxrl.errors import ConfigError, UnknownNameError
from jaxrl.solvers import equilibria, zero_sum

KEYS = jax.random.split(jax.random.key(0), 200)


def draw(kind, actions):
    return np.asarray(jax.jit(jax.vmap(lambda key: random_games.KINDS[kind](key, actions)))(KEYS))


@pytest.mark.parametrize(
    ("kind", "actions"), [("general", (2, 3, 4)), ("common_payoff", (2, 3, 4)), ("zero_sum", (3, 4)), ("symmetric", (3, 3))]
)
def test_payoffs_are_standard_normal(kind, actions):
    tables = draw(kind, actions)
    assert tables.shape == (200, len(actions), *actions)
    assert tables.dtype == np.float32
    from scipy import stats

    assert stats.kstest(tables[:, 0].reshape(-1), "norm").pvalue > 1e-3
    assert len(np.unique(tables[:, 0, *(0 for _ in actions)])) == 200


def test_kinds_are_what_they_are_called():
    general = draw("general", (2, 3))
    assert abs(np.corrcoef(general[:, 0].reshape(-1), general[:, 1].reshape(-1))[0, 1]) < 0.1
    common = draw("common_payoff", (2, 3, 4))
    np.testing.assert_array_equal(common[:, 0], common[:, 1])
    np.testing.assert_array_equal(common[:, 0], common[:, 2])
    zero = draw("zero_sum", (3, 4))
    np.testing.assert_array_equal(zero.sum(1), 0)
    symmetric = draw("symmetric", (3, 3))
    np.testing.assert_array_equal(symmetric[:, 1], np.swapaxes(symmetric[:, 0], 1, 2))


def test_seeds_number_the_draw():
    one, same, other = (envs.make("random_game", kind="zero_sum", actions=(2, 3), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.params.payoff, same.params.payoff)
    assert (np.asarray(one.params.payoff) != other.params.payoff).any()
    assert envs.make("random_game", actions=(2, 3, 4)).num_agents == 3


@pytest.mark.parametrize("kind", preference_games.KINDS)
def test_preferences_of_both_sum_to_one(kind):
    tables = np.asarray(jax.jit(jax.vmap(lambda key: preference_games.KINDS[kind](key, 6)))(KEYS))
    assert tables.shape == (200, 6, 6)
    np.testing.assert_allclose(tables + np.swapaxes(tables, 1, 2), 1, atol=1e-6)
    assert ((tables >= 0) & (tables <= 1)).all()
    payoffs = np.asarray(preference_games.payoffs(jnp.asarray(tables[0])))
    np.testing.assert_allclose(payoffs.sum(0), 0, atol=1e-6)
    assert equilibria.minimax(payoffs).value == pytest.approx(0, abs=1e-6)


def circles(tables):
    """Returns in how many of the preferences some three responses beat each other in a circle."""
    beats = (tables > 0.5 + 1e-6).astype(int)
    return (np.trace(beats @ beats @ beats, axis1=1, axis2=2) > 0).mean()


def test_only_utilities_exclude_circles():
    tables = {k: np.asarray(jax.vmap(lambda key, k=k: preference_games.KINDS[k](key, 6))(KEYS)) for k in preference_games.KINDS}
    assert circles(tables["bradley_terry"]) == 0
    assert circles(tables["cyclic"]) == 1
    assert circles(tables["skewed"]) > 0.5
    assert circles(tables["majority"]) > 0.1


def test_bradley_terry_log_odds_add_up():
    table = np.asarray(preference_games.bradley_terry(KEYS[0], 5), np.float64)
    log_odds = np.log(table) - np.log1p(-table)
    np.testing.assert_allclose(log_odds[0, 1] + log_odds[1, 2], log_odds[0, 2], atol=1e-4)


def test_noise_of_the_log_odds():
    quiet = preference_games.skewed(KEYS[0], 6, 0.0)
    utility_key, _ = jax.random.split(KEYS[0])
    utility = jax.random.normal(utility_key, (6,))
    np.testing.assert_allclose(quiet, jax.nn.sigmoid(utility[:, None] - utility), atol=1e-6)
    loud = np.asarray(jax.vmap(lambda key: preference_games.skewed(key, 6, 2.0) - 0.0)(KEYS), np.float64)
    log_odds = np.log(loud[:, 0, 1]) - np.log1p(-loud[:, 0, 1])
    assert log_odds.std() == pytest.approx((2 + 4) ** 0.5, rel=0.2)  # two utilities and the noise


def test_the_circle_is_the_equilibrium():
    solution = zero_sum.solve(preference_games.payoffs(preference_games.cyclic(KEYS[1], 7))[0])
    np.testing.assert_allclose(solution.row, [1 / 3] * 3 + [0] * 4, atol=1e-5)


def test_majority_counts_groups():
    table = np.asarray(preference_games.majority(KEYS[2], 5, groups=4))
    np.testing.assert_allclose(4 * table[~np.eye(5, dtype=bool)] % 1, 0, atol=1e-6)
    np.testing.assert_allclose(np.diag(table), 0.5)


@pytest.mark.parametrize(
    ("name", "parameters", "error", "message"),
    [
        ("random_game", dict(kind="zero_summ"), UnknownNameError, "Did you mean 'zero_sum'"),
        ("random_game", dict(actions=()), ConfigError, "at least 1 action"),
        ("random_game", dict(actions=(2, 0)), ConfigError, "at least 1 action"),
        ("random_game", dict(kind="zero_sum", actions=(2, 2, 2)), ConfigError, "two players"),
        ("random_game", dict(kind="symmetric", actions=(2, 3)), ConfigError, "equally many"),
        ("preference_game", dict(kind="cycle"), UnknownNameError, "'cyclic'"),
        ("preference_game", dict(responses=2), ConfigError, "responses must be at least 3"),
    ],
)
def test_wrong_parameters(name, parameters, error, message):
    with pytest.raises(error, match=message):
        envs.make(name, **parameters)
