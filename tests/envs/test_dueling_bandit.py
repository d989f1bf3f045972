"""Dueling bandit: outcomes by preference, regret against the Condorcet winner, exact values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.bandits import dueling_bandit
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from tests import oracles

# Arm 1 beats all others, which beat each other in a circle.
CIRCLE = ((0.5, 0.4, 0.9, 0.2), (0.6, 0.5, 0.7, 0.55), (0.1, 0.3, 0.5, 0.8), (0.8, 0.45, 0.2, 0.5))


def test_best_is_a_duel_of_the_winner_with_itself():
    model = tabulate(dueling_bandit.make(CIRCLE))
    assert model.num_states == 3
    q = oracles.action_values(model, oracles.value_iteration(model, 0.9), 0.9)
    np.testing.assert_array_equal(q.argmax(-1), 1 * 4 + 1)
    assert oracles.start_value(model, q.max(-1)) == pytest.approx(0.0, abs=1e-9)


def test_regret_is_the_mean_gap_to_the_winner():
    model = tabulate(dueling_bandit.make(CIRCLE))
    gap = np.array(CIRCLE)[1] - 0.5
    expected = -(gap[:, None] + gap[None, :]) / 2
    np.testing.assert_allclose(model.reward[0, :, 0].reshape(4, 4), expected, atol=1e-6)
    value = oracles.start_value(model, oracles.policy_values(model, oracles.uniform(model), 0.9))
    assert value == pytest.approx(expected.mean() / (1 - 0.9), rel=1e-5)


def test_outcomes_are_as_frequent_as_the_preferences():
    """Chi-square with 12 degrees of freedom at 0.1 %: one for each ordered pair of different arms."""
    env = dueling_bandit.make(CIRCLE)
    count = 160_000
    pairs = jnp.arange(count, dtype=jnp.int32) % 16
    obs = np.asarray(jax.jit(jax.vmap(env.step, in_axes=(0, None, 0)))(jax.random.split(jax.random.key(0), count), 2, pairs).obs)
    assert set(np.unique(obs)) == {dueling_bandit.LOST, dueling_bandit.WON}
    wins = (obs == dueling_bandit.WON).reshape(-1, 16).sum(0)
    table, rounds = np.array(CIRCLE).ravel(), count / 16
    statistic = (wins - rounds * table) ** 2 / (rounds * table * (1 - table))
    assert statistic.reshape(4, 4)[~np.eye(4, dtype=bool)].sum() < 32.9


def test_utilities_give_logistic_preferences():
    params = dueling_bandit.of_utilities(jnp.array([0.0, 1.0, -2.0]))
    assert float(params.preference[1, 2]) == pytest.approx(1 / (1 + np.exp(-3.0)))
    np.testing.assert_allclose(params.preference + params.preference.T, 1.0, atol=1e-6)
    drawn = jax.vmap(lambda key: dueling_bandit.draw(key, 4))(jax.random.split(jax.random.key(0), 3))
    assert dueling_bandit.of(drawn).action_space.n == 16


def test_nothing_is_known_before_the_first_duel():
    obs, _ = dueling_bandit.make().reset(jax.random.key(0))
    assert int(obs) == dueling_bandit.UNKNOWN


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (dict(preference=((0.5, 0.6),)), r"\[K, K\]"),
        (dict(preference=((0.5, 0.6), (0.6, 0.5))), "sum to 1"),
        (dict(preference=((0.5, 0.9, 0.1), (0.1, 0.5, 0.9), (0.9, 0.1, 0.5))), "preferred to every other"),
        (dict(max_steps=0), "max_steps"),
    ],
)
def test_wrong_parameters(parameters, message):
    with pytest.raises(ConfigError, match=message):
        dueling_bandit.make(**parameters)
