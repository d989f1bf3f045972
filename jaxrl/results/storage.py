"""Files that appear whole or not at all, and errors that name the file: JSON and Parquet for the folder of a run.

Whatever cannot be written or read raises a ``ResultsError`` that says which file it is and what to do.
"""

import contextlib
import errno
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from jaxrl.errors import JaxrlError, ResultsError, require
from jaxrl.results.provenance import to_json

if TYPE_CHECKING:
    import pyarrow as pa

# Files are written in row groups of about this many rows, so that merging and filtering need little memory.
ROWS_PER_GROUP = 1 << 18
HALF_MADE = re.compile(r"([.]\d+)?[.]partial(?=/|$)")  # in the name of a file or a folder that is not whole yet


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns the errors of the file system, inside, into one that says what cannot be written; not those about other files."""
    try:
        yield
    except JaxrlError:
        raise
    except OSError as error:
        if not _is_about(error, path):
            raise
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        fix = "Free some space, then resume." if full else "Choose another folder, or make this one writable."
        raise ResultsError(f"results: {_shown(path)} must be writable, got {error.strerror or str(error)!r}. {fix}") from error


def _shown(path: Path) -> Path:
    """Returns what a user knows of a path that cannot be written: the file by its final name, or the folder that is there."""
    if path.parent.exists():
        return Path(HALF_MADE.sub("", str(path)))
    return next(folder for folder in path.absolute().parents if folder.exists())


def _is_about(error: OSError, path: Path) -> bool:
    """Returns whether an error concerns a path: it names no file, or one in the same folder, or a folder around it."""
    if not isinstance(error.filename, str):
        return True
    name, path = Path(os.path.abspath(error.filename)), Path(os.path.abspath(path))
    return name.is_relative_to(path.parent) or path.is_relative_to(name)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Opens a file that takes the place of ``path`` at the end, or leaves no trace where something fails."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")  # processes may write the same file at the same time
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


REMOVE = "Restore the file from a copy, or remove it and resume the run, which makes its numbers again."
RESTORE = "Restore the file from a copy, or run again."


@contextlib.contextmanager
def reading(path: Path, *corrupt: type[Exception], again: bool = True) -> Iterator[None]:
    """Turns the errors of the file system, and those of a corrupt file, into one that says what cannot be read.

    Args:
        path: the file. corrupt: errors of its format. again: whether resuming the run makes it again once it is removed.
    """
    try:
        yield
    except FileNotFoundError as error:
        fix = "It is not the folder of a run, or the run was stopped while it was made."
        raise ResultsError(f"results: {path} must exist, got nothing there. {fix}") from error
    except (OSError, *corrupt) as error:
        reason = str(error).partition("\n")[0]
        fix = REMOVE if again else RESTORE
        raise ResultsError(f"results: {path} must be whole, got {reason!r}: cut short or corrupt. {fix}") from error


def write_json(path: Path, value: Any) -> None:
    """Writes strict JSON; see ``jaxrl.results.provenance.to_json`` for what may be written."""
    text = json.dumps(to_json(value, path.stem), indent=2, allow_nan=False, ensure_ascii=False)
    with replacing(path) as file:
        file.write(f"{text}\n".encode())


def read_json(path: Path, form: Any, missing: Any = None) -> Any:
    """Reads a JSON value of a form (see ``misfit``), ``missing`` (unless None) where there is no file."""
    if missing is not None and not path.exists():
        return missing
    with reading(path, ValueError, RecursionError, again=missing is not None):
        value = json.loads(path.read_bytes())
    wrong = misfit(value, form)
    must, fix = "must have the form that such a file has", REMOVE if missing is not None else RESTORE
    require(wrong is None, "results", f"{path} {must}", wrong, fix, ResultsError)
    return value


class Every(NamedTuple):
    """The form of an object whose entries are alike. form: of each. key: whether a name may be one of them."""

    form: Any
    key: Callable[[str], bool] = lambda name: True


def number(value: Any) -> bool:
    """Whether a value is what ``to_json`` makes of a number: None is NaN."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain or value is None or value in ("inf", "-inf")


