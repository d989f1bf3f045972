"""The results of a sweep, as a table, as JSON and as a figure. See ``jaxrl.cli.sweep``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from jaxrl.report import style
from jaxrl.results import storage
from jaxrl.results.run_directory import RunDirectory
from jaxrl.sweeps.members import Field
from jaxrl.sweeps.selection import Objective, Selection, interval

TABLE = "sweep.json"


class Tried(NamedTuple):
    """The results of a sweep.

    names: of M members. members: field -> value. num_updates: int[M], how many each was given.
    scores: float64[M, S], after these.
    seeds: int[S]. selection: what was chosen. objective: by what. notes: on how it was computed, for the reader.
    fields: those that were swept. others: the names of those among them that are of the experiment, not of the algorithm.
    """

    names: tuple[str, ...]
    members: tuple[dict[str, Any], ...]
    scores: np.ndarray
    num_updates: np.ndarray
    seeds: np.ndarray
    selection: Selection
    objective: Objective
    notes: tuple[str, ...]
    fields: tuple[Field, ...]
    others: tuple[str, ...] = ()


def write(directory: RunDirectory, tried: Tried) -> None:
    """Prints what was found, and writes it as JSON and as a figure."""
    chosen, objective = tried.selection, tried.objective
    ranking = objective.ranking(tried.scores)
    order = ranking[np.argsort(-tried.num_updates[ranking], kind="stable")].tolist()  # who was dropped stands behind
    intervals = [interval(row) for row in tried.scores]
    names = [field.name for field in tried.fields]
    better = "more" if objective.maximize else "less"
    table = Table(box=None, title=f"{objective.metric}, {better} is better", pad_edge=False)
    for heading in (*names, "mean", "95 % interval", "seeds", "updates", "held out"):
        table.add_column(heading, justify="right", no_wrap=True)
    rows = []
    for member in order:
        mean, low, high = intervals[member]
        scored = int(np.isfinite(tried.scores[member]).sum())
        held_out = f"{chosen.held_out.estimate:.4g}" if member == chosen.member else ""
        cells = [_shown(tried.members[member].get(name, "")) for name in names]
        cells += [f"{mean:.4g}", _span(intervals[member])]
        cells += [f"{scored}/{len(tried.seeds)}", str(tried.num_updates[member]), held_out]
        table.add_row(*cells, style="bold" if held_out else "")
        row = {"name": tried.names[member], "values": tried.members[member], "score": mean, "low": low, "high": high}
        rows.append({**row, "seeds": scored, "num_updates": int(tried.num_updates[member])})
    console = Console()
    needed = console.measure(table, options=console.options.update(width=1000)).maximum
    Console(width=max(console.width, needed)).print(table)  # a narrow terminal folds lines, but no digit is left out
    luck = (
        f"The best of {len(order)} members was chosen on seeds {_range(tried.seeds)}, where it scored "
        f"{chosen.selected.estimate:.5g}: too good on average. On seeds {_range(chosen.seeds)}, which it was not chosen on, it "
        f"scores {chosen.held_out.estimate:.5g} (95 % interval {_span(chosen.held_out)})."
    )
    print("\n".join([*tried.notes, luck]))
    selected = {"name": tried.names[chosen.member], "values": chosen.values, "selected": chosen.selected._asdict()}
    selected |= {"held_out": chosen.held_out._asdict(), "seeds": tried.seeds, "held_out_seeds": chosen.seeds}
    kinds = {field.name: "traced" if field.traced else "static" for field in tried.fields}
    fields = kinds | dict.fromkeys(tried.others, "of the experiment")
    contents = {"objective": objective._asdict(), "fields": fields, "notes": [*tried.notes, luck]}
    storage.write_json(directory.path / TABLE, {**contents, "selected": selected, "members": rows})
    draw(directory, tried, intervals)


def draw(directory: RunDirectory, tried: Tried, intervals: Sequence[Any]) -> Path:
    """Draws the score of every member over each swept field, a panel for each."""
    chosen = tried.selection
    drawn = [member for member, entry in enumerate(intervals) if np.isfinite(entry.estimate)]
    note = "Circles: members, mean over seeds, 95 % interval. Diamond: the best, on held-out seeds"
    text = ""
    if tried.num_updates.min() < tried.num_updates.max():
        note, text = f"{note}. Hollow: dropped", " Hollow: members that were dropped, where they stood then."
    count = len(tried.fields)
    columns = 2 if count == 4 else min(count, 3)
    size = max(style.SIZE[0], 3.4 * columns), style.SIZE[1] * (0.2 + 0.8 * -(-count // columns))
    title = f"{directory.experiment}: {len(tried.names)} members"
    figure, panels = style.new_panels(directory, title, note, count, columns, size, sharey=True)
    blue, orange = style.COLOURS[:2]
    for panel, field in zip(panels, tried.fields, strict=False):
        values = [member.get(field.name, field.value) for member in tried.members]
        x, ticks = _places(values)
        for member in drawn:
            mean, low, high = intervals[member]
            picked = member == chosen.member
            colour = orange if picked else blue
            dropped = tried.num_updates[member] < tried.num_updates.max()
            panel.plot([x[member]] * 2, [low, high], color=colour, linewidth=1.4, alpha=1.0 if picked else 0.4)
            filling = "white" if dropped else colour
            panel.plot(x[member], mean, "o", color=colour, markerfacecolor=filling, markersize=5, zorder=4 if picked else 3)
        at, held = x[chosen.member], chosen.held_out
        panel.errorbar(at, held.estimate, marker="D", color="white", markeredgecolor=orange, markersize=8, zorder=5, linestyle="")
        panel.set_xlabel(style.plain_text(field.name))
        if ticks:
            panel.set_xticks(range(len(ticks)), [style.plain_text(tick) for tick in ticks])
            panel.set_xlim(-0.5, len(ticks) - 0.5)
        elif min(x) > 0 and max(x) / min(x) >= 10:
            panel.set_xscale("log")
    for panel in panels[::columns]:
        panel.set_ylabel(style.plain_text(style.axis_label(tried.objective.metric)), fontsize=10)
    text = (
        f"Circles: {tried.objective.metric} of every member, the mean over {len(tried.seeds)} seeds and its 95 % bootstrap "
        f"interval, over each swept field. Orange: the best, {tried.names[chosen.member]}. Diamond: its mean on "
        f"{len(chosen.seeds)} other seeds, {chosen.held_out.estimate:.5g}.{text}"
    )
    return style.save_figure(directory, "sweep", figure, text)


def _places(values: list[Any]) -> tuple[list[float], list[str]]:
    """Returns where members stand on an axis, and the labels of its ticks.

    Numbers that all differ stand where they are, without labels. Others stand side by side around the tick of their value.
    """
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    if numbers and np.isfinite(values).all() and len(set(values)) == len(values):
        return [float(value) for value in values], []
    different = sorted(set(values)) if numbers else list(dict.fromkeys(values))
    most = max(values.count(value) for value in different)
    places = []
    for index, value in enumerate(values):
        before, among = values[:index].count(value), values.count(value)
        places.append(different.index(value) + 0.7 * (before - (among - 1) / 2) / max(most, 2))
    return places, [_shown(value) for value in different]


def _span(found: Any) -> str:
    return "" if np.isnan(found.low) else f"{found.low:.3g} .. {found.high:.3g}"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _range(seeds: np.ndarray) -> str:
    return f"{seeds.min()} to {seeds.max()}"
