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
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from envs.trading import accounting, baselines, features, market_data, single_asset, splits
from jaxrl.algorithms.deep import dqn, ppo
from jaxrl.core.environment import Environment
from jaxrl.core.rollout import View
from jaxrl.evaluation import finance
from jaxrl.experiment.claims import Claim, Verdict, recorded
from jaxrl.experiment.session import Session
from jaxrl.report import figures
from jaxrl.results.run_directory import RunDirectory
from jaxrl.testing.causality import check_causal_function, check_causality

TICKERS = ("AAPL", "IBM", "MSFT")
WARM_UP = features.LONG
FEE = 0.0005  # of the traded value: 5 basis points
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
STATISTICS = {
    "growth": finance.growth,
    "sharpe_ratio": finance.sharpe_ratio,
    "max_drawdown": finance.max_drawdown,
    "cvar": finance.conditional_value_at_risk,
}
OF_THE_PATH = ("max_drawdown",)  # which no sum over bars approximates


@dataclass(frozen=True)
class Config:
    """PPO and DQN on real prices, walking forward."""

    seeds: int = 5
    """Independent learners per window and algorithm (count)."""
    steps: int = 100_000
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


QUICK = Config(seeds=2, steps=4_096, windows=2, resamples=50)


class Record(NamedTuple):
    """The record of a strategy on the test bars, float64: [S, K, T] over S seeds, K shares and T bars.

    wealth has one entry more: before the first bar. weight: held from each bar to the next. fee: paid at each bar, quote
    currency.
    identity, net_of_costs, replayed: the largest relative errors of three ways to keep the same books, float64[S, K].
    """

    wealth: np.ndarray
    weight: np.ndarray
    fee: np.ndarray
    identity: np.ndarray
    net_of_costs: np.ndarray
    replayed: np.ndarray


