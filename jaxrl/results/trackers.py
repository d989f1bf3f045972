"""Sinks that send a run to TensorBoard or to Weights & Biases. Each needs an extra: ``pip install 'jaxrl[tensorboard]'``.

Both write the same numbers against the environment steps of one seed (against updates where a run learns from a data set):

- ``metrics/<name>/mean``: a point per update, or, where there are more updates than ``points``, one per block of ``k`` updates
  that follow one another, ``k`` the smallest number that gives at most ``points`` blocks. A seed's value is its mean over the
  block, updates without a value left out; a point stands at the last update of its block.
- ``evaluations/<name>/mean``: a point per evaluation, however many there are.
- ``.../quantile_05``, ``.../quantile_95`` and ``.../seeds`` where there is more than one seed: how the seeds spread, and how
  many have a finite value. The others, of seeds in quarantine for example, count neither there nor in the mean.

A point is written once all seeds have brought their part. Where the seeds do not fit into memory together, that is while the last
batch of them runs. An update left incomplete by an interrupt is written at the end, from the seeds that came so far. A resumed
run writes the points that it measures, beside those already written.
"""

import importlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from jaxrl.errors import missing_package, require
from jaxrl.results.provenance import to_json
from jaxrl.results.sinks import Chunk, Plan, RunSummary
from jaxrl.statistics import final_values

POINTS = 1000  # what TensorBoard keeps of a curve unless told otherwise
SECONDS_UNTIL_SHOWN = 5  # at most, until a point is in the event file
QUANTILES = {"quantile_05": 0.05, "quantile_95": 0.95}


