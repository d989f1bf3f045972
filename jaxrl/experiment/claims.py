"""Claims: statements about results that can fail, and the one rule that decides them.

    Claim("Text.", "Source", final("greedy_exact_value", method="dqn") >= 0.95)
    Claim("Text.", "Source", area("greedy_exact_value", method="double") > area("greedy_exact_value", method="plain"))
    Claim("Text.", "Source", share(final("greedy_return") >= 475) >= 0.75)
    Claim("Text.", "Source", exact("value of the 4x4 lake", compute).equals(0.542026, 1e-6))

A claim about seeds *holds* if the 95 % interval of the mean over seeds lies on its side of the bar, *fails* if it lies on the
other side, and is *open* otherwise. Two quantities are compared seed by seed. A number without randomness holds or fails.
A claim that cannot be evaluated, because seeds are in quarantine for example, is open, with the reason.

Intervals: the percentile bootstrap of the mean; of a share of seeds, Wilson (1927), since no resample of equal outcomes varies.
"""

import operator
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from jaxrl.errors import ConfigError, JaxrlError, ResultsError, UnknownNameError, require
from jaxrl.experiment.results import Results
from jaxrl.results.factors import label
from jaxrl.statistics import bootstrap_interval

Word = Literal["holds", "fails", "open"]
Number = int | float


@dataclass(frozen=True)
class Verdict:
    """A decision and what it rests on.

    verdict: "holds", "fails" or "open". value: the estimate. low, high: its 95 % interval, None of an exact number.
    criterion: the inequality. detail: why the claim is open, empty if it is not.
    margin: by how much the nearer end of the interval clears the bar, negative if it does not; in units of the value.
    mistaken: whether no longer run could decide the claim: it names what there is not, or not one arm, or its function raised.
    """

    verdict: Word
    value: float | None = None
    low: float | None = None
    high: float | None = None
    criterion: str = ""
    detail: str = ""
    margin: float | None = None
    mistaken: bool = False


@dataclass(frozen=True)
class Statement:
    """An inequality that results satisfy or not. judge: ``(results) -> Verdict``; text: in words.

    holds_of: ``(results) -> bool[S]``, of which seeds it holds, for ``share``.
    """

    text: str
    judge: Callable[[Results], Verdict]
    holds_of: "Callable[[Results], np.ndarray] | None" = None


@dataclass(frozen=True, eq=False)
class Quantity:
    """A number per seed, read from results, or one exact number; arithmetic works seed by seed.

    text: in words. read: ``(results) -> float64[S]``, or float64[] of an exact number.
    binary: whether it is 0 or 1 in each seed, so that its mean is a share.
    """

    text: str
    read: Callable[[Results], np.ndarray]
    binary: bool = False

    def __add__(self, other: "Quantity | Number") -> "Quantity":
        return _combined(self, other, operator.add, "+")

    def __sub__(self, other: "Quantity | Number") -> "Quantity":
        return _combined(self, other, operator.sub, "-")

    def __mul__(self, other: "Quantity | Number") -> "Quantity":
        return _combined(self, other, operator.mul, "*")

    def __truediv__(self, other: "Quantity | Number") -> "Quantity":
        return _combined(self, other, operator.truediv, "/")

    def __abs__(self) -> "Quantity":
        return Quantity(f"|{self.text}|", lambda results: np.abs(self.read(results)))

    def __ge__(self, bar: "Quantity | Number") -> Statement:
        return _compared(self, ">=", bar)

    def __gt__(self, bar: "Quantity | Number") -> Statement:
        return _compared(self, ">", bar)

    def __le__(self, bar: "Quantity | Number") -> Statement:
        return _compared(self, "<=", bar)

    def __lt__(self, bar: "Quantity | Number") -> Statement:
        return _compared(self, "<", bar)

    def within(self, low: Number, high: Number) -> Statement:
        """Returns the statement that it lies in [low, high]."""
        return _stated(self, f"{self.text} in [{low:g}, {high:g}]", low, high)

    def equals(self, value: Number, tolerance: Number) -> Statement:
        """Returns the statement that it is this number, up to a tolerance in its own units."""
        within = f" within {tolerance:g}" if tolerance else ""
        return _stated(self, f"{self.text} = {value:.6g}{within}", value - tolerance, value + tolerance)


@dataclass(frozen=True)
class Claim:
    """A statement that can fail: in words, with its source. It stands alone: it names the method, the problem and the bar."""

    text: str
    source: str
    statement: Statement


# ---- quantities


def final(metric: str, /, **factors: Any) -> Quantity:
    """The last value of a metric in every seed of the arm with these factors."""
    return _of_arm(metric, factors, lambda values: values[:, -1], metric)


def area(metric: str, /, **factors: Any) -> Quantity:
    """The mean of a metric over all its measurements in every seed: the area under the learning curve."""
    return _of_arm(metric, factors, lambda values: values.mean(1), f"mean over time of {metric}")


