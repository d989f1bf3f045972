"""Questions to people and their answers, as files of a run: pairs of segments to look at, and who preferred which.

    <run>/questions/<arm>/before-<update>/<seeds>.segments.parquet    a row for each step: segment, step, picture or numbers
    <run>/questions/<arm>/before-<update>/<seeds>.queries.parquet     query, first, second (names of segments), raters (count)
    <run>/labels/<rater>.jsonl                                        a line for each answer, in the order in which they came

A picture is a PNG, so the environment and its libraries are not needed to show the segments. An answer that was changed has
several lines, of which the last counts.
"""

import datetime
import io
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxrl.errors import DataError, closest, require
from jaxrl.results.storage import reading, replacing, writing

LABELS: dict[str, float | None] = {"first": 1.0, "second": 0.0, "equal": 0.5, "skip": None}  # of each answer
RATER = re.compile(r"[^\W_][\w. -]{0,39}")
FIELDS = ("query", "first", "second", "answer", "label", "rater", "time", "seconds")
SHOWN = 5  # bad rows that a message names
SEGMENTS, QUERIES = ".segments.parquet", ".queries.parquet"


class Question(NamedTuple):
    """Which of two segments is better. query: its name. first, second: the segments. raters: how many are to answer it."""

    query: str
    first: str
    second: str
    raters: int = 1


class Film(NamedTuple):
    """A segment of n steps as people see it. pictures: n + 1 PNGs, or none. numbers: name -> float[n] or [n + 1], a curve."""

    pictures: tuple[bytes, ...] = ()
    numbers: Mapping[str, np.ndarray] = {}


class Answer(NamedTuple):
    """The answer of a rater to a question.

    answer: first, second, equal or skip. label: the probability that the first is preferred, None if skipped.
    time: when, ISO 8601. seconds: how long it took from the moment the pair was shown, or None.
    """

    query: str
    first: str
    second: str
    answer: str
    label: float | None
    rater: str
    time: str
    seconds: float | None


def png(picture: np.ndarray) -> bytes:
    """Returns a picture, uint8[H, W, 3], as the bytes of a PNG."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", optimize=True)
    return file.getvalue()


# ---- questions


def write(path: Path, films: Mapping[str, Film], questions: Sequence[Question]) -> None:
    """Writes questions and the segments that they are about: ``<path>.segments.parquet`` and ``<path>.queries.parquet``.

    Raises:
        ResultsError: they cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    names = sorted({name for film in films.values() for name in film.numbers})
    columns: dict[str, list] = {"segment": [], "step": [], "picture": []} | {name: [] for name in names}
    for segment, film in films.items():
        count = max([len(film.pictures), *map(len, film.numbers.values())])
        columns["segment"] += [segment] * count
        columns["step"] += range(count)
        columns["picture"] += [*film.pictures, *[None] * (count - len(film.pictures))]
        for name in names:
            values = np.asarray(film.numbers.get(name, ()), np.float64).tolist()
            columns[name] += values + [None] * (count - len(values))
    types = {"segment": pa.string(), "step": pa.int32(), "picture": pa.binary()} | dict.fromkeys(names, pa.float64())
    segments = pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})
    queries = pa.Table.from_pylist([question._asdict() for question in questions])
    for table, ending in ((segments, SEGMENTS), (queries, QUERIES)):  # the questions last: where they are, all is
        with replacing(path.with_name(path.name + ending)) as file:
            parquet.write_table(table, file)


