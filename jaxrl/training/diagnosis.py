"""Where a bad number comes from: the first operation in the history of a value that returned NaN or infinity.

A function is carried out operation by operation, and every array remembers the operation at which its history went bad. Values
that are missing on purpose (the mean return while no episode ends, the logit of an action that is not allowed) therefore do not
hide what happened: only the history of the value in question counts.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

UNKNOWN = "an unknown place"


class Operation(NamedTuple):
    """An operation that returned a number that is not finite, from finite ones or from a constant or argument that is not.

    primitive: its name in jax, for example ``"div"``.
    place: ``"file:line (function)"`` in the code that asked for it.
    line: that line.
    inputs: smallest and largest value of every numeric input, in words.
    outputs: how many elements of its result are NaN, and how many infinite.
    """

    primitive: str
    place: str
    line: str
    inputs: tuple[str, ...]
    outputs: str

    def __str__(self) -> str:
        given = ", ".join(self.inputs) or "nothing"
        return f"{self.primitive} at {self.place}\n    {self.line}\n  given {given}\n  it returned {self.outputs}"


class _Value(NamedTuple):
    """An array and the operation at which its history went bad, None while all of it was finite."""

    array: Any
    origin: Operation | None = None


def first_bad_operation(function: Callable, *args: Any) -> dict[str, Operation | None]:
    """Carries a function out step by step and says for each of its outputs where it went bad.

    Args:
        function: pure, of pytrees of arrays.
        args: its arguments.

    Returns:
        Path of the output in the result -> the operation, for outputs that hold NaN or infinity; None for an argument or constant
        that is returned as it is.
    """
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
    values = _evaluate(closed.jaxpr, closed.consts, [_Value(leaf) for leaf in jax.tree.leaves(args)])
    paths, _ = jax.tree_util.tree_flatten_with_path(shape)
    named = zip((jax.tree_util.keystr(path) for path, _ in paths), values, strict=True)
    return {name: value.origin for name, value in named if not _is_finite(value.array)}


def _evaluate(jaxpr: Any, consts: Sequence[Any], args: Sequence[_Value]) -> list[_Value]:
    """Carries out a jaxpr, operation by operation, and the bodies of its loops and calls likewise."""
    held: dict[Any, _Value] = {}

    def read(variable: Any) -> _Value:
        return _Value(variable.val) if isinstance(variable, core.Literal) else held[variable]

    held.update(zip(jaxpr.constvars, map(_Value, consts), strict=True))
    held.update(zip(jaxpr.invars, args, strict=True))
    for equation in jaxpr.eqns:
        inputs = [read(variable) for variable in equation.invars]
        outputs = _RULES.get(equation.primitive.name, _call_or_operation)(equation, inputs)
        held.update((variable, value) for variable, value in zip(equation.outvars, outputs, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _call_or_operation(equation: Any, inputs: list[_Value]) -> list[_Value]:
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        body = equation.params.get(name)
        if isinstance(body, core.ClosedJaxpr):
            return _placed(equation, inputs, _evaluate(body.jaxpr, body.consts, inputs))
        if isinstance(body, core.Jaxpr):
            return _placed(equation, inputs, _evaluate(body, (), inputs))
    arrays = equation.primitive.bind(*(value.array for value in inputs), **equation.params)
    arrays = list(arrays) if equation.primitive.multiple_results else [arrays]
    origin, outputs = None, []
    for array in arrays:
        if _is_finite(array):
            outputs.append(_Value(array))
            continue
        origin = origin or next((value.origin for value in inputs if value.origin), None) or _describe(equation, inputs, array)
        outputs.append(_Value(array, origin))
    return outputs


def _placed(call: Any, inputs: list[_Value], outputs: list[_Value]) -> list[_Value]:
    """Returns the results of a call: an operation inside of it that has no line but jax's own has that of the call."""
    before = [value.origin for value in inputs]

    def place_of(value: _Value) -> _Value:
        origin = value.origin
        if origin is None or origin.place != UNKNOWN or any(origin is known for known in before):
            return value
        place, line = _place(call)
        return value._replace(origin=origin._replace(place=place, line=line))

    return list(map(place_of, outputs))


