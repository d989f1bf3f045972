"""A user's own labels, from a CSV or Parquet file: read, checked row by row, and turned into ``Preferences``.

A file has the columns ``first``, ``second`` (which two segments were compared) and ``label`` (the probability in [0, 1] that the
first is preferred), and may have ``weight`` (at least 0; 1 where the column is missing). Other columns are ignored.

The answers that ``jaxrl label`` keeps of a rater, ``.jsonl``, are read likewise: of a question that was answered several times
the last answer counts, and one that was skipped has weight 0.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from jaxrl.algorithms.preferences.segments import Preferences, Segments, faults, report_faults
from jaxrl.errors import DataError, closest, require
from jaxrl.results import questions

if TYPE_CHECKING:
    import pyarrow as pa

REQUIRED = ("first", "second", "label")


def read(path: str | os.PathLike, segments: Segments, names: Sequence[Any] | None = None) -> Preferences:
    """Reads labels and checks every row.

    Args:
        path: a file that ends in ``.csv``, ``.parquet`` or ``.jsonl``.
        segments: the pool of N segments that the labels speak of.
        names: what the file calls each of the N segments; by default 0 .. N-1. Compared as text.

    Returns:
        The preferences, in the order of the rows.

    Raises:
        DataError: the file cannot be read or has no rows, a column is missing or there twice, or rows are wrong. The message
            names the first bad rows (row 1 is the first below the header) and the reason for each.
    """
    path = Path(path)
    known = [str(name) for name in (range(segments.count) if names is None else names)]
    where = f"labels {path.name}"
    must, fix = f"there must be one name for each of the {segments.count} segments", "Give each segment one name."
    require(len(known) == segments.count, where, must, len(known), fix, DataError)
    repeated = sorted({name for name in known if known.count(name) > 1}) if len(set(known)) < len(known) else []
    require(not repeated, where, "the names of the segments must differ", repeated, fix, DataError)
    table = _columns(where, _table(path, where))

    number = {name: index for index, name in enumerate(known)}
    unread: dict[int, list[str]] = {}  # rows with a cell that is no segment or no number

    def fault(row: int, reason: str) -> None:
        unread.setdefault(row, []).append(reason)

    pair = np.zeros((2, len(table["label"])), np.int32)
    for side, column in enumerate(("first", "second")):
        for row, name in enumerate(table[column]):
            if name in number:
                pair[side, row] = number[name]
            else:
                fault(row, f"{column} is missing" if name is None else f"{column} {name!r} is no segment{_hint(name, number)}")
    nameless = np.array(sorted(unread), int)
    label = _numbers(table["label"], "label", fault)
    weight = _numbers(table["weight"], "weight", fault) if "weight" in table else np.ones_like(label)
    # Segments that are not known are no pair, so that what else is wrong with their row can be said as well.
    apart = pair.copy()
    apart[:, nameless] = [[0], [1]] if segments.count > 1 else 0
    wrong = faults(apart[0], apart[1], label, weight, segments.count, known.__getitem__)
    found = {row: unread.get(row, []) + wrong.get(row, []) for row in unread.keys() | wrong.keys()}
    report_faults(where, found, "row", 1, "Row 1 is the first below the header. ")
    return Preferences(segments, jnp.asarray(pair[0]), jnp.asarray(pair[1]), jnp.asarray(label), jnp.asarray(weight))


def _table(path: Path, where: str) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.csv as csv
    import pyarrow.parquet as parquet

    kind = path.suffix.lower()
    must = "the file must end in .csv, .parquet or .jsonl"
    require(kind in (".csv", ".parquet", ".jsonl"), where, must, path.suffix, "Convert it.", DataError)
    try:
        if kind == ".jsonl":
            return _answers(path.read_bytes().decode(errors="replace"), where)
        if kind == ".parquet":
            _require_one_each(where, parquet.read_schema(path).names)
            return parquet.read_table(path)
        # Everything as text: what is wrong with a number is said together with its row.
        with path.open("rb") as file:
            header = csv.open_csv(file).schema.names
        _require_one_each(where, header)
        types = dict.fromkeys(header, pa.string())
        as_text = csv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=[""])
        return csv.read_csv(path, convert_options=as_text)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{where}: the file must be readable, got {reason!r}. Check the path and the file.") from error


def _answers(text: str, where: str) -> "pa.Table":
    """Returns the last answers of a rater as a table."""
    import pyarrow as pa

    rows = questions.parsed(text, where)
    named = {str(row["query"]): row for _, row in rows if isinstance(row, dict) and "query" in row}
    asked = {name: questions.Question(name, str(row.get("first")), str(row.get("second"))) for name, row in named.items()}
    last = {answer.query: answer for answer in questions.checked(rows, asked, where)}
    columns: dict[str, list] = {"first": [], "second": [], "label": [], "weight": []}
    for answer in last.values():
        found = answer.first, answer.second, 0.5 if answer.label is None else answer.label, float(answer.label is not None)
        for column, value in zip(columns.values(), found, strict=True):
            column.append(value)
    return pa.table(columns)


def _require_one_each(where: str, columns: Sequence[str]) -> None:
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    require(not repeated, where, "each column must be there once", repeated, "Rename or remove the others.", DataError)


def _columns(where: str, table: "pa.Table") -> dict[str, list[str | None]]:
    """Returns the columns that matter, as text; None where a cell is empty."""
    for name in REQUIRED:
        found = closest(name, table.column_names)
        fix = f"Rename {found!r}." if found and found not in REQUIRED else "Add it."
        require(name in table.column_names, where, f"there must be a column {name!r}", table.column_names, fix, DataError)
    require(table.num_rows > 0, where, "there must be at least one row", 0, "Add labels.", DataError)
    names = [name for name in (*REQUIRED, "weight") if name in table.column_names]
    return {name: [None if cell is None else _text(cell) for cell in table[name].to_pylist()] for name in names}


def _text(cell: Any) -> str:
    if isinstance(cell, float) and cell.is_integer():  # a table with gaps stores whole numbers as floats
        return str(int(cell))
    return str(cell).strip()


def _numbers(cells: Sequence[str | None], column: str, fault) -> np.ndarray:
    """Returns a column of numbers, float32[P]; a cell that holds none is a fault, and counts as 0 here."""
    values = np.zeros(len(cells), np.float32)
    for row, cell in enumerate(cells):
        if cell is None or cell == "":
            fault(row, f"{column} is missing")
            continue
        try:
            values[row] = float(cell)
        except ValueError:
            fault(row, f"{column} {cell!r} is no number")
    return values


def _hint(name: str, known: dict[str, int]) -> str:
    match = closest(name, known)
    return f" (did you mean {match!r}?)" if match and len(known) <= 10_000 else ""
