"""Statistics over runs, on the host: interquartile mean, bootstrap intervals, performance profiles, comparisons, summaries.

``scores`` are one number per run: float[R], or ``{task: float[R_task]}`` for several tasks. Every run has the same weight, and
resampling is stratified: each task keeps its number of runs. A run without a finite score is an error everywhere but in
``final_values``, which makes scores of learning curves, and in ``summarise``, which counts what is missing.

Source: Agarwal et al. (2021), "Deep Reinforcement Learning at the Edge of the Statistical Precipice", for all of it.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxrl.errors import ConfigError, require

Scores = np.ndarray | Sequence[float] | Mapping[str, Any]

_METHODS = ("percentile", "BCa")
_BLOCK = 2**22  # resampled numbers held at once, 32 MiB


class Interval(NamedTuple):
    """An estimate with its confidence interval."""

    estimate: float
    low: float
    high: float


class Intervals(NamedTuple):
    """Several estimates with their confidence intervals; all float64[P]."""

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Profile(NamedTuple):
    """A performance profile with pointwise confidence bands; all float64[P].

    threshold: the scores asked about.
    fraction: the fraction of runs with a score above each threshold. low, high: its band.
    """

    threshold: np.ndarray
    fraction: np.ndarray
    low: np.ndarray
    high: np.ndarray


def iqm(values: np.ndarray, axis: int = -1) -> Any:
    """Returns the interquartile mean: the mean after dropping a quarter of the runs (rounded down) at either end."""
    from scipy import stats

    return stats.trim_mean(values, 0.25, axis=axis)


def optimality_gap(values: np.ndarray, target: float = 1.0, axis: int = -1) -> Any:
    """Returns by how much the runs fall short of ``target`` on average; what lies above it does not count.

    To use another target as a statistic: ``functools.partial(optimality_gap, target=...)``.
    """
    return target - np.minimum(values, target).mean(axis=axis)


def bootstrap_interval(
    scores: Scores,
    statistic: Callable = iqm,
    confidence: float = 0.95,
    method: str = "percentile",
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Returns a statistic of all runs with its bootstrap confidence interval.

    Args:
        scores: one number per run, or per task and run.
        statistic: ``(values, axis) -> result``: ``iqm``, ``optimality_gap``, ``numpy.mean``, ``numpy.median`` ...
        confidence: in (0, 1).
        method: "percentile" (the one of the source) or "BCa" (bias-corrected and accelerated).
        resamples: how often the runs are drawn again, at least 1.
        seed: of the resampling.

    Returns:
        The estimate and its interval. Where all resamples agree, the interval is that one number.

    Raises:
        ConfigError: the scores are not finite or too few, an argument is out of range, or BCa is undefined on these scores.
    """
    where = "bootstrap_interval"
    samples = list(_strata(where, scores).values())
    return _as_interval(_bootstrap(where, samples, _pooled(statistic), confidence, method, resamples, seed))


def iqm_intervals(values: Any, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0) -> Intervals:
    """Returns the interquartile means of several quantities of the same runs, each with its percentile bootstrap interval.

    Meant for the points of a curve over thousands of runs. A resample is known by how often it holds the smallest run, the
    second smallest and so on, whatever their values are: one set of these counts serves all P quantities, as a matrix product.

    Args:
        values: float[P, R], R >= 2 runs.
        confidence, resamples, seed: as for ``bootstrap_interval``.

    Raises:
        ConfigError: the values are not finite or too few, or an argument is out of range.
    """
    where = "iqm_intervals"
    ordered = np.sort(np.asarray(values, np.float64), axis=-1)
    shaped = ordered.ndim == 2 and ordered.shape[1] >= 2
    require(shaped, where, "values must have shape [P, R] with at least 2 runs", ordered.shape, "Run more seeds.")
    require(bool(np.isfinite(ordered).all()), where, "values must be finite", values, "Leave out the runs that failed.")
    _require_settings(where, confidence, resamples)
    runs, rng = ordered.shape[1], np.random.default_rng(seed)
    cut = int(0.25 * runs)  # left out at either end, as iqm does
    drawn = np.empty((len(ordered), resamples))
    for rows in _blocks(resamples, runs):
        counts = _resampled_counts(rng, len(rows), runs)
        kept = np.diff(np.clip(counts.cumsum(axis=1), cut, runs - cut), prepend=cut, axis=1)
        drawn[:, rows] = ordered @ (kept / (runs - 2 * cut)).T
    return Intervals(iqm(ordered), *_ends(drawn, confidence))


