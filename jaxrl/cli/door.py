"""The door of the command line: options are read and held against what they may be, before anything is imported or computed."""

import contextlib
import dataclasses
import io
import math
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from jaxrl.core import machine
from jaxrl.errors import ConfigError, require
from jaxrl.results.finding import expanded
from jaxrl.training.seed_axis import SEEDS

ROOTS = 2**32  # jax keeps so many bits of the number of a root key: others would be the same keys again
BYTES_OF_A_SEED = 256  # in memory, of the least that is trained: its number, configuration, state and metrics
SEED_COUNTS, COUNTS = ("seeds",), ("env_steps", "updates", "num_updates", "num_envs")  # whole names, or their ends after a "_"
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
LAST_LINES = ("Argument helptext", "For full helptext")  # begin what follows the reason in what tyro says
SUGGESTIONS = ("Perhaps you meant", "Arguments similar to")  # begin the options that it finds near


def read(kind: Any, arguments: Sequence[str], prog: str, description: str | None = None) -> Any:
    """Reads the options of a command.

    Args:
        kind: the dataclass of the options.
        arguments: of the command line.
        prog: how the command is called.
        description: what its help begins with, by default what the dataclass says.

    Raises:
        ConfigError: they cannot be read, or one has a value that it may not have.
        SystemExit: only help was asked for.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            options = tyro.cli(kind, args=list(arguments), prog=prog, description=description, registry=_registry())
    except SystemExit as leave:
        if leave.code in (0, None):
            raise
        raise ConfigError(f"{prog}: {_reason(said.getvalue())} Options: {prog} --help.") from None
    sys.stderr.write(said.getvalue())
    return checked(prog, options)


def _registry() -> ConstructorRegistry:
    """Returns tyro's rules with one more: an integer may be written as a number that is whole, as 1e5."""
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def whole(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
        if info.type is not int:
            return None
        is_int = lambda value: isinstance(value, int) and not isinstance(value, bool)  # noqa: E731
        return PrimitiveConstructorSpec(1, "INT", lambda texts: _whole(texts[0]), is_int, lambda value: [str(value)])

    return registry


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        with contextlib.suppress(ValueError):
            number = float(text)
            if number.is_integer():  # NaN and infinity are none
                return int(number)
        raise


def checked(where: str, options: Any) -> Any:
    """Returns options with the paths of folders expanded.

    Raises:
        ConfigError: one has a value that it may not have.
    """
    known = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    if "root" in known:
        require_root(where, known["root"], known.get("roots", 1))
    if "checkpoint_seconds" in known:
        seconds, must = known["checkpoint_seconds"], "--checkpoint-seconds must be a number of at least 0"
        require(not math.isnan(seconds) and seconds >= 0, where, must, seconds, "60 is common.")
    for name in ("batch_seeds", "num_processes", "keep_checkpoints"):
        value = known.get(name)
        must, fix = f"{_option(name)} must be an integer of at least 1", "Leave it out for the default."
        require(value is None or value >= 1, where, must, value, fix)
    if "seeds" in known:
        require_seeds(where, "seeds", known["seeds"])
    paths = {name: folder(where, name, known[name]) for name in ("runs", "output") if name in known}
    return dataclasses.replace(options, **paths)


def folder(where: str, name: str, path: Path) -> Path:
    """Returns the path of a folder, ``~`` expanded.

    Raises:
        ConfigError: it is the address of something that is no folder of this machine, or there is no such user.
    """
    must, fix = f"{_option(name)} must be a folder that this machine sees", "Mount it, or choose another and copy what is in it."
    require(not ADDRESS.match(str(path)), where, must, str(path).replace(":/", "://", 1), fix)
    found = expanded(path)
    require(not str(found).startswith("~"), where, must, str(path), "Write the folder out.")
    return found


def require_root(where: str, root: int, roots: int = 1) -> None:
    """Raises ConfigError unless there are root keys of these numbers, each with randomness of its own."""
    must = f"--roots must be at least 1 and at most {ROOTS}"
    require(1 <= roots <= ROOTS, where, must, roots, "Try --roots 5.")
    must = "--root must be an integer in [0, 2**32)"
    require(0 <= root <= ROOTS - roots, where, must, root, "Others give the same random numbers as these.")


def require_seeds(where: str, name: str, seeds: int) -> None:
    """Raises ConfigError unless so many seeds can have numbers and lie in the memory of this machine."""
    must, option = f"{name} must be an integer of at least 1", _option(name)
    require(seeds >= 1, where, must, seeds, f"Try {option} 8.")
    require(seeds <= SEEDS, where, f"{name} must be at most {SEEDS}", seeds, f"Try {option} 1024.")
    machine.require_room(where, f"{name} ({seeds:,})", float(BYTES_OF_A_SEED) * seeds, f"Give fewer: {option}.")


def require_counts(where: str, config: Any, published: Any) -> None:
    """Raises ConfigError unless the counts in the configuration of an experiment are at least 1, and its seeds have room.

    Args:
        where: who asks.
        config: the configuration. published: that with the published settings; of what is at least 1 there, there must be one.
    """
    for name, value in _integers(config):
        if _is_one_of(name, SEED_COUNTS):
            require_seeds(where, name, value)
        elif _is_one_of(name, COUNTS):
            _require_count(where, name, value, f"Set {name} to 1 or more.")
    for name, usual in vars(published).items():
        if isinstance(usual, int) and not isinstance(usual, bool) and usual >= 1:
            _require_count(where, name, getattr(config, name), f"Try {_option(name)} {usual}.")


def _require_count(where: str, name: str, value: int, fix: str) -> None:
    require(value >= 1, where, f"{name} must be an integer of at least 1", value, fix)


def _integers(config: Any) -> Iterator[tuple[str, int]]:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type) and not callable(value):
            yield from _integers(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            yield field.name, value


def _is_one_of(name: str, known: Sequence[str]) -> bool:
    return any(name == one or name.endswith(f"_{one}") for one in known)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _reason(said: str) -> str:
    """Returns what tyro says in a box, as sentences: the reason, and the options that are near to an unknown one."""
    lines = [line.strip(" │|") for line in said.splitlines() if not line.startswith(("╭", "╰", "+"))]
    lines = [line for line in lines if line.strip("─-")]  # without the rules between the parts
    lines = lines[: _first(lines, LAST_LINES)]
    begin = _first(lines, SUGGESTIONS)
    reason = " ".join(lines[:begin]).rstrip(".") or "the options must be ones of this command"
    # In the order in which the unknown ones were typed: tyro's own differs from process to process.
    near = sorted(_near(lines[begin:]), key=lambda text: reason.find(text.rpartition(" for ")[2]))
    return f"{reason}. Did you mean {' or '.join(near)}?" if near else f"{reason}."


def _first(lines: Sequence[str], beginnings: tuple[str, ...]) -> int:
    """Returns the place of the first line that begins in one of these ways, or how many lines there are."""
    return next((place for place, line in enumerate(lines) if line.startswith(beginnings)), len(lines))


def _near(lines: Sequence[str]) -> list[str]:
    """Returns the options that tyro suggests, each with the unknown one that it stands for where there are several of these."""
    found, unknown = [], ""
    for line in lines:
        if line.startswith(SUGGESTIONS):
            unknown = line.partition("similar to ")[2].rstrip(":")
        elif line.startswith("--"):
            found.append(f"{line} for {unknown}" if unknown else line)
    return found
