"""Columns of a CSV or Parquet file, on the host. Every cell of a CSV file is text, so that a wrong one is found in its row."""

import csv
import gzip
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxrl.errors import DataError, require

_CSV = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
_DELIMITERS = ",;\t|"


def read(path: Path, columns: Sequence[str]) -> list[list[Any]]:
    """Returns these columns, a list of cells each; None for an empty cell.

    Args:
        path: ends in ``.csv`` or ``.tsv``, compressed or not (``.gz``), or in ``.parquet``. A CSV file has one row of names;
            commas, semicolons, tabs or bars part its cells.
        columns: names; another case will do where only one column has it.

    Raises:
        DataError: the file cannot be read, or there is not exactly one column of a name.
    """
    where = str(path)
    known = path.name.endswith((*_CSV, ".parquet"))
    require(known, where, "the file must be .csv, .tsv or .parquet", path.name, "Convert it.", DataError)
    try:
        return _parquet(path, columns) if path.suffix == ".parquet" else _csv(path, columns)
    except DataError:
        raise
    except (OSError, ValueError, EOFError, csv.Error) as error:  # pyarrow's errors are ValueErrors
        raise DataError(f"{where}: the file must be readable, got {str(error)!r}. Check it.") from error


def _csv(path: Path, columns: Sequence[str]) -> list[list[Any]]:
    where = str(path)
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    first = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    head, *rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row] or [[]]
    head = [name.strip() for name in head]
    require(any(head), where, "the first row must name the columns", first, "Add a header.", DataError)
    second = rows[0] if rows else []
    try:
        places = [_place(where, name, head) for name in columns]
    except DataError as error:
        listed = {cell.strip().lower() for row in rows[:2] for cell in row}
        if not listed.isdisjoint(name.lower() for name in columns):
            raise _two_headers(where, second) from error
        raise
    for number, row in enumerate(rows, start=1):
        must = f"there must be {len(head)} cells"
        require(len(row) == len(head), f"{where}, row {number}", must, row, "Correct or remove this row.", DataError)
    letters = "".join(second[place] for place in places) if second else ""
    if any(map(str.isalpha, letters)) and not any(map(str.isdigit, letters)):
        raise _two_headers(where, second)
    return [[row[place].strip() or None for row in rows] for place in places]


def _two_headers(where: str, second: list[str]) -> DataError:
    return DataError(f"{where}: one row must name the columns, got a second one: {second}. Keep one row of names.")


def _parquet(path: Path, columns: Sequence[str]) -> list[list[Any]]:
    import pyarrow as pa
    from pyarrow import parquet

    table = parquet.read_table(path)
    cells = []
    for name in columns:
        column = table.column(_place(str(path), name, table.column_names))
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us", column.type.tz), safe=False)  # Python's clock has no nanoseconds
        cells.append(column.to_pylist())
    return cells


def _place(where: str, name: str, head: Sequence[str]) -> int:
    """Returns the number of the column of this name; letters may be of another case if no column has the very name."""
    found = [place for place, other in enumerate(head) if other == name]
    found = found or [place for place, other in enumerate(head) if other.strip().lower() == name.lower()]
    fix = "Name the columns: date=..., price=..."
    require(len(found) > 0, where, f"there must be a column {name!r}", list(head), fix, DataError)
    require(len(found) == 1, where, f"one column must be called {name!r}", list(head), "Rename the others.", DataError)
    return found[0]
