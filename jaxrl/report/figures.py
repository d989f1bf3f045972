"""Figures of a run, drawn from its directory: learning curves, optimality gaps, distributions over seeds.

Every function writes ``<run>/figures/<name>.png`` and returns its path. The caption, which says what line and band are, is
stored inside the PNG (``caption`` reads it), so that a figure can explain itself wherever it goes.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.ticker import EngFormatter
from PIL import Image

from jaxrl import statistics
from jaxrl.errors import ConfigError, ResultsError, require
from jaxrl.results.factors import short_labels
from jaxrl.results.run_directory import TABLES, RunDirectory
from jaxrl.results.storage import replacing
from jaxrl.statistics import final_values

SIZE = (6.4, 4.0)  # inches
DPI = 150
POINTS = 100  # drawn along a curve: more cannot be seen, and each needs a bootstrap
RESAMPLES = (300, 1000)  # of each bootstrap: the more seeds, the fewer, so that a figure takes a second
RESAMPLED_SEEDS = 2_000_000  # aimed at, resamples times seeds
BANDS = {"bootstrap": "its 95 % bootstrap interval", "percentile": "5th to 95th percentile of the seeds"}
# Okabe & Ito (2008), "Color Universal Design": told apart with every common form of colour blindness. Yellow is left out.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":", "-.")  # beyond seven arms, colours repeat with another dash
GREY = "#666666"
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 11.5,
    "axes.labelsize": 11.5,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}
LEGEND: dict[str, Any] = {
    "loc": "lower left",
    "bbox_to_anchor": (0, 1),  # above the axes, where no curve can run through it
    "frameon": False,
    "borderaxespad": 0.1,
    "handlelength": 1.6,
    "columnspacing": 1.4,
}
LABELS = {
    "episode_return": "Episode return (reward units)",
    "greedy_return": "Return of the greedy policy (reward units)",
    "sampled_return": "Return of the sampled policy (reward units)",
    "episode_length": "Episode length (steps)",
    "greedy_length": "Episode length, greedy policy (steps)",
    "sampled_length": "Episode length, sampled policy (steps)",
    "greedy_optimality_gap": "Optimality gap (reward units)",
    "greedy_normalised_return": "Normalised return of the greedy policy (0: uniform, 1: optimal)",
    "greedy_exact_value": "Exact value at the start (reward units)",
    "entropy": "Policy entropy (nats)",
}


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


def distribution(
    run: RunDirectory,
    metric: str = "episode_return",
    *,
    arms: Sequence[str] | Mapping[str, str] | None = None,
    table: str | None = None,
    fraction: float = 0.1,
    label: str | None = None,
    title: str | None = None,
    name: str | None = None,
    colours: Mapping[str, int] | None = None,
) -> Path:
    """Draws where the seeds end: a dot per seed, a histogram above, the interquartile mean with its 95 % bootstrap interval.

    An arm with a single value, an exact number above all, has a tick with the value beside it.

    Args:
        run, metric, arms, table, label, title, name, colours: see ``learning_curves``.
        fraction: over which share of the last updates each seed is averaged, in (0, 1].
    """
    arms = _arms(run, metric, arms, table)
    finals = [final_values(run.curves(metric, arm, table).values, fraction) for arm in arms]
    names = [plain_text(name) or "all seeds" for name in arms.values()]
    palette = _palette(arms, colours)
    finals = [values[np.isfinite(values)] for values in finals]
    everything = np.concatenate(finals)
    require(everything.size > 0, "distribution", "a seed must have a value", metric, "Draw another metric.", ResultsError)
    edges = np.histogram_bin_edges(everything, bins=min(40, max(10, round(2 * everything.size ** (1 / 3)))))
    several = [values.size for values in finals if values.size > 1]
    counts, single = _seed_counts(several) if several else "", any(values.size == 1 for values in finals)
    note = [f"Dots: {counts}. Diamond: interquartile mean with its 95 % bootstrap interval"] if several else []
    figure, axes = new_figure(run, title, ". ".join(note + ["Tick: a single value"] * single))
    for row, values in enumerate(finals):
        colour = COLOURS[palette[row] % len(COLOURS)]
        if values.size == 1:
            _draw_number(axes, -row, float(values[0]), colour)
        elif values.size:
            _draw_seeds(axes, -row, values, edges, colour)
    axes.set_yticks([-row for row in range(len(arms))], names)
    axes.set_ylim(-len(arms) + 0.6, 0.7)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(plain_text(label or axis_label(metric)))
    text = f"Each value is the mean of {metric} over the last {100 * fraction:g} % of updates."
    if several:
        text += f" Dots: the seeds, {counts}. Above: their histogram. "
        text += "Diamond and bar: the interquartile mean over seeds and its 95 % bootstrap interval."
    if single:
        text += " Tick and number: the value of an arm that has only one."
    return save_figure(run, name or f"{metric}_distribution", figure, text)


def _draw_seeds(axes: Axes, base: int, values: np.ndarray, edges: np.ndarray, colour: str) -> None:
    share = np.histogram(values, edges)[0]
    axes.stairs(base + 0.08 + 0.5 * share / share.max(), edges, baseline=base + 0.08, fill=True, color=colour, alpha=0.3)
    # Evenly spread heights in place of random ones: the picture is the same each time, and dots seldom hide each other.
    heights = base - 0.06 - 0.22 * np.modf(np.arange(values.size) * 0.6180339887)[0]
    axes.scatter(values, heights, s=max(3, 22 - values.size / 10), color=colour, alpha=0.55, linewidths=0)
    found = bands(values[:, None], "bootstrap")
    axes.plot([found.low, found.high], [base, base], color="black", linewidth=2.2, solid_capstyle="butt")
    axes.plot(found.estimate, base, marker="D", color="white", markeredgecolor="black", markersize=6, zorder=5)


def _draw_number(axes: Axes, base: int, value: float, colour: str) -> None:
    axes.plot(value, base, marker="|", color=colour, markersize=16, markeredgewidth=2.5)
    axes.annotate(f"{value:.4g}", (value, base), (0, 11), textcoords="offset points", ha="center", fontsize=9)


def relation(
    run: RunDirectory,
    name: str,
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]],
    x_label: str,
    y_label: str,
    *,
    x_scale: str = "linear",
    y_scale: str = "linear",
    level: float | None = None,
    floor: float | None = None,
    title: str | None = None,
    note: str = "",
    colours: Mapping[str, int] | None = None,
) -> Path:
    """Draws one quantity against another that the runner knows nothing of: sizes, distances, temperatures.

    Args:
        run: where the figure goes.
        name: file name without its ending.
        lines: label -> (x: float[P], values: float[S, P]); the interquartile mean over seeds and its bootstrap band are drawn.
        x_label, y_label: the axes, with units.
        x_scale, y_scale: "linear" or "log". At most ``POINTS`` points of a line are drawn: on a logarithmic x axis evenly spread
            ones, on a linear one means over neighbours.
        level: a value of special meaning, drawn as a horizontal line.
        floor: the smallest value that is drawn; lower ones, zero included, are drawn there, and the caption says so.
        title: by default the experiment.
        note: sentences to add to the caption.
        colours: label -> place in ``COLOURS``, by default that of the line.
    """
    require(bool(lines), "relation", "there must be something to draw", lines, "Name a line.")
    several = [len(values) for _, values in lines.values() if len(values) > 1]
    text = "One exact computation a line"
    if several:
        text = f"Line: interquartile mean of {_seed_counts(several)}. Band: {BANDS['bootstrap']}"
        text += ". Without one: a single computation" * (len(several) < len(lines))
    figure, axes = new_figure(run, title, text)
    if x_scale == "linear" and max(len(x) for x, _ in lines.values()) > POINTS:
        note = f"Each of {POINTS} points is a mean over neighbours. {note}"
    if floor is not None and any((np.asarray(values) < floor).any() for _, values in lines.values()):
        note = f"Values below {floor:.1g}, zero included, are drawn there. {note}"
    for index, place, (label, (x, values)) in zip(range(len(lines)), _palette(lines, colours), lines.items(), strict=True):
        colour, dash = COLOURS[place % len(COLOURS)], DASHES[index % len(DASHES)]  # dashes show lines that coincide
        x, values = np.asarray(x, np.float64), np.asarray(values, np.float64)
        if x_scale == "linear":
            x, values = points(x, values)
        else:
            kept = log_spaced(x)
            x, values = x[kept], values[:, kept]
        line = Line(x, *bands(values if floor is None else np.maximum(values, floor), "bootstrap"))
        axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.2, linewidth=0)
        marker = "o" if len(line.x) == 1 else None  # a line of one point cannot be seen
        axes.plot(line.x, line.centre, color=colour, linestyle=dash, marker=marker, label=plain_text(label) or None)
    if level is not None:
        axes.axhline(level, color=GREY, linewidth=1.2, linestyle=(0, (6, 3)), zorder=1)
    axes.set_xscale(x_scale)
    axes.set_yscale(y_scale)
    axes.set_xlabel(plain_text(x_label))
    axes.set_ylabel(wrapped(y_label))
    legend(axes)
    return save_figure(run, name, figure, f"{text}. {note}".strip())


def caption(path: Path) -> str:
    """Returns the caption stored in a picture, empty if there is none."""
    try:
        with Image.open(path) as image:
            comment = image.info.get("comment", b"")  # of a film
            return str(image.info.get("Description", "")) or bytes(comment).decode(errors="replace")
    except OSError as error:
        fix = "Draw it again, or remove it."
        raise ResultsError(f"figures: {path} must be a readable picture, got {str(error)!r}. {fix}") from error


def _curves(run, metric, x, arms, table, band, label, title, colours=None, floored: bool = False) -> tuple[Figure, Axes, str]:
    require(x in ("env_steps", "updates"), "figures", "x must be 'env_steps' or 'updates'", x, "Use one of them.")
    require(band in BANDS, "figures", f"band must be one of {list(BANDS)}", band, "Use one of them.")
    arms = _arms(run, metric, arms, table)
    curves = [run.curves(metric, arm, table) for arm in arms]
    if any(curve.env_steps is None for curve in curves):
        x = "updates"
    lines = [_line(curve.updates + 1 if x == "updates" else curve.env_steps, curve.values, band) for curve in curves]
    counts = _seed_counts([len(curve.values) for curve in curves])
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
    for place, name, line in zip(_palette(arms, colours), arms.values(), lines, strict=True):
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


def _arms(run: RunDirectory, metric: str, arms: Sequence[str] | Mapping[str, str] | None, table: str | None) -> Mapping[str, str]:
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


def _palette(drawn: Mapping[str, Any], colours: Mapping[str, int] | None) -> list[int]:
    """Returns the place of the colour of whatever is drawn, in order."""
    return list(range(len(drawn))) if colours is None else [colours[name] for name in drawn]


def _line(x: np.ndarray, values: np.ndarray, band: str) -> Line:
    at, means = points(x, values)
    return Line(at, *bands(means, band))


def points(x: np.ndarray, values: np.ndarray, most: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Thins curves out: a point is each seed's mean over neighbours, missing values left out.

    Args:
        x: [U], places on the axis.
        values: float[S, U], NaN where a value is missing.
        most: the most points.

    Returns:
        Their places, float64[P], P the smaller of U and ``most``, and the value of each seed, float64[S, P], NaN where it has
        no finite one.
    """
    parts = np.array_split(np.arange(len(x)), min(most, len(x)))
    starts = [part[0] for part in parts]
    present = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.add.reduceat(np.where(present, values, 0.0), starts, axis=1, dtype=np.float64)
        means = total / np.add.reduceat(present, starts, axis=1, dtype=np.int64)
    return np.array([x[part].mean() for part in parts], np.float64), np.where(np.isfinite(means), means, np.nan)


