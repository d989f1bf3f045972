"""Bad input meets a typed error before anything is computed, whichever door it comes through."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.trading import prices, single_asset
from jaxrl.algorithms.preferences import labels, segments
from jaxrl.algorithms.tabular import q_learning
from jaxrl.blocks import distributions, returns
from jaxrl.core import rollout
from jaxrl.core.finite import TabularModel, tabulate
from jaxrl.errors import ConfigError, DataError, EnvError, UnknownNameError
from jaxrl.evaluation import finance
from jaxrl.solvers import dynamics, lemke_howson, markov_games, normal_form, zero_sum
from jaxrl.solvers.mdp.entropic import entropic_value_iteration
from jaxrl.solvers.mdp.policy_evaluation import policy_evaluation
from jaxrl.solvers.mdp.policy_iteration import policy_iteration
from jaxrl.solvers.mdp.value_iteration import value_iteration
from jaxrl.training.runner import train

KEY = jax.random.key(0)


@functools.cache
def corridor() -> TabularModel:
    return tabulate(envs.make("corridor"))


@functools.cache
def pennies() -> TabularModel:
    return tabulate(envs.make("matching_pennies"))


def changed(model: TabularModel, table: str, value) -> TabularModel:
    entries = np.array(getattr(model, table))
    entries.flat[0] = value
    return dataclasses.replace(model, **{table: entries})


def uniform(model):
    return np.full((model.num_states, model.num_actions), 1 / model.num_actions)


def policies(model):
    return jnp.full((model.num_states, 2, 2), 0.5)


SINGLE = {
    "value_iteration": lambda model: value_iteration(model, 0.9),
    "policy_iteration": lambda model: policy_iteration(model, 0.9),
    "policy_evaluation": lambda model: policy_evaluation(model, uniform(model), 0.9),
    "entropic_value_iteration": lambda model: entropic_value_iteration(model, 1.0),
}
GAMES = {
    "evaluate": lambda model: markov_games.evaluate(model, policies(model), 0.9),
    "best_response": lambda model: markov_games.best_response(model, policies(model), 0, 0.9),
    "regrets": lambda model: markov_games.regrets(model, policies(model), 0.9),
    "shapley": lambda model: markov_games.shapley(model, 0.9),
}


@pytest.mark.parametrize(
    ("table", "value", "message"),
    [
        ("probability", 0.4, "outcome probabilities must sum to 1"),
        ("next_state", 77, "next_state must hold whole numbers in"),
        ("reward", np.nan, "rewards must be finite"),
    ],
)
@pytest.mark.parametrize("solver", [*SINGLE, *GAMES])
def test_solvers_on_devices_look_at_the_tables_of_a_model(solver, table, value, message):
    model, solve = (corridor(), SINGLE[solver]) if solver in SINGLE else (pennies(), GAMES[solver])
    with pytest.raises(EnvError, match=message):
        solve(changed(model, table, value))


@pytest.mark.parametrize("tolerance", [np.nan, -1.0, "small"])
def test_tolerances(tolerance):
    with pytest.raises(ConfigError, match="tolerance must be a number of at least 0"):
        value_iteration(corridor(), 0.9, tolerance)


TABLE = np.array([[[1.0, 0], [0, 1]], [[0, 1], [1, 0]]])
RAGGED = [[1.0], [1.0, 2.0]]
STEPS = [np.zeros(3, np.float32), np.zeros(3, np.float32), np.zeros(3, bool), np.zeros(3, bool)]
REJECTED = {
    "a discount that is text": (
        lambda: value_iteration(corridor(), "0.9"),
        ConfigError,
        r"gamma must lie in \[0, 1\], got '0.9'",
    ),
    "fictitious play with NaN": (lambda: dynamics.fictitious_play(TABLE * np.nan, 3), ConfigError, "payoffs must be finite"),
    "regret matching with infinity": (lambda: dynamics.regret_matching(TABLE + np.inf, 3), ConfigError, "payoffs must be finite"),
    "one player's table": (lambda: dynamics.fictitious_play(np.eye(3), 3), ConfigError, r"payoff must have shape \[N, A_0"),
    "one player's table, regrets": (lambda: dynamics.regret_matching(np.eye(2), 3), ConfigError, r"payoff must have shape \[N"),
    "regrets of no distribution": (
        lambda: normal_form.regrets(TABLE, [np.ones(2), np.ones(2)]),
        ConfigError,
        "strategy of player 0 must sum to 1",
    ),
    "regrets of other sizes": (
        lambda: normal_form.regrets(TABLE, [np.ones(3) / 3, np.ones(2) / 2]),
        ConfigError,
        "a profile must",
    ),
    "one strategy": (lambda: normal_form.nash_conv(TABLE, [np.ones(2) / 2]), ConfigError, "a strategy for every player"),
    "no such action": (
        lambda: normal_form.pure_profile(TABLE, [0, 5]),
        ConfigError,
        r"the action of player 1 must be an integer in \[0, 2\), got 5",
    ),
    "text in zero_sum": (lambda: zero_sum.solve([["a", "b"]]), ConfigError, "payoff must be an array of real numbers"),
    "complex in zero_sum": (lambda: zero_sum.solve(np.eye(2) * 1j), ConfigError, "payoff must be an array of real numbers"),
    "ragged in zero_sum": (lambda: zero_sum.solve(RAGGED), ConfigError, "payoff must be an array of real numbers"),
    "ragged in lemke_howson": (
        lambda: lemke_howson.lemke_howson([RAGGED, RAGGED]),
        ConfigError,
        "payoff must be an array of real numbers",
    ),
    "no step": (lambda: returns.n_step_returns(*STEPS, 0.9, 0), ConfigError, "num_steps must be an integer of at least 1, got 0"),
    "a discount of 2": (lambda: returns.lambda_returns(*STEPS, 2.0, 0.9), ConfigError, r"gamma must lie in \[0, 1\], got 2.0"),
    "a negative decay": (
        lambda: returns.generalized_advantage(STEPS[0], *STEPS, 0.9, -1.0),
        ConfigError,
        r"gae_lambda must lie in \[0, 1\]",
    ),
    "no steps": (
        lambda: returns.lambda_returns(*(part[:0] for part in STEPS), 0.9, 0.9),
        ConfigError,
        r"one shape, \[T, ...\] with T at least 1",
    ),
    "ends that are floats": (
        lambda: returns.discounted_returns(STEPS[0], STEPS[0], STEPS[0], STEPS[3], 0.9),
        ConfigError,
        "terminated must be bool",
    ),
    "a negative year": (lambda: finance.sharpe_ratio([0.1, 0.2], -1), ConfigError, "bars_per_year must be a positive number"),
    "an infinite return": (
        lambda: finance.sharpe_ratio([0.1, np.inf]),
        ConfigError,
        "the record must be finite, or NaN after ruin",
    ),
    "text for returns": (lambda: finance.sharpe_ratio(["a"]), ConfigError, "the record must be an array of real numbers"),
    "no bars": (lambda: prices.paths(prices.gbm(), KEY, 2, 0), ConfigError, "num_bars must be an integer of at least 1"),
    "text for prices": (lambda: prices.historical(["a", "b"]), ConfigError, "prices must be an array of real numbers"),
    "text for a market": (lambda: single_asset.make(["a"] * 400), ConfigError, "prices must be an array of real numbers"),
    "no updates": (
        lambda: train(q_learning.make, envs.make("corridor"), q_learning.Config(), KEY, 0),
        ConfigError,
        "num_updates must be an integer of at least 1",
    ),
    "no name": (lambda: envs.make(None), UnknownNameError, "no environment is named 'None'"),
    "NaN for gravity": (lambda: envs.make("cartpole", gravity=np.nan), ConfigError, "gravity must be a number, got nan"),
    "half a step": (lambda: envs.make("cartpole", max_steps=2.5), ConfigError, "max_steps must be an integer, got 2.5"),
    "a word for a chance": (lambda: envs.make("frozen_lake", slip="yes"), ConfigError, "slip must be a number, got 'yes'"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_what_is_no_input_is_refused(name):
    call, error, message = REJECTED[name]
    with pytest.raises(error, match=message):
        call()


def test_a_column_that_is_there_twice(tmp_path):
    lake = envs.make("corridor")
    pool = segments.collect(KEY, lake, rollout.uniform_policy(lake), 2, 3)
    (tmp_path / "labels.csv").write_text("first,second,label,label\n0,1,1,1\n")
    with pytest.raises(DataError, match=r"each column must be there once, got \['label'\]"):
        labels.read(tmp_path / "labels.csv", pool)


def test_the_log_probability_of_nan_is_nan():
    policy = distributions.tanh_gaussian(jnp.zeros(1), jnp.zeros(1))
    found = jax.vmap(policy.log_prob)(jnp.array([[jnp.nan], [1.5], [0.5]]))
    assert np.isnan(found[0])
    assert found[1] == -np.inf
    assert np.isfinite(found[2])


def test_lists_are_games_too():
    course = dynamics.regret_matching(TABLE.tolist(), 3)
    np.testing.assert_array_equal(course.average[0], dynamics.regret_matching(TABLE, 3).average[0])
