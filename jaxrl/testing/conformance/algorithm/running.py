"""Conditions that must not change a run: chunks, an interruption, other seeds beside it, a sweep, and being compiled."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core import averages, contracts
from jaxrl.errors import JaxrlError
from jaxrl.testing.conformance.algorithm.subject import NUM_UPDATES, WHERE, Subject, require
from jaxrl.testing.conformance.comparison import first_difference, take

# Batched matrix products sum in another order, and Adam divides small gradients by their own size.
VMAP_TOLERANCE = {"rtol": 1e-2, "atol": 1e-3}


def check_values_stay_finite(subject: Subject) -> None:
    failed = subject.plain.summary.failed_seeds
    must = f"{NUM_UPDATES} updates must bring no value that is not finite"
    found = [f"{failure.place} in update {failure.update} of seed {seed}" for seed, failure in failed.items()]
    require(not failed, must, found, "Mask the input of a function that may be infinite, not its output.")


def check_evaluations_are_finite(subject: Subject) -> None:
    """Evaluations put no seed into quarantine, so one that turns NaN by mistake would pass for a missing value."""
    plain = {name: value for name, value in subject.evaluation.items() if not isinstance(value, averages.Average)}
    found = {name: subject.plain.evaluations[name] for name in averages.column_names(plain)}
    bad = sorted(name for name, values in found.items() if not np.isfinite(values).all())
    must = "evaluators must measure finite numbers, or declare what may be missing"
    require(not bad, must, bad, 'Return {"name": jaxrl.core.averages.optional(value)}.')


def check_same_key_same_result(subject: Subject) -> None:
    again = subject.run(evaluators=subject.evaluators)
    difference = _difference(again, subject.plain) or first_difference(again.evaluations, subject.plain.evaluations)
    must, fix = "two runs from one key must be equal", "Draw only from the key, and call nothing on the host."
    require(not difference, must, difference, fix)


def _difference(one: Any, other: Any, **tolerance: float) -> str:
    """Returns where the metrics or the states of two runs differ first."""
    return first_difference((one.metrics, one.state), (other.metrics, other.state), **tolerance)


def check_chunks_change_nothing(subject: Subject) -> None:
    difference = _difference(subject.in_chunks, subject.plain)
    must, fix = "updates must be the same in one chunk and in several", "Keep whatever an update needs in the state."
    require(not difference, must, difference, fix)


def can_be_resumed(subject: Subject) -> bool:
    """Returns whether names say which functions a run depends on; see ``jaxrl.core.contracts.require_names``."""
    try:
        contracts.require_names(WHERE, subject.make, subject.task)
    except JaxrlError:
        return False
    return True


def check_resuming_changes_nothing(subject: Subject) -> None:
    resumed, whole = subject.resumed, subject.in_chunks
    made = resumed.metrics[next(iter(resumed.metrics))].shape[1] if resumed.metrics else 0
    last = {name: values[:, -made:] for name, values in whole.metrics.items()}
    difference = first_difference((resumed.metrics, resumed.state), (last, whole.state))
    must, fix = "a run that was interrupted must go on as if it had not been", "Keep whatever an update needs in the state."
    require(not difference, must, difference, fix)


def check_batched_equals_single(subject: Subject) -> None:
    for seed in subject.plain.seeds:
        single, beside = subject.alone(int(seed)), _lane(subject.plain, int(seed))
        difference = first_difference((_lane(single, 0)), beside, **VMAP_TOLERANCE)
        must, fix = "a seed must be the same alone and beside others", "Use no operation that sees the other seeds."
        require(not difference, must, difference, fix)


def _lane(run: Any, row: int) -> tuple:
    """Returns metrics and state of one seed of a run."""
    return take(run.metrics, row), take(run.state, row)


def check_sweep_equals_plain(subject: Subject) -> None:
    """Sweeps each traced field at once, the second seed with other values: neither may change what the other is alone."""
    other = _changed(subject)
    swept = subject.run(jax.tree.map(lambda *pair: np.stack(pair), subject.config, other))
    for seed, config in enumerate((subject.config, other)):
        plain = subject.plain if config is subject.config else subject.run(config)
        difference = first_difference(_lane(swept, seed), _lane(plain, seed))
        must, fix = "a member of a sweep must be what it is alone", "Use the fields that make is given, and no others."
        require(not difference, must, difference, fix)


def _changed(subject: Subject) -> Any:
    """Returns the configuration with other values in all traced fields, as far as it finds some of a few valid."""
    leaves, structure = jax.tree.flatten(subject.config)
    for index, leaf in enumerate(leaves):
        value = np.asarray(leaf, np.float32)
        for other in (np.float32(0.9) * value, value + np.float32(0.1), np.float32(10)):
            if other == value:  # 0 times a factor, or infinity
                continue
            candidate = [*leaves[:index], other, *leaves[index + 1 :]]
            try:
                contracts.validate(WHERE, structure.unflatten(candidate), subject.task)
            except JaxrlError:
                continue
            leaves = candidate
            break
    return structure.unflatten([np.asarray(leaf, np.float32) for leaf in leaves])


def check_compiled_equals_eager(subject: Subject) -> None:
    made = subject.algorithm
    seed = int(subject.plain.seeds[0])
    key = jax.random.fold_in(jax.random.key(subject.root), jnp.uint32(seed))
    state, metrics = made.update(made.init(jax.random.fold_in(key, 0)), jax.random.fold_in(key, 1))
    compiled = subject.alone(seed, num_updates=1)
    found = averages.columns(jax.tree.map(lambda value: np.asarray(value)[None, None], metrics), axes=2)
    difference = first_difference((found, jax.tree.map(lambda leaf: leaf[None], state)), (compiled.metrics, compiled.state))
    must, fix = "an update must be the same compiled and uncompiled", "Keep Python and NumPy randomness, and printing, out of it."
    require(not difference, must, difference, fix)
