"""``plan NAME``: how much a run would need, before it is started: memory, how many seeds fit at once, time."""

import sys
from collections.abc import Sequence
from typing import NamedTuple

import jax
from rich.console import Console
from rich.table import Table

from jaxrl.cli.execute import Job
from jaxrl.core import machine
from jaxrl.experiment.arms import Arm, inputs, programs
from jaxrl.experiment.session import program_name, say
from jaxrl.results.progress import duration, quantity
from jaxrl.training import memory, seed_axis
from jaxrl.training.runner import run

TRIAL_UPDATES = 2


class Planned(NamedTuple):
    """The needs of one program.

    name: of its arms. seeds: how many, of all arms together. batch_seeds: how many of them lie in memory together.
    need: of one batch. peak: bytes that the process will have had in memory at most, metrics included; on an accelerator the
    bytes on the devices. compile_seconds: measured now, on a second start most of it is saved. run_seconds: after compiling.
    """

    name: str
    seeds: int
    batch_seeds: int
    need: memory.Need
    peak: int
    compile_seconds: float
    run_seconds: float


def foresee(arms: Sequence[Arm], batch_seeds: int | None = None) -> Planned:
    """Compiles the program of these arms as a run would and makes a few updates, which are thrown away.

    Args:
        arms: of one structure.
        batch_seeds: seeds that lie in memory at once, None for as many as fit.
    """
    first = arms[0]
    seeds, trial = len(arms) * first.seeds, min(TRIAL_UPDATES, first.updates)
    devices = jax.local_devices()
    config = jax.tree.map(lambda leaf: leaf[0], seed_axis.spread(first.config, first.seeds))
    needed = (first.make, first.task_of(0), config)
    fitting = batch_seeds or memory.seeds_that_fit(*needed, seeds, trial, first.evaluators, devices)
    together = -(-seeds // -(-seeds // fitting))  # in batches of equal size
    need = memory.need(*needed, together, trial, first.evaluators, devices)
    # One batch of as many seeds as will lie in memory, so that their memory and their pace are those of the run.
    count = min(len(arms), -(-together // first.seeds))
    batch = {**inputs(arms[:count], seeds=min(first.seeds, together)), "num_updates": trial, "chunk_length": trial}
    done = run(**batch)
    again = run(**{**batch, "evaluators": (), "evaluator_axes": None})
    pace = (again.summary.seconds - again.summary.compile_seconds) / trial / len(again.seeds)
    metrics = memory.bytes_of_metrics(len(done.metrics), first.updates, seeds)
    peak = machine.peak_of_process() + metrics if devices[0].platform == "cpu" else need.bytes
    return Planned(program_name(arms), seeds, together, need, peak, done.summary.compile_seconds, pace * first.updates * seeds)


def plan(job: Job, batch_seeds: int | None) -> int:
    """Foresees an experiment, prints what was found and returns the exit status.

    Args:
        job: the experiment and its settings.
        batch_seeds: seeds that lie in memory at once, None for as many as fit.
    """
    arms = job.arms()
    later = [arm.label for arm in arms if arm.after]
    arms = [arm for arm in arms if not arm.after]
    planned = [foresee([arms[place] for place in places], batch_seeds) for places in programs(arms)]
    if later:
        say(f"not planned, since they are made from the results of other arms: {', '.join(later)}")
    name = job.experiment.name
    if not planned:
        print(f"{name} trains no arm.")
        return 0
    available = memory.free(jax.local_devices())
    table = Table("program", "seeds", "at once", "carry of a seed", "a seed at work", "peak", "compiling", "running", box=None)
    for entry in planned:
        table.add_row(
            entry.name,
            f"{entry.seeds:,}",
            f"{entry.batch_seeds:,}",
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
