"""Methods side by side: interquartile means, probabilities of improvement, performance profiles and learning curves.

All are compared over the stretch that all of them were measured on. A seed's score is its mean over the last tenth of what was
measured there. A learning curve is interpolated linearly between a seed's own measurements, at places that all curves share.

Source: Agarwal et al. (2021), "Deep Reinforcement Learning at the Edge of the Statistical Precipice".
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxrl import statistics
from jaxrl.errors import require
from jaxrl.report import bands
from jaxrl.statistics import final_values

PLACES = 100  # along a learning curve and a performance profile
RESAMPLES = (1000, 10_000)  # of a score: the more seeds, the fewer
RESAMPLED_SEEDS = 10_000_000  # aimed at, resamples times seeds


class Sample(NamedTuple):
    """The measurements of one method on one task. places: float64[U], increasing. values: float[S, U], NaN if missing."""

    places: np.ndarray
    values: np.ndarray


class Score(NamedTuple):
    """How one method did: the interquartile mean over seeds with its interval; seeds with a score, and how many there were."""

    method: str
    iqm: statistics.Interval
    mean: float
    median: float
    minimum: float
    maximum: float
    seeds: int
    all_seeds: int


class Comparison(NamedTuple):
    """Methods side by side.

    scores: best first. pairs: (better, worse, the probability that a seed of the first beats one of the second), by the order
    of the scores. profiles: method -> fraction of seeds with a better score than a threshold. places: float64[P], of the
    curves. curves: method -> the interquartile mean at these places. seeds: (method, task) -> the score of each seed, float64[S].
    """

    scores: list[Score]
    pairs: list[tuple[str, str, statistics.Interval]]
    profiles: dict[str, statistics.Profile]
    places: np.ndarray
    curves: dict[str, statistics.Intervals]
    seeds: dict[tuple[str, str], np.ndarray]


Methods = Mapping[str, Mapping[str, Sample]]  # method -> task -> what was measured; one task has the empty name


def compare_methods(methods: Methods, fraction: float = 0.1, lower_is_better: bool = False) -> Comparison:
    """Compares methods by the scores of their seeds.

    Args:
        methods: what each measured; at least two methods, all with the same tasks. The scores of several tasks are scaled: in
            each, 0 is the smallest and 1 the largest score of a seed of any method.
        fraction: over which share of the last measurements a seed's score is averaged, in (0, 1].
        lower_is_better: whether a smaller value is a better one.

    Raises:
        ConfigError: there are fewer than two methods, their tasks differ, their axes have nothing in common, or a method has
            fewer than two seeds with a score.
    """
    tasks = _check(methods, fraction)
    samples = [sample for method in methods.values() for sample in method.values()]
    begin, end = max(sample.places[0] for sample in samples), min(sample.places[-1] for sample in samples)
    fix = "Train the runs for longer, or compare by updates: --x updates."
    require(begin <= end, "compare", "the runs must have been measured over a common stretch", (begin, end), fix)
    methods, finals = _scaled(methods, _finals(methods, end, fraction), tasks)
    for (method, task), values in finals.items():
        finite = int(np.isfinite(values).sum())
        where = f"{method!r}" + (f" on {task!r}" if task else "")
        require(finite >= 2, "compare", f"{where} must have at least 2 seeds with a score", finite, "Run more seeds.")

    scores = {method: {task: _finite(finals[method, task]) for task in tasks} for method in methods}
    sign = -1 if lower_is_better else 1
    rows = [_score(method, scores[method], [finals[method, task] for task in tasks]) for method in methods]
    rows.sort(key=lambda row: -sign * row.iqm.estimate)
    signed = {row.method: {task: sign * values for task, values in scores[row.method].items()} for row in rows}
    pairs = [
        (a, b, statistics.probability_of_improvement(signed[a], signed[b], resamples=_resamples(signed[a], signed[b])))
        for a, b in itertools.combinations(signed, 2)
    ]
    everything = np.concatenate([values for method in scores.values() for values in method.values()])
    thresholds = np.linspace(everything.min(), everything.max(), PLACES)
    profiles = {method: statistics.performance_profile(signed[method], sign * thresholds) for method in signed}
    profiles = {method: profile._replace(threshold=thresholds) for method, profile in profiles.items()}
    places = np.linspace(begin, end, PLACES) if begin < end else np.array([end])
    curves = {method: _curve(methods[method], places) for method in signed}
    return Comparison(rows, pairs, profiles, places, curves, finals)


def interpolate(sample: Sample, places: np.ndarray) -> np.ndarray:
    """Returns each seed's value at other places, linearly between its own measurements: float64[S, P], NaN beyond them."""
    rows = np.full((len(sample.values), len(places)), np.nan)
    for row, values in zip(rows, np.asarray(sample.values, np.float64), strict=True):
        known = np.isfinite(values)
        if known.any():
            row[:] = np.interp(places, sample.places[known], values[known], left=np.nan, right=np.nan)
    return rows


