"""What an experiment's ``run`` is given: it trains, and everything that is measured ends up in the run's directory."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments import figures
from jaxrl.progress import Progress
from jaxrl.results import Chunk, Plan, RunDirectory, RunSummary
from jaxrl.runner import Run, run


class Interrupted(Exception):
    """Ctrl-C was pressed; what had been computed is in the run's directory."""


class Session:
    """Trains the variants of one experiment into one directory."""

    def __init__(self, directory: RunDirectory):
        self.directory = directory
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
        """Calls ``jaxrl.runner.run`` with a progress bar and the run's directory as sinks.

        Args:
            make, task, config, seeds, num_updates, evaluators, chunk_length: see ``jaxrl.runner.run``.
            variant: what this training is called in the tables, if the experiment has several.
            show: metrics whose means stand beside the progress bar.

        Raises:
            Interrupted: Ctrl-C was pressed.
        """
        title = self.directory.experiment + (f" {variant}" if variant else "")
        done = run(
            make,
            task,
            config,
            seeds=seeds,
            num_updates=num_updates,
            chunk_length=chunk_length,
            evaluators=evaluators,
            sinks=(Progress(title, show), self.directory.recorder(variant)),  # a bar must be taken down even if a disk is full
        )
        if done.summary.interrupted:
            raise Interrupted
        return done

    def record(self, metrics: Mapping[str, Any], variant: str = "") -> None:
        """Stores numbers that were not measured by ``train``, for claims and figures to read.

        Args:
            metrics: name -> float[S, U], a row per seed; float[U] is one seed and a number one seed and one update. All must
                have the same shape. What the U columns are (steps, sizes, temperatures) is the experiment's business.
            variant: as for ``train``.
        """
        tables = {name: np.atleast_2d(np.asarray(values, np.float64)) for name, values in metrics.items()}
        seeds, length = next(iter(tables.values())).shape
        recorder = self.directory.recorder(variant)
        recorder.begin(Plan(np.arange(seeds), length, length, None, 1))
        recorder.chunk(Chunk(0, tables, {}, 0.0))
        recorder.end(RunSummary(time.perf_counter() - self._began, 0.0))

    def draw_curves(self, metric: str, **options: Any) -> None:
        """Draws the learning curves of a metric and where the seeds end; options as for ``figures.learning_curves``."""
        figures.learning_curves(self.directory, metric, **options)
        figures.distribution(self.directory, metric, fraction=0.01)

    def draw_gap(self, metric: str = "optimality_gap", **options: Any) -> None:
        """Draws how far the policies are from the exact optimum; linear, since a solved environment's gap is zero."""
        figures.gap_curve(self.directory, metric, **{"scale": "linear", **options})
