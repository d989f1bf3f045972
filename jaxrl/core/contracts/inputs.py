"""The inputs of a run: names that say which functions it depends on, ``make``, task, configuration, evaluators."""

import dataclasses
import functools
import operator
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxrl.core.algorithm import Algorithm
from jaxrl.core.config import DeclaresStart, DeclaresSteps, Validates
from jaxrl.core.contracts.structures import is_array, short, translated
from jaxrl.core.environment import Environment
from jaxrl.errors import AlgorithmError, ConfigError, EnvError, EvaluatorError, JaxrlError, require


def equal_when_rebuilt(function: Any) -> bool:
    """Returns whether a function made again compares equal: one at module level, or a frozen dataclass of such.

    Only then does jax find its compiled program, and only then does its name say which function it is.
    """
    if dataclasses.is_dataclass(function) and not isinstance(function, type):
        values = [getattr(function, field.name) for field in dataclasses.fields(function)]
        frozen = type(function).__hash__ is not None and type(function).__eq__ is not object.__eq__
        return frozen and _by_name(type(function)) and all(equal_when_rebuilt(value) for value in values if callable(value))
    return _by_name(function)


def _by_name(thing: Any) -> bool:
    module = sys.modules.get(getattr(thing, "__module__", None) or "")
    try:
        return operator.attrgetter(thing.__qualname__)(module) is thing
    except AttributeError:
        return False


def require_names(where: str, make: Callable, task: Any) -> None:
    """Raises unless names say which functions a run depends on, so that its checkpoints cannot be taken for another's."""
    inner = make
    while isinstance(inner, functools.partial):  # its arguments are stored beside its name
        inner = inner.func
    must = "with checkpoints, make must be a function at module level or a frozen dataclass"
    fix = "Two closures or lambdas have one name; move what it closes over into the configuration, or leave checkpoints out."
    require(equal_when_rebuilt(inner), where, must, make, fix, AlgorithmError)
    if isinstance(task, Environment):
        for field in dataclasses.fields(task):
            value = getattr(task, field.name)
            if field.name.endswith("_fn") and value is not None:
                must = f"with checkpoints, {field.name} must be a function at module level or a frozen dataclass of such"
                fix = "Two closures or lambdas have one name; move what it closes over into params, or leave checkpoints out."
                require(equal_when_rebuilt(value), where, must, value, fix, EnvError)


def require_make(where: str, make: Any) -> None:
    """Raises AlgorithmError unless ``make`` can be called as ``(task, config) -> Algorithm``, as far as it shows uncalled."""
    must = "make must be a function (task, config) -> Algorithm"
    fix = f"Give {make.__name__}.make." if isinstance(make, ModuleType) and "make" in vars(make) else "Give the function itself."
    require(callable(make) and not isinstance(make, Algorithm), where, must, short(make), fix, AlgorithmError)


def require_task(where: str, task: Any) -> None:
    """Raises EnvError unless a task is a pytree of arrays, as environments, data sets and games are."""
    must = "task must be an Environment, a data set or a game"
    fix = "Build an environment by its factory, for example envs.make('cartpole')."
    require(not isinstance(task, (str, bytes, ModuleType, type)), where, must, short(task), fix, EnvError)
    _require_pytree(where, "task", task, EnvError, "Call it if it is a factory; keep functions in static fields.")


def require_config(where: str, config: Any) -> None:
    """Raises ConfigError unless a configuration is a pytree of numbers."""
    fix = "Give an instance, for example Config()."
    require(not isinstance(config, (str, ModuleType, type)), where, "config must be a Config", short(config), fix)
    _require_pytree(where, "config", config, ConfigError, "Declare what is no number with jaxrl.core.environment.static.")