def _check(methods: Methods, fraction: float) -> list[str]:
    """Returns the names of the tasks."""
    require(len(methods) >= 2, "compare", "there must be two methods", list(methods), "Name more runs, or a run with arms.")
    require(0 < fraction <= 1, "compare", "fraction must lie in (0, 1]", fraction, "Try 0.1.")
    tasks = list(next(iter(methods.values())))
    for method, measured in methods.items():
        found = f"{sorted(measured)} of {method!r} beside {sorted(tasks)}"
        same = sorted(measured) == sorted(tasks)
        require(same, "compare", "all methods must have learned the same tasks", found, "Choose some: --arms.")
    return tasks


def _finals(methods: Methods, end: float, fraction: float) -> dict[tuple[str, str], np.ndarray]:
    return {
        (method, task): final_values(
            np.where(np.isfinite(sample.values), sample.values, np.nan)[:, sample.places <= end], fraction
        )
        for method, measured in methods.items()
        for task, sample in measured.items()
    }


def _scaled(
    methods: Methods, finals: dict[tuple[str, str], np.ndarray], tasks: Sequence[str]
) -> tuple[Methods, dict[tuple[str, str], np.ndarray]]:
    """Brings several tasks to one scale; one task keeps its own."""
    if len(tasks) == 1:
        return methods, finals
    ranges: dict[str, tuple[float, float]] = {}
    for task in tasks:
        known = np.concatenate([_finite(finals[method, task]) for method in methods])
        low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
        ranges[task] = (float(low), float(high - low) or 1.0)

    def scale(task: str, values: np.ndarray) -> np.ndarray:
        low, width = ranges[task]
        return (values - low) / width

    scaled = {
        method: {task: Sample(sample.places, scale(task, sample.values)) for task, sample in measured.items()}
        for method, measured in methods.items()
    }
    return scaled, {(method, task): scale(task, values) for (method, task), values in finals.items()}


def _score(method: str, scores: Mapping[str, np.ndarray], finals: Iterable[np.ndarray]) -> Score:
    interval = statistics.bootstrap_interval(scores, resamples=_resamples(scores))
    pooled = np.concatenate(list(scores.values()))
    mean, median, minimum, maximum = (float(reduce(pooled)) for reduce in (np.mean, np.median, np.min, np.max))
    return Score(method, interval, mean, median, minimum, maximum, len(pooled), sum(map(len, finals)))


def _curve(measured: Mapping[str, Sample], places: np.ndarray) -> statistics.Intervals:
    """Returns the interquartile mean over the seeds of all tasks; the bootstrap keeps each task's number of seeds."""
    values = [interpolate(sample, places) for sample in measured.values()]
    if len(values) == 1:
        return bands.bands(values[0], "bootstrap")
    out = statistics.Intervals(*np.full((3, len(places)), np.nan))
    resamples = int(np.clip(bands.RESAMPLED_SEEDS // sum(map(len, values)), *bands.RESAMPLES))
    for index in range(len(places)):
        strata = {str(task): _finite(rows[:, index]) for task, rows in enumerate(values)}
        if min(map(len, strata.values())) >= 2:
            for row, part in zip(out, statistics.bootstrap_interval(strata, resamples=resamples), strict=True):
                row[index] = part
    return out


def _resamples(*scores: Mapping[str, np.ndarray]) -> int:
    return int(np.clip(RESAMPLED_SEEDS // sum(len(values) for tasks in scores for values in tasks.values()), *RESAMPLES))


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]