def read(run: Path, open_only: bool = False) -> dict[str, tuple[Question, Path]]:
    """Returns the questions of a run by their names, each with the file of its segments.

    Args:
        run: its folder.
        open_only: whether only the newest of each arm and each batch of seeds are returned: the run waits for these.

    Raises:
        ResultsError: a file cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    found: dict[str, tuple[Question, Path]] = {}
    paths = sorted((run / "questions").glob(f"*/before-*/*{QUERIES}"))
    newest = {(path.parents[1].name, path.name): path for path in paths}
    for path in newest.values() if open_only else paths:
        with reading(path, pa.ArrowException, ValueError, TypeError):
            rows = [Question(**row) for row in parquet.read_table(path).to_pylist()]
        segments = path.with_name(path.name.removesuffix(QUERIES) + SEGMENTS)
        found |= {question.query: (question, segments) for question in rows}
    return found


def films(path: Path) -> dict[str, Film]:
    """Returns the segments of a Parquet file, in its order; rows of a segment are its steps.

    A column ``segment`` names them. A column ``picture`` holds the PNG of each step; other columns of numbers, but ``step``, are
    curves. Values that are missing at the end of a segment are left out.

    Raises:
        DataError: the file cannot be read, a column is missing, or a picture is no PNG.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    where = f"segments {path.name}"
    try:
        table = parquet.read_table(path)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"{where}: the file must be a readable Parquet file, got {reason!r}. Check the path and the file."
        ) from error
    fix = "Write a row for each step, with the name of its segment."
    require("segment" in table.column_names, where, "there must be a column 'segment'", table.column_names, fix, DataError)
    require(table.num_rows > 0, where, "there must be at least one row", 0, fix, DataError)
    kinds = {field.name: field.type for field in table.schema}
    numeric = [
        name
        for name, kind in kinds.items()
        if name not in ("segment", "step")
        and (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))
    ]
    has_pictures = "picture" in kinds
    must = "there must be a column 'picture' or a column of numbers"
    require(has_pictures or bool(numeric), where, must, table.column_names, "Add one of them.", DataError)
    named = [str(name) for name in table["segment"].to_pylist()]
    pictures = table["picture"].to_pylist() if has_pictures else [None] * table.num_rows
    bad = [
        f"row {row + 1}: picture is no PNG"
        for row, picture in enumerate(pictures)
        if picture is not None and not (isinstance(picture, bytes) and picture.startswith(b"\x89PNG\r\n\x1a\n"))
    ]
    _report(where, bad, "Store PNG files as bytes.")
    values = {name: table[name].to_pylist() for name in numeric}
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(named):
        rows.setdefault(name, []).append(row)
    return {
        name: Film(
            tuple(pictures[row] for row in of if pictures[row] is not None),
            {column: _curve([given[row] for row in of]) for column, given in values.items()},
        )
        for name, of in rows.items()
    }


def _curve(values: Sequence[Any]) -> np.ndarray:
    there = [place for place, value in enumerate(values) if value is not None]
    return np.array([np.nan if value is None else value for value in values[: there[-1] + 1 if there else 0]], np.float64)


# ---- answers


def checked(rows: Iterable[tuple[int, Any]], questions: Mapping[str, Question], where: str) -> list[Answer]:
    """Returns the answers in rows that were read from outside, each with its number.

    Raises:
        DataError: a row is no answer to one of the questions; the message names the first ones, the field and the reason.
    """
    found, bad = [], []
    for number, row in rows:
        faults = _faults(row, questions)
        bad += [f"row {number}: {', '.join(faults)}"] if faults else []
        if not faults:
            question, seconds = questions[row["query"]], row.get("seconds")
            label, time = LABELS[row["answer"]], row.get("time") or now()
            seconds = None if seconds is None else float(seconds)
            found.append(Answer(row["query"], question.first, question.second, row["answer"], label, row["rater"], time, seconds))
    _report(where, bad, "Correct them.")
    return found