def run(config: Config, session: Session) -> None:
    """Trains in every window, trades the bars after it, joins the windows and reports."""
    dates, table = market_data.common(market_data.load(ticker) for ticker in TICKERS)
    folds = splits.walk_forward(len(dates), config.train_bars, config.test_bars)[: config.windows]
    records: dict[str, list[Record]] = {"PPO": [], "DQN": [], "buy and hold": [], "momentum": []}
    for number, fold in enumerate(folds):
        market = _market(table[:, fold.train], config.delay)
        tests = [_test_market(row, fold.test, config.delay) for row in table]
        for name, module, settings in (("PPO", ppo, PPO), ("DQN", dqn, DQN)):
            done = session.train(
                module.make,
                market,
                settings,
                seeds=config.seeds,
                num_updates=max(1, config.steps // settings.steps_per_update),
                variant=f"{name}, training in window {number + 1}",
            )
            records[name].append(_stack([_trade(module, test, settings, done.state, config.delay) for test in tests]))
        for name, strategy in (("buy and hold", baselines.buy_and_hold), ("momentum", baselines.momentum)):
            records[name].append(_stack([_follow(strategy, test, config.delay) for test in tests]))
    _report(config, session, records)
    session.record({"leaks": _leaks(table[0], folds[0], config.delay)}, "leak test")
    _draw(session.directory, np.concatenate([dates[fold.test] for fold in folds]))


def _market(table: np.ndarray, delay: int = 0) -> Environment:
    """The market to train in: episodes of half a year that begin anywhere in the window."""
    return single_asset.make(table, proportional_fee=FEE, delay=delay, reward_scale=100.0, max_steps=126)


def _bars(test: slice) -> slice:
    """The bars that a test needs: the warm-up and the bar before it lie in the past."""
    return slice(test.start - WARM_UP - 1, test.stop)


def _test_market(row: np.ndarray, test: slice, delay: int) -> Environment:
    """The market of one share in the test window: a single episode over all of its bars."""
    return single_asset.make(
        row[_bars(test)],
        proportional_fee=FEE,
        delay=delay,
        reward_scale=100.0,
        first=WARM_UP,
        last=WARM_UP,
        max_steps=test.stop - test.start,
    )


@functools.partial(jax.jit, static_argnums=0)
def _walk(module: Any, env: Environment, config: Any, states: Any) -> tuple[accounting.Account, jax.Array, jax.Array, dict]:
    """Plays the only episode of a test market greedily, for every seed. Leaves [S, T]."""

    def one(state):
        policy = module.make(env, config).policy(state, True)

        def step(carry, key):
            obs, place = carry
            decision = policy(key, View(obs[None], None, ()))
            moved = env.step(key, place, decision.action[0])
            return (moved.obs, moved.state), (place.account, env.params.weights[decision.action[0]], moved.reward, moved.info)

        return jax.lax.scan(step, env.reset(jax.random.key(0)), jax.random.split(jax.random.key(0), env.max_steps))[1]

    return jax.vmap(one)(states)


def _trade(module: Any, env: Environment, config: Any, states: Any, delay: int) -> Record:
    _, target, reward, info = _walk(module, env, config, states)
    prices = env.params.prices[0, WARM_UP:]
    return _audit(prices, target, info, np.asarray(reward) / 100.0, env, delay)


def _replay(prices: jax.Array, target: jax.Array, env: Environment, delay: int) -> accounting.Ledger:
    params = env.params
    ruin = params.ruin / params.capital
    return accounting.replay(prices, target, params.capital, params.costs, params.limits, delay, ruin=ruin)


def _follow(strategy: Callable, env: Environment, delay: int) -> Record:
    prices = env.params.prices[0]
    target = strategy(prices[WARM_UP:] if strategy is baselines.buy_and_hold else prices)[-(env.max_steps + 1) : -1]
    books = _replay(prices[WARM_UP:], target, env, delay)
    info = {"wealth": books.wealth[1:], "cash": books.cash[1:], "position": books.position[1:], "fee": books.fee}
    info = jax.tree.map(lambda leaf: leaf[None], info)
    returns = np.diff(np.log(np.asarray(books.wealth, np.float64)))[None]
    return _audit(prices[WARM_UP:], target[None], info, returns, env, delay)


def _audit(prices: jax.Array, target: jax.Array, info: dict, log_returns: np.ndarray, env: Environment, delay: int) -> Record:
    """Keeps the books again, in float64 and in other ways, and notes by how much they differ. Leaves [S, T] come in."""
    wealth, cash, position, fee = (np.asarray(info[name], np.float64) for name in ("wealth", "cash", "position", "fee"))
    level = np.asarray(prices, np.float64)
    fill = level[1:] if delay else level[:-1]
    before = np.concatenate([np.full((len(wealth), 1), float(env.params.capital)), wealth], 1)
    earlier = np.concatenate([np.zeros((len(position), 1)), position[:, :-1]], 1)
    identity = np.abs(wealth - (cash + position * level[1:])) / wealth
    # The old position counts until the fill, the new one from there on.
    at_fill = before[:, :-1] + earlier * (fill - level[:-1])
    moved = at_fill - fee + position * (level[1:] - fill)
    identity = np.maximum(identity, np.abs(wealth - moved) / before[:, :-1])
    # Net growth is gross growth, of the weights held, less what the fees take.
    held = position * fill / (at_fill - fee)
    gross = np.log(at_fill / before[:, :-1]) + np.log1p(held * (level[1:] / fill - 1))
    net_of_costs = np.abs(log_returns.sum(1) - (gross + np.log1p(-fee / at_fill)).sum(1))
    books = jax.vmap(lambda row: _replay(prices, row, env, delay))(target)
    replayed = np.abs(np.asarray(books.wealth, np.float64) / before - 1).max(1)
    return Record(before, held, fee, identity.max(1), net_of_costs, replayed)


def _stack(records: list[Record]) -> Record:
    return Record(*(np.stack(parts, 1) for parts in zip(*records, strict=True)))


def _joined(records: list[Record]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns simple returns and mean weight of the three accounts together, and what they traded over their wealth: [S, T]."""
    returns, weight, traded = [], [], []
    for record in records:
        total = record.wealth.mean(1)
        returns.append(finance.returns_of_wealth(total))
        weight.append(record.weight.mean(1))
        traded.append(record.fee.mean(1) / FEE / total[:, :-1])
    return np.concatenate(returns, 1), np.concatenate(weight, 1), np.concatenate(traded, 1)


def _report(config: Config, session: Session, records: dict[str, list[Record]]) -> None:
    """Stores equity, drawdown and weight by bar, and every statistic with its intervals."""
    joined = {name: _joined(parts) for name, parts in records.items()}
    reference = joined["buy and hold"][0][0]
    for name, (returns, weight, traded) in joined.items():
        equity = np.cumprod(1 + returns, 1)
        session.record({"equity": equity, "drawdown": finance.drawdown(equity), "weight": weight}, f"{name}, by bar")
        audit = {
            kind: np.max([getattr(record, kind).max(1) for record in records[name]], 0)[:, None]
            for kind in ("identity", "net_of_costs", "replayed")
        }
        session.record(audit, f"{name}, audit")
        measures = {label: statistic(returns) for label, statistic in STATISTICS.items()}
        measures["turnover"] = finance.turnover(traded, np.ones_like(traded))
        session.record({label: values[:, None] for label, values in measures.items()}, name)
        # The seeds' mean simple return is the record of someone who splits the money among the agents, rebalanced each bar.
        mean = returns.mean(0)
        for label, statistic in STATISTICS.items():
            method = "percentile" if label in OF_THE_PATH else "studentised"
            interval = functools.partial(finance.block_bootstrap_interval, method=method, resamples=config.resamples)
            own, pair = interval(mean, statistic), interval(np.stack([mean, reference]), _Difference(statistic))
            numbers = {f"{label} {end}": value for end, value in own._asdict().items()}
            numbers |= {f"{label} over buy and hold {end}": value for end, value in pair._asdict().items()}
            session.record(numbers, f"{name}, {label} over time")


@dataclass(frozen=True)
class _Difference:
    """A statistic of the first of two records less that of the second."""

    statistic: Callable

    def __call__(self, records: np.ndarray) -> np.ndarray:
        return self.statistic(records[..., 0, :]) - self.statistic(records[..., 1, :])


def _leaks(row: np.ndarray, fold: splits.Fold, delay: int) -> float:
    """Returns how many of the leak tests fail on these prices: of the environments, the features and the momentum signal."""
    window = row[fold.train]
    key = jax.random.key(0)
    tests: list[Callable[[], Any]] = [
        lambda: check_causality(functools.partial(_market, delay=delay), window, single_asset.bars_seen, key),
        lambda: check_causality(functools.partial(_continuous_market, delay=delay), window, single_asset.bars_seen, key),
        lambda: check_causal_function(features.standard, window, key),
        lambda: check_causal_function(baselines.momentum, window, key),
    ]
    failures = 0
    for test in tests:
        try:
            test()
        except ValueError:
            failures += 1
    return float(failures)


def _continuous_market(table: jax.Array, delay: int) -> Environment:
    return single_asset.make(table, weights=None, proportional_fee=FEE, delay=delay, max_steps=126)


def _draw(run: RunDirectory, dates: np.ndarray) -> None:
    years = 1970 + dates.astype("datetime64[D]").astype(float) / 365.2425
    parts = np.array_split(np.arange(len(years)), min(100, len(years)))
    for metric, label in (
        ("equity", "Wealth (multiples of the capital)"),
        ("drawdown", "Fall below the highest wealth"),
        ("weight", "Mean weight held"),
    ):
        lines = {}
        for name in STRATEGIES:
            values = run.curves(metric, f"{name}, by bar", "metrics").values
            means = np.stack([values[:, part].mean(1) for part in parts], 1)
            lines[name] = np.array([years[part].mean() for part in parts]), means
        note = "Test bars alone, after fees of 5 basis points; each of 100 points is a mean over neighbouring bars."
        scale = "log" if metric == "equity" else "linear"
        figures.relation(run, metric, lines, "Year", label, y_scale=scale, note=note)
    figures.distribution(
        run, "sharpe_ratio", variants=STRATEGIES, table="metrics", label="Sharpe ratio of a year, on the test bars"
    )


STRATEGIES = ("PPO", "DQN", "buy and hold", "momentum")


def _worst(kind: str, bar: float) -> Callable[[RunDirectory], Verdict]:
    def check(run: RunDirectory) -> Verdict:
        worst = max(float(recorded(run, kind, f"{name}, audit").max()) for name in STRATEGIES)
        return Verdict(worst <= bar, worst, f"largest error over strategies, seeds, shares and bars <= {bar:g}")

    return check


def no_leak(run: RunDirectory) -> Verdict:
    """No leak test fails."""
    failures = float(recorded(run, "leaks", "leak test")[0])
    return Verdict(failures == 0, failures, "leak tests that fail = 0")


def with_intervals(run: RunDirectory) -> Verdict:
    """Every statistic of every strategy has a finite interval around it, and so has every difference from buy-and-hold."""
    sound = []
    for name in STRATEGIES:
        for label in STATISTICS:
            for kind in (label, f"{label} over buy and hold"):
                ends = [
                    float(recorded(run, f"{kind} {end}", f"{name}, {label} over time")[0]) for end in ("estimate", "low", "high")
                ]
                # Against itself buy-and-hold has the interval [0, 0].
                sound.append(bool(np.isfinite(ends).all() and ends[1] <= ends[2]))
    return Verdict(all(sound), float(np.mean(sound)), "share of statistics with a finite 95 % interval = 1")


CLAIMS = (
    Claim(
        "At every bar wealth is cash plus position times price, and changes by position times price move less the fee",
        "the accounting identity",
        _worst("identity", 1e-5),
    ),
    Claim(
        "Net growth is gross growth less the costs, for every strategy, seed and window",
        "the accounting identity",
        _worst("net_of_costs", 1e-3),
    ),
    Claim(
        "The weights that the agents chose, replayed by themselves, give the same wealth at every bar",
        "an independent computation",
        _worst("replayed", 1e-4),
    ),
    Claim("No observation, action or reward looks ahead", "the leak test", no_leak),
    Claim("Every statistic is reported with an interval over time", "Politis and Romano (1994)", with_intervals),
)
