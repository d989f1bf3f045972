"""Backtests: the accounts of learners and of rules in markets that have one episode each, and their measurements.

Source: Pardo (2008), "The Evaluation and Optimization of Trading Strategies", on walking forward.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from envs.trading import books, single_asset
from envs.trading.accounting import Ledger
from envs.trading.books import Record
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import Environment
from jaxrl.evaluation import finance
from jaxrl.evaluation.episodes import Followed, follow


class Accounts(NamedTuple):
    """The books of S seeds in K markets of T bars; a rule has one seed.

    books: [S, K, T + 1] and [S, K, T]. growth: float64[S, K], log growth of wealth as the strategy's own reward reports it, or
    for a rule its last wealth. replayed: the books of the same weights, kept by ``single_asset.replay``.
    """

    books: Ledger
    growth: np.ndarray
    replayed: Ledger


@partial(jax.jit, static_argnums=0)
def _played(make: Any, env: Environment, config: Any, states: Any) -> Followed:
    """Returns the only episode of a market as the greedy policies of S learners play it, leaves [S, T, ...]."""
    return jax.vmap(lambda state: follow(jax.random.key(0), env, make(env, config).policy(state, True)))(states)


def of_learners(make: Callable[..., Algorithm], config: Any, states: Any, markets: Sequence[Environment]) -> Accounts:
    """Has the greedy policies of S learners trade in markets without learning.

    Args:
        make: of the algorithm; its policy has no memory.
        config: its configuration.
        states: PyTree[S, ...].
        markets: K, each with one episode, as ``single_asset.window`` builds them.

    Raises:
        EnvError: a market has several paths, or starts.
    """

    def account(env: Environment) -> Accounts:
        episode = _played(make, env, config, states)
        found = single_asset.books(env, episode.action, episode.outcome.info)
        growth = np.asarray(episode.outcome.reward, np.float64).sum(-1) / float(env.params.reward_scale)
        return _account(env, found, growth)

    return _stacked([account(env) for env in markets])


def of_rule(rule: Callable[[Environment], Any], markets: Sequence[Environment]) -> Accounts:
    """Keeps the books of a rule.

    Args:
        rule: ``(market) -> float[T + 1]``, the weight to hold at each of the closing prices; NaN leaves the position alone.
        markets: as for ``of_learners``.
    """

    def account(env: Environment) -> Accounts:
        found = jax.tree.map(lambda leaf: leaf[None], single_asset.replay(env, rule(env)[:-1]))
        return _account(env, found, np.log(np.asarray(found.wealth, np.float64)[:, -1] / float(env.params.capital)))

    return _stacked([account(env) for env in markets])


def _account(env: Environment, found: Ledger, growth: np.ndarray) -> Accounts:
    return Accounts(found, growth, jax.vmap(partial(single_asset.replay, env))(found.target))


def _stacked(accounts: Sequence[Accounts]) -> Accounts:
    return jax.tree.map(lambda *leaves: np.stack(leaves, 1), *accounts)


def audited(markets: Sequence[Environment], accounts: Accounts) -> tuple[Record, books.Errors]:
    """Returns the record of the K accounts of each seed together, float64[S, T], and the errors of their books, float64[S, K]."""
    prices = np.stack([single_asset.episode_prices(env) for env in markets])
    return books.pooled(prices, accounts.books), books.errors(prices, *accounts)


def walked_forward(
    accounts: Callable[[str, int, Sequence[Environment]], Accounts],
    methods: Sequence[str],
    windows: Sequence[Sequence[Environment]],
    dates: np.ndarray,
    resamples: int,
) -> Iterator[tuple[dict[str, Any], Mapping[str, Any]]]:
    """Yields the measurements of strategies that trade one window after the other.

    For each strategy and window the errors of its books; for each strategy its course, the statistics of its seeds, and their
    intervals over time, by themselves and less those of the first strategy, of someone who splits the money among the seeds.

    Args:
        accounts: ``(method, number of the window from 1, its K markets) -> the books``.
        methods: the strategies, the one that the others are compared with first.
        windows: the K markets of each window, as ``single_asset.window`` builds them.
        dates: datetime64[D], of the T bars of all windows together.
        resamples: see ``intervals``.
    """
    reference: np.ndarray | None = None
    for method in methods:
        records = []
        for number, markets in enumerate(windows, 1):
            record, errors = audited(markets, accounts(method, number, markets))
            records.append(record)
            yield {"method": method, "window": number}, errors._asdict()
        record = books.joined(records)
        yield {"method": method}, course(dates, record)
        yield {"method": method, "over": "seeds"}, statistics(record)
        returns = split_evenly(record)
        reference = returns if reference is None else reference
        for factors, interval in intervals(returns, reference, methods[0], resamples):
            yield {"method": method, "over": "time", **factors}, interval


def course(dates: np.ndarray, record: Record) -> dict[str, np.ndarray]:
    """Returns the course of a strategy by bar, float64[S, T] each.

    ``year``, with its fraction; ``equity``, in multiples of the capital; ``drawdown``, its fall below the highest so far, as a
    share of it; ``weight``, the share of wealth that is held.

    Args:
        dates: datetime64[D], of the T bars.
        record: of T bars.
    """
    equity = np.cumprod(1 + record.returns, 1)
    year = np.broadcast_to(1970 + dates.astype(float) / 365.2425, equity.shape)
    return {"year": year, "equity": equity, "drawdown": finance.drawdown(equity), "weight": record.weight}


def statistics(record: Record) -> dict[str, np.ndarray]:
    """Returns those of ``finance.STATISTICS`` and the turnover of every seed, float64[S, 1] each."""
    found = {name: statistic(record.returns)[:, None] for name, statistic in finance.STATISTICS.items()}
    return found | {"turnover": finance.turnover(record.traded, np.ones_like(record.traded))[:, None]}


def split_evenly(record: Record) -> np.ndarray:
    """Returns the returns of someone who splits the money among the seeds, rebalanced each bar, float64[T].

    Seeds without a return at some bar, those in quarantine, are left out.
    """
    return record.returns[np.isfinite(record.returns).all(1)].mean(0)


def intervals(
    returns: np.ndarray, reference: np.ndarray, name: str, resamples: int
) -> Iterator[tuple[dict[str, str], dict[str, float]]]:
    """Yields the intervals over time of every statistic, as rows of measurements.

    Their factors are ``statistic`` and ``less``, which is "nothing", or the name of the reference for the difference from it.
    Their values are those of the interval, and ``sound``: whether it is finite and in order; that of no difference is [0, 0].

    Args:
        returns, reference: float64[T], of the same bars.
        name: of the reference.
        resamples: see ``finance.block_bootstrap_interval``, which this may raise or warn as.
    """
    for statistic, function in finance.STATISTICS.items():
        both = finance.intervals_over_time(returns, reference, function, resamples)
        for less, interval in zip(("nothing", name), both, strict=True):
            sound = bool(np.isfinite(interval).all()) and interval.low <= interval.high
            yield {"statistic": statistic, "less": less}, interval._asdict() | {"sound": float(sound)}