def _scan(equation: Any, inputs: list[_Value]) -> list[_Value]:
    params, body = equation.params, equation.params["jaxpr"]
    # Versions of jax name the parts of a scan differently. Arrays that are scanned over have one axis more outside of the body.
    num_xs = sum(jnp.ndim(value.array) > inner.aval.ndim for value, inner in zip(inputs, body.jaxpr.invars, strict=True))
    num_carry = sum(outer.aval.ndim == inner.aval.ndim for outer, inner in zip(equation.outvars, body.jaxpr.outvars, strict=True))
    num_consts = len(inputs) - num_carry - num_xs
    consts, carry, xs = inputs[:num_consts], inputs[num_consts : num_consts + num_carry], inputs[num_consts + num_carry :]
    order = range(params["length"])
    collected: list[list[_Value]] = []
    for index in reversed(order) if params["reverse"] else order:
        rows = [_Value(value.array[index], value.origin) for value in xs]
        out = _evaluate(body.jaxpr, body.consts, [*consts, *carry, *rows])
        carry, ys = out[:num_carry], out[num_carry:]
        collected.append(ys)
    if params["reverse"]:
        collected.reverse()
    stacked = []
    for position, variable in enumerate(equation.outvars[num_carry:]):
        column = [row[position] for row in collected]
        arrays = jnp.stack([value.array for value in column]) if column else jnp.zeros(variable.aval.shape, variable.aval.dtype)
        stacked.append(_Value(arrays, next((value.origin for value in column if value.origin), None)))
    return [*carry, *stacked]


def _while(equation: Any, inputs: list[_Value]) -> list[_Value]:
    params = equation.params
    test, body = params["cond_jaxpr"], params["body_jaxpr"]
    first, second = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    test_consts, body_consts, carry = inputs[:first], inputs[first:second], inputs[second:]
    while bool(_evaluate(test.jaxpr, test.consts, [*test_consts, *carry])[0].array):
        carry = _evaluate(body.jaxpr, body.consts, [*body_consts, *carry])
    return carry


def _cond(equation: Any, inputs: list[_Value]) -> list[_Value]:
    branches = equation.params["branches"]
    chosen = branches[int(np.clip(int(inputs[0].array), 0, len(branches) - 1))]
    return _evaluate(chosen.jaxpr, chosen.consts, inputs[1:])


_RULES = {"scan": _scan, "while": _while, "cond": _cond}


def _is_float(array: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(array), jnp.inexact)


def _is_finite(array: Any) -> bool:
    return not _is_float(array) or bool(jnp.isfinite(array).all())


def _describe(equation: Any, inputs: list[_Value], output: Any) -> Operation:
    place, line = _place(equation)
    ranges = tuple(
        f"{jnp.result_type(array)}{list(jnp.shape(array))} in [{jnp.min(array):.6g}, {jnp.max(array):.6g}]"
        for array in (value.array for value in inputs)
        if jnp.size(array) and jnp.issubdtype(jnp.result_type(array), jnp.number)
    )
    nan, infinite = int(jnp.isnan(output).sum()), int(jnp.isinf(output).sum())
    return Operation(equation.primitive.name, place, line, ranges, f"{nan} NaN and {infinite} infinite of {jnp.size(output)}")


def _place(equation: Any) -> tuple[str, str]:
    """Returns the innermost line of code outside of jax and its companions that led to an operation."""
    traceback = equation.source_info.traceback
    for frame in traceback.frames if traceback is not None else ():
        path = Path(frame.file_name)
        if "site-packages" in path.parts or path.name == Path(__file__).name or not path.is_file():
            continue
        lines = path.read_text().splitlines()
        line = lines[frame.line_num - 1].strip() if 0 < frame.line_num <= len(lines) else ""
        return f"{path}:{frame.line_num} ({frame.function_name})", line
    return UNKNOWN, ""
