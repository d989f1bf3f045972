"""Algorithms and evaluators while they are traced."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core.algorithm import Algorithm, Make
from jaxrl.core.averages import MOST_ENTRIES, Average, column_names
from jaxrl.core.contracts.structures import describe, described, is_array, mismatch, short, traced
from jaxrl.core.environment import PyTree
from jaxrl.errors import AlgorithmError, EvaluatorError, JaxrlError, require


def algorithm(where: str, make: Make, task: Any, config: Any) -> Algorithm:
    """Returns ``make(task, config)``.

    Raises:
        AlgorithmError: it is no Algorithm, or cannot be made where the traced fields of the configuration have no values.
    """
    with traced(where, "make(task, config)", AlgorithmError, _fix_of(config)):
        made = make(task, config)
    must, fix = "make(task, config) must return an Algorithm", "Return jaxrl.Algorithm(init, update)."
    require(isinstance(made, Algorithm), where, must, short(made), fix, AlgorithmError)
    for name in ("init", "update"):
        must = f"make(task, config).{name} must be a function"
        require(callable(getattr(made, name)), where, must, short(getattr(made, name)), fix, AlgorithmError)
    return made


def _fix_of(config: Any) -> str:
    """Names the whole numbers among the traced fields: mostly they are meant to set shapes."""
    leaves = jax.tree_util.tree_leaves_with_path(config)
    whole = [jax.tree_util.keystr(path).lstrip(".") for path, leaf in leaves if jnp.result_type(leaf).kind in "iub"]
    if not whole:
        return ""
    return (
        f"Of the Config, declare integers and flags ({', '.join(whole)}) with jaxrl.core.environment.static: "
        "traced, they have no value."
    )


def first_state(where: str, made: Algorithm, config: Any, key: jax.Array) -> PyTree:
    """Returns the state that ``init`` draws.

    Raises:
        AlgorithmError: ``init`` cannot be traced, or returns something else than arrays.
    """
    with traced(where, "init(key)", AlgorithmError, _fix_of(config)):
        state = made.init(key)
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        must = f"init must return arrays only, at state{jax.tree_util.keystr(path)} too"
        fix = "Write jnp.float32(...) or jnp.int32(...); keep what is no array outside the state."
        require(is_array(leaf), where, must, describe(leaf), fix, AlgorithmError)
    return state


def next_state(where: str, made: Algorithm, config: Any, state: PyTree, key: jax.Array) -> tuple[PyTree, dict[str, Any]]:
    """Returns the state and the metrics of an update.

    Raises:
        AlgorithmError: ``update`` cannot be traced, changes the structure of the state, or measures what is no metric.
    """
    with traced(where, "update(state, key)", AlgorithmError, _fix_of(config)):
        updated = made.update(state, key)
    must, fix = "update must return (state, metrics)", "Return both."
    require(isinstance(updated, tuple) and len(updated) == 2, where, must, type(updated).__name__, fix, AlgorithmError)
    new, metrics = updated
    found = mismatch(state, new)
    must = "update must return the state in the structure that it was given"
    require(not found, where, must, found, "Keep structure, shapes and dtypes.", AlgorithmError)
    require_metrics(where, "update", metrics, AlgorithmError)
    return new, metrics


def changed_state(where: str, apply: Callable, state: PyTree, answers: dict[str, jax.Array]) -> PyTree:
    """Returns the state after ``apply(state, answers)``, by which it is changed between two chunks.

    Raises:
        AlgorithmError: ``apply`` cannot be traced, or changes the structure of the state.
    """
    with traced(where, "apply(state, answers)", AlgorithmError):
        new = apply(state, answers)
    must = "apply must return the state in the structure that it was given"
    found = mismatch(state, new)
    require(not found, where, must, found, "Keep structure, shapes and dtypes.", AlgorithmError)
    return new


def require_metrics(where: str, who: str, metrics: Any, error: type[JaxrlError]) -> None:
    """Raises unless metrics are a dict whose values are real numbers, small arrays of them, or Averages of such.

    Whether they are finite shows when they are measured: see ``jaxrl.training.quarantine``. One that may be missing is an
    Average, which ``jaxrl.core.averages.optional`` makes.
    """
    must, fix = f"{who} must return its metrics as a dict with names as keys", 'Return {"loss": loss}.'
    named = isinstance(metrics, dict) and all(isinstance(name, str) for name in metrics)
    require(named, where, must, described(metrics), fix, error)
    for name, value in metrics.items():
        parts = value if isinstance(value, Average) else (value,)
        found = next((part for part in parts if not _is_real(part)), None)
        must = f"{who} must measure real numbers, arrays of them or an Average, under {name!r} too"
        require(found is None, where, must, describe(found), "Measure its mean or its norm.", error)
        must = f"{who} must measure arrays of 1 to {MOST_ENTRIES} entries, under {name!r} too"
        fix = "Every entry is a column of its own: measure the mean of what has more."
        large = next((part for part in parts if not 1 <= np.prod(np.shape(part)) <= MOST_ENTRIES), None)
        require(large is None, where, must, describe(large), fix, error)
        must, shapes = f"{who} must measure a total and a count of one shape, under {name!r} too", [*map(np.shape, parts)]
        require(len({*shapes}) == 1, where, must, shapes, "See jaxrl.core.averages.average.", error)
    columns = column_names(metrics)
    twice = sorted({column for column in columns if columns.count(column) > 1})
    must = f"{who} must measure under names that differ, also from the columns of its arrays"
    require(not twice, where, must, twice, "Rename one of the two metrics.", error)


def _is_real(value: Any) -> bool:
    if isinstance(value, (bool, int, float)):
        return True
    return is_array(value) and any(jnp.issubdtype(value.dtype, kind) for kind in (jnp.bool_, jnp.integer, jnp.floating))


def evaluation(where: str, evaluators: Sequence[Any], key: jax.Array, made: Algorithm, state: PyTree) -> dict[str, Any]:
    """Returns what all evaluators measure; each is given a key of its own.

    Raises:
        EvaluatorError: one cannot be traced, measures what is no metric, or measures under a name that another has used.
    """
    found: dict[str, Any] = {}
    owners: dict[str, str] = {}
    for index, evaluator in enumerate(evaluators):
        who = type(evaluator).__name__
        fix = "Use jax.numpy, and what Algorithm offers: policy and probabilities may be None."
        with traced(where, f"{who}(key, algorithm, state)", EvaluatorError, fix):
            metrics = evaluator(jax.random.fold_in(key, index), made, state)
        require_metrics(where, who, metrics, EvaluatorError)
        for name in column_names(metrics):
            must, fix = "every evaluator must have metric names of its own", "Leave one out, or give its metric another name."
            require(name not in owners, where, must, f"{name!r} of {owners.get(name)} and of {who}", fix, EvaluatorError)
            owners[name] = who
        found |= metrics
    return found
