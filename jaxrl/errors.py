"""Errors that a user can cause, each raised on the host before anything is traced.

Every message has the same four parts: where it happened, what must hold, the value that was found, and what to do next.
"""

import dataclasses
import difflib
import numbers
import reprlib
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

MOST_LISTED = 24  # names that a message lists in full, if there is another place that shows them
NEAR_NAMES = 4  # that a message offers in place of a longer list


class JaxrlError(Exception):
    """Base of every error that jaxrl raises on purpose."""


class ConfigError(JaxrlError, ValueError):
    """A configuration value is out of range, or two values do not fit together."""


class EnvError(JaxrlError, ValueError):
    """An environment breaks the protocol of ``jaxrl.core.environment``."""


class AlgorithmError(JaxrlError, ValueError):
    """An algorithm, or its configuration, breaks the protocol of ``jaxrl.core.algorithm``."""


class EvaluatorError(JaxrlError, ValueError):
    """An evaluator breaks the protocol of ``jaxrl.evaluation``."""


class SpaceError(JaxrlError, TypeError):
    """An observation or action space is one that the algorithm cannot use, or a value lies outside its space."""


class UnknownNameError(JaxrlError, LookupError):
    """No environment, experiment, field or run has this name."""


class DataError(JaxrlError, ValueError):
    """Data from outside cannot be used: a row of a file is unsound, or a split of it is empty."""


class SolverError(JaxrlError, ArithmeticError):
    """A solver has an answer that does not stand its own check, or has found none."""


class AnswersWanted(JaxrlError):
    """A run cannot go on before somebody has answered; no mistake. The text says how many answers are missing, of whom and where.

    Raised by ``Between.ask`` of ``jaxrl.training.trainer``: the run keeps all it has, ends early, and asks again if resumed.
    """


class DataWarning(UserWarning):
    """Data can be used, but may not be what they seem: a jump like that of a split, a gap, a record too short for its measure."""


class QuarantineWarning(UserWarning):
    """A run has no seed left: every one had a value that is not finite, and its later measurements are missing."""


class ResultsError(JaxrlError, OSError):
    """A results folder cannot be written, or what lies in it cannot be read."""


class ProcessLostError(JaxrlError, RuntimeError):
    """A process that takes part in a run has died or left."""


class CheckpointError(ResultsError):
    """A checkpoint is damaged, or belongs to something else than what is to go on with it."""


def require(condition: bool, where: str, must: str, value: object, fix: str, error: type[JaxrlError] = ConfigError) -> None:
    """Raises ``error`` unless ``condition`` holds.

    Args:
        condition: what has been checked.
        where: the function or class whose input this is, for example ``"ppo"``.
        must: what must hold, for example ``"num_envs must be positive"``.
        value: what was found instead.
        fix: what the user can do, one sentence.
        error: the class to raise.
    """
    if not condition:
        raise error(f"{where}: {must}, got {value!r}. {fix}")


