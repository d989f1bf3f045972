"""What an experiment's ``run`` is given: it trains, and everything that is measured ends up in the run's directory."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.rendering import can_render
from experiments import figures
from experiments.replays import play, write_replay
from jaxrl.core.environment import Environment
from jaxrl.results.progress import Progress
from jaxrl.results.recorder import Recorder
from jaxrl.results.run_directory import TABLES, RunDirectory
from jaxrl.results.sinks import Chunk, Plan, RunSummary, Sink
from jaxrl.training import seed_axis
from jaxrl.training.checkpoint import Checkpoints
from jaxrl.training.distributed import Processes
from jaxrl.training.runner import Run, run


class Training(NamedTuple):
    """What an experiment asks of ``Session.train``; see there."""

    make: Callable
    task: Any
    config: Any
    seeds: int
    num_updates: int
    evaluators: Sequence[Callable] = ()
    variant: str = ""
    show: Sequence[str] = ("episode_return",)
    chunk_length: int | None = None


class Interrupted(Exception):
    """Ctrl-C was pressed; what had been computed is in the run's directory."""


class Session:
    """Trains the variants of one experiment into one directory.

    An experiment that is run again in the directory of one that was stopped repeats nothing that had been computed: a variant
    that was finished is read, one that was broken off goes on from its last checkpoint.
    """

    def __init__(
        self,
        directory: RunDirectory,
        seconds_between_checkpoints: float = 60.0,
        at_once: int | None = None,
        sinks: Callable[[str], Sequence[Sink]] = lambda variant: (),
        processes: Processes | None = None,
    ):
        """
        Args:
            directory: of the run.
            seconds_between_checkpoints: see ``jaxrl.training.checkpoint.Checkpoints``.
            at_once: how many seeds lie in memory at once, by default as many as fit.
            sinks: further sinks for a variant of this name.
            processes: those that share the seeds; each goes through the experiment, and the first writes what is written once.
        """
        self.directory = directory
        self._seconds_between_checkpoints = seconds_between_checkpoints
        self._at_once = at_once
        self._sinks = sinks
        self._processes = processes or Processes()
        self._began = time.perf_counter()

    def train(
        self,
        make: Callable,
        task: Any,
        config: Any,
        *,
        seeds: int,
        num_updates: int,
        evaluators: Sequence[Callable] = (),
        variant: str = "",
        show: Sequence[str] = ("episode_return",),
        chunk_length: int | None = None,
    ) -> Run:
        """Calls ``jaxrl.training.runner.run`` with a progress bar, the run's directory and its checkpoints.

        Args:
            make, task, config, seeds, num_updates, evaluators, chunk_length: see ``jaxrl.training.runner.run``.
            variant: what this training is called in the tables, if the experiment has several.
            show: metrics whose means stand beside the progress bar.

        Returns:
            A Run; of one that went on from a checkpoint the directory's tables hold all updates, the Run only the later ones.

        Raises:
            Interrupted: Ctrl-C was pressed.
        """
        training = Training(make, task, config, seeds, num_updates, evaluators, variant, show, chunk_length)
        return self.perform(training)

    def perform(self, training: Training) -> Run:
        """Does what ``train`` was asked for. Commands that look at trainings in another way replace this."""
        variant = training.variant
        title = self.directory.experiment + (f" {variant}" if variant else "")
        done = run(
            training.make,
            training.task,
            training.config,
            seeds=training.seeds,
            num_updates=training.num_updates,
            chunk_length=training.chunk_length,
            evaluators=training.evaluators,
            # A bar must be taken down even if a disk is full.
            sinks=(Progress(title, training.show), Recorder(self.directory, variant), *self._sinks(variant)),
            checkpoints=Checkpoints(self.directory.checkpoints(variant), self._seconds_between_checkpoints),
            at_once=self._at_once,
            processes=self._processes,
        )
        if done.summary.interrupted:
            raise Interrupted
        if self._processes.count == 1:
            self._complete_account(training, done)
        self._processes.wait()  # what follows may read what all have recorded
        if self._processes.first and isinstance(training.task, Environment) and can_render(training.task):
            self._film(training, done)
        return done

    def _complete_account(self, training: Training, done: Run) -> None:
        """Notes what a run that was stopped between its last checkpoint and its account had left to say: checkpoints know it."""
        account = self.directory.summary().get("runs", {}).get(training.variant, {})
        failed = {str(seed): failure._asdict() for seed, failure in sorted(done.summary.failed_seeds.items())}
        if account.get("failed_seeds") == failed and not account.get("interrupted"):
            return
        nothing_now = {"devices": len(jax.local_devices()), "first_update": training.num_updates, "updates": 0, "seconds": 0.0}
        nothing_now |= {"compile_seconds": 0.0, "env_steps": None, "env_steps_per_second": None}
        known = {"seeds": len(done.seeds), "planned_updates": training.num_updates, "interrupted": False, "failed_seeds": failed}
        self.directory.write_facts(training.variant, nothing_now | account | known)

    def _film(self, training: Training, done: Run) -> None:
        """Writes an episode of the first seed's greedy policy as an animation; the report shows it."""
        name = self.directory.checkpoints(training.variant).name
        # Of several batches or processes the states are on the host, where a traced observation cannot index them.
        config, state = (
            jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), tree)
            for tree in (seed_axis.spread(training.config, len(done.seeds)), done.state)
        )
        algorithm = training.make(training.task, config)
        if algorithm.policy is not None and not (self.directory.path / "replays" / f"{name}.gif").exists():
            played = play(jax.random.key(0), training.task, algorithm.policy(state, True), algorithm.memory)
            write_replay(self.directory, name, training.task, played)

    def record(self, metrics: Mapping[str, Any], variant: str = "") -> None:
        """Stores numbers that were not measured by ``train``, for claims and figures to read.

        Args:
            metrics: name -> float[S, U], a row per seed; float[U] is one seed and a number one seed and one update. All must
                have the same shape. What the U columns are (steps, sizes, temperatures) is the experiment's business.
            variant: as for ``train``.
        """
        if self._processes.first:
            tables = {name: np.atleast_2d(np.asarray(values, np.float64)) for name, values in metrics.items()}
            seeds, length = next(iter(tables.values())).shape
            recorder = Recorder(self.directory, variant)
            recorder.begin(Plan(np.arange(seeds), length, length, None, 1))
            recorder.chunk(Chunk(0, np.arange(seeds), tables, {}, 0.0))
            recorder.end(RunSummary(time.perf_counter() - self._began, 0.0))
        self._processes.wait()

    def draw_curves(self, metric: str, **options: Any) -> None:
        """Draws the learning curves of a metric and where the seeds end; options as for ``figures.learning_curves``.

        Nothing is drawn where no seed has a value at its end: all are in quarantine.
        """
        if not self._has(metric):
            return
        figures.learning_curves(self.directory, metric, **options)
        figures.distribution(self.directory, metric, fraction=0.01)

    def draw_gap(self, metric: str = "greedy_optimality_gap", **options: Any) -> None:
        """Draws how far the policies are from the exact optimum; linear, since a solved environment's gap is zero."""
        if self._has(metric):
            figures.gap_curve(self.directory, metric, **{"scale": "linear", **options})

    def _has(self, metric: str) -> bool:
        """Returns whether a seed of some variant has a value of a metric at its end."""
        tables = [table for table in map(self.directory.table, TABLES) if metric in table.columns()]
        ends = (table.ends([metric], variant) for table in tables for variant in table.variants())
        return any(np.isfinite(values).any() for found in ends for values in found.values())
