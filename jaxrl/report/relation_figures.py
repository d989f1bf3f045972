"""One quantity against another that the runner knows nothing of: sizes, distances, temperatures."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxrl.errors import require
from jaxrl.report.bands import BANDS, POINTS, bands, log_spaced, points, seed_counts
from jaxrl.report.curve_figures import Line
from jaxrl.report.style import COLOURS, DASHES, GREY, legend, new_figure, palette_of, plain_text, save_figure, wrapped
from jaxrl.results.run_directory import RunDirectory

MOST_TICKS = 6  # on a logarithmic axis each of so few points has a tick of its own


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
        text = f"Line: interquartile mean of {seed_counts(several)}. Band: {BANDS['bootstrap']}"
        text += ". Without one: a single computation" * (len(several) < len(lines))
    figure, axes = new_figure(run, title, text)
    if x_scale == "linear" and max(len(x) for x, _ in lines.values()) > POINTS:
        note = f"Each of {POINTS} points is a mean over neighbours. {note}"
    if floor is not None and any((np.asarray(values) < floor).any() for _, values in lines.values()):
        note = f"Values below {floor:.1g}, zero included, are drawn there. {note}"
    for index, place, (label, (x, values)) in zip(range(len(lines)), palette_of(lines, colours), lines.items(), strict=True):
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
    measured = np.unique(np.concatenate([np.asarray(x, np.float64) for x, _ in lines.values()]))
    if x_scale == "log" and len(measured) <= MOST_TICKS:  # the axis's own, at 2, 3, 4 of each power of ten, would overlap
        axes.set_xticks(measured, [f"{x:,.6g}" for x in measured])
        axes.set_xticks([], minor=True)
    axes.set_xlabel(plain_text(x_label))
    axes.set_ylabel(wrapped(y_label))
    legend(axes)
    return save_figure(run, name, figure, f"{text}. {note}".strip())
