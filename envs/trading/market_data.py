"""Daily prices from outside: from an installed package, from a user's file, or from arrays. On the host, checked row by row.

A value that cannot be right is an error that names the row; one that may be right but rarely is (a jump like that of a split,
months without a price) is a ``DataWarning``. Dates are read by ``dates``, in the forms that it lists.

Prices are closing prices adjusted for splits and dividends where the source has them, in quote currency per share. Adjusted
levels depend on later corporate actions; their ratios do not, and ratios are all that ``features`` looks at.
"""

import math
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from envs.trading import dates as calendar
from envs.trading import price_files
from envs.trading.dates import require_row
from jaxrl.errors import DataError, DataWarning, require, unknown_name

TICKERS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")

# Thresholds of doubt. Exchanges close for up to 11 days (New Year in China); shares rarely move as far as these in a day.
LONGEST_GAP = 14  # days
LARGEST_JUMP = 3.0  # factor
SPLITS = (3 / 2, 2.0)  # factors of the usual splits below that
SPLIT_ERROR = 0.03  # of the factor's log: a day's own move beside the split
_SHOWN = 3  # doubtful rows that a warning lists


class PriceHistory(NamedTuple):
    """One series of daily prices, oldest first.

    name: what it is. dates: datetime64[D][T], rising. prices: float64[T], positive.
    """

    name: str
    dates: np.ndarray
    prices: np.ndarray

    def between(self, first: str, last: str) -> "PriceHistory":
        """Returns the part from one date to another, both included; see ``dates`` for how these can be written."""
        start, end = (calendar.parse([day], f"{self.name}.between").days[0] for day in (first, last))
        inside = (self.dates >= start) & (self.dates <= end)
        require(bool(inside.any()), self.name, f"there must be prices from {first} to {last}", 0, "Check the dates.", DataError)
        return PriceHistory(self.name, self.dates[inside], self.prices[inside])


def load(ticker: str) -> PriceHistory:
    """Returns daily adjusted closing prices of a share, 2000-03-01 to 2013-03-01 or since its first listing.

    They come with the package ``bokeh_sampledata`` (``pip install jaxrl[data]``), which records them as public domain, from the
    Quandl WIKI prices.

    Args:
        ticker: one of ``TICKERS``.

    Raises:
        UnknownNameError: there is no such ticker.
        DataError: the package is not installed, or a row is unsound.
    """
    if ticker not in TICKERS:
        raise unknown_name("market_data.load", "ticker", ticker, TICKERS)
    try:
        from bokeh_sampledata import stocks
    except ImportError as error:
        message = "market_data.load: the package bokeh_sampledata must be installed, got none. Run: pip install 'jaxrl[data]'."
        raise DataError(message) from error
    rows = getattr(stocks, ticker)
    return check(ticker, rows["date"], rows["adj_close"])


def read(path: str | Path, date: str = "date", price: str = "close", zone: str | None = None) -> PriceHistory:
    """Reads daily prices from a CSV or Parquet file; see ``price_files.read`` for what these may look like.

    Args:
        path: of the file.
        date: the column of dates, in one of the forms that ``dates`` lists.
        price: the column of prices.
        zone: where the days of instants are counted; see ``dates.parse``.

    Raises:
        DataError: the file cannot be read, a column is missing or twice there, or a row is unsound; the message names the row and
            the reason.

    Warns:
        DataWarning: see ``check``.
    """
    path = Path(path)
    dates, values = price_files.read(path, (date, price))
    return check(path.name.split(".")[0], dates, values, str(path), zone)


