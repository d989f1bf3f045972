"""Splitting time: what is fitted must lie before what is judged. Splits are slices of bars, for the rows of a price history."""

from typing import NamedTuple

from jaxrl.errors import DataError, require


class Split(NamedTuple):
    """Consecutive slices of bars. test: slice. validation: slice, empty where there is none. train: slice."""

    train: slice
    validation: slice
    test: slice


class Fold(NamedTuple):
    """One window of a walk forward. train, test: slices of bars."""

    train: slice
    test: slice


def time_split(num_bars: int, train: float = 0.6, validation: float = 0.2) -> Split:
    """Splits bars by time into train, validation and test.

    Args:
        num_bars: T. train, validation: fractions; the rest is the test.

    Raises:
        ConfigError: a fraction is out of range.
        DataError: there is nothing to train on or nothing to test on.
    """
    sound = 0 < train <= 1 and 0 <= validation <= 1
    require(sound, "time_split", "fractions must lie in [0, 1], and train be positive", (train, validation), "Try 0.6 and 0.2.")
    fitted, judged = round(train * num_bars), round((train + validation) * num_bars)
    _require_bars("time_split", "training", fitted, num_bars)
    _require_bars("time_split", "test", num_bars - judged, num_bars)
    return Split(slice(0, fitted), slice(fitted, judged), slice(judged, num_bars))


def walk_forward(num_bars: int, train: int, test: int, anchored: bool = False) -> tuple[Fold, ...]:
    """Returns windows that roll through time: train, then test on the bars that follow, then move on by the length of the test.

    Test windows adjoin and never overlap. Bars that fill no whole test window are left out at the end.

    Args:
        num_bars: T.
        train, test: lengths in bars.
        anchored: whether every training window begins at bar 0, so that they grow; otherwise all have the same length.

    Raises:
        DataError: a window is empty, or there are too few bars for a single test.
    """
    _require_bars("walk_forward", "training", train, num_bars)
    _require_bars("walk_forward", "test", min(test, num_bars - train), num_bars)
    require(
        train + test <= num_bars,
        "walk_forward",
        "a fold must fit",
        f"{train} + {test} bars of {num_bars}",
        "Shorten it.",
        DataError,
    )
    starts = range(train, num_bars - test + 1, test)
    return tuple(Fold(slice(0 if anchored else start - train, start), slice(start, start + test)) for start in starts)


def _require_bars(where: str, part: str, count: int, num_bars: int) -> None:
    fix = "Add data, or change the lengths."
    require(count >= 1, where, f"the {part} window must have at least one bar", f"{max(count, 0)} of {num_bars}", fix, DataError)
