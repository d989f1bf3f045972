"""Backtests: the books of learners and rules pass the audit, and what is measured of a record follows from it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.trading import baselines, prices, single_asset
from envs.trading.books import Record
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.rollout import Decision
from jaxrl.evaluation import finance
from jaxrl.studies import backtest

PATHS = np.asarray(prices.paths(prices.regime_switching(), jax.random.key(0), 2, 160))


@pytest.fixture(scope="module")
def markets():
    return [single_asset.window(path, slice(80, 140), proportional_fee=0.001, reward_scale=100.0) for path in PATHS]


def holding(env, config):
    """An algorithm whose policy always takes the action that is its state."""

    def policy(state, greedy):
        return lambda key, view: Decision(jnp.broadcast_to(state, view.t.shape))

    return Algorithm(lambda key: jnp.int32(0), lambda state, key: (state, {}), policy)


def test_a_learner_that_holds_everything_is_buy_and_hold(markets):
    invested = single_asset.WEIGHTS.index(1.0)
    learners = backtest.of_learners(holding, None, jnp.array([invested, single_asset.WEIGHTS.index(0.0)]), markets)
    rule = backtest.of_rule(lambda env: baselines.buy_and_hold(single_asset.episode_prices(env)), markets)
    assert learners.growth.shape == (2, 2)
    assert rule.books.wealth.shape == (1, 2, 61)
    np.testing.assert_allclose(learners.growth[0], rule.growth[0], atol=1e-3)
    np.testing.assert_allclose(learners.growth[1], 0.0, atol=1e-6)
    for accounts in (learners, rule):
        record, errors = backtest.audited(markets, accounts)
        assert record.returns.shape == (len(accounts.growth), 60)
        assert errors.identity.shape == accounts.growth.shape
        assert max(errors.identity.max(), errors.replayed.max()) < 1e-4
        assert errors.net_of_costs.max() < 1e-3
    wrong = rule._replace(growth=rule.growth + 0.1)
    assert backtest.audited(markets, wrong)[1].net_of_costs.min() > 0.09


def test_strategies_that_walk_forward_are_measured_in_each_window_and_as_a_whole(markets):
    weights = {"everything": 1.0, "half": 0.5}
    windows, dates = [markets, markets], np.datetime64("2000-01-01", "D") + np.arange(120)
    seen = []

    def accounts(method, number, traded):
        seen.append((method, number))
        return backtest.of_rule(lambda env: np.full(61, weights[method]), traded)

    rows = list(backtest.walked_forward(accounts, tuple(weights), windows, dates, 20))
    assert seen == [(method, number) for method in weights for number in (1, 2)]
    assert [factors["window"] for factors, values in rows if "identity" in values] == [1, 2, 1, 2]
    (whole,) = (values for factors, values in rows if factors == {"method": "everything"})
    assert whole["equity"].shape == (1, 120)
    np.testing.assert_allclose(whole["equity"][0, -1], whole["equity"][0, 59] ** 2, rtol=1e-6)  # both windows are the same
    assert {factors["less"] for factors, _ in rows if "less" in factors} == {"nothing", "everything"}
    own = [values for factors, values in rows if factors["method"] == "everything" and factors.get("less") == "everything"]
    assert own == [{"estimate": 0.0, "low": 0.0, "high": 0.0, "sound": 1.0}] * len(finance.STATISTICS)


def test_the_measurements_of_a_record():
    returns = np.random.default_rng(0).normal(0.001, 0.01, (3, 40))
    returns[2, 5:] = np.nan  # in quarantine
    record = Record(returns, np.full((3, 40), 0.5), np.full((3, 40), 0.1))
    dates = np.datetime64("2000-01-01", "D") + np.arange(40)
    course = backtest.course(dates, record)
    np.testing.assert_allclose(course["equity"][0], np.cumprod(1 + returns[0]))
    assert course["year"].shape == (3, 40)
    np.testing.assert_allclose(course["year"][1, [0, 39]], [2000.0, 2000.106], atol=2e-3)
    statistics = backtest.statistics(record)
    np.testing.assert_allclose(statistics["sharpe_ratio"][:2, 0], finance.sharpe_ratio(returns[:2]))
    assert statistics["turnover"].shape == (3, 1)
    mean = backtest.split_evenly(record)
    np.testing.assert_allclose(mean, returns[:2].mean(0))
    rows = list(backtest.intervals(mean, mean, "itself", 20))
    assert [factors["less"] for factors, _ in rows] == ["nothing", "itself"] * len(finance.STATISTICS)
    own, difference = ([values for factors, values in rows if factors["less"] == less] for less in ("nothing", "itself"))
    assert difference == [{"estimate": 0.0, "low": 0.0, "high": 0.0, "sound": 1.0}] * len(finance.STATISTICS)
    finite = [bool(np.isfinite([values["low"], values["high"]]).all()) for values in own]
    assert [values["sound"] == 1.0 for values in own] == finite
    assert finite[0]
