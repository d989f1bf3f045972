"""Observers of a run on the host: a ``Sink`` learns the plan, each chunk as it is finished, and the end.

The runner talks to sinks between the chunks, so nothing here runs inside compiled code. ``jaxrl.results.recorder`` fills the
tables of a run's folder, ``jaxrl.results.progress`` shows a bar, ``jaxrl.results.trackers`` writes for TensorBoard and for
Weights & Biases.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

OF_ENVIRONMENT = "the environment's "  # begins the place of a value that an environment gave


class Failure(NamedTuple):
    """Why a seed is in quarantine.

    update: number of its first bad update, counted from 0; its state is that of before.
    place: ``"metric loss"``, ``"state.params..."`` or ``"the environment's metric episode_return"``, the first value in the order
        of causes that was not finite.
    """

    update: int
    place: str

    @property
    def of_environment(self) -> bool:
        """Whether an environment gave the bad value."""
        return self.place.startswith(OF_ENVIRONMENT)

    @property
    def value(self) -> str:
        """The place without the word of whose it is: ``"metric NAME"`` or ``"state..."``."""
        return self.place.removeprefix(OF_ENVIRONMENT)


class Plan(NamedTuple):
    """The facts that are known before the first chunk.

    seeds: int[S], the seed numbers.
    num_updates: U, updates per seed.
    chunk_length: updates in a chunk.
    steps_per_update: environment steps that one seed takes in one update, or None for what learns from a data set.
    devices: how many devices share the seeds.
    first_updates: int[S], number of the update with which each seed goes on from a checkpoint; None if all begin.
    steps_before_first_update: environment steps that one seed takes before its first update, to fill a replay buffer, say.
    evaluates: whether something is measured after each chunk.
    """

    seeds: np.ndarray
    num_updates: int
    chunk_length: int
    steps_per_update: int | None
    devices: int
    first_updates: np.ndarray | None = None
    steps_before_first_update: int = 0
    evaluates: bool = False

    @property
    def resumed_updates(self) -> int:
        """How many updates, summed over seeds, had been made before this run went on from a checkpoint."""
        return 0 if self.first_updates is None else int(np.sum(self.first_updates))

    @property
    def evaluated(self) -> np.ndarray:
        """int[C], the numbers of the updates after which something is evaluated: the last of each chunk."""
        ends = np.append(np.arange(self.chunk_length, self.num_updates, self.chunk_length), self.num_updates)
        return ends - 1 if self.evaluates else ends[:0]

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
    wanted: of a run that ended early because answers are missing: which ones, in words; see ``jaxrl.errors.AnswersWanted``.
    """

    seconds: float
    compile_seconds: float
    interrupted: bool = False
    failed_seeds: Mapping[int, Failure] = {}
    wanted: tuple[str, ...] = ()


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


@runtime_checkable
class Record(Sink, Protocol):
    """A sink that keeps what it is told, beyond the end of the process."""

    def held(self, plan: Plan) -> np.ndarray:
        """Returns how many updates of each seed it holds from the first on, without a gap, int64[S]; asked before ``begin``."""
        ...

    def complete(self, plan: Plan, summary: RunSummary) -> None:
        """Learns what holds of all seeds once they made all updates, in whatever session or process; called after ``end``."""
        ...


def held(sinks: Iterable[Sink], plan: Plan) -> np.ndarray:
    """Returns how many updates of each seed all records among some sinks hold, int64[S]; all of them if there is no record."""
    counts = [sink.held(plan) for sink in sinks if isinstance(sink, Record)]
    return np.min([np.full(len(plan.seeds), plan.num_updates), *counts], axis=0)
