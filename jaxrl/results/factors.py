"""Factors: they tell the arms of an experiment from one another, are columns of every table, and select arms."""

from collections.abc import Iterable, Mapping
from typing import Any

from jaxrl.errors import ConfigError, require

Factor = str | int | float | bool


def label(factors: Mapping[str, Factor]) -> str:
    """Returns the name of an arm with these factors: texts as they are, numbers and flags with the name of their factor."""
    return ", ".join(_word(name, value) for name, value in factors.items())


def _word(name: str, value: Factor) -> str:
    name = name.replace("_", " ")
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return name if value else f"no {name}"
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"


def short_labels(factors: Mapping[str, Mapping[str, Factor]]) -> dict[str, str]:
    """Returns a label for each arm that leaves out the factors in which none differs.

    Args:
        factors: arm -> name -> value, as ``Table.factors`` returns.

    Returns:
        arm -> label, the arm's own name where the short ones do not tell all arms apart.
    """
    names = list(dict.fromkeys(name for known in factors.values() for name in known))
    varying = [name for name in names if len({known.get(name) for known in factors.values()}) > 1]
    short = {arm: label({name: known[name] for name in varying if name in known}) for arm, known in factors.items()}
    return short if all(short.values()) and len(set(short.values())) == len(short) else {arm: arm for arm in factors}


def matches(factors: Mapping[str, Factor], wanted: Mapping[str, Any]) -> bool:
    """Returns whether factors have all wanted values."""
    return all(name in factors and same(factors[name], value) for name, value in wanted.items())


def same(one: Factor, other: Any) -> bool:
    """Returns whether two values of a factor are the same: 1 and 1.0 are, 1 and True are not."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def read(name: str, text: str, values: Iterable[Factor]) -> Factor:
    """Returns which of the values of a factor a text names.

    Raises:
        ConfigError: none of them.
    """
    values = list(dict.fromkeys(values))
    for value in values:
        if text == str(value) or (isinstance(value, bool) and text.lower() == str(value).lower()):
            return value
    for value in values:
        if isinstance(value, int | float) and not isinstance(value, bool) and _is_number(text) and float(text) == value:
            return value
    known = ", ".join(map(str, values))
    raise ConfigError(f"only: {name} must be one of {known}, got {text!r}. Try {name}={values[0]}.")


def require_factors(where: str, factors: Mapping[str, Any]) -> None:
    """Raises ConfigError unless factors have names and values that a table can hold."""
    must = "an arm must have a factor"
    require(len(factors) > 0, where, must, dict(factors), 'Name it, for example {"method": "plain"}.')
    wrong = {name: value for name, value in factors.items() if not isinstance(value, str | int | float | bool) or value == ""}
    require(not wrong, where, "values of factors must be texts, numbers or flags", wrong, "Name the value.")
    wrong = [name for name in factors if not isinstance(name, str) or not name.isidentifier() or name in RESERVED]
    must = f"names of factors must be identifiers other than {', '.join(RESERVED)}"
    require(not wrong, where, must, wrong, "Rename the factor.")


RESERVED = ("arm", "seed", "update", "env_steps", "metric", "table")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
