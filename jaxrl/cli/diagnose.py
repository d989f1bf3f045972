"""``replay RUN --seed S``: the update that put a seed into quarantine, made again step by step to find where it went wrong."""

import contextlib

import jax
import numpy as np

from jaxrl.cli.execute import Job, say
from jaxrl.errors import unknown_name
from jaxrl.experiment.session import Session, Training
from jaxrl.results.run_directory import RunDirectory
from jaxrl.results.sinks import Failure
from jaxrl.training import seed_axis
from jaxrl.training.checkpoint import Checkpoints
from jaxrl.training.diagnosis import Operation, first_bad_operation
from jaxrl.training.runner import Run


class _Found(Exception):
    """Ends an experiment at the training that was looked for."""


class ReplaySession(Session):
    """Goes through an experiment as it was, up to the training of one variant, whose failed update it makes again.

    The state is the one in the checkpoint: that of before the update. Of a replay buffer, rows that later updates wrote over,
    though they were thrown away, are the exception.
    """

    def __init__(self, directory: RunDirectory, variant: str, seed: int, failure: Failure, root: int = 0):
        super().__init__(directory)
        self._variant, self._seed, self._failure, self._root = variant, seed, failure, root
        self.operations: dict[str, Operation | None] = {}

    def perform(self, training: Training) -> Run:
        """Reads a variant that is finished, or replays the one that was asked for."""
        if training.variant != self._variant:
            return super().perform(training)
        make, task, config, seeds, num_updates = training[:5]
        configs = seed_axis.spread(config, seeds)
        one = jax.tree.map(lambda leaf: leaf[self._seed], configs)
        checkpoints = Checkpoints(self.directory.checkpoints(self._variant))
        saved = checkpoints.begin(make=make, task=task, config=config, root=self._root, num_updates=num_updates)
        newest = max((entry for entry in saved if self._seed in entry.seeds), key=lambda entry: entry.next_update)
        carry = checkpoints.restore(newest, seed_axis.abstract_carry(make, task, one))
        row = int(np.flatnonzero(newest.seeds == self._seed)[0])
        state = jax.tree.map(lambda leaf: leaf[row], carry.state)
        key = jax.random.fold_in(jax.random.key(self._root), self._seed)
        key = jax.random.fold_in(key, self._failure.update + 1)
        self.operations = first_bad_operation(make(task, one).update, state, key)
        raise _Found


def replay(job: Job, seed: int, variant: str | None) -> int:
    """Makes the update again that put a seed into quarantine, prints where it went wrong and returns the exit status.

    Args:
        job: the run.
        seed: number of the seed.
        variant: name of the variant, None for the first in which this seed failed.

    Raises:
        UnknownNameError: no such seed is in quarantine.
    """
    directory = job.directory
    assert directory is not None
    failed = {
        (name, int(number)): Failure(**failure)
        for name, facts in directory.summary().get("runs", {}).items()
        for number, failure in facts["failed_seeds"].items()
    }
    chosen = next((key for key in failed if key[1] == seed and variant in (None, key[0])), None)
    if chosen is None:
        known = [f"{number} of {name or directory.experiment}" for name, number in failed]
        raise unknown_name(f"replay of {directory.path}", "seed in quarantine", str(seed), known)
    failure = failed[chosen]
    session = ReplaySession(directory, chosen[0], seed, failure)
    say(f"seed {seed}, update {failure.update}: {failure.place} was not finite; making this update again, step by step")
    with contextlib.suppress(_Found):
        job.module.run(job.config, session)
    watched, name = failure.place.partition(" ")[::2]
    path = f"[1]['{name}']" if watched == "metric" else f"[0]{failure.place.removeprefix('state')}"
    parts = f"{path}.", f"{path}["  # of an Average, say
    operations = session.operations.items()
    first = next((operation for place, operation in operations if place == path or place.startswith(parts)), None)
    if not session.operations:
        print("Everything is finite this time: the program as a whole rounds otherwise than its steps. Look for overflow.")
        return 1
    print(f"{failure.place} went bad at\n  {first or 'an argument that was not finite'}")
    others = {str(operation) for operation in session.operations.values() if operation not in (None, first)}
    for text in sorted(others):
        print(f"other results of this update went bad at\n  {text}")
    return 0
