"""The measurements of a run, on their way from the devices to the host: one copy per chunk, kept and handed to the sinks."""

import functools
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxrl.core import averages
from jaxrl.errors import QuarantineWarning
from jaxrl.results.sinks import Chunk, Failure, Plan, Record, RunSummary, Sink
from jaxrl.training import quarantine


class DeviceChunk(NamedTuple):
    """The measurements of a batch in one chunk, on the devices; seeds that fill up the layout included. See ``sinks.Chunk``.

    rows: int[B], the places of the batch's seeds in the run's list of seeds.
    metrics: name -> [B, n, ...], evaluation: name -> [B, ...]: numbers, arrays or Averages.
    """

    rows: np.ndarray
    first_update: int
    metrics: dict[str, Any]
    evaluation: dict[str, Any]
    health: quarantine.Health


class Measurements:
    """Takes what is measured to the host, keeps it and hands it to the sinks.

    numbers: int[S], of all seeds of the run. watched_names: returns the names of the watched arrays; called only if a seed goes
        into quarantine.
    """

    def __init__(self, numbers: np.ndarray, sinks: Sequence[Sink], watched_names: Callable[[], list[str]]):
        self._numbers, self._sinks, self._watched_names = numbers, sinks, watched_names
        self._begun = False
        self._clock = time.perf_counter()
        self._chunks: list[tuple[np.ndarray, Chunk]] = []
        self._failures: dict[int, Failure] = {}

    def begin(self, plan: Plan) -> None:
        """Tells the sinks the plan. Without it they are left alone at the end, too."""
        self._begun = True
        for sink in self._sinks:
            sink.begin(plan)

    def deliver(self, measured: DeviceChunk | None) -> None:
        """Waits for a chunk, copies it to the host and hands it on."""
        if measured is None:
            return
        rows = measured.rows
        metrics, evaluation, health = _on_host(measured)
        failures = self.note(rows, health)
        now = time.perf_counter()
        chunk = Chunk(measured.first_update, self._numbers[rows], metrics, evaluation, now - self._clock, failures)
        self._clock = now
        self._chunks.append((rows, chunk))
        for sink in self._sinks:
            sink.chunk(chunk)

    def note(self, rows: np.ndarray, health: quarantine.Health) -> dict[int, Failure]:
        """Returns the seeds that are newly in quarantine, and remembers them."""
        update, place = map(np.asarray, health)
        bad = [i for i in np.flatnonzero(update != quarantine.GOOD) if int(self._numbers[rows[i]]) not in self._failures]
        names = self._watched_names() if bad else []
        new = {int(self._numbers[rows[i]]): Failure(int(update[i]), names[place[i]]) for i in bad}
        self._failures |= new
        return new

    def end(self, seconds: float, compile_seconds: float, interrupted: bool, wanted: tuple[str, ...] = ()) -> RunSummary:
        """Tells the sinks how the run ended."""
        summary = RunSummary(seconds, compile_seconds, interrupted, self._failures, wanted)
        for sink in self._sinks if self._begun else ():
            sink.end(summary)
        if not self._sinks and self._failures and len(self._failures) == len(self._numbers):
            _warn(self._failures)
        return summary

    def complete(self, plan: Plan, summary: RunSummary) -> None:
        """Tells the records among the sinks what holds of all seeds."""
        for sink in self._sinks:
            if isinstance(sink, Record):
                sink.complete(plan, summary)

    def tables(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
        """Returns metrics [S, U], evaluations [S, C] and int[C], how many updates had been made at each evaluation."""
        metrics, _ = self._table([(rows, c.first_update, c.metrics) for rows, c in self._chunks])
        at_ends = [
            (rows, c.first_update + c.num_updates, {name: values[:, None] for name, values in c.evaluation.items()})
            for rows, c in self._chunks
        ]
        return metrics, *self._table(at_ends)

    def _table(self, parts: list[tuple[np.ndarray, int, dict[str, np.ndarray]]]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Puts pieces [B, n] that begin in some column into tables with a row for each seed."""
        widths = [next((values.shape[1] for values in columns.values()), 1) for _, _, columns in parts]
        places = [first + np.arange(width) for (_, first, _), width in zip(parts, widths, strict=True)]
        present = np.unique(np.concatenate([np.arange(0), *places]))
        tables: dict[str, np.ndarray] = {}
        for (rows, _, columns), place in zip(parts, places, strict=True):
            at = np.searchsorted(present, place)
            for name, values in columns.items():
                empty = functools.partial(np.full, (len(self._numbers), len(present)), np.nan, np.float32)
                table = tables[name] if name in tables else tables.setdefault(name, empty())
                table[rows[:, None], at] = values
        return tables, present


def _warn(failures: dict[int, Failure]) -> None:
    """Warns that no seed is left. Sinks are told of each as it fails: this is for a run that has none."""
    first = min(failures, key=lambda seed: failures[seed].update)
    update, place = failures[first]
    text = f"run: every seed is in quarantine; the first is seed {first} at update {update}: {place} is not finite."
    fix = "See Run.summary.failed_seeds, or give sinks=[jaxrl.results.progress.Progress()] to be told at once."
    warnings.warn(f"{text} {fix}", QuarantineWarning, stacklevel=4)  # where run was called


def _on_host(measured: DeviceChunk) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], quarantine.Health]:
    """Copies what was measured to the host, divides averages and makes a column of every entry of an array.

    This is where metrics enter the host: from here on a name stands for one number of every seed and update. Of a seed in
    quarantine, the metrics of updates that were thrown away and the evaluations are missing: NaN is written here, so that no
    compiled program holds one.
    """
    everything = jax.device_get((measured.metrics, measured.evaluation, measured.health))  # one copy per chunk
    metrics, evaluation, health = jax.tree.map(lambda leaf: leaf[: len(measured.rows)], everything)
    bad = health.update != quarantine.GOOD

    def kept(values: np.ndarray) -> np.ndarray:
        thrown_away = measured.first_update + np.arange(values.shape[1]) > health.update[:, None]
        return np.where(bad[:, None] & thrown_away, np.nan, values)

    metrics = {name: kept(values) for name, values in averages.columns(metrics, axes=2).items()}
    evaluation = {name: np.where(bad, np.nan, values) for name, values in averages.columns(evaluation, axes=1).items()}
    return metrics, evaluation, health