def check(
    name: str, dates: Sequence[Any], values: Sequence[Any], where: str | None = None, zone: str | None = None
) -> PriceHistory:
    """Turns rows into a price history, or says which one is unsound.

    Args:
        name: of the series.
        dates: of each row, in one of the forms that ``dates`` lists.
        values: of each row: numbers, or strings of them.
        where: what to call the source in messages, by default ``name``.
        zone: where the days of instants are counted; see ``dates.parse``.

    Raises:
        DataError: there are fewer than two rows, or a row has no date, a date not after the row before, or a price that is no
            positive number. Rows are counted from 1, without the header.

    Warns:
        DataWarning: between two rows the price moves like that of a share that was split, or by a factor of 3 or more, or more
            than two weeks go by; or most rows are more than four days apart, so that they are not daily.
    """
    where = where or name
    must = "there must be as many dates as prices"
    require(len(dates) == len(values), where, must, (len(dates), len(values)), "Give one of each per row.", DataError)
    days, clocks = calendar.parse(dates, where, zone)
    prices = []
    for row, value in enumerate(values, start=1):
        price = _number(value)
        require_row(not math.isnan(price), where, row, "the price must be a number", value)
        require_row(0 < price < math.inf, where, row, "the price must be positive and finite", value)
        prices.append(price)
    _require_one_a_day(where, days, clocks)
    require(len(days) >= 2, where, "there must be at least 2 rows", len(days), "Add data.", DataError)
    history = PriceHistory(name, days, np.asarray(prices, np.float64))
    _warn_of_doubts(where, history)
    return history


def _require_one_a_day(where: str, days: np.ndarray, clocks: np.ndarray) -> None:
    for place in np.flatnonzero(np.diff(days) <= np.timedelta64(0, "D"))[:1]:
        row, day, before = int(place) + 2, str(days[place + 1]), str(days[place])
        if day != before:
            require_row(False, where, row, f"dates must rise, and the row before has {before}", day)
        if clocks[place] != clocks[place + 1]:
            found = f"intraday: two bars on {day}"
            require_row(False, where, row, "there must be one bar a day", found, "Keep the last bar of each day.")
        require_row(False, where, row, "dates must not repeat", day, "Remove one of them.")


def _warn_of_doubts(where: str, history: PriceHistory) -> None:
    gaps = np.diff(history.dates).astype(int)
    doubts = []
    if np.median(gaps) > 4:
        doubts.append(f"bars that are {np.median(gaps):g} days apart, not daily")
    else:
        doubts += [
            f"row {place + 2}: {gaps[place]} days without a price before {history.dates[place + 1]}"
            for place in np.flatnonzero(gaps > LONGEST_GAP)
        ]
    moves = np.diff(np.log(history.prices))
    like_splits = np.min([np.abs(np.abs(moves) - np.log(factor)) for factor in SPLITS], 0) < SPLIT_ERROR
    for place in np.flatnonzero(like_splits | (np.abs(moves) >= np.log(LARGEST_JUMP))):
        kind = "like an unadjusted split" if like_splits[place] else "a jump"
        step = "rises" if moves[place] > 0 else "falls"
        factor = np.exp(abs(moves[place]))
        doubts.append(f"row {place + 2}: the price {step} by a factor of {factor:.3g} on {history.dates[place + 1]}, {kind}")
    if doubts:
        more = f" and {len(doubts) - _SHOWN} more" if len(doubts) > _SHOWN else ""
        found = "; ".join(doubts[:_SHOWN]) + more
        message = f"{where}: daily prices should have no gaps and no jumps, got {found}. Check these rows."
        warnings.warn(message, DataWarning, stacklevel=3)


def common(histories: Iterable[PriceHistory]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the dates that several histories share, datetime64[D][T], and their prices on them, float64[P, T].

    Raises:
        DataError: there is none, or they share fewer than two dates.
    """
    histories = list(histories)
    require(len(histories) >= 1, "market_data.common", "there must be a history", 0, "Load one.", DataError)
    shared = histories[0].dates
    for history in histories[1:]:
        shared = np.intersect1d(shared, history.dates)
    names = [history.name for history in histories]
    require(len(shared) >= 2, "market_data.common", "two dates must be shared", names, "Choose other histories.", DataError)
    return shared, np.stack([history.prices[np.isin(history.dates, shared)] for history in histories])


def _number(value: Any) -> float:
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):  # which Python takes for numbers
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
