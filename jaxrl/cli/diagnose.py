"""``replay RUN --seed S``: the update that put a seed into quarantine, made again step by step to find where it went wrong.

Nothing is trained and nothing is written: the state of before the update is read from the run's checkpoints.
"""

import jax

from jaxrl.cli.execute import CHECK
from jaxrl.errors import unknown_name
from jaxrl.experiment.session import say
from jaxrl.experiment.trained import Saved, failure_of
from jaxrl.results.sinks import Failure
from jaxrl.training.diagnosis import Operation, first_bad_operation


def replay(saved: Saved, seed: int, arm: str | None) -> int:
    """Makes the update again that put a seed into quarantine, prints where it went wrong and returns the exit status.

    Args:
        saved: the run.
        seed: number of the seed.
        arm: name of the arm, None for the first in which this seed failed.

    Raises:
        UnknownNameError: no such seed is in quarantine.
        CheckpointError: no checkpoint holds the seed's state.
    """
    directory = saved.directory
    failed = {
        (name, int(number)): failure_of(failure)
        for name, facts in directory.summary().get("runs", {}).items()
        for number, failure in facts["failed_seeds"].items()
    }
    chosen = next((key for key in failed if key[1] == seed and arm in (None, key[0])), None)
    if chosen is None:
        known = [f"{number} of {name or directory.experiment}" for name, number in failed]
        raise unknown_name(f"replay of {directory.path}", "seed in quarantine", str(seed), known)
    failure = failed[chosen]
    say(f"seed {seed}, update {failure.update}: {failure.place} was not finite; making this update again, step by step")
    operations = _operations(saved, chosen[0], seed, failure)
    if not operations:
        print("Everything is finite this time: the program as a whole rounds otherwise than its steps. Look for overflow.")
        return 1
    watched, name = failure.value.partition(" ")[::2]
    path = f"[1]['{name}']" if watched == "metric" else f"[0]{failure.value.removeprefix('state')}"
    parts = f"{path}.", f"{path}["  # of an Average, say
    first = next((operation for place, operation in operations.items() if place == path or place.startswith(parts)), None)
    print(f"{failure.place} went bad at\n  {first or 'an argument that was not finite'}")
    others = {str(operation) for operation in operations.values() if operation not in (None, first)}
    for text in sorted(others):
        print(f"other results of this update went bad at\n  {text}")
    if failure.of_environment:
        print(CHECK)
    return 0


def _operations(saved: Saved, name: str, seed: int, failure: Failure) -> dict[str, Operation | None]:
    """Returns the operations of the failed update that gave the first bad values, by the place of the result."""
    arms = {arm.label: arm for arm in saved.arms()}
    if name not in arms:
        raise unknown_name(f"replay of {saved.directory.path}", "arm", name, arms)
    arm = arms[name]
    trained = saved.arm(**arm.factors)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(saved.root), seed), failure.update + 1)
    return first_bad_operation(trained.algorithm(seed, uncompiled=True).update, trained.state(seed), key)
