"""The progress of a run, for the user: a bar in a terminal, a line now and then elsewhere."""

import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

import numpy as np

from jaxrl.results.sinks import Chunk, Failure, Plan, RunSummary

SEEDS_NAMED = 10  # of those in quarantine, each with a line of its own


class Progress:
    """A sink that shows how far a run is, its speed over all seeds, the time left and the means of some metrics.

    In a terminal it draws one bar (with rich; the environment variable ``NO_COLOR`` is respected). Into a file or a pipe, or
    where rich is not installed, it writes at most a line every ``seconds_between_lines`` and a line at the end.
    """

    def __init__(
        self,
        title: str = "",
        metrics: Sequence[str] = ("episode_return",),
        stream: TextIO | None = None,
        seconds_between_lines: float = 10.0,
        seed_name: Callable[[int], str] = str,
    ):
        """
        Args:
            title: name of the run.
            metrics: names of the metrics and evaluations whose mean over seeds is shown; those that are missing are not.
            stream: where to show it, by default the standard error stream.
            seconds_between_lines: the least time between two lines, in seconds; concerns lines, not the bar.
            seed_name: the words for a seed by its number, where several arms are trained together.
        """
        self._title = title or "run"
        self._metrics = tuple(metrics)
        self._seed_name = seed_name
        self._stream = stream
        self._seconds_between_lines = seconds_between_lines

    def begin(self, plan: Plan) -> None:
        """See ``jaxrl.results.sinks.Sink``."""
        self._plan = plan
        self._out = self._stream or sys.stderr
        self._seed_updates = plan.resumed_updates
        self._pace = _Pace()
        self._means: dict[str, float] = {}
        self._named = 0
        self._last_line = -math.inf
        self._bar = _bar(self._out, self._title, plan.num_updates)

    def chunk(self, chunk: Chunk) -> None:
        """See ``jaxrl.results.sinks.Sink``."""
        self._seed_updates += chunk.num_updates * len(chunk.seeds)
        self._pace.add(chunk.num_updates * len(chunk.seeds), chunk.seconds)
        self._announce(chunk.failures)
        measured = {**chunk.metrics, **chunk.evaluation}
        for name in self._metrics:
            if name in measured and not np.isnan(measured[name]).all():
                self._means[name] = float(np.nanmean(measured[name]))
        left = self._time_left()
        if self._bar is not None:
            fields = {"speed": self._speed(), "time": left, "means": self._mean_text()}
            self._bar.update(self._bar.task_ids[0], completed=self._done, **fields)
        elif time.monotonic() - self._last_line >= self._seconds_between_lines and self._done < self._plan.num_updates:
            self._last_line = time.monotonic()
            share = f"{100 * self._done / self._plan.num_updates:.0f} %"
            self._line(f"{self._count()} updates ({share})", self._speed(), left, self._mean_text())

    def end(self, summary: RunSummary) -> None:
        """See ``jaxrl.results.sinks.Sink``."""
        complete = self._done >= self._plan.num_updates
        took = f"{'done' if complete else 'stopped'} after {duration(summary.seconds)}"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], speed=self._speed(), time=took)
            self._bar.stop()
        else:
            compiling = f"{duration(summary.compile_seconds)} of it compiling"
            self._line(f"{self._count()} updates", f"{took}, {compiling}", self._speed(), self._mean_text())
        if summary.failed_seeds:
            seeds = sorted(summary.failed_seeds)
            names = ", ".join(map(self._seed_name, seeds[:10])) + (", ..." if len(seeds) > 10 else "")
            self._line(f"{len(seeds)} of {len(self._plan.seeds)} seeds in quarantine: {names}")

    def _announce(self, failures: Mapping[int, Failure]) -> None:
        """Names seeds as they go into quarantine, but not thousands of them."""
        room = SEEDS_NAMED - self._named
        for seed, failure in sorted(failures.items())[: max(room, 0)]:
            name, update = self._seed_name(seed), failure.update
            self._line(f"seed {name} goes into quarantine at update {update}: {failure.place} is not finite")
        self._named += len(failures)

    @property
    def _done(self) -> int:
        """How many updates each seed has made, on average where not all seeds are in memory at once."""
        return self._seed_updates // len(self._plan.seeds)

    def _time_left(self) -> str:
        """Returns the time left in words, empty while only the chunk that compiled is known."""
        if self._pace.compiled:
            return ""
        left = self._plan.num_updates * len(self._plan.seeds) - self._seed_updates
        return f"{duration(left / self._pace.seed_updates_per_second)} left"

    def _line(self, *parts: str) -> None:
        text = f"{self._title}: {'  '.join(part for part in parts if part)}"
        if self._bar is not None and self._bar.live.is_started:
            self._bar.console.print(text, markup=False, highlight=False)  # above the bar
        else:
            print(text, file=self._out, flush=True)

    def _count(self) -> str:
        return f"{self._done}/{self._plan.num_updates}"

    def _speed(self) -> str:
        if self._done == 0:
            return ""
        updates = self._pace.seed_updates_per_second
        if self._plan.steps_per_update is None:
            return f"{quantity(updates)} updates/s"
        return f"{quantity(updates * self._plan.steps_per_update)} steps/s"

    def _mean_text(self) -> str:
        return "  ".join(f"{name} {value:.4g}" for name, value in self._means.items())


class _Pace:
    """Updates per second, summed over seeds. The first chunk includes compiling, so it counts only while it is the only one."""

    def __init__(self):
        self._first: tuple[int, float] | None = None
        self._updates, self._seconds = 0, 0.0

    def add(self, updates: int, seconds: float) -> None:
        if self._first is None:
            self._first = (updates, seconds)
        else:
            self._updates += updates
            self._seconds += seconds

    @property
    def compiled(self) -> bool:
        """Whether the pace is that of the chunk that compiled."""
        return not self._updates

    @property
    def seed_updates_per_second(self) -> float:
        updates, seconds = (self._updates, self._seconds) if self._updates else self._first or (0, 0.0)
        return max(updates, 1) / max(seconds, 1e-9)


def _bar(stream: TextIO, title: str, num_updates: int) -> Any:
    """Returns a bar that has been started, or None where there is no terminal to draw it in or no rich to draw it with."""
    if not stream.isatty() or os.environ.get("TERM") == "dumb":
        return None
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    except ImportError:
        return None
    fields = [TextColumn(f"{{task.fields[{name}]}}", markup=False) for name in ("speed", "time", "means")]
    columns = [TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), *fields]
    bar = Progress(*columns, console=Console(file=stream), refresh_per_second=4)
    bar.add_task(title, total=num_updates, speed="compiling", time="", means="")
    bar.start()
    return bar


def quantity(value: float) -> str:
    """Returns a positive number in three digits with k, M or G for a thousand, a million or a billion: ``1.23M``."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * factor:
            return f"{value / factor:.3g}{letter}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """Returns a time as ``0.42 s``, ``42 s``, ``3 min 20 s`` or ``2 h 5 min``."""
    if seconds < 9.95:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
