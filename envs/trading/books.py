"""Books of trading accounts: audited, and put together over accounts and over windows of time. On the host, in float64.

Books are an ``accounting.Ledger`` of any leading axes [...]: cash, position and wealth at the close of T + 1 bars, and fee and
fill of the T decisions in between. ``accounting.replay`` and ``single_asset.books`` make them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from envs.trading.accounting import Ledger
from jaxrl.errors import require


class Errors(NamedTuple):
    """By how much books are wrong, float64[...] each, the largest over bars; NaN where a number is missing.

    identity: of wealth = cash + position * price, and of the change of wealth by prices and fees, relative to wealth.
    net_of_costs: of the log growth of the whole, which is that of the weights held less what the fees take.
    replayed: between the wealth in these books and in others of the same trades, relative.
    """

    identity: np.ndarray
    net_of_costs: np.ndarray
    replayed: np.ndarray


class Record(NamedTuple):
    """The books of a strategy over T bars, float64[..., T] each.

    returns: simple returns of wealth; NaN after wealth was not positive. weight: share of wealth that is held from each bar to
    the next. traded: value bought or sold at each bar, as a multiple of the wealth at the bar.
    """

    returns: np.ndarray
    weight: np.ndarray
    traded: np.ndarray


def errors(prices: Any, books: Ledger, log_growth: Any, again: Ledger) -> Errors:
    """Audits books by three computations that share nothing with how they were kept.

    Args:
        prices: float[..., T + 1], closing prices.
        books: to be audited.
        log_growth: float[...], of wealth over all bars, as the keeper of the books reports it.
        again: the books of the same trades, kept in another way.
    """
    price, cash, position, wealth, fee, fill = _in_double(prices, books)
    at_fill = _at_fill(price, position, wealth, fill)
    held = position[..., 1:]
    stated = np.abs(wealth - (cash + position * price))[..., 1:] / wealth[..., 1:]
    moved = at_fill - fee + held * (price[..., 1:] - fill)
    identity = np.maximum(stated, np.abs(wealth[..., 1:] - moved) / wealth[..., :-1])
    gross = np.log(at_fill / wealth[..., :-1]) + np.log1p(held * fill / (at_fill - fee) * (price[..., 1:] / fill - 1))
    net = (gross + np.log1p(-fee / at_fill)).sum(-1)
    replayed = np.abs(np.asarray(again.wealth, np.float64) / wealth - 1).max(-1)
    return Errors(identity.max(-1), np.abs(np.asarray(log_growth, np.float64) - net), replayed)


def pooled(prices: Any, books: Ledger) -> Record:
    """Returns the record of K accounts together, of equal capital at the start and nothing moved between them.

    The weight is the mean of the accounts' weights.

    Args:
        prices: float[..., K, T + 1], closing prices. books: [..., K, T + 1] and [..., K, T].
    """
    price, _, position, wealth, fee, fill = _in_double(prices, books)
    require(wealth.ndim >= 2, "pooled", "books must be of accounts [..., K, T + 1]", wealth.shape, "Stack those of each account.")
    weight = position[..., 1:] * fill / (_at_fill(price, position, wealth, fill) - fee)
    traded = np.abs(np.diff(position)) * fill
    total = wealth.mean(-2)
    before = np.where(total[..., :-1] > 0, total[..., :-1], np.nan)
    return Record(total[..., 1:] / before - 1.0, weight.mean(-2), traded.mean(-2) / before)


def joined(records: Sequence[Record]) -> Record:
    """Returns the record of windows that follow one another in time, each with accounts of its own."""
    return Record(*(np.concatenate(parts, -1) for parts in zip(*records, strict=True)))


def _in_double(prices: Any, books: Ledger) -> list[np.ndarray]:
    return [np.asarray(leaf, np.float64) for leaf in (prices, books.cash, books.position, books.wealth, books.fee, books.fill)]


def _at_fill(price: np.ndarray, position: np.ndarray, wealth: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """Returns wealth at the price of the fill, before the trade: until then it is the old position that counts."""
    return wealth[..., :-1] + position[..., :-1] * (fill - price[..., :-1])
