"""Where the seeds of a run end: a dot for each, and the statistics over them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from jaxrl.errors import ResultsError, require
from jaxrl.report.bands import bands, bin_edges, seed_counts
from jaxrl.report.curve_figures import arms_to_draw
from jaxrl.report.style import COLOURS, axis_label, new_figure, palette_of, plain_text, save_figure
from jaxrl.results.run_directory import RunDirectory
from jaxrl.statistics import final_values


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
    arms = arms_to_draw(run, metric, arms, table)
    finals = [final_values(run.curves(metric, arm, table).values, fraction) for arm in arms]
    names = [plain_text(name) or "all seeds" for name in arms.values()]
    palette = palette_of(arms, colours)
    finals = [values[np.isfinite(values)] for values in finals]
    everything = np.concatenate(finals)
    require(everything.size > 0, "distribution", "a seed must have a value", metric, "Draw another metric.", ResultsError)
    edges = bin_edges(everything, min(40, max(10, round(2 * everything.size ** (1 / 3)))))
    several = [values.size for values in finals if values.size > 1]
    counts, single = seed_counts(several) if several else "", any(values.size == 1 for values in finals)
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


def some_end(run: RunDirectory, metric: str, arms: Iterable[str], table: str | None = None, fraction: float = 0.1) -> bool:
    """Returns whether a seed has a value to be drawn by ``distribution``; arguments as there."""
    return any(np.isfinite(final_values(run.curves(metric, arm, table).values, fraction)).any() for arm in arms)


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
