"""Observers of a run on the host: a ``Sink`` learns the plan, each chunk as it is finished, and the end.

The runner talks to sinks between the chunks, so nothing here runs inside compiled code. ``jaxrl.results.recorder`` fills the
tables of a run's folder, ``jaxrl.results.progress`` shows a bar, ``jaxrl.results.trackers`` writes for TensorBoard and for
Weights & Biases.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np


class Failure(NamedTuple):
    """Why a seed is in quarantine.

    update: number of its first bad update, counted from 0; its state is that of before.
    place: ``"metric loss"`` or ``"state.params..."``, the first value that was not finite.
    """

    update: int
    place: str


class Plan(NamedTuple):
    """The facts that are known before the first chunk.

    seeds: int[S], the seed numbers.
    num_updates: U, updates per seed.
    chunk_length: updates in a chunk.
    steps_per_update: environment steps that one seed takes in one update, or None for what learns from a data set.
    devices: how many devices share the seeds.
    resumed_updates: how many updates, summed over seeds, had been made before this run went on from a checkpoint.
    steps_before_first_update: environment steps that one seed takes before its first update, to fill a replay buffer, say.
    """

    seeds: np.ndarray
    num_updates: int
    chunk_length: int
    steps_per_update: int | None
    devices: int
    resumed_updates: int = 0
    steps_before_first_update: int = 0

    def env_steps(self, updates: Any) -> Any:
        """Returns the environment steps that one seed has taken after so many updates, a number or an array of them.

        None for what learns from a data set.
        """
        return None if self.steps_per_update is None else self.steps_before_first_update + updates * self.steps_per_update


class Chunk(NamedTuple):
    """The results of one chunk of n updates for a batch of B seeds: those that are in memory together, all of them or fewer.

    first_update: number of its first update, counted from 0.
    seeds: int[B], their numbers.
    metrics: name -> float[B, n], NaN where a value is missing.
    evaluation: name -> float[B], measured after its last update; may be empty.
    seconds: wall seconds that it took.
    failures: seeds that went into quarantine, and why.
    """

    first_update: int
    seeds: np.ndarray
    metrics: dict[str, np.ndarray]
    evaluation: dict[str, np.ndarray]
    seconds: float
    failures: Mapping[int, Failure] = {}

    @property
    def num_updates(self) -> int:
        """n, how many updates each seed made."""
        return next((values.shape[1] for values in self.metrics.values()), 0)


class RunSummary(NamedTuple):
    """The facts that are known when a run ends, for any reason.

    seconds: wall seconds in all.
    compile_seconds: of these, tracing and compiling.
    interrupted: whether it ended early.
    failed_seeds: number of each seed in quarantine -> its first update with a value that is not finite, and which value.
    """

    seconds: float
    compile_seconds: float
    interrupted: bool = False
    failed_seeds: Mapping[int, Failure] = {}


class Sink(Protocol):
    """Something that follows a run on the host. Called in this order; ``end`` is called once, also after a failure."""

    def begin(self, plan: Plan) -> None:
        """Learns what is going to happen."""
        ...

    def chunk(self, chunk: Chunk) -> None:
        """Takes in one chunk. Its arrays may be kept but not changed: other sinks hold them too."""
        ...

    def end(self, summary: RunSummary) -> None:
        """Learns that no more chunks will come."""
        ...
