"""What an experiment is, and what it means for a claim to hold.

An experiment is a module with a docstring that names its source, a frozen dataclass ``Config`` (its command line), ``QUICK`` (a
small Config that only shows that everything runs), ``run(config, session)``, and ``CLAIMS``. Thresholds are set before the
results are looked at. A claim that fails is reported as failed.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from jaxrl.errors import JaxrlError
from jaxrl.results.run_directory import RunDirectory
from jaxrl.statistics import bootstrap_interval


@dataclass(frozen=True)
class Verdict:
    """Whether a claim holds, and what was measured.

    passed: the verdict. value: the estimate; low, high: its 95 % bootstrap interval over seeds (None for an exact number).
    criterion: what the value is held against.
    """

    passed: bool
    value: float
    criterion: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Claim:
    """A statement that can fail. check: reads a finished run and decides."""

    text: str
    source: str
    check: Callable[[RunDirectory], Verdict]


class Experiment(Protocol):
    """The module of an experiment."""

    __doc__: str
    Config: type
    QUICK: Any
    CLAIMS: tuple[Claim, ...]

    def run(self, config: Any, session: Any) -> None:
        """Trains, and draws figures."""
        ...


def decide(claims: tuple[Claim, ...], run: RunDirectory, undecided: str = "") -> list[dict[str, Any]]:
    """Checks claims against a run, writes ``claims.json`` and returns its entries.

    A claim that cannot be evaluated, since seeds are in quarantine for example, is open, with the reason.

    Args:
        claims: of the experiment.
        run: its results.
        undecided: why these results cannot decide anything (an interrupt, other settings than the published ones); the
            verdicts then stay open. Empty if they can.
    """
    entries = []
    for claim in claims:
        verdict = {"passed": None, "detail": f"not decided: {undecided}"} if undecided else _verdict(claim, run)
        entries.append({"text": claim.text, "source": claim.source, **verdict})
    run.write_claims(entries)
    return entries


def _verdict(claim: Claim, run: RunDirectory) -> dict[str, Any]:
    try:
        return asdict(claim.check(run))
    except JaxrlError as reason:
        return {"passed": None, "detail": f"open: {reason}"}


def last(run: RunDirectory, metric: str, variant: str = "") -> np.ndarray:
    """Returns the last measured value of every seed, float[S]."""
    return run.curves(metric, variant, "evaluations").values[:, -1]


def recorded(run: RunDirectory, metric: str, variant: str = "", update: int = -1) -> np.ndarray:
    """Returns one column of what ``Session.record`` stored, float[S]."""
    return run.curves(metric, variant, "metrics").values[:, update]


def above_zero(values: Callable[[RunDirectory], np.ndarray], text: str) -> Callable[[RunDirectory], Verdict]:
    """Returns the check that the mean over seeds is larger than two of its standard errors.

    Args:
        values: ``(run) -> float[S]``.
        text: what they are in words, for the report.
    """

    def check(run: RunDirectory) -> Verdict:
        sample = np.asarray(values(run), np.float64)
        mean = bootstrap_interval(sample, np.mean)
        error = sample.std(ddof=1) / np.sqrt(len(sample))
        criterion = f"{text}: mean > 2 standard errors ({2 * error:.2g})"
        return Verdict(bool(mean.estimate > 2 * error), mean.estimate, criterion, mean.low, mean.high)

    return check


def exceeds(
    more: Callable[[RunDirectory], np.ndarray], less: Callable[[RunDirectory], np.ndarray], text: str
) -> Callable[[RunDirectory], Verdict]:
    """Returns the check that the mean over seeds of a paired difference is larger than two of its standard errors.

    Args:
        more, less: what is compared, ``(run) -> float[S]``; entry i of both comes from the same seed.
        text: the difference in words, for the report.
    """
    return above_zero(lambda run: np.asarray(more(run), np.float64) - less(run), text)


def recorded_within(metric: str, low: float, high: float, variant: str = "") -> Callable[[RunDirectory], Verdict]:
    """Returns the check that the mean over seeds of the last recorded value lies in [low, high]; exact with a single seed."""

    def check(run: RunDirectory) -> Verdict:
        values = recorded(run, metric, variant)
        mean = float(np.mean(values, dtype=np.float64))
        interval = bootstrap_interval(values, np.mean) if len(values) > 1 else None
        ends = (interval.low, interval.high) if interval else (None, None)
        return Verdict(low <= mean <= high, mean, f"{metric} in [{low:g}, {high:g}]", *ends)

    return check


def mean_at_least(metric: str, threshold: float, variant: str = "") -> Callable[[RunDirectory], Verdict]:
    """Returns the check that the mean over seeds of the last evaluation reaches a threshold."""

    def check(run: RunDirectory) -> Verdict:
        mean = bootstrap_interval(last(run, metric, variant), np.mean)
        return Verdict(mean.estimate >= threshold, mean.estimate, f"mean {metric} >= {threshold:g}", mean.low, mean.high)

    return check


def mean_within(metric: str, low: float, high: float, variant: str = "") -> Callable[[RunDirectory], Verdict]:
    """Returns the check that the mean over seeds of the last evaluation lies in [low, high]."""

    def check(run: RunDirectory) -> Verdict:
        mean = bootstrap_interval(last(run, metric, variant), np.mean)
        passed = low <= mean.estimate <= high
        return Verdict(passed, mean.estimate, f"mean {metric} in [{low:g}, {high:g}]", mean.low, mean.high)

    return check


def equals(compute: Callable[[], float], expected: float, tolerance: float) -> Callable[[RunDirectory], Verdict]:
    """Returns the check that an exact computation gives a known number."""

    def check(run: RunDirectory) -> Verdict:
        value = float(compute())
        return Verdict(abs(value - expected) <= tolerance, value, f"{expected:.6f} within {tolerance:g}")

    return check
