"""Where a result comes from: its configuration as plain JSON, and the versions and devices that produced it."""

import contextlib
import dataclasses
import enum
import functools
import hashlib
import inspect
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.errors import ConfigError

PACKAGES = ("jaxrl", "jax", "jaxlib", "flax", "optax", "chex", "distrax", "numpy", "pyarrow")
FUNCTION = "function"  # the entry that names what is called with the others
FIELDS = "fields"  # holds these where one of them has that name
# Their functions need no hash of their own: with every run the versions of these are recorded, and the commit of ours.
RECORDED = (*PACKAGES, "envs")
# A larger array (a price table, say) is described by its shape and its hash.
LARGEST_ARRAY = 1000


def to_json(value: Any, where: str = "config") -> Any:
    """Turns a configuration or a result into what strict JSON can hold.

    Args:
        value: scalars, strings, paths, enums, arrays (NumPy, jax, random keys), dataclasses (also of flax), named tuples,
            mappings, sequences, sets and functions, nested at will.
        where: name of the value, for the error.

    Returns:
        Dicts, lists, strings, ints, floats, bools and None. NaN becomes None; an infinity the string ``"inf"`` or ``"-inf"``;
        a function or class its qualified name; a dataclass that is called its fields and, as ``function``, the name of its class;
        an array of more than ``LARGEST_ARRAY`` elements its shape, dtype and hash.

    Raises:
        ConfigError: a value has no such form.
    """
    if value is None or (isinstance(value, (bool, int, str)) and not isinstance(value, enum.Enum)):
        return value
    if isinstance(value, (jax.Array, np.ndarray, np.generic)):
        return _array(value, where)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, (enum.Enum, np.dtype)):
        return value.name
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.repr}
        value = parts if not callable(value) else {FUNCTION: type(value), **_fields(parts)}
    elif isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(value, Mapping):
        return {str(name): to_json(entry, f"{where}.{name}") for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(entry, f"{where}[{index}]") for index, entry in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        return sorted((to_json(entry, where) for entry in value), key=json.dumps)
    if isinstance(value, functools.partial):
        arguments = {"arguments": value.args, **value.keywords} if value.args else value.keywords
        return {FUNCTION: to_json(value.func, where), **to_json(arguments, where)}
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    raise ConfigError(
        f"{where}: a configuration must hold numbers, strings, arrays, containers and functions, got {type(value).__name__!r}. "
        "Make it a dataclass, or leave it out of the configuration."
    )


def from_json(value: Any, example: Any, where: str = "config") -> Any:
    """Turns what ``to_json`` made of a configuration into a configuration again.

    Args:
        value: the JSON value.
        example: a configuration of the same type: its fields say of what type theirs are.
        where: name of the value, for the error.

    Raises:
        ConfigError: the value does not say what the configuration was (a large array, a function that is not the example's).
    """
    if to_json(example) == value:
        return example
    if dataclasses.is_dataclass(example) and not isinstance(example, type) and isinstance(value, Mapping):
        names = [field.name for field in dataclasses.fields(example) if field.repr]
        stored, same = value, True
        if callable(example):
            same = value.get(FUNCTION) == to_json(type(example))
            stored = value.get(FIELDS) if FUNCTION in names else {name: value[name] for name in value if name != FUNCTION}
        if same and isinstance(stored, Mapping) and set(names) == set(stored):
            return dataclasses.replace(example, **{n: from_json(stored[n], getattr(example, n), f"{where}.{n}") for n in names})
    elif isinstance(example, tuple) and not hasattr(example, "_asdict") and isinstance(value, list):
        examples = [*example, *([example[-1]] if example else [None]) * len(value)]
        return tuple(from_json(entry, examples[i], f"{where}[{i}]") for i, entry in enumerate(value))
    else:
        plain = {"inf": math.inf, "-inf": -math.inf}.get(value, value) if isinstance(value, str) else value
        same_kind = isinstance(example, (bool, int, float, str, type(None), np.generic, jax.Array, np.ndarray))
        text_for_number = isinstance(plain, str) and not isinstance(example, (str, type(None)))
        if isinstance(plain, (bool, int, float, str)) and same_kind and not text_for_number:
            return float(plain) if isinstance(example, float) and not isinstance(plain, str) else plain
        if isinstance(example, os.PathLike) and isinstance(plain, str):
            return Path(plain)
    raise ConfigError(
        f"{where}: a stored configuration must say what it was, got {value!r} where {type(example).__name__!r} belongs. "
        "Give the options again on the command line."
    )


def _fields(parts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the fields of a dataclass that is called, to stand beside the name of its class."""
    return {FIELDS: parts} if FUNCTION in parts else parts


def _number(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else str(value)


def _array(value: Any, where: str) -> Any:
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    value = np.asarray(value)
    if value.dtype.kind == "V":  # the small floats of accelerators are unknown to NumPy
        value = value.astype(np.float32)
    if value.size > LARGEST_ARRAY:
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return {"shape": list(value.shape), "dtype": value.dtype.name, "sha256": digest}
    if value.ndim:
        return [_array(entry, where) for entry in value]
    if value.dtype.kind == "f":
        return _number(float(str(value)))  # the shortest decimal of that precision: 0.1, not 0.10000000149
    return to_json(value.item(), where)


def digest(value: Any) -> str:
    """Returns 8 hexadecimal digits that identify a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()[:8]


def differences(one: Any, other: Any, where: str = "") -> list[tuple[str, str, str]]:
    """Returns where two JSON values differ: the place, as ``config.learning_rate``, and both values in short words."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        pairs = [(f"{where}.{name}".lstrip("."), one.get(name, ABSENT), other.get(name, ABSENT)) for name in {**one, **other}]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [(f"{where}[{index}]", mine, yours) for index, (mine, yours) in enumerate(zip(one, other, strict=True))]
    else:
        return [] if one == other and type(one) is type(other) else [(where, _short(one), _short(other))]
    return [found for place, mine, yours in pairs for found in differences(mine, yours, place)]


ABSENT = object()  # stands for an entry that is not there


def _short(value: Any) -> str:
    text = "nothing" if value is ABSENT else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:76]} ..."


def sources(things: Iterable[Any]) -> dict[str, str]:
    """Returns the SHA-256 of the source files of functions, by the name of the module, in alphabetical order.

    Args:
        things: functions, classes, methods and whatever holds them: partials, dataclasses, containers. A function of a notebook
            has no file: its own source stands for it. A function without source is left out.
    """
    found = {}
    for function in _functions(things):
        module = sys.modules.get(getattr(function, "__module__", None) or "")
        file = source_file(getattr(module, "__name__", ""))
        with contextlib.suppress(OSError, TypeError):
            if file is not None:
                found[module.__name__] = hashlib.sha256(file.read_bytes()).hexdigest()  # pyright: ignore
            else:
                text = inspect.getsource(inspect.unwrap(function))
                found[f"{function.__module__}.{function.__qualname__}"] = hashlib.sha256(text.encode()).hexdigest()
    return dict(sorted(found.items()))


def source_file(module: str) -> Path | None:
    """Returns the source file of a module that is imported, None where there is none."""
    name = getattr(sys.modules.get(module), "__file__", None)
    return Path(name).resolve() if name else None


def is_recorded(module: str) -> bool:
    """Returns whether the versions of a module are recorded with every run."""
    return module.partition(".")[0] in RECORDED


def _functions(thing: Any) -> Iterator[Any]:
    if isinstance(thing, functools.partial):
        yield from _functions((thing.func, thing.args, thing.keywords))
    elif dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        if callable(thing):
            yield type(thing)
        yield from _functions([getattr(thing, field.name) for field in dataclasses.fields(thing)])
    elif isinstance(thing, Mapping):
        yield from _functions(list(thing.values()))
    elif isinstance(thing, (list, tuple, set, frozenset)):
        for entry in thing:
            yield from _functions(entry)
    elif callable(thing) and hasattr(thing, "__qualname__"):
        yield thing


def versions() -> dict[str, Any]:
    """Returns what a result may depend on besides its configuration. Starts jax's backend.

    Returns:
        ``python``, ``system``, ``packages`` (name -> version or None), ``device`` (platform, kind, count, processes), ``jax``
        (settings that change numbers), ``environment`` (``XLA_FLAGS`` and ``JAX_*``, addresses left out), ``git``.
    """
    devices = jax.devices()
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in PACKAGES},
        "device": {
            "platform": devices[0].platform,
            "kind": devices[0].device_kind,
            "count": len(devices),
            "processes": jax.process_count(),
        },
        "jax": {name: getattr(jax.config, name) for name in ("jax_enable_x64", "jax_default_matmul_precision")},
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name == "XLA_FLAGS" or (name.startswith("JAX_") and not name.endswith("ADDRESS"))
        },
        "git": git_state(Path(__file__)),
    }


def _version(package: str) -> str | None:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def git_state(file: Path) -> dict[str, Any] | None:
    """Returns the commit that a source file belongs to.

    Args:
        file: a source file.

    Returns:
        ``{"commit": hash, "dirty": whether a tracked file differs from it}``, or None where the file is not tracked, the
        repository has no commit, or git is missing.
    """

    def ask(*arguments: str) -> str:
        command = ["git", "-C", str(file.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        ask("ls-files", "--error-unmatch", file.name)  # an installed package may lie inside someone else's repository
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None