class TensorBoard:
    """Writes event files that ``tensorboard --logdir FOLDER`` shows; needs the extra ``tensorboard``."""

    def __init__(self, folder: str | os.PathLike, *, config: Any = None, points: int = POINTS):
        """
        Args:
            folder: where the event files go. Sub-folders of one folder are shown as curves of one plot: a folder per arm.
            config: the resolved configuration, shown as text; see ``jaxrl.results.provenance.to_json``.
            points: most points of a metric's curve; see the module.

        Raises:
            ConfigError: tensorboardX is not installed, or an argument cannot be used.
        """
        _require_points("TensorBoard", points)
        self._package = _import("TensorBoard", "tensorboardX", "tensorboard")
        self._summary = importlib.import_module("tensorboardX.proto.summary_pb2").Summary
        self._folder, self._config, self._points = Path(folder), to_json(config), points

    def begin(self, plan: Plan) -> None:
        """See ``jaxrl.results.sinks.Sink``."""
        self._writer = self._package.SummaryWriter(str(self._folder), flush_secs=SECONDS_UNTIL_SHOWN)
        self._curves = _Curves(plan, self._points)
        if self._config is not None:
            text = json.dumps(self._config, indent=2, ensure_ascii=False)
            self._writer.add_text("config", f"```json\n{text}\n```")

    def chunk(self, chunk: Chunk) -> None:
        """See ``jaxrl.results.sinks.Sink``."""
        self._write(self._curves.add(chunk))

    def end(self, summary: RunSummary) -> None:
        """See ``jaxrl.results.sinks.Sink``."""
        self._write(self._curves.rest())
        if summary.failed_seeds:
            rows = "\n".join(f"- seed {seed}: {reason}" for seed, reason in sorted(to_json(summary.failed_seeds).items()))
            self._writer.add_text("failed_seeds", rows)
        self._writer.close()

    def _write(self, points: Iterator[tuple[int, dict[str, float]]]) -> None:
        for step, values in points:  # one event for all values of a point: several times as fast as an event for each
            entries = [self._summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
            self._writer.file_writer.add_summary(self._summary(value=entries), step)


class WeightsAndBiases:
    """Logs a run to Weights & Biases; needs the extra ``wandb``.

    By default nothing leaves the machine: the run is written to ``<folder>/wandb/offline-run-...``, and ``wandb sync`` uploads
    it when you want.
    """

    def __init__(
        self,
        project: str,
        *,
        name: str | None = None,
        group: str | None = None,
        config: Any = None,
        folder: str | os.PathLike = ".",
        mode: str = "offline",
        points: int = POINTS,
    ):
        """
        Args:
            project: the project that the run belongs to.
            name: of the run, for example the arm.
            group: what the run is shown together with, for example the experiment.
            config: the resolved configuration; see ``jaxrl.results.provenance.to_json``.
            folder: where local files go.
            mode: "offline" or "online", which sends what is measured to the server that wandb is logged in to.
            points: most points of a metric's curve; see the module.

        Raises:
            ConfigError: wandb is not installed, or an argument cannot be used.
        """
        where = "WeightsAndBiases"
        _require_points(where, points)
        require(mode in ("offline", "online"), where, "mode must be 'offline' or 'online'", mode, "Use one of them.")
        self._package = _import(where, "wandb", "wandb")
        config = to_json(config)
        self._options = {
            "project": project,
            "name": name,
            "group": group,
            "config": config if config is None or isinstance(config, dict) else {"config": config},
            "dir": os.fspath(folder),
            "mode": mode,
            "reinit": "create_new",  # arms may be open side by side
        }
        self._points = points

    def begin(self, plan: Plan) -> None:
        """See ``jaxrl.results.sinks.Sink``."""
        Path(self._options["dir"]).mkdir(parents=True, exist_ok=True)  # a missing one would be replaced by a temporary one
        self._run = self._package.init(**self._options, settings=self._package.Settings(silent=True, console="off"))
        self._axis = "updates" if plan.steps_per_update is None else "env_steps"
        self._run.define_metric(self._axis)
        for table in ("metrics", "evaluations"):
            self._run.define_metric(f"{table}/*", step_metric=self._axis)
        self._curves = _Curves(plan, self._points)

    def chunk(self, chunk: Chunk) -> None:
        """See ``jaxrl.results.sinks.Sink``."""
        self._write(self._curves.add(chunk))

    def end(self, summary: RunSummary) -> None:
        """See ``jaxrl.results.sinks.Sink``."""
        self._write(self._curves.rest())
        facts = {"seconds": summary.seconds, "compile_seconds": summary.compile_seconds, "interrupted": summary.interrupted}
        self._run.summary.update({**facts, "failed_seeds": to_json(summary.failed_seeds)})
        self._run.finish(exit_code=int(summary.interrupted))

    def _write(self, points: Iterator[tuple[int, dict[str, float]]]) -> None:
        for step, values in points:
            self._run.log({self._axis: step, **values})


class _Curves:
    """Turns the chunks of batches of seeds into points over all seeds: (step, tag -> value)."""

    def __init__(self, plan: Plan, points: int):
        self._plan = plan
        self._block_length = -(-plan.num_updates // points)
        self._waiting: dict[int, list[Chunk]] = {}  # first update -> the batches of seeds that have made this chunk
        self._block: list[dict[str, np.ndarray]] = []  # parts of a block that is not complete yet, name -> [S, n]
        self._block_seeds, self._block_end = np.zeros(0, int), 0

    def add(self, chunk: Chunk) -> Iterator[tuple[int, dict[str, float]]]:
        """Takes in a chunk and yields the points that it completes."""
        waiting = self._waiting.setdefault(chunk.first_update, [])
        waiting.append(chunk)
        if sum(len(part.seeds) for part in waiting) >= len(self._plan.seeds):
            yield from self._chunk_points(self._waiting.pop(chunk.first_update))

    def rest(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Yields the points that some seeds are missing from."""
        for first in sorted(self._waiting):
            yield from self._chunk_points(self._waiting.pop(first))
        yield from self._close_block()

    def _chunk_points(self, chunks: list[Chunk]) -> Iterator[tuple[int, dict[str, float]]]:
        seeds = np.concatenate([chunk.seeds for chunk in chunks])
        order = np.argsort(seeds)
        first, end = chunks[0].first_update, chunks[0].first_update + chunks[0].num_updates
        metrics = {name: np.concatenate([chunk.metrics[name] for chunk in chunks])[order] for name in chunks[0].metrics}
        if not (first == self._block_end and np.array_equal(seeds[order], self._block_seeds)):
            yield from self._close_block()
        self._block_seeds = seeds[order]
        start = first
        while start < end:
            stop = min(end, (start // self._block_length + 1) * self._block_length)
            self._block.append({name: values[:, start - first : stop - first] for name, values in metrics.items()})
            self._block_end = start = stop
            if stop % self._block_length == 0 or stop == self._plan.num_updates:
                yield from self._close_block()
        evaluation = {name: np.concatenate([chunk.evaluation[name] for chunk in chunks]) for name in chunks[0].evaluation}
        if evaluation:
            yield self._point("evaluations", end, evaluation)

    def _close_block(self) -> Iterator[tuple[int, dict[str, float]]]:
        if self._block:
            blocks = {name: np.concatenate([part[name] for part in self._block], axis=1) for name in self._block[0]}
            self._block = []
            yield self._point("metrics", self._block_end, {name: final_values(block, 1.0) for name, block in blocks.items()})

    def _point(self, table: str, updates: int, by_seed: Mapping[str, np.ndarray]) -> tuple[int, dict[str, float]]:
        """Returns where the point stands after so many updates, and its numbers; by_seed: name -> float[S]."""
        out: dict[str, float] = {}
        for name, values in by_seed.items():
            finite = np.asarray(values, np.float64)[np.isfinite(values)]
            if len(self._plan.seeds) > 1:
                out[f"{table}/{name}/seeds"] = float(len(finite))
            if len(finite):
                out[f"{table}/{name}/mean"] = float(finite.mean())
            if len(finite) and len(self._plan.seeds) > 1:
                quantiles = np.quantile(finite, list(QUANTILES.values()))
                out |= {f"{table}/{name}/{tag}": float(value) for tag, value in zip(QUANTILES, quantiles, strict=True)}
        return updates if self._plan.steps_per_update is None else self._plan.env_steps(updates), out


def _require_points(where: str, points: int) -> None:
    require(points >= 1, where, "points must be at least 1", points, "A thousand suits a screen.")


def _import(where: str, package: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise missing_package(where, package, extra, error) from error
