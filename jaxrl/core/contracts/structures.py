"""Words for structures, shapes and dtypes, and errors out of functions of the user's."""

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jaxlib
import numpy as np

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
        raise error(f"{where}: {must}, got {_said(reason)}. {fix}") from reason


@contextlib.contextmanager
def traced(where: str, what: str, error: type[JaxrlError], fix: str = "") -> Iterator[None]:
    """As ``translated``, for a function while jax traces it: an error of its own is told first, with its place in the file."""
    try:
        yield
    except (JaxrlError, FloatingPointError, jax.errors.KeyReuseError):  # these speak for themselves
        raise
    except Exception as reason:
        said, place = _said(reason), _place(reason)
        if _is_about_tracing(reason):
            fix = fix or "Use jax.numpy and no Python branch on a traced value."
            raise error(f"{where}: {what} must be traceable by jax, got {said}{place}. {fix}") from reason
        hint = fix if fix and isinstance(reason, TypeError) else "Mend it there."  # other errors have nothing to do with a call
        raise error(f"{where}: {said}{place}. {what} must not raise. {hint}") from reason


def _said(reason: Exception) -> str:
    """Returns the first line of an error, with its type."""
    lines = [line for line in f"{type(reason).__name__}: {reason}".splitlines() if line]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1]).rstrip(".: ")


def _is_about_tracing(reason: Exception) -> bool:
    """Returns whether jax refused a traced value, be it by an error of its own or by a TypeError."""
    if isinstance(reason, jax.errors.JAXTypeError | jax.errors.JAXIndexError | jax.errors.UnexpectedTracerError):
        return True
    return isinstance(reason, TypeError) and any(word in str(reason) for word in ("traced", "Tracer", "concrete"))


def _place(reason: Exception) -> str:
    """Returns where an error was raised: in the user's file, if one has a part in it, else in ours; not inside of jax."""
    frames = [frame for frame in traceback.extract_tb(reason.__traceback__) if not _lies_in(frame.filename, JAX)]
    own = [frame for frame in frames if not _lies_in(frame.filename, (OURS,))]
    found = (own or frames)[-1:]
    return f" at {found[0].filename}, line {found[0].lineno}, in {found[0].name}" if found else ""


def _lies_in(file: str, folders: tuple[Path, ...]) -> bool:
    return any(Path(file).is_relative_to(folder) for folder in folders)


OURS = Path(__file__).parents[2]  # the package
JAX = tuple(Path(module.__file__).parent for module in (jax, jaxlib) if module.__file__)


def is_array(leaf: Any) -> bool:
    """Returns whether a leaf is an array, or stands for one while jax traces: not a Python number."""
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct))


def short(value: Any) -> Any:
    """Returns what a message shows of a value: of one that is long in print, its type."""
    return value if len(repr(value)) <= 200 else type(value)