def performance_profile(
    scores: Scores, thresholds: Sequence[float] | np.ndarray, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Profile:
    """Returns, for each threshold, the fraction of runs that score above it.

    Args:
        scores: one number per run, or per task and run.
        thresholds: float[P].
        confidence: of each point of the band, in (0, 1).
        resamples: how often the runs are drawn again, at least 1.
        seed: of the resampling.

    Raises:
        ConfigError: the scores or thresholds are not finite or too few, or an argument is out of range.
    """
    where = "performance_profile"
    threshold = _finite_vector(where, "thresholds", thresholds)
    strata = list(_strata(where, scores).values())
    _require_settings(where, confidence, resamples)
    rng, runs = np.random.default_rng(seed), sum(map(len, strata))
    levels = np.unique(threshold)
    above, drawn = np.zeros(len(levels)), np.zeros((resamples, len(levels)))
    for sample in strata:
        # A resample is known by how many runs it has between one level and the next: there is no need to draw the runs.
        between = np.bincount(np.searchsorted(levels, sample), minlength=len(levels) + 1)
        above += _counts_above(between)
        drawn += _counts_above(rng.multinomial(len(sample), between / len(sample), size=resamples))
    place = np.searchsorted(levels, threshold)
    return Profile(threshold, *(column[place] for column in (above / runs, *_ends(drawn.T / runs, confidence))))


def probability_of_improvement(
    x: Scores, y: Scores, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Returns the probability that a run of ``x`` scores higher than a run of ``y`` on the same task, averaged over tasks.

    Equal scores count one half: per task this is the Mann-Whitney U divided by the number of pairs.

    Args:
        x, y: one number per run, or per task and run, of the same tasks; the numbers of runs may differ.
        confidence: in (0, 1).
        resamples: how often the runs of both are drawn again, at least 1.
        seed: of the resampling.

    Raises:
        ConfigError: the tasks differ, the scores are not finite or too few, or an argument is out of range.
    """
    where = "probability_of_improvement"
    pairs = _paired_strata(where, x, y)
    _require_settings(where, confidence, resamples)
    rng, drawn = np.random.default_rng(seed), np.zeros(resamples)
    for first, second in pairs:
        second = np.sort(second)
        beaten, not_lost = (np.searchsorted(second, first, side) for side in ("left", "right"))  # equal ones count one half
        for rows in _blocks(resamples, len(first) + len(second)):
            counts, others = (_resampled_counts(rng, len(rows), len(sample)) for sample in (first, second))
            below = np.pad(others.cumsum(axis=1), ((0, 0), (1, 0)))  # how many of the smallest 0, 1, ... of the second
            wins = (counts * (below[:, beaten] + below[:, not_lost])).sum(axis=1)
            drawn[rows] += wins / (2 * len(first) * len(second) * len(pairs))
    estimate = np.mean([_win_rate(first, second) for first, second in pairs])
    return Interval(float(estimate), *map(float, _ends(drawn, confidence)))


def paired_difference_interval(
    x: Scores,
    y: Scores,
    statistic: Callable = np.mean,
    confidence: float = 0.95,
    method: str = "percentile",
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Returns a statistic of the differences ``x - y`` between runs that share a seed, with its bootstrap interval.

    Args:
        x, y: one number per run, or per task and run; entry i of both comes from the same seed.
        statistic, confidence, method, resamples, seed: as for ``bootstrap_interval``.

    Raises:
        ConfigError: the runs cannot be paired, or as for ``bootstrap_interval``.
    """
    where = "paired_difference_interval"
    differences = []
    for a, b in _paired_strata(where, x, y):
        require(len(a) == len(b), where, "x and y must have equally many runs", (len(a), len(b)), "Compare the same seeds.")
        differences.append(a - b)
    return _as_interval(_bootstrap(where, differences, _pooled(statistic), confidence, method, resamples, seed))


def final_values(values: np.ndarray, fraction: float = 0.1) -> np.ndarray:
    """Returns each seed's mean over the last updates.

    Args:
        values: float[S, U], NaN where a value is missing.
        fraction: which share of the updates counts as last, in (0, 1]; at least one update.

    Returns:
        float64[S], NaN for a seed without a value there.
    """
    last = np.asarray(values, np.float64)[:, -max(1, round(fraction * values.shape[1])) :]
    present = ~np.isnan(last)
    count = present.sum(1)
    total = np.where(present, last, 0.0).sum(1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def summarise(values: np.ndarray) -> dict[str, Any]:
    """Returns statistics of one number per seed.

    Args:
        values: float[S]; a seed without a finite value is counted as missing and left out.

    Returns:
        ``iqm`` with its 95 % bootstrap interval ``low``, ``high`` (NaN below two seeds), ``mean``, ``median``, ``minimum``,
        ``maximum`` (all NaN without a seed), ``seeds``, how many have a value, and ``missing``, how many have none.
    """
    return summarise_all([values])[0]


def summarise_all(samples: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """Returns ``summarise`` of each sample; one bootstrap serves all that have equally many finite values."""
    samples = [np.asarray(values, np.float64) for values in samples]
    finite = [values[np.isfinite(values)] for values in samples]
    intervals = dict.fromkeys(range(len(samples)), (math.nan, math.nan))
    for count in {len(values) for values in finite if len(values) > 1}:
        members = [index for index, values in enumerate(finite) if len(values) == count]
        found = iqm_intervals(np.stack([finite[index] for index in members]))
        intervals |= dict(zip(members, zip(found.low.tolist(), found.high.tolist(), strict=True), strict=True))
    summaries = []
    for index, (sample, values) in enumerate(zip(samples, finite, strict=True)):
        statistic = {"iqm": iqm, "mean": np.mean, "median": np.median, "minimum": np.min, "maximum": np.max}
        found = {name: float(of(values)) if len(values) else math.nan for name, of in statistic.items()}
        low, high = intervals[index]
        counts = {"seeds": len(values), "missing": len(sample) - len(values)}
        summaries.append({"iqm": found.pop("iqm"), "low": low, "high": high, **found, **counts})
    return summaries


def _counts_above(between: np.ndarray) -> np.ndarray:
    """Turns counts between P levels, int[..., P + 1], into counts above each, [..., P]; first come those not above any."""
    return between[..., ::-1].cumsum(axis=-1)[..., -2::-1]


def _pooled(statistic: Callable) -> Callable:
    """Turns a statistic of one sample into one of several samples that are joined."""

    def joined(*samples: np.ndarray, axis: int) -> Any:
        return statistic(np.concatenate(samples, axis=axis), axis=axis)

    return joined


def _win_rate(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the share of pairs in which ``a`` is larger, from ranks: U = (rank sum of a) - n (n + 1) / 2."""
    from scipy import stats

    n, m = len(a), len(b)
    return float((stats.rankdata(np.concatenate([a, b]))[:n].sum() - n * (n + 1) / 2) / (n * m))


def _blocks(resamples: int, runs: int) -> list[np.ndarray]:
    """Cuts the numbers of the resamples into blocks small enough to be held at once."""
    return np.array_split(np.arange(resamples), -(-resamples * runs // _BLOCK))


def _resampled_counts(rng: np.random.Generator, resamples: int, runs: int) -> np.ndarray:
    """Returns how often each run is in each resample, int64[resamples, runs]; ``runs`` are drawn with replacement."""
    chosen = rng.integers(runs, size=(resamples, runs)) + runs * np.arange(resamples)[:, None]
    return np.bincount(chosen.ravel(), minlength=chosen.size).reshape(chosen.shape)


def _ends(drawn: np.ndarray, confidence: float) -> np.ndarray:
    """Returns the ends of percentile intervals, float64[2, ...]; drawn: [..., resamples]."""
    return np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2], axis=-1)


def _bootstrap(
    where: str, samples: list[np.ndarray], statistic: Callable, confidence: float, method: str, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns a statistic of several samples [..., R] and the ends of its interval, each sample resampled by itself."""
    from scipy import stats

    _require_settings(where, confidence, resamples)
    require(method in _METHODS, where, f"method must be one of {_METHODS}", method, "Percentile suits most statistics.")
    estimate = np.asarray(statistic(*samples, axis=-1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # degenerate data are dealt with below
        with np.errstate(invalid="ignore", divide="ignore"):
            result: Any = stats.bootstrap(
                samples,
                statistic,
                n_resamples=resamples,
                batch=max(1, _BLOCK // sum(sample.size for sample in samples)),
                vectorized=True,
                axis=-1,
                confidence_level=confidence,
                method=method,
                rng=np.random.default_rng(seed),
            )
    drawn = result.bootstrap_distribution
    constant = drawn.min(-1) == drawn.max(-1)
    low = np.where(constant, drawn[..., 0], result.confidence_interval.low)
    high = np.where(constant, drawn[..., 0], result.confidence_interval.high)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ConfigError(
            f"{where}: method 'BCa' needs a statistic that changes when single runs are left out, got scores on which it does "
            "not. Use method='percentile'."
        )
    return estimate, low, high


def _require_settings(where: str, confidence: float, resamples: int) -> None:
    require(0 < confidence < 1, where, "confidence must lie strictly between 0 and 1", confidence, "Try 0.95.")
    require(resamples >= 1, where, "resamples must be at least 1", resamples, "Thousands give stable intervals.")


def _as_interval(parts: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Interval:
    return Interval(*(float(part) for part in parts))


def _finite_vector(where: str, name: str, values: Any) -> np.ndarray:
    try:
        vector = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {name} must be numbers, got {values!r}. Pass one number per run.") from error
    fix = "Pass one number per run, and {task: row} for several tasks."
    require(vector.ndim == 1 and vector.size > 0, where, f"{name} must be one row of numbers", f"shape {vector.shape}", fix)
    bad = np.flatnonzero(~np.isfinite(vector))
    found = f"{vector[bad[:3]].tolist()} at {bad[:3].tolist()}"
    require(bad.size == 0, where, f"{name} must be finite", found, "Leave out the runs that failed, and say so.")
    return vector


def _strata(where: str, scores: Scores) -> dict[str, np.ndarray]:
    """Returns the checked scores of each task; a single row is one task without a name."""
    tasks = scores if isinstance(scores, Mapping) else {"": scores}
    require(len(tasks) > 0, where, "scores must have at least one task", scores, "Pass {task: [score of each run]}.")
    strata = {}
    for task, values in tasks.items():
        name = f"scores of {task}" if task else "scores"
        strata[task] = _finite_vector(where, name, values)
        require(len(strata[task]) >= 2, where, f"{name} must have at least 2 runs", len(strata[task]), "Run more seeds.")
    return strata


def _paired_strata(where: str, x: Scores, y: Scores) -> list[tuple[np.ndarray, np.ndarray]]:
    first, second = _strata(where, x), _strata(where, y)
    names = (sorted(first), sorted(second))
    require(names[0] == names[1], where, "x and y must have the same tasks", names, "Compare on the tasks both have run.")
    return [(first[task], second[task]) for task in first]