def at(metric: str, position: int, /, **factors: Any) -> Quantity:
    """The value of a metric at one of its measurements, counted from 0, or from the last one by -1."""
    return _of_arm(metric, factors, lambda values: values[:, position], f"{metric} at measurement {position}")


def lowest(metric: str, position: int, /, **factors: Any) -> Quantity:
    """The smallest value of a metric in every seed from one of its measurements on, counted as for ``at``."""

    def reduce(values: np.ndarray) -> np.ndarray:
        return np.minimum(values[:, position], values[:, position:].min(1))  # the first of them must have been measured

    return _of_arm(metric, factors, reduce, f"lowest {metric} from measurement {position} on")


def largest(metric: "str | Quantity", /, **factors: Any) -> Quantity:
    """The largest value of a metric over all seeds and measurements of all arms with these factors: one exact number.

    Of a quantity, without factors, the largest over its seeds: ``largest(final("regret", game="chess"))``.
    """
    return _extreme(np.max, "largest", metric, factors)


def smallest(metric: "str | Quantity", /, **factors: Any) -> Quantity:
    """The smallest value of a metric over all seeds and measurements of all arms with these factors, as ``largest``."""
    return _extreme(np.min, "smallest", metric, factors)


def derived(text: str, function: Callable[[Results], Any]) -> Quantity:
    """A number per seed that a function of the results computes, float[S]; of an exact number, a float."""
    return Quantity(text, lambda results: np.asarray(function(results), np.float64))


def exact(text: str, function: Callable[[], float]) -> Quantity:
    """A number that is computed without results: a closed form, a solver's answer."""
    return Quantity(text, lambda results: np.asarray(float(function())))


def share(statement: Statement) -> Quantity:
    """The share of seeds of which a statement holds."""
    of = statement.holds_of
    require(of is not None, "share", "the statement must be about seeds", statement.text, "Give final(...) >= 1, say.")
    assert of is not None
    return Quantity(f"share of seeds with {statement.text}", lambda results: np.asarray(of(results), np.float64), binary=True)


def every(statements: Iterable[Statement]) -> Statement:
    """Holds if all statements hold, fails if one fails, is open otherwise; the verdict shows the one of least margin."""
    parts = tuple(statements)
    require(len(parts) > 0, "every", "there must be a statement", 0, "Give one or more.")

    def judge(results: Results) -> Verdict:
        verdicts = [part.judge(results) for part in parts]
        order: tuple[Word, ...] = ("fails", "open", "holds")
        return min(verdicts, key=lambda verdict: (order.index(verdict.verdict), verdict.margin or 0.0))

    def holds_of(results: Results) -> np.ndarray:
        return np.all([_of_seeds(part)(results) for part in parts], axis=0)

    seeds = all(part.holds_of is not None for part in parts)
    return Statement(" and ".join(part.text for part in parts), judge, holds_of if seeds else None)


# ---- the rule


def decide(claims: Iterable[Claim], results: Results, undecided: str = "") -> list[dict[str, Any]]:
    """Decides claims, writes ``claims.json`` and returns its entries.

    Args:
        claims: of the experiment.
        results: what it found.
        undecided: why these results cannot decide anything (an interrupt, other settings than the published ones): the values
            are measured, and the verdicts stay open. Empty if they can.
    """
    entries = []
    for claim in claims:
        verdict = _verdict(claim, results)
        if undecided:
            reason = "" if verdict.value is not None else verdict.detail  # more seeds would decide nothing here
            verdict = replace(verdict, verdict="open", detail=f"not decided: {undecided}. {reason}".rstrip(". "))
        entries.append({"text": claim.text, "source": claim.source, **asdict(verdict)})
    results.directory.write_claims(entries)
    return entries


def _verdict(claim: Claim, results: Results) -> Verdict:
    try:
        with np.errstate(all="ignore"):  # a number that is not finite is found where it is judged
            return claim.statement.judge(results)
    except JaxrlError as reason:
        found, mistaken = str(reason), isinstance(reason, UnknownNameError | ConfigError)
    except Exception as reason:  # of a function of the user's: an exception is no verdict
        # A longer run may have the measurement that an index asks for.
        found, mistaken = f"{type(reason).__name__}: {reason}", not isinstance(reason, IndexError)
    return Verdict("open", criterion=claim.statement.text, detail=f"open: {found}", mistaken=mistaken)


def _compared(left: Quantity, relation: str, right: "Quantity | Number") -> Statement:
    if isinstance(right, Quantity):
        return _stated(left - right, f"{left.text} {relation} {right.text}", *_side(relation, 0.0), relation=relation)
    return _stated(left, f"{left.text} {relation} {right:g}", *_side(relation, right), relation=relation)


def _side(relation: str, bar: Number) -> tuple[Number, Number]:
    return (bar, np.inf) if relation[0] == ">" else (-np.inf, bar)