def require_count(where: str, name: str, value: object, least: int = 1) -> None:
    """Raises ConfigError unless a value is an integer of at least ``least``."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= least
    require(bool(whole), where, f"{name} must be an integer of at least {least}", value, f"Set {name} to {least} or more.")


def require_index(where: str, name: str, value: Any, size: int) -> None:
    """Raises ConfigError unless a value is an integer in [0, size). Of a traced value the shape alone is checked."""
    if is_traced(value):
        known = jnp.shape(value) == ()
    else:
        number = as_real(value)
        known = number is not None and number.ndim == 0 and np.issubdtype(number.dtype, np.integer) and 0 <= number < size
    require(bool(known), where, f"{name} must be an integer in [0, {size})", value, "Count from 0, the first.")


def require_counts(where: str, config: object, *names: str) -> None:
    """Raises ConfigError unless every named field of ``config`` is an integer of at least 1."""
    for name in names:
        require_count(where, name, getattr(config, name))


def require_whole(where: str, config: object, *names: str) -> None:
    """Raises ConfigError unless every named field of ``config`` is an integer of at least 0."""
    for name in names:
        require_count(where, name, getattr(config, name), 0)


def require_between(where: str, config: object, low: float, high: float, *names: str, below: bool = False) -> None:
    """Raises ConfigError unless every named field of ``config``, a number or an array of them, lies in [low, high].

    Args:
        where: who asks.
        config: a dataclass.
        low, high: the ends; infinite where there is none.
        names: fields.
        below: whether ``high`` itself is too much.
    """
    for name in names:
        value = as_real(getattr(config, name))
        inside = value is not None and bool(np.all((value >= low) & (value <= high)))
        if below and value is not None:  # and in the precision of a traced field, too
            with np.errstate(over="ignore"):
                inside = inside and bool(np.all((value < high) & (value.astype(np.float32) < np.float32(high))))
        bounded, bounded_below = np.isfinite(high), np.isfinite(low)
        if below and bounded:
            must, fix = f"{name} must lie in [{low:g}, {high:g})", f"Set {name} to {low:g} or more, and below {high:g}."
        elif below:
            least = f" of at least {low:g}" if bounded_below else ""
            must, fix = f"{name} must be a number{least} that float32 can hold", f"Set {name} to a smaller number."
        elif bounded:
            must, fix = f"{name} must lie in [{low:g}, {high:g}]", f"Set {name} to a number from {low:g} to {high:g}."
        else:
            must, fix = f"{name} must be at least {low:g}", f"Set {name} to {low:g} or more."
        require(inside, where, must, getattr(config, name), fix)


def require_positive(where: str, config: object, *names: str) -> None:
    """Raises ConfigError unless every named field of ``config``, a number or an array of them, is above 0."""
    for name in names:
        value = as_real(getattr(config, name))
        positive = value is not None and bool(np.all(value > 0))
        require(positive, where, f"{name} must be positive", getattr(config, name), f"Set {name} to a number above 0.")


def require_numbers(where: str, config: object, *infinite: str) -> None:
    """Raises ConfigError unless every traced field of ``config`` is a number or an array of them: none NaN, none infinite.

    Flags, the static fields whose default is True or False, must be one of the two: any text would count as true.

    Args:
        where: who asks.
        config: a dataclass. Other static fields, configurations inside it and fields that are None are left alone.
        infinite: fields that may be infinite.
    """
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        value = getattr(config, field.name)
        if isinstance(field.default, bool) and not field.metadata.get("pytree_node", True):
            must, fix = f"{field.name} must be True or False", f"Set {field.name}={field.default} (the default)."
            require(isinstance(value, (bool, np.bool_)), where, must, value, fix)
        if not field.metadata.get("pytree_node", True) or value is None or dataclasses.is_dataclass(value):
            continue
        kind = "a number" if field.name in infinite else "a finite number"
        default = "" if field.default is dataclasses.MISSING else f" (the default is {field.default!r})"
        must, fix = f"{field.name} must be {kind}", f"Set {field.name} to a number{default}."
        numbers = np.asarray(value)
        require(numbers.dtype.kind in "iuf", where, must, value, fix)
        sound = ~np.isnan(numbers) if field.name in infinite else np.isfinite(numbers)
        require(bool(sound.all()), where, must, value, fix)


def require_at_most(where: str, config: object, name: str, limit: str) -> None:
    """Raises ConfigError unless one field of ``config`` does not exceed another one, entry by entry where they are arrays.

    For two fields of which one bounds the other: without this, the bound that a user left at its default decides silently.
    """
    value, most = np.broadcast_arrays(np.asarray(getattr(config, name)), np.asarray(getattr(config, limit)))
    beyond = ~(value <= most)
    if beyond.any():
        first = np.unravel_index(int(beyond.argmax()), beyond.shape)
        low, high = most[first].item(), value[first].item()
        must, fix = f"{name} must not exceed {limit} ({low:g})", f"Set {name}={low:g}, or raise {limit} to {high:g}."
        require(False, where, must, high, fix)


def is_traced(*values: Any) -> bool:
    """Returns whether any of these is traced by jax, or holds what is: it has no numbers yet that could be checked."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values))


def require_real(
    where: str, name: str, values: Any, fix: str = "Give numbers, in rows of one length.", error: type[JaxrlError] = ConfigError
) -> np.ndarray:
    """Returns an array of real numbers in its own precision, lists included; NaN and infinity are allowed.

    Args:
        where: who asks.
        name: of the values.
        values: whatever NumPy can make an array of; nothing that is traced. Flags count as 0 and 1, None as NaN.
        fix: what the user can do, one sentence.
        error: the class to raise if it holds text, dates, complex numbers or rows of different lengths.
    """
    array = as_real(values)
    if array is None:
        raise error(f"{where}: {name} must be an array of real numbers, got {reprlib.repr(values)}. {fix}")
    return array


