"""The house style of figures: sizes, colours and texts, and how a figure is begun and written.

A figure is ``<run>/figures/<name>.png``. Its caption, which says what is drawn, is stored inside the PNG (``caption`` reads it),
so that a figure can explain itself wherever it goes.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from PIL import Image

from jaxrl.errors import ResultsError
from jaxrl.results.run_directory import RunDirectory
from jaxrl.results.storage import replacing

SIZE = (6.4, 4.0)  # inches
DPI = 150
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
NOTE_WIDTH = 100  # characters of a note that fit into one line
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


def new_figure(run: RunDirectory, title: str | None, note: str) -> tuple[Figure, Axes]:
    """Begins a figure in the house style: a title (by default the experiment's name) and a note below."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
        axes = figure.subplots()
    figure.suptitle(plain_text(title or run.experiment), x=0.015, ha="left", fontsize=13, fontweight="bold")
    figure.supxlabel(plain_text(textwrap.fill(note, NOTE_WIDTH)), x=0.015, ha="left", fontsize=8.5, color=GREY)
    return figure, axes


def new_panels(
    run: RunDirectory, title: str | None, note: str, count: int, columns: int, size: tuple[float, float], **options: Any
) -> tuple[Figure, np.ndarray]:
    """Begins a figure of several panels, row by row; those beyond ``count`` are hidden. size: inches."""
    figure, single = new_figure(run, title, note)
    single.remove()
    figure.set_size_inches(*size)
    with matplotlib.rc_context(STYLE):
        panels = figure.subplots(-(-count // columns), columns, squeeze=False, **options).ravel()
    for panel in panels[count:]:
        panel.set_visible(False)
    return figure, panels


def save_figure(run: RunDirectory, name: str, figure: Figure, text: str) -> Path:
    """Writes a figure into the run's folder, with a text that describes it, and returns its path."""
    path = run.figures / f"{name.replace('/', '_')}.png"  # the entry of an array is named array/0
    metadata: dict[str, Any] = {"Description": text, "Software": None}
    with matplotlib.rc_context(STYLE), replacing(path) as file:
        figure.savefig(file, format="png", dpi=DPI, metadata=metadata)
    return path


def caption(path: Path) -> str:
    """Returns the caption stored in a picture, empty if there is none."""
    try:
        with Image.open(path) as image:
            comment = image.info.get("comment", b"")  # of a film
            return str(image.info.get("Description", "")) or bytes(comment).decode(errors="replace")
    except OSError as error:
        fix = "Draw it again, or remove it."
        raise ResultsError(f"figures: {path} must be a readable picture, got {str(error)!r}. {fix}") from error


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


def palette_of(drawn: Mapping[str, Any], colours: Mapping[str, int] | None) -> list[int]:
    """Returns the place of the colour of whatever is drawn, in order."""
    return list(range(len(drawn))) if colours is None else [colours[name] for name in drawn]


def axis_label(metric: str) -> str:
    """Returns what an axis that shows a metric says, with its unit where it is known."""
    return LABELS.get(metric, metric.replace("_", " ").capitalize())


def plain_text(text: str) -> str:
    """Returns a text that matplotlib shows as it is: between dollar signs it would read mathematics."""
    return text.replace("$", r"\$")


def wrapped(label: str) -> str:
    """Returns the label of a vertical axis in lines that are no longer than the axis."""
    return plain_text(textwrap.fill(label, 40))