def _faults(row: Any, questions: Mapping[str, Question]) -> list[str]:
    if not isinstance(row, dict):
        return ["it is no JSON object"]
    faults = [f"{name!r} is no field of an answer" for name in row if name not in FIELDS]
    query, answer, rater = (row.get(name) for name in ("query", "answer", "rater"))
    question = questions.get(query) if isinstance(query, str) else None
    if question is None:
        near = closest(query, questions) if isinstance(query, str) and len(questions) <= 10_000 else None
        faults.append(f"query {query!r} is no question of this run" + (f" (did you mean {near!r}?)" if near else ""))
    if not isinstance(answer, str) or answer not in LABELS:
        faults.append(f"answer {answer!r} is none of {', '.join(LABELS)}")
    elif "label" in row and (isinstance(row["label"], bool) or row["label"] != LABELS[answer]):
        faults.append(f"label {row['label']!r} is not that of {answer!r}, {LABELS[answer]}")
    if not isinstance(rater, str) or not RATER.fullmatch(rater):
        faults.append(f"rater {rater!r} is no name of 1 to 40 letters, digits, spaces, or any of . _ -")
    for side in ("first", "second"):
        if question is not None and side in row and row[side] != getattr(question, side):
            faults.append(f"{side} {row[side]!r} is not {getattr(question, side)!r}, which was shown")
    seconds, time = row.get("seconds"), row.get("time")
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds < float("inf")
    if seconds is not None and not number:
        faults.append(f"seconds {seconds!r} is no number of at least 0")
    if time is not None and not _is_time(time):
        faults.append(f"time {time!r} is none in the form of ISO 8601")
    return faults


def _is_time(time: Any) -> bool:
    try:
        return isinstance(time, str) and bool(datetime.datetime.fromisoformat(time))
    except ValueError:
        return False


def _report(where: str, bad: Sequence[str], fix: str) -> None:
    more = f"; and {len(bad) - SHOWN} more rows" if len(bad) > SHOWN else ""
    if bad:
        raise DataError(f"{where}: every row must be valid, got {'; '.join(bad[:SHOWN])}{more}. {fix}")


def now() -> str:
    """Returns the time in UTC, ISO 8601 to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def parsed(text: str, where: str) -> list[tuple[int, Any]]:
    """Returns the JSON objects of a text with one in each line, with the numbers of their lines.

    Raises:
        DataError: a line is no JSON.
    """
    rows, bad = [], []
    for number, line in enumerate(text.split("\n"), 1):
        try:
            rows += [(number, json.loads(line))] if line.strip() else []
        except (ValueError, RecursionError) as error:
            bad.append(f"row {number}: no JSON ({error})")
    _report(where, bad, "Correct them.")
    return rows


def read_answers(labels: Path, questions: Mapping[str, Question]) -> dict[str, dict[str, Answer]]:
    """Returns the answers in a folder, rater -> query -> the last one. A last line without its end was cut short and is none.

    Raises:
        DataError: a line is no answer to one of the questions. ResultsError: a file cannot be read.
    """
    found: dict[str, dict[str, Answer]] = {}
    for path in sorted(labels.glob("*.jsonl")):
        with reading(path, again=False):
            text = path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1].decode(errors="replace")
        for answer in checked(parsed(whole, f"answers {path.name}"), questions, f"answers {path.name}"):
            found.setdefault(answer.rater, {})[answer.query] = answer
    return found


def append(labels: Path, answers: Sequence[Answer]) -> None:
    """Adds answers of one rater to their file. When this returns they are on the disk.

    Raises:
        ResultsError: the file cannot be written.
    """
    if not answers:
        return
    path = labels / f"{answers[0].rater}.jsonl"
    lines = "".join(f"{json.dumps(answer._asdict(), ensure_ascii=False, allow_nan=False)}\n" for answer in answers)
    with writing(path):
        labels.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            file.seek(0)
            held = file.read()
            if not held.endswith(b"\n"):  # cut short by a kill, and never confirmed
                file.truncate(held.rfind(b"\n") + 1)
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())


def missing(questions: Mapping[str, Question], answers: Mapping[str, Mapping[str, Answer]]) -> int:
    """Returns how many answers are missing until every question has those of as many raters as it asks for."""
    given = {query: sum(query in of for of in answers.values()) for query in questions}
    return sum(max(0, question.raters - given[query]) for query, question in questions.items())