def as_real(values: Any) -> np.ndarray | None:
    """Returns an array of real numbers as ``require_real`` does, or None if it would raise its error."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):  # keys of jax, and rows of different lengths
        return None
    if array.dtype == object:
        real = all(entry is None or isinstance(entry, numbers.Real) for entry in array.flat)
        return array.astype(np.float64) if real and array.ndim else None
    real = array.dtype == bool or any(jnp.issubdtype(array.dtype, kind) for kind in (np.floating, np.integer))
    return array if real else None


def require_within(
    where: str, name: str, value: Any, low: float, high: float, fix: str, *, above: bool = False, below: bool = False
) -> None:
    """Raises ConfigError unless a number, or every one of an array, lies in [low, high]. Traced values are not checked.

    Args:
        where: who asks.
        name: of the number.
        value: the number, or an array of them; True and False are refused.
        low, high: the ends; ``high`` is infinite if there is none.
        fix: what the user can do, one sentence with a legal value.
        above, below: whether the lower and the upper end are excluded.
    """
    if is_traced(value):
        return
    number = as_real(value)
    inside = number is not None and number.dtype != bool and number.size > 0
    if number is not None and inside:
        inside = bool(np.all((number > low if above else number >= low) & (number < high if below else number <= high)))
    if np.isfinite(high):
        must = f"lie in {'(' if above else '['}{low:g}, {high:g}{')' if below else ']'}"
    elif above and low == 0:
        must = "be a positive number"
    else:
        must = f"be a number {'above' if above else 'of at least'} {low:g}"
    require(inside, where, f"{name} must {must}", value, fix)


def require_number(
    where: str, name: str, value: Any, low: float, high: float, fix: str, *, above: bool = False, below: bool = False
) -> None:
    """Raises ConfigError unless a value is one number in [low, high]. Arguments as for ``require_within``."""
    number = value if is_traced(value) else as_real(value)
    require(number is not None and number.shape == (), where, f"{name} must be one number", value, fix)
    require_within(where, name, value, low, high, fix, above=above, below=below)


def require_discount(where: str, gamma: Any, below_one: bool = False) -> None:
    """Raises ConfigError unless a discount, a number or an array of them, lies in [0, 1]. Traced values are not checked.

    Args:
        where: who asks.
        gamma: the discount.
        below_one: whether it must be below 1.
    """
    require_within(where, "gamma", gamma, 0, 1, "0.99 is common.", below=below_one)


def require_tolerance(where: str, tolerance: Any) -> None:
    """Raises ConfigError unless a tolerance is a number of at least 0. Traced values are not checked."""
    require_within(where, "tolerance", tolerance, 0, np.inf, "1e-6 is common.")


def require_arrays(where: str, *, flags: dict[str, Any] | None = None, **values: Any) -> dict[str, jax.Array]:
    """Returns numbers and flags as arrays, by name, the flags last. Of traced values the types and shapes alone are checked.

    Args:
        where: who asks.
        flags: arrays of bool.
        values: arrays of numbers; NaN and infinity are allowed.

    Raises:
        ConfigError: a value is not a real number, a flag not bool, or their shapes do not broadcast.
    """
    flags = flags or {}
    named = values | flags
    found = {n: part if isinstance(part, jax.Array) else jnp.asarray(require_real(where, n, part)) for n, part in named.items()}
    for name in flags:
        kind, fix = found[name].dtype, f"Write {name}.astype(bool)."
        require(kind.name == "bool", where, f"{name} must be bool", kind.name, fix)
    shapes = {name: array.shape for name, array in found.items()}
    try:
        np.broadcast_shapes(*shapes.values())
    except ValueError:
        require(False, where, "the shapes must broadcast", shapes, "Cut them to the same items.")
    return found


def require_finite(
    where: str, name: str, values: Any, fix: str = "Replace it.", error: type[JaxrlError] = ConfigError
) -> np.ndarray:
    """Returns an array of real numbers, unless one is NaN or infinite: then raises ``error`` and names the first one's index."""
    values = require_real(where, name, values, fix, error)
    good = np.isfinite(values)
    if not good.all():
        index = tuple(int(i) for i in np.argwhere(~good)[0])
        at = f" at index {index[0] if len(index) == 1 else index}" if index else ""
        require(False, where, f"{name} must be finite", f"{values[index]}{at}", fix, error)
    return values


def require_distribution(
    where: str,
    name: str,
    probability: Any,
    fix: str = "Divide it by its sum.",
    error: type[JaxrlError] = ConfigError,
    tolerance: float = 1e-5,
) -> np.ndarray:
    """Returns probabilities, float64[..., K], unless a row over the last axis is no distribution: then raises ``error``.

    Args:
        where: who asks.
        name: of the probabilities.
        probability: float[..., K]: finite, none negative, each row summing to 1.
        fix: what the user can do, one sentence.
        error: the class to raise.
        tolerance: by how much a sum may differ from 1; the default is what float32 rounds away over thousands of entries.
    """
    probability = np.asarray(require_finite(where, name, probability, fix, error), np.float64)
    lowest, total = probability.min(-1, initial=0.0), probability.sum(-1)
    for good, must, found in (
        (lowest >= 0, f"{name} must not be negative", lowest),
        (np.abs(total - 1) <= tolerance, f"{name} must sum to 1", total),
    ):
        if not np.all(good):
            index = tuple(int(i) for i in np.argwhere(~np.asarray(good))[0])
            place = f" in row {index}" if index else ""
            require(False, where, must, f"{'a sum of ' if found is total else ''}{found[index]:g}{place}", fix, error)
    return probability


