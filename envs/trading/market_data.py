"""Daily prices from outside: from an installed package, or from a user's CSV or Parquet file. On the host, checked row by row.

Prices are closing prices adjusted for splits and dividends where the source has them, in quote currency per share. Adjusted
levels depend on later corporate actions; their ratios do not, and ratios are all that ``features`` looks at.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxrl.errors import DataError, require, unknown_name

TICKERS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")


class PriceHistory(NamedTuple):
    """One series of daily prices, oldest first.

    name: what it is. dates: datetime64[D][T], rising. prices: float64[T], positive.
    """

    name: str
    dates: np.ndarray
    prices: np.ndarray

    def between(self, first: str, last: str) -> "PriceHistory":
        """Returns the part from one date to another, both included; ISO dates."""
        inside = (self.dates >= np.datetime64(first)) & (self.dates <= np.datetime64(last))
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


def read(path: str | Path, date: str = "date", price: str = "close") -> PriceHistory:
    """Reads daily prices from a CSV file (with a header, optionally compressed) or a Parquet file.

    Args:
        path: ends in ``.csv``, ``.csv.gz`` or ``.parquet``.
        date: the column of dates: ISO dates, or timestamps.
        price: the column of prices.

    Raises:
        DataError: the file cannot be read, a column is missing, or a row is unsound; the message names the row and the reason.
    """
    path = Path(path)
    where = str(path)
    known = path.name.endswith((".csv", ".csv.gz", ".parquet"))
    require(known, where, "the file must be .csv, .csv.gz or .parquet", path.name, "Convert it.", DataError)
    try:
        table = _parquet(path) if path.suffix == ".parquet" else _csv(path)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise DataError(f"{where}: the file must be readable, got {str(error)!r}. Check it.") from error
    for column in (date, price):
        found = table.column_names
        require(
            column in found,
            where,
            f"there must be a column {column!r}",
            found,
            "Name the columns: date=..., price=...",
            DataError,
        )
    return check(path.stem, table[date].to_pylist(), table[price].to_pylist(), where)


def check(name: str, dates: Sequence[Any], values: Sequence[Any], where: str | None = None) -> PriceHistory:
    """Turns rows into a price history, or says which one is unsound.

    Args:
        name: of the series.
        dates: of each row: ISO strings, dates or timestamps.
        values: of each row: numbers, or strings of them.
        where: what to call the source in messages, by default ``name``.

    Raises:
        DataError: there are fewer than two rows, or a row has no date, a date not after the row before, or a price that is no
            positive number. Rows are counted from 1, without the header.
    """
    where = where or name
    days, prices = [], []
    for row, (date, value) in enumerate(zip(dates, values, strict=True), start=1):
        day, price = _day(date), _number(value)
        _require_row(day is not None, where, row, "the date must be a date", date)
        _require_row(not math.isnan(price), where, row, "the price must be a number", value)
        _require_row(0 < price < math.inf, where, row, "the price must be positive and finite", value)
        if days:
            _require_row(day != days[-1], where, row, "dates must not repeat", str(day))
            _require_row(day > days[-1], where, row, f"dates must rise, and the row before has {days[-1]}", str(day))
        days.append(day)
        prices.append(price)
    require(len(days) >= 2, where, "there must be at least 2 rows", len(days), "Add data.", DataError)
    return PriceHistory(name, np.asarray(days, "datetime64[D]"), np.asarray(prices, np.float64))


def common(histories: Iterable[PriceHistory]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the dates that several histories share, datetime64[D][T], and their prices on them, float64[P, T].

    Raises:
        DataError: they share fewer than two dates.
    """
    histories = list(histories)
    shared = histories[0].dates
    for history in histories[1:]:
        shared = np.intersect1d(shared, history.dates)
    names = [history.name for history in histories]
    require(len(shared) >= 2, "market_data.common", "two dates must be shared", names, "Choose other histories.", DataError)
    return shared, np.stack([history.prices[np.isin(history.dates, shared)] for history in histories])


def _require_row(condition: bool, where: str, row: int, must: str, value: Any) -> None:
    require(condition, f"{where}, row {row}", must, value, "Correct or remove this row.", DataError)


def _day(value: Any) -> np.datetime64 | None:
    try:
        day = np.datetime64(value, "D")
    except (ValueError, TypeError):
        return None
    return None if np.isnat(day) else day


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _csv(path: Path) -> Any:
    from pyarrow import csv, string

    # As text, so that a wrong entry is found in its row and not by a type that was guessed for the column.
    head = csv.open_csv(path).schema.names
    options = csv.ConvertOptions(column_types=dict.fromkeys(head, string()), null_values=[""], strings_can_be_null=True)
    return csv.read_csv(path, convert_options=options)


def _parquet(path: Path) -> Any:
    from pyarrow import parquet

    return parquet.read_table(path)
