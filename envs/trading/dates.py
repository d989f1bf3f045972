"""Dates from outside: one parser for every door through which prices come in. On the host, checked row by row.

The calendar day as written is the date: of ``2020-01-02 00:00:00+08:00`` it is 2 January, the day on which Shanghai traded, not
the day before, which it was in London. Accepted are

- ISO dates and timestamps, with or without a zone, as text: ``2020-01-02``, ``2020-01-02T16:00:00Z``;
- ``YYYYMMDD``, as a number or as text: ``20200102``;
- epochs in seconds, milliseconds, microseconds or nanoseconds, as numbers or as text. The largest of a column says which;
- the dates and timestamps of Python, NumPy and pandas.
"""

import datetime
import math
import re
import warnings
import zoneinfo
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from jaxrl.errors import DataError, DataWarning, require

YEARS = (1700, 2100)
_ISO = re.compile(
    r"(?P<day>\d{4}-\d{2}-\d{2})([T ](?P<clock>\d{2}:\d{2}(:\d{2}([.,]\d+)?)?) ?(?P<zone>Z|UTC|GMT|[+-]\d{2}(:?\d{2})?)?)?",
    re.ASCII,
)
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?", re.ASCII)
_FORMS = "Write it as 2020-01-31, as 20200131, or as an epoch."
_ONE_FORM = "Write all dates of the column as 20200131, or all as epochs."
_MEANING = "a number must be YYYYMMDD, or an epoch between 1973 and 2100"
_DAY = 86_400
_UNITS = (1, 10**3, 10**6, 10**9)  # how many make a second
# An epoch of a unit lies between 1973 and 2100: so the four do not overlap, nor with YYYYMMDD.
_LEAST_EPOCH, _LARGEST_EPOCH = 10**8, 4_133_980_800


class Stamps(NamedTuple):
    """When rows were. days: datetime64[D][T]. clocks: float64[T], seconds since midnight, 0 where no time is given."""

    days: np.ndarray
    clocks: np.ndarray


def parse(values: Iterable[Any], where: str, zone: str | None = None) -> Stamps:
    """Reads a column of dates.

    Args:
        values: one per row, each in one of the forms above.
        where: what to call the source in messages.
        zone: the name of a time zone, for example ``"Asia/Shanghai"``, in which days are counted wherever an instant is given: an
            epoch, or a timestamp with a zone. By default days are as written, and those of epochs in UTC.

    Raises:
        DataError: a row has no date in one of these forms, its year is not plausible, or there is no such zone. Rows are counted
            from 1.

    Warns:
        DataWarning: epochs are not at midnight UTC and no zone is given, so that a day may be one off.
    """
    local = _zone(where, zone)
    found: dict[int, datetime.datetime] = {}
    numbers: dict[int, float] = {}
    for row, value in enumerate(values, start=1):
        moment = _moment(value)
        if isinstance(moment, datetime.datetime):
            found[row] = moment.astimezone(local) if local is not None and moment.tzinfo is not None else moment
        elif moment is not None:
            numbers[row] = moment
        else:
            require_row(False, where, row, "the date must be a date", value, _FORMS)
    found |= _of_numbers(numbers, where, local)
    for row in sorted(found):
        year = found[row].year
        must = f"the year must lie between {YEARS[0]} and {YEARS[1]}"
        require_row(YEARS[0] <= year <= YEARS[1], where, row, must, year, _FORMS)
    moments = [found[row] for row in sorted(found)]
    days = np.asarray([moment.date() for moment in moments], "datetime64[D]")
    return Stamps(days, np.asarray([_seconds(moment) for moment in moments], np.float64))


def require_row(condition: bool, where: str, row: int, must: str, value: Any, fix: str = "Correct or remove this row.") -> None:
    """Raises DataError that names the row, counted from 1, unless ``condition`` holds."""
    require(condition, f"{where}, row {row}", must, value, fix, DataError)


def _zone(where: str, name: str | None) -> datetime.tzinfo | None:
    if name is None:
        return None
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        fix = "Name a zone such as 'Asia/Shanghai' or 'UTC'."
        raise DataError(f"{where}: zone must be the name of a time zone, got {name!r}. {fix}") from error