def require_payoffs(where: str, payoff: Any) -> np.ndarray:
    """Returns the payoff table of a game, float64[N, A_0, ..., A_{N-1}].

    Raises:
        ConfigError: it has another shape, or an entry is not a finite number.
    """
    table = require_real(where, "payoff", payoff).astype(np.float64)
    require_game_shape(where, table.shape)
    return require_finite(where, "payoffs", table, "Replace those that are not.")


def require_game_shape(where: str, shape: tuple[int, ...]) -> None:
    """Raises ConfigError unless a payoff table has an axis of players and one of actions for each. where: who asks."""
    shaped = len(shape) >= 2 and len(shape) == shape[0] + 1 and min(shape) >= 1
    must = "payoff must have shape [N, A_0, ..., A_{N-1}], an axis of actions for each of N players"
    require(shaped, where, must, shape, "Stack one table for each player.")


def require_zero_sums(where: str, payoffs: np.ndarray, fix: str, error: type[JaxrlError] = ConfigError) -> None:
    """Raises ``error`` unless what two players are paid cancels everywhere, as far as float32 can tell.

    Args:
        where: who asks.
        payoffs: float64[..., 2].
        fix: what the user can do, one sentence.
        error: the class to raise.
    """
    size = np.abs(payoffs).max(-1, initial=0.0)
    # float32 rounds numbers that are not halves, quarters ... to a ten-millionth of their size; differences that are 0 but for
    # rounding in float64 have only the size of the others.
    wrong = ~(np.abs(payoffs.sum(-1)) <= np.maximum(1e-6 * size, 1e-12 * size.max(initial=0.0)))
    found = payoffs[wrong][0].tolist() if wrong.any() else None
    require(found is None, where, "what both players are paid must sum to zero", found, fix, error)


def closest(name: str, known: Iterable[str]) -> str | None:
    """Returns the known name that ``name`` most likely stands for, or None when none is near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None


def near_names(name: str, known: Iterable[str]) -> list[str]:
    """Returns the known names that are spelled like ``name``, or that it is a part of, the nearest first; at most a few."""
    known = list(known)
    spelled = difflib.get_close_matches(name, known, n=NEAR_NAMES, cutoff=0.6)
    parts = [other for other in known if name and name in other]
    return list(dict.fromkeys(spelled + parts))[:NEAR_NAMES]


def unknown_name(where: str, kind: str, name: str, known: Iterable[str], catalogue: str = "", fix: str = "") -> UnknownNameError:
    """Builds the error for a name that is not known: it names the closest match and lists the rest.

    Args:
        where: who asks.
        kind: of the thing that has no such name, for example ``"environment"``.
        name: the one that is not known.
        known: all that are.
        catalogue: the command or function that shows all; where they are many, the message then has the near ones alone.
        fix: what the user can do, one sentence, if a near name is not what was meant.
    """
    known = sorted(known)
    many = bool(catalogue) and len(known) > MOST_LISTED
    match = closest(str(name), known)
    near = near_names(str(name), known) if many else [match] if match else []
    hint = f"{fix} " if fix else f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
    rest = f"All {len(known)} are shown by {catalogue}." if many else f"Known: {', '.join(known) or 'none'}."
    return UnknownNameError(f"{where}: no {kind} is named {name!r}. {hint}{rest}")


def missing_package(where: str, package: str, extra: str, error: ImportError) -> ConfigError:
    """Builds the error for a package that only an extra of jaxrl installs."""
    fix = f"Run: pip install 'jaxrl[{extra}]'."
    return ConfigError(f"{where}: the package {package} must be installed, got {str(error)!r}. {fix}")


def nan_unless(sound: jax.Array, value: jax.Array) -> jax.Array:
    """Returns a value where it is sound and NaN where not: what compiled code, which cannot raise, does with an unsound number.

    No NaN is written into the program, so that jax_debug_nans stops only where a value is unsound.

    Args:
        sound: bool, broadcasts to ``value``.
        value: float[...].
    """
    infinite = jnp.where(sound, jnp.zeros((), value.dtype), jnp.inf)
    return value + (infinite - infinite)