def log_spaced(x: np.ndarray, most: int = POINTS) -> np.ndarray:
    """Returns which of many points are drawn on a logarithmic axis, int[P]: evenly spread there, both ends among them.

    Args:
        x: float[U], places on the axis, ascending.
        most: the most points; of no more than that, all are drawn.
    """
    if len(x) <= most:
        return np.arange(len(x))
    return np.unique(np.searchsorted(x, np.geomspace(x[0], x[-1], most)).clip(max=len(x) - 1))


def bands(values: np.ndarray, band: str) -> statistics.Intervals:
    """Returns the interquartile mean over seeds of P points and its band.

    Args:
        values: float[S, P], a seed without a finite value is left out.
        band: one of ``BANDS``.

    Returns:
        float64[P] each, NaN without a seed, and without two seeds for a bootstrap band.
    """
    ordered = np.sort(np.where(np.isfinite(values), values, np.nan), axis=0)  # those that are missing come last
    counts = np.isfinite(ordered).sum(axis=0)
    out = statistics.Intervals(*np.full((3, values.shape[1]), np.nan))
    groups = [count for count in np.unique(counts) if count]
    for count in groups:
        columns = np.flatnonzero(counts == count)
        seeds = ordered[:count, columns].T
        if band == "percentile":
            found = (statistics.iqm(seeds), *np.percentile(seeds, (5, 95), axis=1))
        elif count == 1:
            found = (seeds[:, 0], np.nan, np.nan)
        else:
            resamples = int(np.clip(RESAMPLED_SEEDS // (count * len(groups)), *RESAMPLES))
            found = statistics.iqm_intervals(seeds, resamples=resamples)
        for row, part in zip(out, found, strict=True):
            row[columns] = part
    return out


def axis_label(metric: str) -> str:
    """Returns what an axis that shows a metric says, with its unit where it is known."""
    return LABELS.get(metric, metric.replace("_", " ").capitalize())


def plain_text(text: str) -> str:
    """Returns a text that matplotlib shows as it is: between dollar signs it would read mathematics."""
    return text.replace("$", r"\$")


def wrapped(label: str) -> str:
    """Returns the label of a vertical axis in lines that are no longer than the axis."""
    return plain_text(textwrap.fill(label, 40))


def _seed_counts(counts: Sequence[int]) -> str:
    few, many = min(counts), max(counts)
    return f"{many if few == many else f'{few} to {many}'} seeds{' each' * (len(counts) > 1)}"


def new_figure(run: RunDirectory, title: str | None, note: str) -> tuple[Figure, Axes]:
    """Begins a figure in the house style: a title (by default the experiment's name) and a note below."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
        axes = figure.subplots()
    figure.suptitle(plain_text(title or run.experiment), x=0.015, ha="left", fontsize=13, fontweight="bold")
    figure.supxlabel(note, x=0.015, ha="left", fontsize=8.5, color=GREY)
    return figure, axes


def legend(axes: Axes) -> None:
    """Names what has a label, above the axes, in as many columns as fit beside each other; constrained axes would shrink."""
    labels = axes.get_legend_handles_labels()[1]
    if labels:
        font = FontProperties(family=STYLE["font.family"], size=10)
        widths = [TextPath((0, 0), label, prop=font).get_extents().width / 72 for label in labels]  # inches
        room = SIZE[0] - 0.9
        fitting = [n for n in (1, 2, 3, 4) if sum(max(part) + 0.55 for part in _columns(widths, n)) <= room]
        axes.legend(**LEGEND, ncols=max(fitting, default=1), prop=font)


def _columns(entries: Sequence[float], count: int) -> list[np.ndarray]:
    return [part for part in np.array_split(entries, count) if part.size]


def save_figure(run: RunDirectory, name: str, figure: Figure, text: str) -> Path:
    """Writes a figure into the run's folder, with a text that describes it, and returns its path."""
    path = run.figures / f"{name.replace('/', '_')}.png"  # the entry of an array is named array/0
    metadata: dict[str, Any] = {"Description": text, "Software": None}
    with matplotlib.rc_context(STYLE), replacing(path) as file:
        figure.savefig(file, format="png", dpi=DPI, metadata=metadata)
    return path
