"""PPO and DQN on real daily prices after costs, walking forward in time, against buy-and-hold and momentum.

Three shares, 2000 to 2013. In every window an agent is trained on three years and then trades the following year and a half
without learning; the next window begins where that ends, so that every test bar is traded once, by an agent that has not seen it.
Each share has an account of its own, opened anew in each window; a strategy is the three together. Orders are filled at the close
that was seen when they were given, which is optimistic; ``--delay 1`` fills them at the next.

Nothing here claims a profit. The claims are that the books are right, that nothing looks ahead, and that what is reported
carries its uncertainty: over time, by the block bootstrap, and over seeds.

Source: the protocol is Pardo (2008), "The Evaluation and Optimization of Trading Strategies" (walk-forward analysis); intervals:
Politis and Romano (1994); momentum: Moskowitz, Ooi and Pedersen (2012); prices: Quandl WIKI, public domain.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from envs.trading import baselines, features, market_data, single_asset, splits
from jaxrl.algorithms.deep import dqn, ppo
from jaxrl.core.environment import Environment
from jaxrl.experiment import Arm, Claim, Results, draw, largest, smallest
from jaxrl.studies import backtest
from jaxrl.testing.causality import check_causal_function, check_causality, leaks

TICKERS = ("AAPL", "IBM", "MSFT")
SCALE = 100.0  # rewards are percents of log growth
PPO = ppo.Config(learning_rate=3e-4, gamma=0.9, ent_coef=0.01, num_envs=32, num_steps=64, hidden=(32, 32), clip_value=False)
DQN = dqn.Config(
    learning_rate=3e-4,
    gamma=0.9,
    epsilon_steps=50_000.0,
    target_step_size=0.01,
    target_interval=1,
    num_envs=32,
    num_steps=1,
    num_rounds=64,
    buffer_size=50_000,
    learning_starts=3_200,
    hidden=(32, 32),
    double=True,
)
AGENTS: dict[str, tuple] = {"PPO": (ppo.make, PPO), "DQN": (dqn.make, DQN)}
RULES = {  # the first is the one that all are compared with
    "buy and hold": lambda env: baselines.buy_and_hold(single_asset.episode_prices(env)),
    "momentum": lambda env: baselines.momentum(env.params.prices[0])[features.LONG :],  # knows the bars of the warm-up
}


@dataclass(frozen=True)
class Config:
    """PPO and DQN on real prices, walking forward."""

    seeds: int = 5
    """Independent learners per window and algorithm (count)."""
    env_steps: int = 100_000
    """Training bars of each learner in each window (count)."""
    train_bars: int = 756
    """Length of a training window (bars): three years."""
    test_bars: int = 378
    """Length of a test window (bars): a year and a half."""
    windows: int = 100
    """At most so many windows, the first ones."""
    delay: int = 0
    """From a decision to its fill (bars): 0, at the close that was seen, or 1, at the next."""
    resamples: int = 2000
    """Of the block bootstrap (count)."""


QUICK = Config(seeds=2, env_steps=7_296, windows=2, resamples=50)


@functools.cache
def history() -> tuple[np.ndarray, np.ndarray]:
    """Returns the dates on which all shares have a price, datetime64[D][T], and their prices, float64[K, T]."""
    return market_data.common(market_data.load(ticker) for ticker in TICKERS)


def folds(config: Config) -> tuple[splits.Fold, ...]:
    """Returns the windows."""
    return splits.walk_forward(len(history()[0]), config.train_bars, config.test_bars)[: config.windows]


def options(config: Config) -> dict[str, Any]:
    """Returns the terms of trade: fees of 5 basis points."""
    return dict(proportional_fee=0.0005, delay=config.delay, reward_scale=SCALE)


def market(prices: Any, config: Config, weights: Any = single_asset.WEIGHTS) -> Environment:
    """Returns a market to train in: episodes of half a year that begin anywhere."""
    return single_asset.make(prices, weights, max_steps=126, **options(config))


def arms(config: Config) -> Iterator[Arm]:
    """Both agents in every window, on the training bars of all shares."""
    for number, fold in enumerate(folds(config), 1):
        env = market(history()[1][:, fold.train], config)
        for method, (make, algorithm) in AGENTS.items():
            factors = {"method": method, "window": number}
            yield Arm(factors, make, env, algorithm, seeds=config.seeds, env_steps=config.env_steps)


def measure(config: Config, results: Results) -> Iterator[tuple[dict, Mapping[str, Any]]]:
    """Measures each strategy on the test bars: errors of its books, wealth by bar, statistics and their intervals; and leaks."""

    def accounts(method: str, number: int, markets: Sequence[Environment]) -> backtest.Accounts:
        if method in RULES:
            return backtest.of_rule(RULES[method], markets)
        (make, algorithm), agent = AGENTS[method], {"method": method, "window": number}
        return results.marked(backtest.of_learners(make, algorithm, results.run(**agent).state, markets), **agent)

    dates, prices = history()
    tests = [fold.test for fold in folds(config)]
    windows = [[single_asset.window(path, bars, **options(config)) for path in prices] for bars in tests]
    dates = np.concatenate([dates[bars] for bars in tests])
    yield from backtest.walked_forward(accounts, (*RULES, *AGENTS), windows, dates, config.resamples)
    yield from leak_tests(config)


def leak_tests(config: Config) -> Iterator[tuple[dict, dict]]:
    """Tests the market, the features and the momentum signal for looking ahead."""
    prices, key = history()[1][0, folds(config)[0].train], jax.random.key(0)
    for name, weights in (("market", single_asset.WEIGHTS), ("continuous market", None)):
        build = functools.partial(market, config=config, weights=weights)
        yield {"checked": name}, {"leaks": leaks(check_causality, build, prices, single_asset.bars_seen, key)}
    for name, function in (("features", features.standard), ("momentum signal", baselines.momentum)):
        yield {"checked": name}, {"leaks": leaks(check_causal_function, function, prices, key)}


def figures(results: Results) -> None:
    """Draws equity, drawdown and weight over the years, and the Sharpe ratios of the seeds."""
    for metric, label, scale in (
        ("equity", "Wealth (multiples of the capital)", "log"),
        ("drawdown", "Fall below the highest wealth", "linear"),
        ("weight", "Mean weight held", "linear"),
    ):
        arms = {method: {"method": method} for method in (*RULES, *AGENTS)}
        note = "Test bars alone, after fees."
        draw.lines(results, metric, metric, arms, "Year", label, "year", y_scale=scale, note=note)
    draw.ends(results, "sharpe_ratio", {"label": "Sharpe ratio of a year, on the test bars"})


CLAIMS = (
    Claim(
        "At every test bar and for every strategy wealth is cash plus position times price, and changes by position times price "
        "move less the fee, to 1e-5 of wealth",
        "the accounting identity",
        largest("identity") <= 1e-5,
    ),
    Claim(
        "Net log growth is gross log growth less the costs to 1e-3, for every strategy, seed, share and window",
        "the accounting identity",
        largest("net_of_costs") <= 1e-3,
    ),
    Claim(
        "Whatever PPO, DQN, momentum and buy-and-hold traded, replayed from the weights alone, gives the same wealth at every "
        "test bar to 1e-4",
        "an independent computation",
        largest("replayed") <= 1e-4,
    ),
    Claim(
        "No observation, action or reward of the market, no feature and no momentum signal looks ahead",
        "the leak test of jaxrl.testing.causality",
        largest("leaks") <= 0,
    ),
    Claim(
        "Every statistic of every strategy, and its difference from buy-and-hold, has a finite 95 % interval over time",
        "Politis and Romano (1994)",
        smallest("sound") >= 1,
    ),
)
