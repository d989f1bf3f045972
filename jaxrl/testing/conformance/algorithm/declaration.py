"""The declarations of an algorithm: a ``make`` that can be found again by name, and a Config that says what is traced."""

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxrl.core import contracts
from jaxrl.errors import AlgorithmError, ConfigError
from jaxrl.testing.conformance.algorithm.subject import WHERE, Subject, require


def check_arguments(subject: Subject) -> None:
    contracts.require_make(WHERE, subject.make)
    contracts.require_task(WHERE, subject.task)
    contracts.evaluators_of(WHERE, subject.evaluators, subject.task)


def check_make_equal_when_rebuilt(subject: Subject) -> None:
    must = "make must be a function at module level or a frozen dataclass"
    fix = "A lambda, closure or partial made again is compiled again, and cannot be resumed; move what it holds into the Config."
    require(contracts.equal_when_rebuilt(subject.make), must, subject.make, fix)


class _Field(NamedTuple):
    """A field of a Config, or of one inside it. place: as in messages. static: whether it is part of the structure."""

    place: str
    value: Any
    static: bool


def _fields(config: Any, place: str) -> Iterator[_Field]:
    for field in dataclasses.fields(config):
        value, inner = getattr(config, field.name), f"{place}.{field.name}"
        static = not field.metadata.get("pytree_node", True)
        if not static and _is_struct(value):
            yield from _fields(value, inner)
        else:
            yield _Field(inner, value, static)


def _is_struct(value: Any) -> bool:
    """Returns whether a value is a frozen dataclass that jax takes apart, as those of ``flax.struct``."""
    record = dataclasses.is_dataclass(value) and not isinstance(value, type)
    return record and type(value).__hash__ is not None and not jax.tree_util.all_leaves([value])


def check_config_is_a_struct(subject: Subject) -> None:
    must, fix = "config must be an instance of a flax.struct.dataclass", "Decorate its class with @flax.struct.dataclass."
    require(_is_struct(subject.config), must, type(subject.config), fix)


def check_traced_fields_are_scalars(subject: Subject) -> None:
    for place, value, static in _fields(subject.config, "config"):
        for leaf in () if static else jax.tree.leaves(value):
            must = f"{place} must be a float, or static"
            fix = "Declare what sets shapes or branches with jaxrl.core.environment.static(default=...)."
            number = isinstance(leaf, float) or (contracts.is_array(leaf) and leaf.dtype.kind in "fiu")
            require(number, must, leaf, fix)
            fix = "One seed has one value; jaxrl.run takes an entry for each seed, and a table belongs to the task."
            require(np.ndim(leaf) == 0, f"{place} must be a scalar", contracts.describe(leaf), fix)


def check_static_fields_are_hashable(subject: Subject) -> None:
    for place, value, static in _fields(subject.config, "config"):
        if not static:
            continue
        fix = "As a static field, every value is a program of its own; leave jaxrl.core.environment.static out."
        require(not isinstance(value, float), f"{place} must be traced, since it is a float", value, fix)
        try:
            hash(value)
        except TypeError:
            require(False, f"{place} must be hashable, since it is static", value, "Use a tuple or a frozen dataclass.")
        if callable(value) and not isinstance(value, type):
            must = f"{place} must be a function at module level or a frozen dataclass of such"
            fix = "A lambda or closure made again is compiled again; move what it holds into other fields."
            require(contracts.equal_when_rebuilt(value), must, value, fix)


def check_validate(subject: Subject) -> None:
    contracts.validate(WHERE, subject.config, subject.task)
    swept = jax.tree.map(lambda leaf: np.full(2, leaf, np.float32), subject.config)
    must = "config.validate must accept fields that hold an entry for each seed"
    try:
        contracts.validate(WHERE, swept, subject.task)
    except ConfigError as error:
        raise AlgorithmError(f"{WHERE}: {must}, got {str(error)!r}. Compare by numpy: np.all(np.asarray(value) > 0).") from error


def check_declared_steps(subject: Subject) -> None:
    contracts.declared_steps(WHERE, subject.config)


def check_rebuilt_compiles_once(subject: Subject) -> None:
    """A copy stands for what is made a second time; ``rebuilt`` for what only its author can make."""
    once, again = (subject.task, subject.config), subject.rebuilt or copy.deepcopy((subject.task, subject.config))
    same = jax.tree.structure(once) == jax.tree.structure(again) and not contracts.mismatch(*map(_arrays, (once, again)))
    found = [name for name, *pair in zip(("task", "config"), once, again, strict=True) if not _same_structure(*pair)]
    must = "task and config made again must find the compiled program of the first"
    fix = "Give what their static fields hold an __eq__ of its own, as frozen dataclasses and tuples have."
    require(same, must, f"another structure of {' and '.join(found) or 'their arrays'}", fix)


def _arrays(tree: Any) -> Any:
    return jax.tree.map(np.asarray, tree)


def _same_structure(one: Any, other: Any) -> bool:
    return jax.tree.structure(one) == jax.tree.structure(other)
