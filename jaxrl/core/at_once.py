"""Calls that are one program, whether they stand alone or within another."""

from collections.abc import Callable
from typing import Any

import jax

from jaxrl.errors import is_traced


def at_once(function: Callable, *arguments: Any) -> Any:
    """Returns ``function(*arguments)``, compiled as a whole unless it is part of a program already.

    Called by itself, jax would compile each of its operations alone, which takes twice as long as all of them together: hundreds
    of programs, in place of one, for the episodes of a data set.

    Args:
        function: of pytrees of arrays, pure.
        arguments: PyTrees.
    """
    return function(*arguments) if is_traced(*arguments) else jax.jit(function)(*arguments)
