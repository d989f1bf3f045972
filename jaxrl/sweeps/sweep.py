"""Sweeps: members of a configuration times seeds, all in one compiled call.

Every member has the same seeds (common random numbers: differences between members are less noisy than their values), and is
equal to a run of its own: with ``vmap_width=1`` to the last bit, otherwise up to the order of sums, which depends on the
number of vmapped seeds. Members that differ in static fields need programs of their own and follow one another.

The measurements are judged in ``jaxrl.sweeps.selection``.
"""

import functools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxrl.core.algorithm import Algorithm
from jaxrl.errors import require
from jaxrl.results.sinks import Chunk, Failure, Plan, RunSummary, Sink
from jaxrl.sweeps.members import Member, by_program, checked, fields, replaced
from jaxrl.sweeps.split import Split
from jaxrl.training.checkpoint import Checkpoints
from jaxrl.training.runner import run
from jaxrl.training.seed_axis import SEEDS


class Program(NamedTuple):
    """One compiled program of a sweep.

    static: the static values that its members share. members: their places in the list.
    num_updates: how many updates they had made when it was left.
    """

    static: dict[str, Any]
    members: tuple[int, ...]
    num_updates: int


class Sweep(NamedTuple):
    """The measurements of a sweep; M members, S seeds each.

    members: M dicts, field -> value. seeds: int[S], their numbers.
    metrics: name -> float32[M, S, U], NaN where a value is missing: before a checkpoint that a run went on from, after an
        interrupt, and after a member was dropped.
    evaluations: name -> float32[M, S, C]. evaluated_at: int[C], after how many updates.
    num_updates: int[M], how many updates each member was given.
    steps_per_update: environment steps that one seed of each member takes in one update, or None.
    failures: (member, seed) -> why this seed is in quarantine.
    programs: in the order in which they ran.
    seconds, compile_seconds: wall time, and how much of it was tracing and compiling.
    interrupted: whether Ctrl-C ended it early.
    steps_before_first_update: environment steps that one seed of each member took before its first update.
    """

    members: tuple[dict[str, Any], ...]
    seeds: np.ndarray
    metrics: dict[str, np.ndarray]
    evaluations: dict[str, np.ndarray]
    evaluated_at: np.ndarray
    num_updates: np.ndarray
    steps_per_update: tuple[int | None, ...]
    failures: dict[tuple[int, int], Failure]
    programs: tuple[Program, ...]
    seconds: float
    compile_seconds: float
    interrupted: bool
    steps_before_first_update: tuple[int, ...] = ()


def sweep(
    make: Callable[..., Algorithm],
    task: Any,
    config: Any,
    members: Iterable[Member],
    *,
    seeds: int | Iterable[int],
    num_updates: int,
    sinks: Callable[[int], Sequence[Sink]] = lambda member: (),
    watch: Sequence[Sink] = (),
    checkpoints: Callable[[int], Checkpoints] | None = None,
    **options: Any,
) -> Sweep:
    """Trains every member with the same seeds.

    Args:
        make, task, config, num_updates: see ``jaxrl.training.runner.run``.
        members: see ``jaxrl.sweeps.members.grid`` and ``random_members``.
        seeds: how many, or their numbers.
        sinks: those of a member: they see it as if it ran alone, with its share of the time.
        watch: sinks that see all members of a program at once; seed s of its m-th member is number ``m * SEEDS + s``.
        checkpoints: those of the program with this number.
        options: further arguments of ``jaxrl.training.runner.run``: chunk_length, root, evaluators, devices and so on.

    Raises:
        UnknownNameError: no field has a name.
        ConfigError: a value does not fit its field, or as for ``run``.
    """
    trainer = SweepTrainer(make, task, config, members, seeds, num_updates, sinks, watch, options)
    by_program = None if checkpoints is None else lambda number, trained: checkpoints(number)
    trainer.train(range(len(trainer.members)), num_updates, by_program)
    return trainer.result()


def seed_numbers(seeds: int | Iterable[int]) -> np.ndarray:
    """Returns int64[S], the numbers that ``seeds`` stands for. ``run`` checks them."""
    numbers = np.arange(seeds) if isinstance(seeds, (int, np.integer)) else np.asarray(list(seeds))
    whole = numbers.ndim == 1 and numbers.size > 0 and np.issubdtype(numbers.dtype, np.integer)
    require(whole, "sweep", "seeds must be a count of at least 1 or a list of numbers", seeds, "Ask for one or more.")
    return numbers.astype(np.int64)


