"""The members of a sweep: which fields of a configuration can be swept, and in which values.

A member is a dict, dotted name of a field -> value: ``{"learning_rate": 3e-4, "network.width": 64}``. A traced field (a leaf of
the configuration) costs no compilation, however many values it takes; a static one costs a program for each value.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from jaxrl.core.config import traced_values, with_traced_values
from jaxrl.errors import require, unknown_name

Member = Mapping[str, Any]
DIGITS = 4  # of numbers that are drawn: what is printed is what was run


class Field(NamedTuple):
    """A field of a configuration.

    name: with dots where it belongs to a configuration inside. traced: whether other values need no other program.
    value: what the configuration has.
    """

    name: str
    traced: bool
    value: Any


def fields(config: Any) -> dict[str, Field]:
    """Returns the fields of a configuration by their names, those of configurations inside included."""
    leaves = traced_values(config)
    found = {}
    for name, value in _walk(config):
        inside = [leaf for leaf in leaves if leaf == name or leaf.startswith(f"{name}.")]
        found |= {leaf: Field(leaf, True, leaves[leaf]) for leaf in inside} or {name: Field(name, False, value)}
    return found


def describe(config: Any, members: Sequence[Member]) -> str:
    """Says which of the swept fields are traced, and how many programs the others cost."""
    known, swept = fields(config), list(dict.fromkeys(itertools.chain.from_iterable(members)))
    traced = [name for name in swept if known[name].traced]
    lines = [f"traced, so that other values need no other program: {', '.join(traced)}"] * bool(traced)
    for name in (name for name in swept if not known[name].traced):
        values = {_hashed(member[name]) for member in members if name in member}
        lines.append(f"static, so that each of {len(values)} values needs a program: {name}")
    count = len(by_program(config, members))
    return "\n".join([*lines, f"{len(members)} members in {count} program{'s' * (count > 1)}"])


def checked(config: Any, members: Iterable[Member], where: str = "sweep") -> tuple[dict[str, Any], ...]:
    """Returns the members with every value in the type of its field.

    Raises:
        UnknownNameError: no field has this name.
        ConfigError: there is no member, or a value is not one of its field.
    """
    known, members = fields(config), tuple(members)
    require(len(members) > 0, where, "there must be at least one member", members, "Name fields and their values.")
    for name in itertools.chain.from_iterable(members):
        if name not in known:
            raise unknown_name(where, "field", name, known)
    return tuple({name: _checked(where, known[name], value) for name, value in member.items()} for member in members)


def replaced(config: Any, values: Member) -> Any:
    """Returns a configuration with other values. Those of traced fields may be arrays, an entry for each seed."""
    known = fields(config)
    for name, value in values.items():
        if not known[name].traced:
            config = _replaced(config, name.split("."), value)
    return with_traced_values(config, values)


def by_program(config: Any, members: Sequence[Member]) -> list[tuple[dict[str, Any], list[int]]]:
    """Groups members that one program can train: returns their common static values, and their places in the list."""
    known, groups = fields(config), {}
    for index, member in enumerate(members):
        static = {name: value for name, value in sorted(member.items()) if not known[name].traced}
        key = tuple((name, _hashed(value)) for name, value in static.items())
        groups.setdefault(key, (static, []))[1].append(index)
    return list(groups.values())


def label(member: Member) -> str:
    """Returns the name of a member: ``learning_rate=0.001, gamma=0.99``."""
    return ", ".join(f"{name}={value!s}" for name, value in member.items()) or "as it is"


# Which values


class Values(Protocol):
    """Values to draw from, at random or by an optimiser."""

    def draw(self, generator: np.random.Generator) -> Any:
        """Returns one of the values."""
        ...

    def suggest(self, trial: Any, name: str) -> Any:
        """Asks an Optuna trial for one of the values."""
        ...


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Numbers between two ends, all equally likely."""

    low: float
    high: float

    def __post_init__(self):
        _require_ends("Uniform", self)

    def draw(self, generator: np.random.Generator) -> float:
        return float(np.clip(_rounded(generator.uniform(self.low, self.high)), self.low, self.high))

    def suggest(self, trial: Any, name: str) -> float:
        return trial.suggest_float(name, self.low, self.high)


@dataclasses.dataclass(frozen=True)
class LogUniform:
    """Positive numbers between two ends whose logarithms are equally likely."""

    low: float
    high: float

    def __post_init__(self):
        _require_ends("LogUniform", self)
        require(self.low > 0, "LogUniform", "low must be positive", self.low, "Raise it, or use Uniform.")

    def draw(self, generator: np.random.Generator) -> float:
        value = math.exp(generator.uniform(math.log(self.low), math.log(self.high)))
        return float(np.clip(_rounded(value), self.low, self.high))

    def suggest(self, trial: Any, name: str) -> float:
        return trial.suggest_float(name, self.low, self.high, log=True)


