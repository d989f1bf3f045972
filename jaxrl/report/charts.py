"""The charts of a report that answer the pointer: learning curves, and where every seed ended.

The page holds few numbers, whatever the run measured: curves are thinned out, and many seeds become a histogram. ``report.js``
draws them.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxrl.report.bands import bands, bin_edges, points
from jaxrl.report.style import axis_label
from jaxrl.results.run_directory import TABLES, RunDirectory
from jaxrl.results.tables import Curves
from jaxrl.statistics import Intervals, final_values

POINTS = (40, 200)  # along a curve: the more curves, the fewer
ALL_POINTS = 40_000  # aimed at in one page, about a megabyte
DOTS = 300  # seeds drawn one by one; of more, a histogram is drawn
BINS = 40
BOOTSTRAPPED_AT_ONCE = 4_000_000  # numbers, 32 MB
SEEDS_NAMED = 8  # in a bar of the histogram, and of the seeds that ended lowest and highest
SCRIPT = Path(__file__).with_name("report.js")

CHARTS = """<section>
<h2>Learning curves</h2>
<div class="card">
<p class="controls"><label>Metric <select id="metric"></select></label>
<label id="log-label"><input type="checkbox" id="log"> logarithmic</label></p>
<svg id="curves" class="chart" tabindex="0" role="img" aria-label="Learning curves. The arrow keys move the readout."></svg>
<p id="place" class="readout"></p>
<ul id="legend"></ul>
<p class="soft">Line: interquartile mean over seeds, the mean of the middle half. Band: its 95&nbsp;% bootstrap interval.
{thinned} Point at the chart to read values; untick an arm to hide it.</p>
<noscript><p>These charts need JavaScript; the tables and figures below do not.</p></noscript>
</div>
</section>
<section id="seed-section">
<h2>Seeds</h2>
<div class="card">
<svg id="seeds" class="chart" tabindex="0" role="img" aria-label="Where the seeds ended. The arrow keys move the readout."></svg>
<p id="seed-readout" class="readout"></p>
<div id="extremes" class="soft"></div>
<p class="soft">Each seed's mean over the last 10&nbsp;% of updates: {seeds}. Diamond: interquartile mean with its 95&nbsp;%
bootstrap interval.</p>
</div>
</section>
"""


def charts(run: RunDirectory) -> str:
    """Returns the sections of a page that hold the charts of a run, with their numbers and script; empty without numbers."""
    data = chart_data(run)
    if not data["metrics"]:
        return ""
    numbers = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=False).replace("<", "\\u003c")
    many = any("bars" in entry for metric in data["metrics"] for entry in metric["seeds"])
    sections = CHARTS.format(
        thinned=f"At most {data['points']} points a curve, each a mean over neighbouring updates.",
        seeds="a dot per seed, or a histogram of more than 300" if many else "a dot per seed",
    )
    script = f'<script type="application/json" id="chart-data">{numbers}</script>\n<script>{SCRIPT.read_text()}</script>\n'
    return sections + script


def chart_data(run: RunDirectory) -> dict[str, Any]:
    """Returns what the charts show, as strict JSON.

    Returns:
        ``arms``: their names. ``points``: the most points of a curve. ``metrics``: for each metric of each table ``name``,
        ``label``, ``axis``, ``curves`` (for each arm that has it: ``arm``, its index; ``x, centre, low, high``, lists;
        ``seeds``, how many, in words) and ``seeds`` (see ``_seeds``), None where a value is missing.
    """
    arms = run.arms()
    most = int(np.clip(ALL_POINTS // max(1, len(arms) * sum(len(run.columns(table)) for table in TABLES)), *POINTS))
    measured: dict[tuple[str, str], list[_Measured]] = {}
    for table in TABLES:
        for name, entry in _measure(run.table(table).all_curves(), arms, most):
            measured.setdefault((table, name), []).append(entry)
    drawn = {path.stem for path in run.figures.glob("*.png")}
    order = sorted(measured, key=lambda key: (key[1] not in drawn, key[0] != "evaluations"))  # what was found worth drawing
    return {"arms": list(arms), "points": most, "metrics": [_metric(*key, measured[key]) for key in order]}


class _Measured(NamedTuple):
    """One metric of one arm.

    arm: its index. updates, env_steps: float64[P], where its points stand, None for what learns from a data set.
    band: of its points. seeds: int[S]. finals: float64[S], where the seeds ended. interval: of these, one point.
    """

    arm: int
    updates: np.ndarray
    env_steps: np.ndarray | None
    band: Intervals
    seeds: np.ndarray
    finals: np.ndarray
    interval: Intervals


def _measure(everything: Iterable[tuple[str, str, Curves]], arms: Sequence[str], most: int) -> Iterator[tuple[str, _Measured]]:
    """Yields the metrics of all arms; those of an arm share a bootstrap, as far as they fit into memory together."""
    waiting: list[_Thinned] = []
    for arm, name, curves in everything:
        thinned = _thinned(arms.index(arm), name, curves, most)
        held = sum(entry.values.size for entry in waiting)
        if waiting and (waiting[0].arm != thinned.arm or held + thinned.values.size > BOOTSTRAPPED_AT_ONCE):
            yield from _with_bands(waiting)
            waiting = []
        waiting.append(thinned)
    yield from _with_bands(waiting)


class _Thinned(NamedTuple):
    """The points of one metric of one arm: as ``_Measured``; values: float64[S, P]."""

    arm: int
    name: str
    updates: np.ndarray
    env_steps: np.ndarray | None
    values: np.ndarray
    seeds: np.ndarray
    finals: np.ndarray


def _thinned(arm: int, name: str, curves: Curves, most: int) -> _Thinned:
    places, values = points(curves.updates + 1, curves.values, most)
    env_steps = None if curves.env_steps is None else np.interp(places, curves.updates + 1, curves.env_steps)
    return _Thinned(arm, name, places, env_steps, values, curves.seeds, final_values(curves.values))


def _with_bands(entries: Sequence[_Thinned]) -> Iterator[tuple[str, _Measured]]:
    parts = [part for entry in entries for part in (entry.values, entry.finals[:, None])]
    if not parts:
        return
    ends = np.cumsum([part.shape[1] for part in parts])[:-1]
    joint = bands(np.concatenate(parts, axis=1), "bootstrap")
    parted = [Intervals(*columns) for columns in zip(*(np.split(column, ends) for column in joint), strict=True)]
    for entry, band, interval in zip(entries, parted[::2], parted[1::2], strict=True):
        yield entry.name, _Measured(entry.arm, entry.updates, entry.env_steps, band, entry.seeds, entry.finals, interval)


def _metric(table: str, name: str, entries: Sequence[_Measured]) -> dict[str, Any]:
    by_updates = any(entry.env_steps is None for entry in entries)
    several = any(len(entry.seeds) > 1 for entry in entries)
    return {
        "name": name + {"evaluations": " (evaluation)", "measurements": " (measurement)"}.get(table, ""),
        "label": axis_label(name),
        "axis": "updates" if by_updates else "environment steps per seed",
        "curves": [_curve(entry, by_updates) for entry in entries],
        "seeds": list(_seeds(entries)) if several else [],
    }


def _curve(entry: _Measured, by_updates: bool) -> dict[str, Any]:
    x = entry.updates if by_updates or entry.env_steps is None else entry.env_steps
    ended, seeds = int(np.isfinite(entry.finals).sum()), len(entry.seeds)
    parts = zip(("x", "centre", "low", "high"), (x, *entry.band), strict=True)
    return {
        "arm": entry.arm,
        "seeds": f"{ended} of {seeds} seeds" if ended < seeds else f"{seeds} seed{'s' * (seeds > 1)}",
        **{key: _numbers(part) for key, part in parts},
    }


def _seeds(entries: Sequence[_Measured]) -> Iterator[dict[str, Any]]:
    """Yields for each arm where its seeds ended.

    Yields:
        ``arm``, ``centre``, ``low``, ``high``, ``extremes`` (a sentence), and ``dots``: [seed, value] in rising order, or
        ``bars``: [from, to, how many, numbers of the first of them].
    """
    everything = np.concatenate([entry.finals[np.isfinite(entry.finals)] for entry in entries])
    edges = bin_edges(everything, BINS) if everything.size else np.zeros(0)
    for entry in entries:
        order = np.argsort(entry.finals)[: np.isfinite(entry.finals).sum()]  # those that are missing come last
        seeds, values = entry.seeds[order], entry.finals[order]
        if not len(values):
            continue
        centre, low, high = (_numbers(part)[0] for part in entry.interval)
        known = {"arm": entry.arm, "centre": centre, "low": low, "high": high}
        if len(values) <= DOTS:
            yield {**known, "extremes": "", "dots": list(zip(seeds.tolist(), _numbers(values), strict=True))}
            continue
        bar = np.clip(np.searchsorted(edges, values, "right") - 1, 0, len(edges) - 2)
        groups = [(index, np.sort(seeds[bar == index])) for index in np.unique(bar)]
        bars = [[*_numbers(edges[index : index + 2]), len(group), group[:SEEDS_NAMED].tolist()] for index, group in groups]
        yield {**known, "extremes": _extremes(seeds, values), "bars": bars}


def _extremes(seeds: np.ndarray, values: np.ndarray) -> str:
    """Names the seeds that ended lowest and highest; both in rising order of the values."""
    ends = [f"{seed} ({value:.4g})" for seed, value in zip(seeds, values, strict=True)]
    return f"Lowest seeds: {', '.join(ends[:SEEDS_NAMED])}. Highest: {', '.join(ends[: -SEEDS_NAMED - 1 : -1])}."


def _numbers(values: np.ndarray) -> list[float | int | None]:
    """Returns numbers with five significant digits, integers without a point, None for what is not finite."""
    rounded = (float(f"{value:.5g}") if np.isfinite(value) else None for value in np.atleast_1d(values).tolist())
    return [int(value) if value is not None and value == int(value) else value for value in rounded]