def _moment(value: Any) -> datetime.datetime | float | None:
    """Returns a moment with its day as written, or a number whose meaning the column decides, or None."""
    if isinstance(value, str):
        return _of_text(value.strip())
    if isinstance(value, (bool, np.bool_)):
        return None
    if isinstance(value, (int, float, np.integer, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.datetime64):
        whole_days = np.datetime_data(value.dtype)[0] in ("D", "h", "m", "s", "ms", "us", "ns", "ps")
        moment = value.astype("datetime64[us]").item() if whole_days else None
        return moment if isinstance(moment, datetime.datetime) else None  # a number, if the year is beyond 9999
    if isinstance(value, datetime.date) and value == value:  # pandas' NaT is a date that does not equal itself
        clock = value.timetz() if isinstance(value, datetime.datetime) else datetime.time()
        return datetime.datetime.combine(datetime.date(value.year, value.month, value.day), clock)
    return None


def _of_text(text: str) -> datetime.datetime | float | None:
    if _NUMBER.fullmatch(text):
        return float(text)
    written = _ISO.fullmatch(text)
    if written is None:
        return None
    zone = {None: "", "Z": "+00:00", "UTC": "+00:00", "GMT": "+00:00"}.get(written["zone"], written["zone"])
    try:
        return datetime.datetime.fromisoformat(f"{written['day']}T{written['clock'] or '00:00'}{zone}")
    except ValueError:
        return None


def _of_numbers(numbers: dict[int, float], where: str, local: datetime.tzinfo | None) -> dict[int, datetime.datetime]:
    """Returns the moments of numbers by row: all of them YYYYMMDD, or all of them epochs in one unit."""
    largest = max(map(abs, numbers.values()), default=0.0)
    if largest < _LEAST_EPOCH:
        return {row: _of_digits(number, where, row) for row, number in numbers.items()}
    units = [unit for unit in _UNITS if _LEAST_EPOCH <= largest / unit <= _LARGEST_EPOCH]
    if not units:
        row = next(row for row, number in numbers.items() if abs(number) == largest)
        require_row(False, where, row, _MEANING, numbers[row], _FORMS)
    start = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    moments = {}
    for row, number in numbers.items():
        seconds = number / units[0]
        plausible = (YEARS[0] - 1970) * 365.25 * _DAY <= seconds
        require_row(plausible, where, row, f"the year must lie between {YEARS[0]} and {YEARS[1]}", number, _FORMS)
        # As seconds, 20200102 is an evening in August 1970; the epochs of days are midnights.
        mixed = seconds % _DAY != 0 and _is_calendar_day(number)
        require_row(not mixed, where, row, "the date must be an epoch, as in other rows of the column", number, _ONE_FORM)
        moments[row] = start + datetime.timedelta(seconds=seconds)
        if local is not None:
            moments[row] = moments[row].astimezone(local)
    late = next((row for row, moment in moments.items() if _seconds(moment) > 0), None)
    if local is None and late is not None:
        warnings.warn(
            f"{where}, row {late}: epochs should be at midnight UTC, or a zone be given, got {moments[late]:%H:%M} UTC. Days are "
            "counted in UTC, which may be one off; pass zone='Asia/Shanghai', or wherever the prices were made.",
            DataWarning,
            stacklevel=2,
        )
    return moments


def _of_digits(number: float, where: str, row: int) -> datetime.datetime:
    day = _calendar_day(number)
    if day is None:
        raise DataError(f"{where}, row {row}: {_MEANING}, got {number:g}. {_FORMS}")
    return day


def _is_calendar_day(number: float) -> bool:
    return YEARS[0] * 10_000 <= number <= YEARS[1] * 10_000 + 1231 and _calendar_day(number) is not None


def _calendar_day(number: float) -> datetime.datetime | None:
    """Reads YYYYMMDD; None if there is no such day."""
    year, month_and_day = divmod(int(number), 10_000)
    try:
        return datetime.datetime(year, *divmod(month_and_day, 100)) if number == int(number) else None
    except ValueError:
        return None


def _seconds(moment: datetime.datetime) -> float:
    return moment.hour * 3600 + moment.minute * 60 + moment.second + moment.microsecond / 1e6
