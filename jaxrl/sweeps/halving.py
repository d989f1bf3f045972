"""Successive halving: many members get few updates, the better ones go on.

    for each rung
        train the members that are left until they have made the rung's number of updates
        keep the best 1 / eta of them

Survivors go on from where they were: nothing is computed twice, and a survivor is what it would have been without rungs. Each
rung has fewer members than the one before and so is a program of its own.

Source: Jamieson and Talwalkar (2016), algorithm 1, with a fixed number of updates in place of a budget.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core.algorithm import Algorithm
from jaxrl.errors import require
from jaxrl.results.sinks import Sink
from jaxrl.sweeps.members import Member
from jaxrl.sweeps.selection import Objective
from jaxrl.sweeps.sweep import Sweep, SweepTrainer
from jaxrl.training.checkpoint import Checkpoints, Saved
from jaxrl.training.seed_axis import SEEDS, SeedState

PyTree = Any


class Rung(NamedTuple):
    """One rung. num_updates: that its members had made at its end. members: their places, best first. scores: float64[m, S]."""

    num_updates: int
    members: tuple[int, ...]
    scores: np.ndarray


class Halving(NamedTuple):
    """The measurements of successive halving.

    sweep: of all members; one that was dropped has NaN from then on, and ``num_updates`` says when.
    rungs: in order; after an interrupt, those that were finished.
    scores: float64[M, S], those of the last rung, NaN for members that were dropped.
    """

    sweep: Sweep
    rungs: tuple[Rung, ...]
    scores: np.ndarray


def rungs_of(num_updates: int, num_members: int, eta: int = 2) -> list[int]:
    """Returns the updates after which members are dropped: as many rungs as leave one member, each ``eta`` times the one before.

    Args:
        num_updates: of the last rung; must be divisible by ``eta`` often enough, or there are fewer rungs.
        num_members: M.
        eta: at least 2.
    """
    require(eta >= 2, "rungs_of", "eta must be at least 2", eta, "2 and 3 are common.")
    rungs = [num_updates]
    while rungs[0] % eta == 0 and eta ** len(rungs) < num_members * eta:
        rungs.insert(0, rungs[0] // eta)
    return rungs


def halve(
    make: Callable[..., Algorithm],
    task: Any,
    config: Any,
    members: Iterable[Member],
    *,
    objective: Objective,
    seeds: int | Iterable[int],
    rungs: Sequence[int],
    eta: int = 2,
    chunk_length: int | None = None,
    sinks: Callable[[int], Sequence[Sink]] = lambda member: (),
    watch: Sequence[Sink] = (),
    checkpoints: Callable[[int, int], Checkpoints] | None = None,
    score: Callable[[Sweep], np.ndarray] | None = None,
    **options: Any,
) -> Halving:
    """Trains members, and after each rung only the better ones.

    Args:
        make, task, config, members, seeds, sinks, watch, options: see ``jaxrl.sweeps.sweep.sweep``.
        objective: what makes a member good.
        rungs: rising numbers of updates; the last is what survivors make in all. See ``rungs_of``.
        eta: the best 1 / eta, rounded up, go on.
        chunk_length: must divide all rungs; by default such that the first rung has about four chunks.
        checkpoints: those of program and rung, to go on after a kill; needs ``score``.
        score: reads the scores so far, float64[M, S], by default ``objective.of``. A run that goes on from a checkpoint
            returns later updates only, so that the scores must be read where the sinks wrote all of them.

    Raises:
        ConfigError: the rungs do not rise, a chunk does not fit into them, or as for ``sweep``.
    """
    chunk_length = chunk_length_of(rungs, eta, chunk_length)
    objective.require_measured(make, task, config, options.get("evaluators", ()))
    trainer = SweepTrainer(make, task, config, members, seeds, rungs[-1], sinks, watch, options)
    alive = list(range(len(trainer.members)))
    relays = _Relays(checkpoints)
    passed: list[Rung] = []
    for num_updates in rungs:
        relays.climb(num_updates)
        trainer.train(alive, num_updates, relays, chunk_length=chunk_length)
        if trainer.interrupted:
            break
        scores = (score or objective.of)(trainer.result())
        ranked = [int(member) for member in objective.ranking(scores) if member in alive]
        passed.append(Rung(num_updates, tuple(ranked), scores[ranked]))
        alive = sorted(ranked[: math.ceil(len(ranked) / eta)])
    done = trainer.result()
    scores = np.full((len(trainer.members), len(trainer.seeds)), np.nan)
    if passed:
        scores[list(passed[-1].members)] = passed[-1].scores
    return Halving(done, tuple(passed), scores)


class _Relay:
    """Stands for the checkpoints of ``run``: hands it the carries of the rung before and keeps those that it ends with."""

    def __init__(
        self, members: Sequence[int], num_updates: int, start: dict[Path, tuple[Saved, SeedState]], disk: Checkpoints | None
    ):
        """
        Args:
            members: in the order in which ``run`` has them.
            num_updates: at the end of the rung.
            start: the carries to go on from, by made-up paths; empty in the first rung.
            disk: the checkpoints of this rung.
        """
        self.members, self._num_updates, self._start, self._disk = members, num_updates, start, disk
        self._ended: list[tuple[np.ndarray, SeedState]] = []
        self._room = 1

    def begin(self, **identity: Any) -> list[Saved]:
        found = self._disk.begin(**identity) if self._disk else []
        return [saved for saved, _ in self._start.values()] + found

    def earlier(self, saved: Saved, updates: int) -> Saved | None:
        if saved.path in self._start or self._disk is None:
            return None
        return self._disk.earlier(saved, updates)

    def is_due(self) -> bool:
        return self._disk is not None and self._disk.is_due()

    def save(self, seeds: np.ndarray, next_update: int, carry: SeedState, room: int, finished: bool = False) -> None:
        if self._disk is not None:
            self._disk.save(seeds, next_update, carry, room, finished)
        if finished:
            self._keep(seeds, carry, room)

    def restore(self, saved: Saved, like: SeedState) -> SeedState:
        if saved.path in self._start:
            return self._start[saved.path][1]
        assert self._disk is not None
        carry = self._disk.restore(saved, like)
        if saved.next_update == self._num_updates:
            self._keep(saved.seeds, carry, saved.room)
        return carry

    def onward(self, members: Sequence[int]) -> dict[Path, tuple[Saved, SeedState]]:
        """Returns the carries of some of the members, numbered anew, in pieces no larger than there was room for before."""
        labels = np.concatenate([labels for labels, _ in self._ended])
        carry = jax.tree.map(lambda *leaves: _joined(leaves), *(carry for _, carry in self._ended))
        new_place = {self.members.index(member): place for place, member in enumerate(members)}
        rows = np.flatnonzero([label // SEEDS in new_place for label in labels])
        numbers = np.array([new_place[label // SEEDS] * SEEDS + label % SEEDS for label in labels[rows]])
        parts = np.array_split(np.arange(len(rows)), -(-len(rows) // self._room))
        start = {}
        for index, part in enumerate(parts):
            saved = Saved(numbers[part], self._num_updates, len(parts[0]), Path(f"carries-{index}"))
            start[saved.path] = saved, jax.tree.map(lambda leaf, part=part: leaf[rows[part]], carry)
        return start

    def _keep(self, seeds: np.ndarray, carry: SeedState, room: int) -> None:
        self._room = max(self._room, room)
        self._ended.append((np.asarray(seeds), jax.tree.map(lambda leaf: _on_host(leaf)[: len(seeds)], carry)))


class _Relays:
    """The relays of all programs: the next rung of each begins where the one before ended."""

    def __init__(self, checkpoints: Callable[[int, int], Checkpoints] | None):
        self._checkpoints = checkpoints
        self._rung, self._num_updates = -1, 0
        self._before: dict[int, _Relay] = {}
        self._now: dict[int, _Relay] = {}

    def climb(self, num_updates: int) -> None:
        """Begins the next rung, which ends after ``num_updates``."""
        self._before, self._now = self._now, {}
        self._rung, self._num_updates = self._rung + 1, num_updates

    def __call__(self, program: int, members: Sequence[int]) -> _Relay:
        start = self._before[program].onward(members) if self._rung else {}
        disk = None if self._checkpoints is None else self._checkpoints(program, self._rung)
        self._now[program] = _Relay(members, self._num_updates, start, disk)
        return self._now[program]


def _on_host(leaf: Any) -> Any:
    return leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else np.asarray(leaf)


def _joined(leaves: Sequence[Any]) -> Any:
    keys = jnp.issubdtype(leaves[0].dtype, jax.dtypes.prng_key)
    return jnp.concatenate(leaves) if keys else np.concatenate(leaves)


def chunk_length_of(rungs: Sequence[int], eta: int, chunk_length: int | None = None) -> int:
    """Returns the length of the chunks of ``halve``: the one that is given, if it fits, or its default."""
    require(eta >= 2, "halve", "eta must be at least 2", eta, "2 and 3 are common.")
    rising = len(rungs) > 0 and all(low < high for low, high in zip([0, *rungs], rungs, strict=False))
    require(rising, "halve", "rungs must be rising numbers of updates", rungs, "Use rungs_of.")
    common = math.gcd(*rungs)
    if chunk_length is None:
        divisors = [d for d in range(1, common + 1) if common % d == 0]
        return min(divisors, key=lambda d: abs(math.log(4 * d / rungs[0])))
    must = f"chunk_length must divide all rungs {list(rungs)}"
    require(chunk_length >= 1 and common % chunk_length == 0, "halve", must, chunk_length, f"Try {common}.")
    return chunk_length
