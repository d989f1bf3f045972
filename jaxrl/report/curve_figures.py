"""Learning curves of a run, and curves of what should fall to zero: a line and a band over seeds for each arm.

See ``jaxrl.report.style`` for where a figure is written.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from jaxrl.errors import ConfigError, ResultsError, require
from jaxrl.report.bands import BANDS, POINTS, bands, points, seed_counts
from jaxrl.report.style import COLOURS, DASHES, GREY, axis_label, legend, new_figure, palette_of, plain_text, save_figure, wrapped
from jaxrl.results.factors import short_labels
from jaxrl.results.run_directory import TABLES, RunDirectory


class Line(NamedTuple):
    """One drawn curve; every array float64[P]. low, high: its band, NaN where there is none."""

    x: np.ndarray
    centre: np.ndarray
    low: np.ndarray
    high: np.ndarray


def learning_curves(
    run: RunDirectory,
    metric: str = "episode_return",
    *,
    x: str = "env_steps",
    arms: Sequence[str] | Mapping[str, str] | None = None,
    table: str | None = None,
    optimum: float | None = None,
    band: str = "bootstrap",
    label: str | None = None,
    title: str | None = None,
    name: str | None = None,
    colours: Mapping[str, int] | None = None,
) -> Path:
    """Draws a metric over time: the interquartile mean over seeds and a band, a curve per arm.

    Args:
        run: the run.
        metric: what to draw.
        x: "env_steps" (of one seed; where an arm learns from a data set, updates are used instead) or "updates".
        arms: which arms, by default all that have the metric; a mapping gives each the name that the legend shows.
        table: "metrics" or "evaluations"; see ``RunDirectory.curves``.
        optimum: the best possible value, drawn as a line.
        band: "bootstrap", the 95 % interval of the interquartile mean, or "percentile", the 5th to 95th percentile of seeds.
        label: what the vertical axis shows, with its unit.
        title: by default the experiment.
        name: file name without its ending, by default the metric.
        colours: arm -> place in ``COLOURS``, by default that of the arm among those drawn; beyond the last, colours repeat.
    """
    figure, axes, text = _curves(run, metric, x, arms, table, band, label, title, colours)
    if optimum is not None:
        axes.axhline(optimum, color=GREY, linewidth=1.2, linestyle=(0, (6, 3)), zorder=1, label="optimum")
        text += f" Dashed: the best possible value, {optimum:g}."
    legend(axes)
    return save_figure(run, name or metric, figure, text)


def gap_curve(
    run: RunDirectory,
    metric: str = "greedy_optimality_gap",
    *,
    x: str = "env_steps",
    arms: Sequence[str] | Mapping[str, str] | None = None,
    table: str | None = None,
    scale: str = "log",
    band: str = "bootstrap",
    label: str | None = None,
    title: str | None = None,
    name: str | None = None,
    colours: Mapping[str, int] | None = None,
) -> Path:
    """Draws a quantity that should fall to zero, as ``learning_curves`` does.

    Args:
        run, metric, x, arms, table, band, label, title, name, colours: see ``learning_curves``.
        scale: "log" or "linear". A log axis ends at the smallest positive value that is drawn; what is smaller, zero
            included, is drawn there, and the caption says so.
    """
    require(scale in ("log", "linear"), "gap_curve", "scale must be 'log' or 'linear'", scale, "Use one of them.")
    figure, axes, text = _curves(run, metric, x, arms, table, band, label, title, colours, floored=scale == "log")
    if scale == "linear":
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    legend(axes)
    return save_figure(run, name or metric, figure, text)


def _curves(run, metric, x, arms, table, band, label, title, colours=None, floored: bool = False) -> tuple[Figure, Axes, str]:
    require(x in ("env_steps", "updates"), "figures", "x must be 'env_steps' or 'updates'", x, "Use one of them.")
    require(band in BANDS, "figures", f"band must be one of {list(BANDS)}", band, "Use one of them.")
    arms = arms_to_draw(run, metric, arms, table)
    curves = [run.curves(metric, arm, table) for arm in arms]
    if any(curve.env_steps is None for curve in curves):
        x = "updates"
    lines = [_line(curve.updates + 1 if x == "updates" else curve.env_steps, curve.values, band) for curve in curves]
    counts = seed_counts([len(curve.values) for curve in curves])
    text = f"Line: interquartile mean of {metric} over seeds (the mean of the middle half). Band: {BANDS[band]}. "
    text += f"{counts.capitalize()}."
    if max(len(curve.updates) for curve in curves) > POINTS:
        text += f" Each of {POINTS} points is a mean over neighbouring updates."
    figure, axes = new_figure(run, title, f"Line: interquartile mean of {counts}. Band: {BANDS[band]}")
    if floored:
        drawn = np.concatenate([np.concatenate(line[1:]) for line in lines])
        require(
            bool((drawn > 0).any()), "gap_curve", "a log axis needs a positive value", metric, "Use scale='linear'.", ConfigError
        )
        floor = float(drawn[drawn > 0].min())
        if (drawn < floor).any():
            lines = [Line(line.x, *(np.maximum(part, floor) for part in line[1:])) for line in lines]
            text += f" Values below {floor:.1g}, zero included, are drawn there."
        axes.set_yscale("log")
    for place, name, line in zip(palette_of(arms, colours), arms.values(), lines, strict=True):
        colour, dash = COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)]
        axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.2, linewidth=0)
        marker = "o" if len(line.x) == 1 else None  # a line of one point cannot be seen
        axes.plot(line.x, line.centre, color=colour, linestyle=dash, marker=marker, label=plain_text(name) or None)
    axes.set_xlim(left=0)
    axes.margins(x=0.01)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("Environment steps per seed" if x == "env_steps" else "Updates")
    axes.set_ylabel(wrapped(label or axis_label(metric)))
    return figure, axes, text


def _line(x: np.ndarray, values: np.ndarray, band: str) -> Line:
    at, means = points(x, values)
    return Line(at, *bands(means, band))


def arms_to_draw(
    run: RunDirectory, metric: str, arms: Sequence[str] | Mapping[str, str] | None, table: str | None
) -> Mapping[str, str]:
    """Returns the arms that are to be drawn, all that have the metric where none are named, and their names in the legend."""
    if arms is None:
        holders = [name for name in (TABLES if table is None else (table,)) if metric in run.columns(name)]
        named = dict.fromkeys(arm for name in holders for arm in run.arms(name))
        # If no arm has the metric, drawing the first raises an error that names the metrics that exist.
        arms = [v for v in named if np.isfinite(run.curves(metric, v, table).values).any()] or run.arms()
    if not isinstance(arms, Mapping):
        known = run.factors()
        arms = short_labels({arm: known.get(arm, {"arm": arm}) or {"arm": arm} for arm in arms})
    require(bool(arms), "figures", "there must be an arm to draw", list(arms), "Name arms, or run first.", ResultsError)
    return arms if len(arms) > 1 else dict.fromkeys(arms, "")