@dataclasses.dataclass(frozen=True)
class Integers:
    """Integers from ``low`` to ``high``, both included; with ``log`` small ones are more likely."""

    low: int
    high: int
    log: bool = False

    def __post_init__(self):
        _require_ends("Integers", self)
        fix = "Set low to 1 or more, or log=False."
        require(self.low > 0 or not self.log, "Integers", "low must be positive for log=True", self.low, fix)

    def draw(self, generator: np.random.Generator) -> int:
        if not self.log:
            return int(generator.integers(self.low, self.high, endpoint=True))
        value = math.exp(generator.uniform(math.log(self.low - 0.5), math.log(self.high + 0.5)))
        return int(np.clip(round(value), self.low, self.high))

    def suggest(self, trial: Any, name: str) -> int:
        return trial.suggest_int(name, self.low, self.high, log=self.log)


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several values, all equally likely."""

    options: tuple[Any, ...]

    def __post_init__(self):
        require(len(self.options) > 0, "Choice", "there must be an option", self.options, "Name some.")

    def draw(self, generator: np.random.Generator) -> Any:
        return self.options[generator.integers(len(self.options))]

    def suggest(self, trial: Any, name: str) -> Any:
        by_text = {str(option): option for option in self.options}  # a storage holds texts, but no tuples
        return by_text[trial.suggest_categorical(name, list(by_text))]


def grid(values: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Returns a member for every combination of values; the last field changes fastest.

    Raises:
        ConfigError: a field has no value.
    """
    for name, options in values.items():
        require(len(options) > 0, "grid", f"{name} must have a value", options, "Name some, or leave the field out.")
    return [dict(zip(values, combination, strict=True)) for combination in itertools.product(*values.values())]


def random_members(space: Mapping[str, Values], count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Draws members at random.

    Args:
        space: field -> its values.
        count: how many members, at least 1. A longer list begins with the shorter one.
        seed: of the draws.
    """
    require(count >= 1, "random_members", "count must be at least 1", count, "Ask for one or more.")
    generator = np.random.default_rng(seed)
    return [{name: values.draw(generator) for name, values in space.items()} for _ in range(count)]


def _walk(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    names = _field_names(node)
    for name in names or ():
        value = getattr(node, name)
        if _field_names(value) is None:
            yield f"{prefix}{name}", value
        else:
            yield from _walk(value, f"{prefix}{name}.")


def _field_names(node: Any) -> Sequence[str] | None:
    """Returns the names of what a configuration holds, None for what is no configuration."""
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        return [field.name for field in dataclasses.fields(node)]
    return node._fields if isinstance(node, tuple) and hasattr(node, "_fields") else None  # pyright: ignore


def _replaced(node: Any, path: Sequence[str], value: Any) -> Any:
    first, rest = path[0], path[1:]
    value = _replaced(getattr(node, first), rest, value) if rest else value
    replace = node._replace if hasattr(node, "_replace") else functools.partial(dataclasses.replace, node)
    return replace(**{first: value})


def _checked(where: str, field: Field, value: Any) -> Any:
    own = field.value
    if field.traced:
        kind = np.asarray(own).dtype.kind
        single = isinstance(value, (bool, int, float, np.generic)) or (np.ndim(value) == 0 and hasattr(value, "dtype"))
        must = f"{field.name} must be a number" + (" without a fraction" if kind in "iu" else " or infinite")
        array = np.asarray(value) if single else np.asarray("")
        fits = array.dtype.kind in "biuf" and not np.isnan(array) and (kind == "f" or array == np.trunc(array))
        require(bool(fits), where, must, value, f"Give a number such as {own}.")
        if kind == "f":
            return float(str(np.float32(array)))  # what the program computes with, in its shortest form
        return bool(array) if kind == "b" else int(array)
    value = tuple(value) if isinstance(value, list) else value.item() if isinstance(value, np.generic) else value
    alike = own is None or value is None or callable(own) or type(value) is type(own) or (type(own), type(value)) == (float, int)
    require(alike, where, f"{field.name} must be of type {type(own).__name__}", value, f"Give a value such as {own!r}.")
    require(isinstance(value, Hashable), where, f"{field.name} must be hashable", value, "Make it a tuple.")
    return float(value) if isinstance(own, float) and isinstance(value, int) else value


def _hashed(value: Any) -> tuple[type, Any]:
    return type(value), value  # True and 1 are other programs


def _require_ends(where: str, values: Any) -> None:
    ordered = math.isfinite(values.low) and math.isfinite(values.high) and values.low < values.high
    require(ordered, where, "low must be below high, and both finite", (values.low, values.high), "Correct them.")


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