def _stated(quantity: Quantity, text: str, low: Number, high: Number, relation: str = ">=") -> Statement:
    """Returns the statement that a quantity lies in [low, high]; a strict relation excludes the ends."""

    def inside(values: Any) -> Any:
        return (values > low) & (values < high) if relation in (">", "<") else (values >= low) & (values <= high)

    def judge(results: Results) -> Verdict:
        values = _finite(quantity, results)
        mean = _between_ends(values.mean(), values)
        if values.ndim == 0:
            margin = float(min(mean - low, high - mean))
            return Verdict("holds" if inside(values) else "fails", mean, criterion=text, margin=margin)
        least, most = _interval(quantity, values)
        margin = float(min(least - low, high - most))
        if inside(least) and inside(most):
            return Verdict("holds", mean, least, most, text, margin=margin)
        if not inside(least) and not inside(most) and (most <= low or least >= high):
            return Verdict("fails", mean, least, most, text, margin=margin)
        return Verdict("open", mean, least, most, text, _needed(len(values), mean, least, most, low, high), margin)

    return Statement(text, judge, lambda results: inside(_finite(quantity, results)))


def _finite(quantity: Quantity, results: Results) -> np.ndarray:
    values = np.asarray(quantity.read(results), np.float64)
    bad = int((~np.isfinite(values)).sum())
    must, found = f"every seed must have a finite {quantity.text}", f"{bad} of {values.size} without"
    require(bad == 0, "claim", must, found, "See the seeds in quarantine.", ResultsError)
    fix = "Run more seeds: --seeds 8."
    require(values.ndim == 0 or len(values) > 1, "claim", "an interval needs at least two seeds", values.size, fix, ResultsError)
    return values


def _interval(quantity: Quantity, values: np.ndarray) -> tuple[float, float]:
    if quantity.binary:
        from scipy.stats import binomtest

        found = binomtest(round(values.sum()), len(values)).proportion_ci(0.95, "wilson")
        return float(found.low), float(found.high)
    interval = bootstrap_interval(values, np.mean)
    return _between_ends(interval.low, values), _between_ends(interval.high, values)


def _between_ends(mean: Any, values: np.ndarray) -> float:
    """Returns a mean of some of the values, which rounding can carry beyond them: three times 0.1 has a mean above 0.1."""
    return float(np.clip(mean, values.min(), values.max()))


def _needed(seeds: int, mean: float, least: float, most: float, low: Number, high: Number) -> str:
    """Says how many seeds would decide an open claim, if the estimate stayed: intervals shrink as one over their root."""
    distance = min(abs(mean - bar) for bar in (low, high) if np.isfinite(bar))
    if distance == 0:
        return "the estimate is at the bar"
    count = int(np.ceil(seeds * (max(most - mean, mean - least) / distance) ** 2))
    return f"about {count:,} seeds would decide it, if the estimate stays" if count > seeds else "the interval reaches the bar"


# ---- reading


def _of_arm(metric: str, factors: dict[str, Any], reduce: Callable[[np.ndarray], np.ndarray], words: str) -> Quantity:
    def read(results: Results) -> np.ndarray:
        values = results.values(metric, **factors)
        try:
            found = reduce(values)
        except IndexError:
            must, fix = f"{metric} must have been measured that often", "Train for longer."
            raise ResultsError(f"claim: {must}, got {values.shape[1]} measurements. {fix}") from None
        return found[0] if results.is_exact(metric, **factors) else found

    return Quantity(f"{words} ({label(factors)})" if factors else words, read)


def _extreme(reduce: Callable, word: str, metric: str | Quantity, factors: dict[str, Any]) -> Quantity:
    if isinstance(metric, Quantity):
        must, fix = "a quantity knows its factors", "Give them to the quantity."
        require(not factors, word, must, factors, fix)
        return Quantity(f"{word} {metric.text}", lambda results: reduce(metric.read(results)))

    def read(results: Results) -> np.ndarray:
        arms = results.labels(metric, **factors)
        return reduce([reduce(results.directory.curves(metric, arm).values) for arm in arms])

    return Quantity(f"{word} {metric}" + (f" ({label(factors)})" if factors else ""), read)


def _of_seeds(statement: Statement) -> Callable[[Results], np.ndarray]:
    assert statement.holds_of is not None
    return statement.holds_of


def _combined(left: Quantity, right: "Quantity | Number", operation: Callable, sign: str) -> Quantity:
    if not isinstance(right, Quantity):
        return Quantity(f"{_term(left, sign)} {sign} {right:g}", lambda results: operation(left.read(results), right))

    def read(results: Results) -> np.ndarray:
        one, other = left.read(results), right.read(results)
        if one.ndim and other.ndim:  # seed s of both: of the seeds that both have
            shared = min(len(one), len(other))
            one, other = one[:shared], other[:shared]
        return operation(one, other)

    return Quantity(f"{_term(left, sign)} {sign} {_term(right, sign)}", read)


def _term(quantity: Quantity, sign: str) -> str:
    """Returns the text of a quantity as a term of another: a sum or difference stands in parentheses."""
    return f"({quantity.text})" if sign != "+" and any(f" {other} " in quantity.text for other in "+-") else quantity.text
