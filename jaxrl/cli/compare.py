"""Comparing runs: interquartile means, probabilities of improvement, performance profiles and learning curves side by side.

    jaxrl compare RUN                     the arms of one run
    jaxrl compare RUN RUN ...             several runs, all their arms
    jaxrl compare RUN RUN ... --tasks     several runs, whose arms are the tasks that each has learned

Runs may differ in their numbers of seeds, in how long they trained and in when they were measured; see
``jaxrl.report.comparison``. Where a run is cut to the length of another, or tasks differ, that is said and written.

Source: Agarwal et al. (2021), "Deep Reinforcement Learning at the Edge of the Statistical Precipice".
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from jaxrl import statistics
from jaxrl.errors import ConfigError, require, unknown_name
from jaxrl.experiment.runs import find, told
from jaxrl.experiment.session import say
from jaxrl.report import style
from jaxrl.report.comparison import Comparison, Methods, Sample, compare_methods
from jaxrl.results import storage
from jaxrl.results.gaps import find_gaps
from jaxrl.results.provenance import differences
from jaxrl.results.run_directory import TABLES, RunDirectory

USUAL_METRICS = ("greedy_return", "sampled_return", "episode_return")  # looked for in this order
DIFFERENCES_NAMED = 3  # of two tasks


@dataclass(frozen=True)
class Compare:
    """Compare runs, or the arms of a run: a table on screen, a figure and the numbers in a folder."""

    names: Positional[tuple[str, ...]] = ()
    """Folders of runs, or experiments for their newest run that is no quick one, if there is such."""
    runs: Path = Path("runs")
    """Folder of all results."""
    metric: str = ""
    """The metric to compare; by default the return of the greedy policy, or else that of the episodes in training."""
    table: Literal["", "metrics", "evaluations"] = ""
    """Which table the metric is in, where both have one of this name."""
    arms: tuple[str, ...] = ()
    """Only these arms."""
    tasks: bool = False
    """Arms are tasks: compare runs, each with the scores of all tasks, scaled to [0, 1] within a task."""
    x: Literal["env_steps", "updates"] = "env_steps"
    """Compare at equal numbers of environment steps, or of updates."""
    fraction: float = 0.1
    """Over which share of the last measurements a seed's score is averaged."""
    lower_is_better: bool = False
    """The metric is one to be made small: a loss, an optimality gap."""
    output: Path = Path("comparison")
    """Folder for the figure and the numbers; files of the same metric are replaced."""


def compare(options: Compare) -> int:
    """Compares runs as the command line asks, writes the files and returns the exit status.

    Raises:
        UnknownNameError: there is no such run, arm or metric.
        ConfigError: there is nothing to compare, or the runs cannot be compared.
        ResultsError: a run cannot be read, or the output cannot be written.
    """
    runs = [find(options.runs, name, full=True) for name in options.names]
    for text in filter(None, map(told, options.names, runs)):
        say(text)
    require(bool(runs), "compare", "there must be a run", options.names, "Name runs or experiments.")
    metric = options.metric or _usual_metric(runs)
    methods = read_methods(runs, metric, options.table or None, options.arms, options.tasks, options.x)
    found = compare_methods(methods, options.fraction, options.lower_is_better)
    trained = _tasks(runs, methods, options.tasks)
    notes = [*_unequal_tasks(trained, options.tasks), *_cut(methods, found, options.x), *_incomplete(runs)]
    label = style.axis_label(metric) if not options.tasks else f"{metric}, scaled to [0, 1] within each task"
    _show(found, metric, notes)
    tables = _write_tables(found, options.output, metric, methods)
    said = {"x": options.x, "compared_until": float(found.places[-1]), "measured_until": _ends(methods), "notes": notes}
    storage.write_json(options.output / f"{metric}_notes.json", said | {"tasks": trained})
    for path in [*tables, options.output / f"{metric}_notes.json", _draw(found, options, metric, label)]:
        print(path)
    return 0


