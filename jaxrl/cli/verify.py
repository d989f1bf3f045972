"""``verify NAME``: what the bits of an experiment depend on, measured: the same seeds in several layouts, side by side."""

from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from jaxrl.cli.execute import say
from jaxrl.experiment.claims import Experiment
from jaxrl.experiment.rehearsal import Rehearsal, rehearse
from jaxrl.experiment.session import Training
from jaxrl.results.recorder import Recorder
from jaxrl.results.run_directory import RunDirectory
from jaxrl.training.runner import Run, run

WIDTHS = (1, 8, 64)


class Drift(NamedTuple):
    """How far the metrics of a run are from those of the first way of running it.

    variant: which training. way: how it was run.
    states_equal, metrics_equal: whether the final states, and the metrics of all updates, agree to the last bit in every seed.
    largest: the largest difference, relative to the spread (highest less lowest value) of that metric. metric: which it is.
    """

    variant: str
    way: str
    states_equal: bool
    metrics_equal: bool
    largest: float
    metric: str


class VerifyingSession(Rehearsal):
    """Runs every training in several ways, into a folder that is thrown away."""

    def __init__(self, directory: RunDirectory, seeds: int):
        super().__init__(directory)
        self._seeds = seeds
        self.drifts: list[Drift] = []

    def look_at(self, training: Training) -> Run:
        """Runs a training in several ways and compares; returns the first Run."""
        make, task, config, seeds, num_updates, evaluators, variant = training[:7]
        devices = jax.local_devices()
        swept = any(np.ndim(leaf) for leaf in jax.tree.leaves(config))
        count = seeds if swept else self._seeds
        options = {"seeds": count, "num_updates": num_updates, "evaluators": evaluators}
        one = {"devices": devices[:1], "group": max(WIDTHS)}
        ways: dict[str, dict[str, Any]] = {
            f"{count} seeds, one device, {max(WIDTHS)} vmapped": {**one, "sinks": (Recorder(self.directory, variant),)},
            "again": one,
            "a chunk for every update": {**one, "chunk_length": 1},
            "in two batches": {**one, "at_once": -(-count // 2)},
            **{f"{width} vmapped": {**one, "group": width} for width in WIDTHS[:-1]},
        }
        if len(devices) > 1:
            ways[f"{len(devices)} devices"] = {"devices": devices, "group": max(WIDTHS)}
        first: Run | None = None
        for way, changes in ways.items():
            say(f"{variant or self.directory.experiment}: {way}")
            done = run(make, task, config, **options, **changes)
            first = first or done
            self.drifts.append(_drift(variant, way, first, done))
        assert first is not None
        return first


def _drift(variant: str, way: str, first: Run, other: Run) -> Drift:
    largest, worst, equal = 0.0, "", True
    for name, values in first.metrics.items():
        theirs = other.metrics[name]
        equal &= np.array_equal(values, theirs, equal_nan=True)
        spread = np.nanmax(values) - np.nanmin(values) if np.isfinite(values).any() else 0.0
        difference = np.abs(values - theirs)
        missing_alike = np.array_equal(np.isnan(values), np.isnan(theirs))
        share = float(np.nanmax(difference, initial=0.0) / (spread or 1.0)) if missing_alike else np.inf
        if share > largest:
            largest, worst = share, name
    leaves = [jax.tree.leaves(jax.device_get(done.state)) for done in (first, other)]
    states_equal = all(np.asarray(mine).tobytes() == np.asarray(yours).tobytes() for mine, yours in zip(*leaves, strict=True))
    return Drift(variant, way, states_equal, equal, largest, worst)


def verify(name: str, module: Experiment, config: Any, seeds: int) -> int:
    """Measures the drift of an experiment and prints it. Returns 0 where reruns, chunks and batches change no bit, else 1.

    Args:
        name: of the experiment.
        module: its module.
        config: its configuration; small budgets show the same as large ones.
        seeds: how many seeds take part.
    """
    session = rehearse(name, module, config, lambda directory: VerifyingSession(directory, seeds))
    table = Table("training", "run as", "states", "metrics", "largest drift", "of", box=None)
    for drift in session.drifts:
        size = "" if drift.metrics_equal else f"{drift.largest:.1e}"
        words = ["equal" if equal else "differ" for equal in (drift.states_equal, drift.metrics_equal)]
        table.add_row(drift.variant or name, drift.way, *words, size, drift.metric)
    Console(width=120).print(table)
    print("Equal: to the last bit, in every seed. Drift: the largest difference in any update, as a share of the metric's range.")
    promised = [drift for drift in session.drifts if drift.way in ("again", "a chunk for every update")]
    return 0 if all(drift.states_equal and drift.metrics_equal for drift in promised) else 1
