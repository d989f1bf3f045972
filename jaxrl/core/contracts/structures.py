"""Words for structures, shapes and dtypes, and errors out of functions of the user's."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from jaxrl.core.contracts.mistakes import hint, raised_at, said
from jaxrl.core.environment import PyTree
from jaxrl.errors import JaxrlError


def describe(leaf: Any) -> str:
    """Returns dtype and shape of an array, or of what stands for one while jax traces; of anything else its type and value."""
    if isinstance(leaf, (bool, int, float, complex, str)) or not hasattr(leaf, "dtype"):
        return f"the {type(leaf).__name__} {leaf!r}"
    return f"{leaf.dtype}{list(leaf.shape)}"


def described(tree: PyTree) -> dict[str, str]:
    """Returns ``describe`` of every leaf by its place in the tree, for comparison and for messages."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path) or "itself": describe(leaf) for path, leaf in leaves}


def mismatch(expected: PyTree, found: PyTree) -> str:
    """Returns the first place where two trees differ in structure, shape or dtype, or "" where they do not."""
    wanted, given = described(expected), described(found)
    for place in [*wanted, *given]:
        if place not in given:
            return f"nothing at {place} ({wanted[place]})"
        if place not in wanted:
            return f"{given[place]} at {place}, where nothing was"
        if wanted[place] != given[place]:
            return f"{given[place]} at {place} in place of {wanted[place]}"
    structures = jax.tree.structure(expected), jax.tree.structure(found)
    return "" if structures[0] == structures[1] else f"{structures[1]} in place of {structures[0]}"


@contextlib.contextmanager
def translated(where: str, must: str, error: type[JaxrlError], fix: str) -> Iterator[None]:
    """Turns an exception out of a function of the user's into one of ours, which says whose function it was."""
    try:
        yield
    except (JaxrlError, FloatingPointError, jax.errors.KeyReuseError):  # these speak for themselves
        raise
    except Exception as reason:
        raise error(f"{where}: {must}, got {said(reason)}. {fix}") from reason


@contextlib.contextmanager
def traced(where: str, what: str, error: type[JaxrlError], fix: str = "", called: Any = None) -> Iterator[None]:
    """As ``translated``, for a function while jax traces it: an error of its own is told first, with its place in the file.

    called: the function, whose place is told where its arguments do not fit the call.
    """
    try:
        yield
    except (JaxrlError, FloatingPointError, jax.errors.KeyReuseError):  # these speak for themselves
        raise
    except Exception as reason:
        told = f"{said(reason)}{raised_at(reason, called)}"
        if _is_about_tracing(reason):
            fix = fix or "Use jax.numpy and no Python branch on a traced value."
            raise error(f"{where}: {what} must be traceable by jax, got {told}. {fix}") from reason
        todo = fix if fix and isinstance(reason, TypeError) else hint(reason)  # other errors have nothing to do with a call
        raise error(f"{where}: {told}. {what} must not raise. {todo}") from reason


def _is_about_tracing(reason: Exception) -> bool:
    """Returns whether jax refused a traced value, be it by an error of its own or by a TypeError."""
    if isinstance(reason, jax.errors.JAXTypeError | jax.errors.JAXIndexError | jax.errors.UnexpectedTracerError):
        return True
    return isinstance(reason, TypeError) and any(word in str(reason) for word in ("traced", "Tracer", "concrete"))


def is_array(leaf: Any) -> bool:
    """Returns whether a leaf is an array, or stands for one while jax traces: not a Python number."""
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct))


def short(value: Any) -> Any:
    """Returns what a message shows of a value: of one that is long in print, its type."""
    return value if len(repr(value)) <= 200 else type(value)