def read_methods(
    runs: Sequence[RunDirectory],
    metric: str,
    table: str | None = None,
    arms: Sequence[str] = (),
    tasks: bool = False,
    x: str = "env_steps",
) -> Methods:
    """Reads one metric of several runs.

    Args:
        runs: the runs.
        metric, table: see ``RunDirectory.curves``.
        arms: only these, by default all that have the metric.
        tasks: whether a run is a method and its arms are tasks; else every arm of every run is a method.
        x: "env_steps" or "updates".
    """
    methods: dict[str, dict[str, Sample]] = {}
    compared = [list(arms) or _arms_with(run, metric, table) for run in runs]
    alike = len({arm for names in compared for arm in names}) == 1
    for label, run, names in zip(_labels(runs), runs, compared, strict=True):
        for arm in names:
            name = label if tasks or (alike and len(runs) > 1) else arm if len(runs) == 1 else f"{label} {arm}".strip()
            curves = run.curves(metric, arm, table)
            fix = "Compare by updates: --x updates."
            steps = curves.env_steps if x == "env_steps" else curves.updates + 1
            require(steps is not None, "compare", "every run must have counted environment steps", f"{label} {arm}", fix)
            methods.setdefault(name, {})[arm if tasks else ""] = Sample(np.asarray(steps, np.float64), curves.values)
    return methods


def _labels(runs: Sequence[RunDirectory]) -> list[str]:
    """Returns the shortest names that tell runs apart: the experiment, or else the settings that differ, then the time."""
    settings, several = _unequal_settings(runs), len({run.experiment for run in runs}) > 1

    def words(run: RunDirectory, *more: str) -> str:
        return " ".join(word for word in (run.experiment if several else "", settings[run.path], *more) if word)

    forms: tuple[Callable[[RunDirectory], str], ...] = (
        lambda run: run.experiment,
        lambda run: words(run) or run.experiment,
        lambda run: words(run, run.path.resolve().name.rpartition("-")[0]),
        lambda run: str(run.path.resolve()),
    )
    for form in forms:
        labels = [form(run) for run in runs]
        if len(set(labels)) == len(labels):
            return labels
    repeated = [str(run.path) for run in runs]
    fix = "Name each run once; an experiment's name means one of its runs."
    raise ConfigError(f"compare: runs must differ, got {repeated}. {fix}")


def _unequal_settings(runs: Sequence[RunDirectory]) -> dict[Path, str]:
    """Returns for each run the settings in which it differs from others of its experiment, in words."""
    stored = {run.path: dict(_flat(run.config())) for run in runs}
    experiments = {run.path: run.experiment for run in runs}
    words = {}
    for path, own in stored.items():
        others = [known for other, known in stored.items() if experiments[other] == experiments[path]]
        names = dict.fromkeys(name for known in others for name in known)
        # Which file began the run is no setting, and large arrays have no short name.
        names = [name for name in names if not name.startswith("experiment.") and not name.endswith(".sha256")]
        differ = [name for name in names if len({known.get(name) for known in others}) > 1]
        words[path] = ", ".join(f"{_last(name, differ)} {own[name]}" for name in differ if name in own)
    return words