class SweepTrainer:
    """Trains members of a sweep, all or some of them, up to some update, and collects what they measure."""

    def __init__(
        self,
        make: Callable[..., Algorithm],
        task: Any,
        config: Any,
        members: Iterable[Member],
        seeds: int | Iterable[int],
        num_updates: int,
        sinks: Callable[[int], Sequence[Sink]],
        watch: Sequence[Sink],
        options: Mapping[str, Any],
    ):
        """Arguments as for ``sweep``."""
        self.members = checked(config, members)
        self.seeds = seed_numbers(seeds)
        self._run = functools.partial(run, make, task, **options)
        self._sinks, self._watch = sinks, watch
        self._shared = [(static, replaced(config, static), which) for static, which in by_program(config, self.members)]
        self._tables = _Tables((len(self.members), len(self.seeds), num_updates))
        self._steps: dict[int, tuple[int | None, int]] = {}  # in an update, and before the first
        self._programs: list[Program] = []
        self._num_updates = np.zeros(len(self.members), np.int64)
        self._began, self._compile_seconds = time.perf_counter(), 0.0
        self.interrupted = False

    def train(
        self, members: Iterable[int], num_updates: int, checkpoints: Callable[[int, list[int]], Any] | None, **options: Any
    ) -> None:
        """Trains some of the members until they have made ``num_updates``; after Ctrl-C only in part, see ``interrupted``.

        Args:
            members: which. num_updates: see ``sweep``.
            checkpoints: those of a program, for those of its members that are trained now.
            options: further arguments of ``jaxrl.training.runner.run``.
        """
        members = set(members)
        for number, (static, config, which) in enumerate(self._shared):
            alive = [member for member in which if member in members]
            if not alive or self.interrupted:
                continue
            split = Split([(*self._sinks(member), _Kept(member, self._tables)) for member in alive])
            done = self._run(
                self._configs(config, alive),
                seeds=np.tile(self.seeds, (len(alive), 1)),
                num_updates=num_updates,
                sinks=(*self._watch, split),
                checkpoints=None if checkpoints is None else checkpoints(number, alive),
                **options,
            )
            self._programs.append(Program(static, tuple(alive), num_updates))
            self._num_updates[alive] = num_updates
            self._steps |= dict.fromkeys(alive, (done.steps_per_update, done.steps_before_first_update))
            self._tables.fail(alive, done.summary.failed_seeds)
            self._compile_seconds += done.summary.compile_seconds
            self.interrupted = done.summary.interrupted

    def result(self) -> Sweep:
        """Returns what has been measured so far."""
        steps = [self._steps.get(member, (None, 0)) for member in range(len(self.members))]
        return Sweep(
            self.members,
            self.seeds,
            *self._tables.of(self.seeds),
            self._num_updates.copy(),
            tuple(in_update for in_update, _ in steps),
            dict(self._tables.failures),
            tuple(self._programs),
            time.perf_counter() - self._began,
            self._compile_seconds,
            self.interrupted,
            tuple(before for _, before in steps),
        )

    def _configs(self, config: Any, members: Sequence[int]) -> Any:
        """Returns the configuration with an entry for every seed of these members wherever a field is swept."""
        copies, count = len(members), len(self.seeds)
        known = fields(config)
        swept = {name for member in members for name in self.members[member] if known[name].traced}
        columns = {}
        for name in swept:
            values = [self.members[member].get(name, known[name].value) for member in members]
            columns[name] = np.concatenate([np.broadcast_to(value, count) for value in values])
        # Values with an entry for each seed are the same for every member.
        tiled = jax.tree.map(lambda x: np.tile(x, (copies, *(1,) * (np.ndim(x) - 1))) if np.ndim(x) else x, config)
        return replaced(tiled, columns)


class _Tables:
    """The measurements of members, put together: [M, S, ...]."""

    def __init__(self, shape: tuple[int, int, int]):
        self._shape = shape
        self._metrics: dict[str, np.ndarray] = {}
        self._evaluations: dict[str, dict[int, np.ndarray]] = {}
        self.failures: dict[tuple[int, int], Failure] = {}
        self._chunks: list[tuple[int, Chunk]] = []

    def add(self, member: int, chunk: Chunk) -> None:
        self._chunks.append((member, chunk))

    def fail(self, members: Sequence[int], failed_seeds: Mapping[int, Failure]) -> None:
        self.failures |= {(members[label // SEEDS], label % SEEDS): failure for label, failure in failed_seeds.items()}

    def of(self, seeds: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
        """Returns metrics [M, S, U], evaluations [M, S, C] and int[C], after how many updates these were made."""
        place = {int(seed): row for row, seed in enumerate(seeds)}
        ends = sorted({chunk.first_update + chunk.num_updates for _, chunk in self._chunks if chunk.evaluation})
        metrics: dict[str, np.ndarray] = {}
        evaluations: dict[str, np.ndarray] = {}
        for member, chunk in self._chunks:
            rows = [place[int(seed)] for seed in chunk.seeds]
            first, end = chunk.first_update, chunk.first_update + chunk.num_updates
            for name, values in chunk.metrics.items():
                self._table(metrics, name, self._shape[2])[member, rows, first:end] = values
            for name, values in chunk.evaluation.items():
                self._table(evaluations, name, len(ends))[member, rows, ends.index(end)] = values
        return metrics, evaluations, np.asarray(ends, np.int64)

    def _table(self, tables: dict[str, np.ndarray], name: str, width: int) -> np.ndarray:
        if name not in tables:
            tables[name] = np.full((*self._shape[:2], width), np.nan, np.float32)
        return tables[name]


class _Kept:
    """The sink that puts what a member measures into the tables of the sweep."""

    def __init__(self, member: int, tables: _Tables):
        self._member, self._tables = member, tables

    def begin(self, plan: Plan) -> None:
        pass

    def chunk(self, chunk: Chunk) -> None:
        self._tables.add(self._member, chunk)

    def end(self, summary: RunSummary) -> None:
        pass
