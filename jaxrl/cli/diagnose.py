"""``replay RUN --seed S``: the update that put a seed into quarantine, made again step by step to find where it went wrong.

Nothing is trained and nothing is written: the state of before the update is read from the run's checkpoints.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxrl.cli.execute import Job
from jaxrl.errors import CheckpointError, require, unknown_name
from jaxrl.experiment.arms import Arm, programs
from jaxrl.experiment.session import checkpoints_of, say
from jaxrl.results.run_directory import RunDirectory
from jaxrl.results.sinks import Failure
from jaxrl.training import seed_axis
from jaxrl.training.diagnosis import Operation, first_bad_operation
from jaxrl.training.seed_axis import SEEDS


def replay(job: Job, seed: int, arm: str | None) -> int:
    """Makes the update again that put a seed into quarantine, prints where it went wrong and returns the exit status.

    Args:
        job: the run.
        seed: number of the seed.
        arm: name of the arm, None for the first in which this seed failed.

    Raises:
        UnknownNameError: no such seed is in quarantine.
        CheckpointError: no checkpoint holds the seed's state.
    """
    directory = job.directory
    assert directory is not None
    failed = {
        (name, int(number)): Failure(**failure)
        for name, facts in directory.summary().get("runs", {}).items()
        for number, failure in facts["failed_seeds"].items()
    }
    chosen = next((key for key in failed if key[1] == seed and arm in (None, key[0])), None)
    if chosen is None:
        known = [f"{number} of {name or directory.experiment}" for name, number in failed]
        raise unknown_name(f"replay of {directory.path}", "seed in quarantine", str(seed), known)
    failure = failed[chosen]
    say(f"seed {seed}, update {failure.update}: {failure.place} was not finite; making this update again, step by step")
    operations = _operations(directory, job.arms(), chosen[0], seed, failure, job.root)
    if not operations:
        print("Everything is finite this time: the program as a whole rounds otherwise than its steps. Look for overflow.")
        return 1
    watched, name = failure.place.partition(" ")[::2]
    path = f"[1]['{name}']" if watched == "metric" else f"[0]{failure.place.removeprefix('state')}"
    parts = f"{path}.", f"{path}["  # of an Average, say
    first = next((operation for place, operation in operations.items() if place == path or place.startswith(parts)), None)
    print(f"{failure.place} went bad at\n  {first or 'an argument that was not finite'}")
    others = {str(operation) for operation in operations.values() if operation not in (None, first)}
    for text in sorted(others):
        print(f"other results of this update went bad at\n  {text}")
    return 0


def _operations(
    directory: RunDirectory, arms: Sequence[Arm], name: str, seed: int, failure: Failure, root: int
) -> dict[str, Operation | None]:
    """Returns the operations of the failed update that gave the first bad values, by the place of the result."""
    arm, state = restored(directory, arms, name, seed)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(root), seed), failure.update + 1)
    config = jax.tree.map(lambda leaf: leaf[seed], seed_axis.spread(arm.config, arm.seeds))
    return first_bad_operation(arm.make(arm.task, config).update, state, key)


def restored(directory: RunDirectory, arms: Sequence[Arm], name: str, seed: int) -> tuple[Arm, Any]:
    """Returns an arm of a run and the newest state of one of its seeds: of one in quarantine, that before its failed update.

    Of a replay buffer, rows that later updates wrote over, though these updates were thrown away, are the exception.

    Raises:
        CheckpointError: no checkpoint of the seed is there. UnknownNameError: no arm has this name.
    """
    found = next((places for places in programs(arms) if name in [arms[place].label for place in places]), None)
    if found is None:
        raise unknown_name(f"run {directory.path}", "arm", name, [arm.label for arm in arms])
    together = [arms[place] for place in found]
    part = [arm.label for arm in together].index(name)
    arm, number = together[part], part * SEEDS + seed
    must, fix = "an arm that comes after another must be looked at while it runs", "Train it from a script."
    require(not arm.after, f"run {directory.path}", must, dict(arm.after), fix, CheckpointError)
    checkpoints = checkpoints_of(directory, together)
    saved = [entry for entry in checkpoints.look() if number in entry.seeds]
    must, fix = f"there must be a checkpoint of seed {seed}", "Checkpoints were removed; run it again to have them."
    require(bool(saved), f"run {directory.path}", must, str(checkpoints.path), fix, CheckpointError)
    newest = max(saved, key=lambda entry: entry.next_update)
    config = jax.tree.map(lambda leaf: leaf[seed], seed_axis.spread(arm.config, arm.seeds))
    carry = checkpoints.restore(newest, seed_axis.abstract_carry(arm.make, arm.task, config))
    row = int(np.flatnonzero(newest.seeds == number)[0])
    return arm, jax.tree.map(lambda leaf: leaf[row], carry.state)