def _flat(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Yields the leaves of a configuration by their places; a list is one."""
    if isinstance(value, dict):
        for name, entry in value.items():
            yield from _flat(entry, f"{where}.{name}".lstrip("."))
    else:
        yield where, value if isinstance(value, str) else json.dumps(value)


def _last(name: str, names: Sequence[str]) -> str:
    """Returns the last part of a place, or the whole of it where several end alike."""
    short = name.rpartition(".")[2]
    return short if [other.rpartition(".")[2] for other in names].count(short) == 1 else name


def _tasks(runs: Sequence[RunDirectory], methods: Methods, tasks: bool) -> dict[str, dict[str, Any]]:
    """Returns what the runs say of the tasks that their methods learned: method -> task's name -> task, where they say it."""
    found: dict[str, dict[str, Any]] = {}
    for label, run in zip(_labels(runs), runs, strict=True):
        for entry in run.trainings():
            task = entry["arm"] if tasks else ""
            names = entry["arm"] if len(runs) == 1 else f"{label} {entry['arm']}", label
            method = next((name for name in names if task in methods.get(name, {})), None)
            if method is not None:
                found.setdefault(method, {})[task] = entry["task"]
    return found


def _unequal_tasks(trained: Mapping[str, Mapping[str, Any]], tasks: bool) -> list[str]:
    """Says of which methods the tasks differ, and where: numbers of unequal problems do not say which method is better."""
    notes = []
    for name in dict.fromkeys(task for known in trained.values() for task in known):
        first, *others = [(method, known[name]) for method, known in trained.items() if name in known]
        for method, task in others:
            pairs = differences(first[1], task)
            where = "; ".join(f"{place or 'the task'}: {mine} and {yours}" for place, mine, yours in pairs[:DIFFERENCES_NAMED])
            more = f" and {len(pairs) - DIFFERENCES_NAMED} more" if len(pairs) > DIFFERENCES_NAMED else ""
            if pairs:
                notes.append(f"the tasks differ{f' ({name})' * tasks}, of {first[0]!r} and {method!r}: {where}{more}")
    return notes


def _incomplete(runs: Sequence[RunDirectory]) -> list[str]:
    """Says which runs lost rows after they were finished."""
    lost = {run.path: find_gaps(run) for run in runs if run.finished}
    return [
        f"rows of {path} are missing ({'; '.join(gaps)}): jaxrl resume makes them again" for path, gaps in lost.items() if gaps
    ]


def _ends(methods: Methods) -> dict[str, float]:
    """Returns how far each method was measured, in the task in which it was measured least far."""
    return {method: float(min(sample.places[-1] for sample in measured.values())) for method, measured in methods.items()}


def _cut(methods: Methods, found: Comparison, x: str) -> list[str]:
    """Says which methods were measured for longer than all were."""
    until, unit = float(found.places[-1]), "environment steps" if x == "env_steps" else "updates"
    ends = {
        f"{method!r}" + f" on {task!r}" * bool(task): float(sample.places[-1])
        for method, measured in methods.items()
        for task, sample in measured.items()
    }
    shortest = min(ends, key=lambda name: ends[name])
    return [
        f"{name} is cut: it was measured up to {end:,.0f} {unit}, {shortest} up to {until:,.0f}, where both are compared"
        for name, end in ends.items()
        if end > until
    ]


def _usual_metric(runs: Sequence[RunDirectory]) -> str:
    shared = set.intersection(*({name for table in TABLES for name in run.columns(table)} for run in runs))
    for name in USUAL_METRICS:
        if name in shared:
            return name
    raise unknown_name("compare", "metric that all runs have", " or ".join(USUAL_METRICS), shared)


def _arms_with(run: RunDirectory, metric: str, table: str | None) -> list[str]:
    """Returns the arms that have a value of a metric."""
    tables = [name for name in TABLES if table in (None, name) and metric in run.columns(name)]
    if not tables:
        known = {name for table in TABLES for name in run.columns(table)}
        raise unknown_name(f"compare, run {run.path.name}", "metric", metric, known)
    arms = dict.fromkeys(arm for name in tables for arm in run.arms(name))
    return [arm for arm in arms if np.isfinite(run.curves(metric, arm, table).values).any()]


def _show(found: Comparison, metric: str, notes: Sequence[str]) -> None:
    console = Console()
    table = Table("method", "IQM", "95 % interval", "mean", "median", "min", "max", "seeds", title=metric, title_justify="left")
    for score in found.scores:
        numbers = (f"{value:.4g}" for value in (score.mean, score.median, score.minimum, score.maximum))
        seeds = f"{score.seeds}" if score.seeds == score.all_seeds else f"[yellow]{score.seeds} of {score.all_seeds}[/yellow]"
        interval = f"{score.iqm.low:.4g} .. {score.iqm.high:.4g}"
        table.add_row(_plain(score.method), f"{score.iqm.estimate:.4g}", interval, *numbers, seeds)
    console.print(table)
    pairs = Table("probability of improvement", "P", "95 % interval", title_justify="left")
    best = found.scores[0].method
    for better, worse, chance in found.pairs:
        if better == best:
            clear = "[bold]" if chance.low > 0.5 else ""
            interval = f"{clear}{chance.low:.3f} .. {chance.high:.3f}"
            pairs.add_row(_plain(f"{better} over {worse}"), f"{clear}{chance.estimate:.3f}", interval)
    console.print(pairs)
    if any(score.seeds < score.all_seeds for score in found.scores):
        console.print("Seeds without a score, those in quarantine for example, are left out. That favours methods that fail.")
    for note in notes:
        console.print(f"Beware: {note}.", style="yellow", markup=False, highlight=False, soft_wrap=True)


def _plain(text: str) -> str:
    return text.replace("[", r"\[") or "(no arm)"


def _write_tables(found: Comparison, folder: Path, metric: str, methods: Methods) -> list[Path]:
    heads = ("method", "iqm", "low", "high", "mean", "median", "minimum", "maximum", "seeds", "all_seeds")
    heads = (*heads, "measured_until", "compared_until")
    ends, until = _ends(methods), float(found.places[-1])
    scores = [(row.method, *row.iqm, *row[2:], ends[row.method], until) for row in found.scores]
    pairs = [(better, worse, *chance) for better, worse, chance in found.pairs]
    profiles = [(m, *row) for m, profile in found.profiles.items() for row in zip(*map(np.ndarray.tolist, profile), strict=True)]
    curves = [
        (method, *row)
        for method, curve in found.curves.items()
        for row in zip(found.places.tolist(), *map(np.ndarray.tolist, curve), strict=True)
    ]
    seeds = [(method, task, value) for (method, task), values in found.seeds.items() for value in values.tolist()]
    return [
        _write_csv(folder / f"{metric}_scores.csv", heads, scores),
        _write_csv(folder / f"{metric}_pairs.csv", ("method", "other", "probability", "low", "high"), pairs),
        _write_parquet(folder / f"{metric}_profiles.parquet", ("method", "threshold", "fraction", "low", "high"), profiles),
        _write_parquet(folder / f"{metric}_curves.parquet", ("method", "x", "iqm", "low", "high"), curves),
        _write_parquet(folder / f"{metric}_seeds.parquet", ("method", "task", "score"), seeds),
    ]


def _write_csv(path: Path, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([heads, *rows])
    with storage.replacing(path) as file:
        file.write(text.getvalue().encode())
    return path


def _write_parquet(path: Path, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    import pyarrow as pa

    table = pa.table(dict(zip(heads, map(list, zip(*rows, strict=True)), strict=True)))
    storage.write_table(path, table.schema, [table])
    return path


def _draw(found: Comparison, options: Compare, metric: str, label: str) -> Path:
    """Draws learning curves, scores, performance profiles and the best method's probabilities of improvement."""
    order = [score.method for score in found.scores]
    looks = {
        method: {"color": style.COLOURS[i % len(style.COLOURS)], "linestyle": style.DASHES[i // len(style.COLOURS) % 4]}
        for i, method in enumerate(order)
    }
    with matplotlib.rc_context(style.STYLE):
        figure = Figure(figsize=(11.5, 7.5 + 0.25 * max(0, len(order) - 6)), dpi=style.DPI, layout="constrained")
        ((curves, scores), (profiles, chances)) = figure.subplots(2, 2)
        for method in order:
            name = style.plain_text(method) or "(no arm)"
            _band(curves, found.places, found.curves[method], looks[method], name)
            profile = found.profiles[method]
            _band(profiles, profile.threshold, statistics.Intervals(*profile[1:]), looks[method], name)
        better = "below" if options.lower_is_better else "above"
        steps = "Environment steps per seed" if options.x == "env_steps" else "Updates"
        _name(curves, "Learning curves", steps, style.plain_text(label))
        curves.xaxis.set_major_formatter(EngFormatter(sep=""))
        curves.legend(fontsize=9, frameon=False)
        _name(profiles, "Performance profiles", "Score", f"Fraction of seeds {better} it")
        profiles.set_ylim(-0.02, 1.02)
        intervals = [(score.method, score.iqm, looks[score.method]["color"]) for score in found.scores]
        _rows(scores, intervals, "Interquartile mean over seeds", style.plain_text(label))
        pairs = [(f"than {b}", chance, looks[b]["color"]) for a, b, chance in found.pairs if a == order[0]]
        _rows(chances, pairs, f"A seed of {order[0]} does better", "Probability")
        chances.axvline(0.5, color=style.GREY, linewidth=1.2, linestyle=(0, (6, 3)))
        chances.set_xlim(0, 1)
        note = "Bands and bars: 95 % bootstrap intervals" + ", stratified by task" * options.tasks
        figure.supxlabel(note, x=0.015, ha="left", fontsize=8.5, color=style.GREY)
        path = options.output / f"{metric}.png"
        with storage.replacing(path) as file:
            figure.savefig(file, format="png", metadata={"Description": f"{metric}. {note}", "Software": None})  # pyright: ignore
    return path


def _band(axes: Axes, x: np.ndarray, found: statistics.Intervals, look: Mapping[str, Any], label: str) -> None:
    axes.fill_between(x, found.low, found.high, color=look["color"], alpha=0.2, linewidth=0)
    axes.plot(x, found.estimate, label=label, marker="o" if len(x) == 1 else None, **look)


def _rows(axes: Axes, rows: Sequence[tuple[str, statistics.Interval, str]], title: str, label: str) -> None:
    for index, (_, interval, colour) in enumerate(rows):
        axes.plot([interval.low, interval.high], [-index] * 2, color=colour, linewidth=6, alpha=0.35, solid_capstyle="butt")
        axes.plot(interval.estimate, -index, "D", color=colour, markersize=6)
    axes.set_yticks([-index for index in range(len(rows))], [style.plain_text(name) or "(no arm)" for name, _, _ in rows])
    axes.set_ylim(-len(rows) + 0.4, 0.6)
    axes.grid(axis="y", visible=False)
    _name(axes, title, label, "")


def _name(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    axes.set_title(style.plain_text(title), loc="left", fontsize=12, fontweight="bold")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
