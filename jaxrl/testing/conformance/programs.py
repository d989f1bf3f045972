"""Programs as jax has traced them: what is in them, wherever it is nested."""

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.extend import core
from jax.interpreters.partial_eval import dce_jaxpr

from jaxrl.testing.conformance.comparison import is_key


def equations(jaxpr: core.Jaxpr) -> Iterator[Any]:
    """Yields the equations of a program and of all programs inside it."""
    for equation in jaxpr.eqns:
        yield equation
        for program in programs(equation):
            yield from equations(program)


def programs(equation: Any) -> list[core.Jaxpr]:
    """Returns the programs that an equation runs: bodies of loops, branches, nested calls."""
    kinds = (core.Jaxpr, core.ClosedJaxpr)
    values = jax.tree.leaves(list(equation.params.values()), is_leaf=lambda value: isinstance(value, kinds))
    found: Any = [getattr(value, "jaxpr", value) for value in values if isinstance(value, kinds)]
    return found


def draws_64_bits(jaxpr: core.Jaxpr) -> bool:
    """Returns whether a program draws random numbers of 64 bits: others than those of 32 bits that the same key gives."""
    return any(equation.primitive.name == "random_bits" and equation.params["bit_width"] == 64 for equation in equations(jaxpr))


def draws_from_another_key(function: Callable, *inputs: Any) -> bool:
    """Returns whether a function draws random numbers, but from none of the random keys that it is given."""
    program = jax.make_jaxpr(function)(*inputs).jaxpr
    needed, used = dce_jaxpr(program, [True] * len(program.outvars))
    draws = any(equation.primitive.name == "random_bits" for equation in equations(needed))
    given = [uses for uses, variable in zip(used, program.invars, strict=True) if is_key(variable.aval)]
    return draws and not any(given)


def traced_afresh(function: Callable, *inputs: Any) -> core.ClosedJaxpr:
    """Returns the program of a function; it is traced even if jax remembers an earlier trace, all but calls of ``jax.jit``."""
    return jax.make_jaxpr(lambda *values: function(*values))(*inputs)


def text(program: core.ClosedJaxpr) -> str:
    """Returns a program as jax prints it, without the addresses of Python objects, and a line for each array that is in it."""
    return "\n".join([re.sub("0x[0-9a-f]+", "", str(program)), *map(_fingerprint, _constants(program))])


def _constants(program: Any) -> Iterator[Any]:
    """Yields the constants of a program and of all programs inside it."""
    yield from getattr(program, "consts", ())
    closed = core.ClosedJaxpr
    for equation in getattr(program, "jaxpr", program).eqns:
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda value: isinstance(value, closed)):
            if isinstance(value, closed):
                yield from _constants(value)


def _fingerprint(constant: Any) -> str:
    array = np.asarray(jax.random.key_data(constant) if is_key(constant) else constant)
    return f"{array.dtype}{list(array.shape)} {hashlib.sha256(array.tobytes()).hexdigest()}"
