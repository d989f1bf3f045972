"""``plan NAME``: what a run would need, before it is started: memory, how many seeds fit at once, time."""

import functools
import sys
from typing import Any, NamedTuple

import jax
from rich.console import Console
from rich.table import Table

from jaxrl.core import machine
from jaxrl.errors import require
from jaxrl.experiment.claims import Experiment
from jaxrl.experiment.rehearsal import Rehearsal, rehearse
from jaxrl.experiment.session import Training
from jaxrl.results.progress import duration, quantity
from jaxrl.results.recorder import Recorder
from jaxrl.results.run_directory import RunDirectory
from jaxrl.training import memory, seed_axis
from jaxrl.training.runner import Run, run

TRIAL_UPDATES = 2


class Planned(NamedTuple):
    """What is foreseen of one training.

    variant: its name. seeds: how many. at_once: how many of them lie in memory together.
    need: of one batch. peak: bytes that the process will have had in memory at most, metrics included; on an accelerator the
    bytes on the devices. compile_seconds: measured now, on a second start most of it is saved. run_seconds: after compiling.
    """

    variant: str
    seeds: int
    at_once: int
    need: memory.Need
    peak: int
    compile_seconds: float
    run_seconds: float


class PlanningSession(Rehearsal):
    """Compiles everything as a run would and makes a few updates, into a folder that is thrown away."""

    def __init__(self, directory: RunDirectory, at_once: int | None = None):
        super().__init__(directory)
        self._at_once = at_once
        self.planned: list[Planned] = []

    def look_at(self, training: Training) -> Run:
        """Foresees a training; returns a Run of a few updates."""
        make, task, config, seeds, num_updates, evaluators = training[:6]
        require(seeds >= 1, "plan", "there must be at least one seed", seeds, "Ask for one or more.")
        devices = jax.local_devices()
        one = jax.tree.map(lambda leaf: leaf[0], seed_axis.spread(config, seeds))
        trial = min(TRIAL_UPDATES, num_updates)
        at_once = self._at_once or memory.seeds_that_fit(make, task, one, seeds, trial, evaluators, devices)
        at_once = -(-seeds // -(-seeds // at_once))
        need = memory.need(make, task, one, at_once, trial, evaluators, devices)
        # As many seeds as will lie in memory, so that their memory and their pace are those of the run.
        batch = jax.tree.map(lambda leaf: leaf[:at_once], seed_axis.spread(config, seeds))
        attempt = functools.partial(run, make, task, batch, seeds=at_once, num_updates=trial, chunk_length=trial)
        done = attempt(evaluators=evaluators, sinks=(Recorder(self.directory, training.variant),))
        again = attempt()
        pace = (again.summary.seconds - again.summary.compile_seconds) / trial
        metrics = memory.bytes_of_metrics(len(done.metrics), num_updates, seeds)
        on_host = devices[0].platform == "cpu"
        self.planned.append(
            Planned(
                training.variant,
                seeds,
                at_once,
                need,
                machine.peak_of_process() + metrics if on_host else need.bytes,
                done.summary.compile_seconds,
                pace * num_updates * seeds / at_once,
            )
        )
        return done


def plan(name: str, module: Experiment, config: Any, at_once: int | None) -> int:
    """Foresees an experiment, prints what was found and returns the exit status.

    Args:
        name: of the experiment.
        module: its module.
        config: its configuration.
        at_once: seeds that lie in memory at once, None for as many as fit.
    """
    session = rehearse(name, module, config, lambda directory: PlanningSession(directory, at_once))
    available = memory.free(jax.local_devices())
    table = Table("training", "seeds", "at once", "carry of a seed", "a seed at work", "peak", "compiling", "running", box=None)
    for entry in session.planned:
        table.add_row(
            entry.variant or name,
            f"{entry.seeds:,}",
            f"{entry.at_once:,}",
            f"{quantity(entry.need.carry)}B",
            f"{quantity(entry.need.per_seed)}B",
            f"{quantity(entry.peak)}B",
            duration(entry.compile_seconds),
            duration(entry.run_seconds),
        )
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    kinds = sorted({device.device_kind for device in jax.local_devices()})
    print(f"{len(jax.local_devices())} devices ({', '.join(kinds)}), {quantity(available)}B of memory to plan with")
    return 0
