"""Figures that only games need: paths on a simplex, regions of payoffs, bars. See ``jaxrl.report.style``."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxrl.report.style import COLOURS, GREY, LEGEND, SIZE, legend, new_figure, new_panels, plain_text, save_figure, wrapped
from jaxrl.results.run_directory import RunDirectory

CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])  # of the simplex of three actions, in the plane


def bars(
    run: RunDirectory,
    name: str,
    groups: Mapping[str, Sequence[float]],
    ticks: Sequence[str],
    y_label: str,
    *,
    x_label: str = "",
    title: str | None = None,
    text: str = "",
) -> Path:
    """Draws a bar for each group at each tick.

    Args:
        run: where the figure goes.
        name: file name without its ending.
        groups: label -> a height for each tick.
        ticks: what stands on the horizontal axis.
        y_label, x_label: the axes, with units.
        title: by default the experiment.
        text: the caption.
    """
    figure, axes = new_figure(run, title, text)
    width = 0.8 / len(groups)
    for index, (label, heights) in enumerate(groups.items()):
        places = np.arange(len(ticks)) + (index - (len(groups) - 1) / 2) * width
        colour = COLOURS[index % len(COLOURS)]
        axes.bar(places, heights, width, color=colour, label=plain_text(label) if len(groups) > 1 else None)
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set_xticks(range(len(ticks)), [plain_text(tick) for tick in ticks])
    if sum(map(len, ticks)) > 60:
        axes.tick_params(axis="x", labelrotation=35)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
            label.set_rotation_mode("anchor")
    axes.grid(axis="x", visible=False)
    axes.set_xlabel(plain_text(x_label))
    axes.set_ylabel(wrapped(y_label))
    legend(axes)
    return save_figure(run, name, figure, text)


def simplex(
    run: RunDirectory,
    name: str,
    paths: Mapping[str, np.ndarray],
    corners: Sequence[str],
    *,
    equilibrium: Sequence[float],
    title: str | None = None,
    text: str = "",
    colours: Mapping[str, int] | None = None,
) -> Path:
    """Draws how mixtures of three actions move; a dot marks where each path ends, a cross the equilibrium.

    Args:
        run, name, title, text: as for ``bars``.
        paths: label -> float[P, 3], or [S, P, 3] for several paths of one kind.
        corners: the names of the three actions.
        equilibrium: float[3].
        colours: label -> place in ``figures.COLOURS``, by default that of the path.
    """
    figure, axes = new_figure(run, title, text)
    axes.fill(*CORNERS.T, facecolor="none", edgecolor=GREY, linewidth=1.2)
    for index, (label, path) in enumerate(paths.items()):
        colour = COLOURS[(index if colours is None else colours[label]) % len(COLOURS)]
        for number, points in enumerate(np.asarray(path).reshape(-1, *np.shape(path)[-2:]) @ CORNERS):
            axes.plot(*points.T, color=colour, linewidth=1.1, alpha=0.85, label=None if number else plain_text(label))
            axes.plot(*points[-1], marker="o", color=colour, markersize=5)
    axes.plot(*(np.asarray(equilibrium) @ CORNERS), marker="x", color="black", markersize=8, markeredgewidth=2)
    for corner, place, down in zip(corners, CORNERS, (True, True, False), strict=True):
        offset = (0, -14) if down else (0, 6)
        axes.annotate(plain_text(corner), place, offset, textcoords="offset points", ha="center")
    axes.set_aspect("equal")
    axes.margins(0.06)
    axes.axis("off")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(**LEGEND | {"loc": "upper left", "bbox_to_anchor": (-0.35, 1.0)})
    return save_figure(run, name, figure, text)


def phase_portraits(
    run: RunDirectory,
    name: str,
    paths: Mapping[str, np.ndarray],
    equilibria: Mapping[str, Sequence[tuple[Sequence[float], Sequence[float]]]],
    *,
    title: str | None = None,
    text: str = "",
) -> Path:
    """Draws how two players move who mix two actions each, a square for each game; dots mark where paths end, crosses equilibria.

    Args:
        run, name, title, text: as for ``bars``.
        paths: label -> float[S, C, 2], S paths of the shares of the first action of the row and of the column player.
        equilibria: label -> pairs of a row and a column strategy, float[2] each.
    """
    columns = min(3, len(paths))
    size = max(SIZE[0], 2.6 * columns), 0.9 + 2.6 * -(-len(paths) // columns)
    figure, panels = new_panels(run, title, text, len(paths), columns, size, sharex=True, sharey=True)
    for panel, (label, moves) in zip(panels, paths.items(), strict=False):
        for points in moves:
            panel.plot(*points.T, color=COLOURS[0], linewidth=0.7, alpha=0.6)
        panel.scatter(*moves[:, -1].T, color=COLOURS[1], s=14, zorder=4)
        crosses = np.array([(row[0], column[0]) for row, column in equilibria[label]])
        panel.scatter(*crosses.T, marker="x", color="black", s=50, linewidths=2, zorder=5, clip_on=False)
        panel.set_title(plain_text(label), fontsize="medium")
        panel.set_aspect("equal")
        panel.set_xlim(-0.04, 1.04)
        panel.set_ylim(-0.04, 1.04)
    panels[columns * ((len(paths) - 1) // columns)].set_xlabel("Row player's first action (share)", fontsize=10)
    panels[0].set_ylabel("Column player's (share)", fontsize=10)
    return save_figure(run, name, figure, text)


def payoff_region(
    run: RunDirectory,
    name: str,
    regions: Mapping[str, np.ndarray],
    points: Mapping[str, np.ndarray],
    *,
    title: str | None = None,
    text: str = "",
) -> Path:
    """Draws which pairs of payoffs two players can expect.

    Args:
        run, name, title, text: as for ``bars``.
        regions: label -> float[P, 2], the corners of a polygon in order.
        points: label -> float[P, 2].
    """
    figure, axes = new_figure(run, title, text)
    for index, (label, corners) in enumerate(regions.items()):
        colour = COLOURS[index % len(COLOURS)]
        axes.fill(*np.asarray(corners).T, color=colour, alpha=0.25, linewidth=0)
        axes.plot(*np.vstack([corners, corners[:1]]).T, color=colour, linewidth=1.4, label=plain_text(label))
    for index, (label, places) in enumerate(points.items(), len(regions)):
        axes.scatter(*np.asarray(places).T, color=COLOURS[index % len(COLOURS)], s=45, zorder=5, label=plain_text(label))
    axes.set_xlabel("Row player's payoff (reward units)")
    axes.set_ylabel("Column player's payoff (reward units)")
    legend(axes)
    return save_figure(run, name, figure, text)
