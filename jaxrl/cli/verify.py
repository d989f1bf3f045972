"""``verify NAME``: what the bits of an experiment depend on, measured: the same seeds in several layouts, side by side."""

from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from jaxrl.cli.execute import Job
from jaxrl.experiment.arms import Arm, programs
from jaxrl.experiment.session import say
from jaxrl.training.runner import Run, run

WIDTHS = (1, 8, 64)


class Drift(NamedTuple):
    """How far the metrics of a run are from those of the first way of running it.

    arm: which training. way: how it was run.
    states_equal, metrics_equal: whether the final states, and the metrics of all updates, agree to the last bit in every seed.
    largest: the largest difference, relative to the spread (highest less lowest value) of that metric. metric: which it is.
    """

    arm: str
    way: str
    states_equal: bool
    metrics_equal: bool
    largest: float
    metric: str


def compare_ways(arm: Arm, seeds: int) -> list[Drift]:
    """Runs an arm in several ways and compares each with the first.

    Args:
        arm: what is trained.
        seeds: how many seeds take part, where configuration and task are not arrays of one for each.
    """
    devices = jax.local_devices()
    swept = any(np.ndim(leaf) for leaf in jax.tree.leaves(arm.config))
    count = arm.seeds if swept or arm.task_axes is not None else seeds
    options: dict[str, Any] = {"seeds": count, "num_updates": arm.updates, "evaluators": arm.evaluators}
    options["task_axes"] = arm.task_axes
    one = {"devices": devices[:1], "vmap_width": max(WIDTHS)}
    ways: dict[str, dict[str, Any]] = {
        f"{count} seeds, one device, {max(WIDTHS)} vmapped": one,
        "again": one,
        "a chunk for every update": {**one, "chunk_length": 1},
        "in two batches": {**one, "batch_seeds": -(-count // 2)},
        **{f"{width} vmapped": {**one, "vmap_width": width} for width in WIDTHS[:-1]},
    }
    if len(devices) > 1:
        ways[f"{len(devices)} devices"] = {"devices": devices, "vmap_width": max(WIDTHS)}
    first: Run | None = None
    drifts = []
    for way, changes in ways.items():
        say(f"{arm.label}: {way}")
        done = run(arm.make, arm.task, arm.config, **options, **changes)
        first = first or done
        drifts.append(_drift(arm.label, way, first, done))
    return drifts


def _drift(arm: str, way: str, first: Run, other: Run) -> Drift:
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
    return Drift(arm, way, states_equal, equal, largest, worst)


def verify(job: Job, seeds: int) -> int:
    """Measures the drift of an experiment and prints it. Returns 0 where reruns, chunks and batches change no bit, else 1.

    Args:
        job: the experiment; small budgets show the same as large ones. The first arm of each program is looked at.
        seeds: how many seeds take part.
    """
    arms = [arm for arm in job.arms() if not arm.after]
    drifts = [drift for places in programs(arms) for drift in compare_ways(arms[places[0]], seeds)]
    if not drifts:
        print(f"{job.experiment.name} trains no arm.")
        return 0
    table = Table("arm", "run as", "states", "metrics", "largest drift", "of", box=None)
    for drift in drifts:
        size = "" if drift.metrics_equal else f"{drift.largest:.1e}"
        words = ["equal" if equal else "differ" for equal in (drift.states_equal, drift.metrics_equal)]
        table.add_row(drift.arm, drift.way, *words, size, drift.metric)
    Console(width=120).print(table)
    print("Equal: to the last bit, in every seed. Drift: the largest difference in any update, as a share of the metric's range.")
    promised = [drift for drift in drifts if drift.way in ("again", "a chunk for every update")]
    return 0 if all(drift.states_equal and drift.metrics_equal for drift in promised) else 1
