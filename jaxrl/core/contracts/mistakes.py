"""Mistakes in a user's own code: where they are, and the name that was meant."""

import ast
import builtins
import contextlib
import dataclasses
import inspect
import linecache
import re
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import jax
import jaxlib

from jaxrl.errors import ConfigError, closest

OURS = Path(__file__).parents[2]  # the package
JAX = tuple(Path(module.__file__).parent for module in (jax, jaxlib) if module.__file__)
INSTALLED = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platlib", "purelib"))
KEYWORD = re.compile(r"unexpected keyword argument '(\w+)'")
SLIPS = (TypeError, AttributeError, NameError)  # of a wrong name or a wrong call


@contextlib.contextmanager
def mistakes(where: str, what: str) -> Iterator[None]:
    """Turns a wrong name or a wrong call in a user's own file into one sentence with the line and the name that was meant.

    Other exceptions pass: those of other types, and those from inside of a library, where the traceback shows the way.

    Args:
        where: who asks.
        what: of the user's is called, for example ``"arms(config)"``.

    Raises:
        ConfigError: there is such a mistake.
    """
    try:
        yield
    except SLIPS as reason:
        if not _is_own(reason):
            raise
        text = f"{where}: {said(reason)}{raised_at(reason)}. {what} must not raise. {hint(reason)}"
        raise ConfigError(text) from reason


def said(reason: BaseException) -> str:
    """Returns the first line of an error, with its type."""
    lines = [line for line in f"{type(reason).__name__}: {reason}".splitlines() if line]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1]).rstrip(".: ")


def raised_at(reason: BaseException, called: Any = None) -> str:
    """Returns where an error was raised: in the user's file, if one has a part in it, else in ours; not inside of jax.

    called: the user's function that was called. Where the call itself does not fit it, its own place is told.
    """
    if isinstance(reason, SyntaxError):  # says it itself
        return ""
    frames = [frame for frame in traceback.extract_tb(reason.__traceback__) if not _lies_in(frame.filename, JAX)]
    own = [frame for frame in frames if _is_users(frame.filename)]
    code = inspect.unwrap(called).__code__ if inspect.isfunction(called) else None
    if not own and code is not None and isinstance(reason, TypeError) and _is_users(code.co_filename):
        return f" at {code.co_filename}, line {code.co_firstlineno}, in {code.co_name}"
    found = (own or frames)[-1:]
    return f" at {found[0].filename}, line {found[0].lineno}, in {found[0].name}" if found else ""


def hint(reason: BaseException) -> str:
    """Returns what the user can do: use the known name that is near to a wrong one, if there is one."""
    name, known = _wrong_name(reason)
    near = closest(name, known) if name else None
    return f"Did you mean {near!r}? Mend it there." if near else "Mend it there."


def _wrong_name(reason: BaseException) -> tuple[str | None, Iterable[str]]:
    """Returns the name that an error is about, and those that are known there."""
    frames = list(_frames(reason.__traceback__))
    if not frames:
        return None, ()
    last = frames[-1][0]
    if isinstance(reason, AttributeError):
        return reason.name, [] if reason.name is None else [name for name in dir(reason.obj) if not name.startswith("_")]
    if isinstance(reason, NameError):
        return reason.name, {**vars(builtins), **last.f_globals, **last.f_locals}
    keyword = KEYWORD.search(str(reason))
    return (keyword[1], _keywords(*frames[-1])) if keyword and isinstance(reason, TypeError) else (None, ())


def _frames(trace: TracebackType | None) -> Iterator[tuple[FrameType, TracebackType]]:
    while trace is not None:
        yield trace.tb_frame, trace
        trace = trace.tb_next


def _keywords(frame: FrameType, trace: TracebackType) -> Iterable[str]:
    """Returns the keywords that the call takes at which a frame stands; none where it is not known what was called."""
    replaced = frame.f_locals.get("obj", frame.f_locals.get("self"))
    if frame.f_globals.get("__name__") == "dataclasses" and dataclasses.is_dataclass(replaced):  # its function replace
        return [field.name for field in dataclasses.fields(replaced)]
    try:
        return list(inspect.signature(_called(frame, trace)).parameters)
    except (LookupError, AttributeError, SyntaxError, TypeError, ValueError):
        return ()


def _called(frame: FrameType, trace: TracebackType) -> Any:
    """Returns the function at whose call a frame stands, if it is a name or an attribute of one: nothing is computed."""
    first, last, start, end = list(frame.f_code.co_positions())[trace.tb_lasti // 2]
    lines = linecache.getlines(frame.f_code.co_filename, frame.f_globals)
    if first is None or last is None or start is None or end is None or not lines:
        raise LookupError
    encoded = [line.encode() for line in lines[first - 1 : last]]  # columns count bytes
    encoded[-1] = encoded[-1][:end]
    encoded[0] = encoded[0][start:]
    call = ast.parse(b"".join(encoded).strip(), mode="eval").body
    if not isinstance(call, ast.Call):
        raise LookupError
    names, node = [], call.func
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise LookupError
    found = {**vars(builtins), **frame.f_globals, **frame.f_locals}[node.id]
    for name in reversed(names):
        found = getattr(found, name)
    return found


def _is_own(reason: BaseException) -> bool:
    """Returns whether an error was raised by a user's line itself, or by Python's own library at its call."""
    frames = [frame.filename for frame in traceback.extract_tb(reason.__traceback__)]
    own = [number for number, file in enumerate(frames) if _is_users(file)]
    return bool(own) and not any(_lies_in(file, (OURS, *JAX)) for file in frames[own[-1] :])


def _is_users(file: str) -> bool:
    return not file.startswith("<") and not _lies_in(file, (OURS, *JAX, *INSTALLED))


def _lies_in(file: str, folders: tuple[Path, ...]) -> bool:
    return any(Path(file).is_relative_to(folder) for folder in folders)