def count(value: Any) -> bool:
    """Whether a value is a whole number of at least 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def misfit(value: Any, form: Any, where: str = "") -> str | None:
    """Returns in words where a JSON value has another form than it must have, None where it fits.

    Args:
        value: the JSON value.
        form: a type, or a function of the value that says whether it fits; ``[form]`` is a list of such; ``{name: form}`` an
            object with these entries among others, one whose name ends in ``?`` may be missing; ``Every`` an object of like
            entries.
        where: its place, for the words.
    """
    at = f" at {where}" if where else ""
    shown = f"{_kind(value)}{at}"
    if isinstance(form, Every):
        if not isinstance(value, dict):
            return f"{shown} where an object belongs"
        wrong = next((name for name in value if not form.key(name)), None)
        if wrong is not None:
            return f"the name {wrong!r}{at}"
        return _first(misfit(entry, form.form, f"{where}.{name}".lstrip(".")) for name, entry in value.items())
    if isinstance(form, list):
        if not isinstance(value, list):
            return f"{shown} where a list belongs"
        return _first(misfit(entry, form[0], f"{where}[{index}]") for index, entry in enumerate(value))
    if isinstance(form, dict):
        if not isinstance(value, dict):
            return f"{shown} where an object belongs"
        names = {name.removesuffix("?"): name for name in form}
        missing = next((name for name, known in names.items() if name not in value and name == known), None)
        if missing is not None:
            return f"no {missing!r}{at}"
        there = [name for name in names if name in value]
        return _first(misfit(value[name], form[names[name]], f"{where}.{name}".lstrip(".")) for name in there)
    fits = isinstance(value, form) and not (form is int and isinstance(value, bool)) if isinstance(form, type) else form(value)
    wanted = _KINDS.get(form, "another value") if isinstance(form, type) else f"a {form.__name__}".replace("_", " ")
    return None if fits else f"{shown} where {wanted} belongs"


_KINDS = {dict: "an object", list: "a list", str: "a text", int: "a whole number", bool: "true or false", float: "a number"}


def _kind(value: Any) -> str:
    if isinstance(value, dict | list):
        return _KINDS[type(value)]
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:36]} ..."


def _first(found: Iterable[str | None]) -> str | None:
    return next((text for text in found if text is not None), None)


def read_schema(path: Path) -> "pa.Schema":
    """Reads the columns of a Parquet file and its metadata, which lie at its end: a file cut short has none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with reading(path, pa.ArrowException):
        return pq.read_schema(path)


def read_table(path: Path, columns: Sequence[str] | None = None, rows: Any = None) -> "pa.Table":
    """Reads those of the columns that a Parquet file has, and the rows for which an expression holds."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    present = None if columns is None else [name for name in columns if name in read_schema(path).names]
    with reading(path, pa.ArrowException):
        return pq.read_table(path, columns=present, filters=rows, page_checksum_verification=True)


def read_batches(path: Path, columns: Sequence[str] | None = None, rows: Any = None) -> "Iterator[pa.Table]":
    """Reads a Parquet file piece by piece: those of the columns that it has, and the rows for which an expression holds."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with reading(path, pa.ArrowException), pq.ParquetFile(path, page_checksum_verification=True) as file:
        present = None if columns is None else [name for name in columns if name in file.schema_arrow.names]
        for batch in file.iter_batches(ROWS_PER_GROUP, columns=present):
            table = pa.Table.from_batches([batch])
            yield table if rows is None else table.filter(rows)


def write_table(path: Path, schema: "pa.Schema", tables: "Iterable[pa.Table]") -> None:
    """Writes tables one below the other into a Parquet file, holding one row group in memory.

    Args:
        path: the file, replaced if it exists; it may be one that ``tables`` is being read from.
        schema: the columns; one that a table lacks is null there.
        tables: what to write.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with (
        replacing(path) as file,
        pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        held: list[pa.Table] = []
        for table in tables:
            held.append(pa.concat_tables([schema.empty_table(), table], promote_options="permissive"))
            if sum(map(len, held)) >= ROWS_PER_GROUP:
                writer.write_table(pa.concat_tables(held))
                held = []
        if held:
            writer.write_table(pa.concat_tables(held))
