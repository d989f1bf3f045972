"""Fields and their values as the options of ``sweep`` write them: FIELD=VALUE,VALUE and FIELD=LOW..HIGH."""

import ast
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxrl.errors import ConfigError, require, unknown_name
from jaxrl.sweeps.members import Choice, Field, Integers, LogUniform, Uniform, Values


def listed(known: Mapping[str, Field], texts: Sequence[str]) -> dict[str, list[Any]]:
    """Reads texts FIELD=VALUE,VALUE.

    Args:
        known: the fields by their names.
        texts: those of ``--grid``.

    Raises:
        UnknownNameError: there is no such field. ConfigError: a text has another form, or a value another type.
    """
    return {name: _values(_field(known, name), text) for name, text in _assignments("--grid", texts)}


def space(known: Mapping[str, Field], texts: Sequence[str]) -> dict[str, Values]:
    """Reads texts FIELD=LOW..HIGH, FIELD=log:LOW..HIGH or FIELD=VALUE,VALUE, those of ``--random``; as ``listed``."""
    return {name: _drawn(_field(known, name), text) for name, text in _assignments("--random", texts)}


def _field(known: Mapping[str, Field], name: str) -> Field:
    if name not in known:
        raise unknown_name("sweep", "field", name, known)
    return known[name]


def _values(field: Field, text: str) -> list[Any]:
    return [_value(field, part) for part in _parts(field, text)]


def _drawn(field: Field, text: str) -> Values:
    log = text.startswith("log:")
    low, between, high = text.removeprefix("log:").partition("..")
    if not between:
        return Choice(tuple(_values(field, text)))
    ends = _value(field, low), _value(field, high)
    if isinstance(field.value, int) and not isinstance(field.value, bool):
        return Integers(*ends, log)
    return LogUniform(*ends) if log else Uniform(*ends)


def _assignments(option: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    """Splits FIELD=VALUES."""
    pairs = [text.partition("=") for text in texts]
    for text, (name, sign, values) in zip(texts, pairs, strict=True):
        fix = f"Write {option} learning_rate=1e-4,3e-4."
        require(bool(name and sign and values), "sweep", f"{option} must have the form FIELD=VALUES", text, fix)
    names = [name.replace("-", "_") for name, _, _ in pairs]
    repeated = sorted({name for name in names if names.count(name) > 1})
    require(not repeated, "sweep", f"{option} may name a field once", repeated, "Give all its values together.")
    return [(name, values) for name, (_, _, values) in zip(names, pairs, strict=True)]


def _parts(field: Field, text: str) -> list[str]:
    """Splits a list of values at the commas that are not inside brackets."""
    if not isinstance(field.value, tuple):
        return text.split(",")
    depth, parts = 0, [""]
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _value(field: Field, text: str) -> Any:
    """Reads a value of a field."""
    own = np.asarray(field.value).dtype.type(0).item() if field.traced else field.value
    try:
        if isinstance(own, str):
            return text
        if isinstance(own, bool):
            return {"true": True, "false": False}[text.lower()]
        return type(own)(text) if isinstance(own, (int, float)) else ast.literal_eval(text)
    except (ValueError, KeyError, SyntaxError) as error:
        fix = f"Write it like {_example(field)}."
        raise ConfigError(f"sweep: {field.name} must be of type {type(own).__name__}, got {text!r}. {fix}") from error


def _example(field: Field) -> str:
    """Returns a value of a field as a command line writes it: the one that it has, or another where that is 0."""
    own = np.ravel(field.value)[0].item() if field.traced else field.value
    if isinstance(own, bool):
        return str(own).lower()
    return f"{own or 0.1:g}" if isinstance(own, float) else repr(own)