def require_own_config(where: str, make: Callable, config: Any) -> None:
    """Raises ConfigError if a configuration of another module lacks a field of the ``Config`` that stands beside ``make``."""
    while isinstance(make, functools.partial):
        make = make.func
    module = sys.modules.get(getattr(make, "__module__", None) or "")
    own = getattr(module, "Config", None)
    if module is None or getattr(module, "make", None) is not make or type(config).__module__ == module.__name__:
        return
    if isinstance(own, type) and dataclasses.is_dataclass(own):
        name, given = (f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}" for kind in (own, type(config)))
        missing = [field.name for field in dataclasses.fields(own) if not hasattr(config, field.name)]
        must, found = f"config must be that of the algorithm, {name}", f"{given}, which lacks {', '.join(missing[:3])}"
        require(not missing, where, must, found, f"Give {name}(), or another make.")


def evaluators_of(where: str, evaluators: Any, task: Any) -> tuple:
    """Returns the evaluators in a tuple, after each that can say whether it suits the task has said so.

    Raises:
        EvaluatorError: one of them cannot be called, or is no pytree of arrays; or what its own ``validate`` raises.
    """
    must, fix = "evaluators must be a sequence", "Write evaluators=(evaluator,)."
    require(isinstance(evaluators, Iterable), where, must, short(evaluators), fix, EvaluatorError)
    evaluators = tuple(evaluators)
    for evaluator in evaluators:
        must, fix = "an evaluator must be callable, (key, algorithm, state) -> metrics", "See jaxrl.evaluation."
        require(callable(evaluator), where, must, short(evaluator), fix, EvaluatorError)
        plain = jax.tree_util.all_leaves([evaluator])
        must, fix = "an evaluator must be a pytree of arrays", "Wrap a function: jax.tree_util.Partial(function)."
        require(not plain, where, must, short(evaluator), fix, EvaluatorError)
        _require_pytree(
            where, "an evaluator", evaluator, EvaluatorError, "Declare what is no array with jaxrl.core.environment.static."
        )
        if isinstance(evaluator, Validates):
            evaluator.validate(task)
    return evaluators


def validate(where: str, config: Any, task: Any) -> None:
    """Lets a configuration that can say so say whether it can run on a task: calls its ``validate``.

    Raises:
        ConfigError: it does not know the task; or what it raises itself.
    """
    fix = "Give the algorithm the kind of task that it is made for."
    with translated(where, "config.validate(task) must accept the task", ConfigError, fix):
        if isinstance(config, Validates):
            config.validate(task)


def _require_pytree(where: str, name: str, tree: Any, error: type[JaxrlError], fix: str) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        must = f"{name}{jax.tree_util.keystr(path)} must be a number or an array"
        require(is_array(leaf) or isinstance(leaf, (bool, int, float, complex)), where, must, short(leaf), fix, error)


class DeclaredSteps(NamedTuple):
    """Environment steps of one seed, by a configuration.

    per_update: in an update, or None where it does not say.
    before: before the first update.
    """

    per_update: int | None
    before: int


def declared_steps(where: str, config: Any, of: str = "config") -> DeclaredSteps:
    """Returns how many environment steps an update takes by a configuration, and how many come before the first.

    Args:
        where: who asks.
        config: the configuration.
        of: how a message names it.

    Raises:
        ConfigError: it says so by something else than integers, of at least 1 in an update and of at least 0 before.
    """
    per_update = _count(where, f"{of}.steps_per_update", _steps_per_update, config, 1)
    return DeclaredSteps(per_update, _count(where, f"{of}.steps_before_first_update", _steps_before, config, 0) or 0)


def _steps_per_update(config: Any) -> Any:
    return config.steps_per_update if isinstance(config, DeclaresSteps) else None


def _steps_before(config: Any) -> Any:
    return config.steps_before_first_update if isinstance(config, DeclaresStart) else None


def _count(where: str, name: str, read: Callable[[Any], Any], config: Any, least: int) -> int | None:
    must, fix = f"{name} must be an integer of at least {least}", "Multiply counts from static fields, or leave it out."
    with translated(where, must, ConfigError, fix):
        count = read(config)
    whole = isinstance(count, (int, np.integer)) and not isinstance(count, bool)
    require(count is None or (whole and int(count) >= least), where, must, short(count), fix)
    return None if count is None else int(count)
