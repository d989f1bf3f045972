"""A table on disk that grows while a run goes on: a row per arm, seed and update, a column per factor and per quantity.

    <name>/part-00000.parquet ...  a file for each piece that was appended, so that a kill loses nothing
    <name>.parquet                 what ``merge`` makes of them

Reading sees one table, whatever files it lies in. Every file appears whole or not at all.
"""

import contextlib
import fcntl
import functools
import itertools
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxrl.errors import require, unknown_name
from jaxrl.results import storage
from jaxrl.results.factors import Factor
from jaxrl.statistics import final_values

if TYPE_CHECKING:
    import pyarrow as pa

INDEX = ("arm", "seed", "update", "env_steps")

READ_AT_ONCE = 10_000_000  # numbers of a table, 80 MB
FACTOR = {b"kind": b"factor"}  # marks the columns of factors among those of quantities
MERGED_PARTS = b"merged_parts"  # how many parts a merged file holds: a kill before they are removed must not count rows twice


class Curves(NamedTuple):
    """One measured quantity over time.

    seeds: int64[S], their numbers.
    updates: int64[U], numbers of the updates after which it was measured, counted from 0.
    env_steps: int64[U], environment steps that one seed had taken by then; None for what learns from a data set.
    values: float32[S, U], a row per seed in the order of their numbers, NaN where a value is missing.
    """

    seeds: np.ndarray
    updates: np.ndarray
    env_steps: np.ndarray | None
    values: np.ndarray


@dataclass(frozen=True)
class Table:
    """One table of a run.

    path: the folder of its parts, named like the table; the merged file lies beside it.
    writer: number of this process where several append at the same time; the first of them merges, at the end.
    """

    path: Path
    writer: int | None = None

    @property
    def merged(self) -> Path:
        """The file that ``merge`` writes."""
        return self.path.with_name(f"{self.path.name}.parquet")

    def files(self) -> list[Path]:
        """Returns the files that make up the table, oldest first."""
        held = self._merged_parts()
        parts = sorted(self._parts(), key=_part_number)
        return [self.merged] * self.merged.exists() + [part for part in parts if _part_number(part) >= held]

    # Writing

    def append(
        self,
        arm: str,
        seeds: np.ndarray,
        updates: np.ndarray,
        env_steps: np.ndarray | None,
        columns: Mapping[str, np.ndarray],
        factors: Mapping[str, Factor] | None = None,
    ) -> None:
        """Writes rows for n updates of B seeds into a file of their own.

        Args:
            arm: name of the arm.
            seeds: int[B], their numbers.
            updates: int[n], numbers of the updates.
            env_steps: int[n], environment steps that one seed had taken after each; None for what learns from a data set.
            columns: name -> float[B, n], NaN where a value is missing. Without any, no row is written.
            factors: name -> value, what tells this arm from the others: columns of their own, typed as the values are.

        Raises:
            ConfigError: a column has another shape, or the name of a factor or of a column that every table has.
            ResultsError: the file cannot be written.
        """
        import pyarrow as pa

        if not columns:
            return
        name, shape = self.path.name, (len(seeds), len(updates))
        for column, values in columns.items():
            require(
                np.shape(values) == shape, f"{name} {column!r}", f"shape must be {shape}", np.shape(values), "Return a scalar."
            )
            taken = (*INDEX, *(factors or ()))
            require(column not in taken, name, f"no metric may be named like the columns {taken}", column, "Rename it.")
        count = shape[0] * shape[1]
        rows = [
            pa.repeat(arm, count),
            np.repeat(np.asarray(seeds), shape[1]).astype(np.int64),
            np.tile(updates, shape[0]),
            pa.nulls(count, pa.int64()) if env_steps is None else np.tile(env_steps, shape[0]),
        ]
        table = pa.table(rows, schema=_index_schema())
        for factor, value in (factors or {}).items():
            repeated = pa.repeat(pa.scalar(value), count)
            table = table.append_column(pa.field(factor, repeated.type, metadata=FACTOR), repeated)
        for column, values in columns.items():
            table = table.append_column(column, pa.array(np.asarray(values, np.float32).ravel(), from_pandas=True))
        storage.write_table(self._new_part(), table.schema, [table])

    def remove(self, files: Sequence[Path], arm: str, seeds: np.ndarray, first_update: int) -> None:
        """Takes the rows of these seeds of an arm, from an update on, out of some of the table's files."""
        import pyarrow.compute as pc

        if not files:
            return
        rows = (pc.field("arm") == arm) & (pc.field("update") >= first_update)
        rows &= pc.field("seed").isin([int(seed) for seed in seeds])
        with self._to_itself():
            for file in _holding(arm, files):
                if storage.read_table(file, ["seed"], rows).num_rows:
                    kept = (table.filter(~rows) for table in storage.read_batches(file))
                    storage.write_table(file, storage.read_schema(file), kept)

    def clear(self) -> None:
        """Removes all rows."""
        with storage.writing(self.path):
            self.merged.unlink(missing_ok=True)
            shutil.rmtree(self.path, ignore_errors=True)

    def merge(self) -> None:
        """Puts all rows into one file. May be called at any time and repeatedly; appending can go on."""
        import pyarrow as pa

        if not self.path.is_dir():
            return
        files = self.files()
        if any(file != self.merged for file in files):
            schemas = [storage.read_schema(file).remove_metadata() for file in files]
            columns = pa.unify_schemas(schemas, promote_options="permissive")
            columns = columns.with_metadata({MERGED_PARTS: str(self._next_part()).encode()})
            storage.write_table(self.merged, columns, itertools.chain.from_iterable(map(storage.read_batches, files)))
        with storage.writing(self.path):
            shutil.rmtree(self.path)

    # Reading

    def columns(self) -> tuple[str, ...]:
        """Returns the names of the quantities that the table holds for any arm, in the order in which they appeared."""
        return tuple(dict.fromkeys(name for file in self.files() for name in _content(file).quantities))

    def factors(self) -> dict[str, dict[str, Factor]]:
        """Returns the factors of every arm, in the order in which the arms were recorded: arm -> name -> value."""
        found: dict[str, dict[str, Factor]] = {}
        for file in self.files():
            for arm, known in _content(file).factors.items():
                found.setdefault(arm, {}).update(known)
        return found

    def arms(self) -> tuple[str, ...]:
        """Returns the names of the arms, in the order in which they were recorded."""
        return tuple(self._lengths())

    def rows(self, arm: str | None = None) -> "pa.Table":
        """Returns the rows of one arm or of all: the columns ``INDEX``, one per factor and one per quantity."""
        import pyarrow as pa
        import pyarrow.compute as pc

        files, rows = self.files(), None
        if arm is not None:
            files, rows = _holding(arm, files), pc.field("arm") == arm
        tables = [_index_schema().empty_table(), *(storage.read_table(file, rows=rows) for file in files)]
        return pa.concat_tables(tables, promote_options="permissive")

    def present(self, arm: str, seeds: np.ndarray, updates: np.ndarray) -> np.ndarray:
        """Returns which rows of an arm the table has, bool[S, n].

        Args:
            arm: its name. seeds: int[S], their numbers, all different. updates: int[n], in rising order.
        """
        import pyarrow.compute as pc

        found = np.zeros((len(seeds), len(updates)), bool)
        order = np.argsort(seeds)
        for file in _holding(arm, self.files()) if found.size else ():
            rows = storage.read_table(file, ["seed", "update"], pc.field("arm") == arm)
            seed, update = rows["seed"].to_numpy(), rows["update"].to_numpy()
            wanted = np.isin(seed, seeds) & np.isin(update, updates)
            row = order[np.searchsorted(seeds, seed[wanted], sorter=order)]
            found[row, np.searchsorted(updates, update[wanted])] = True
        return found

    def curves(self, quantity: str, arm: str) -> Curves:
        """Returns one quantity for all seeds and updates of an arm.

        Raises:
            UnknownNameError: there is no such arm.
        """
        # Piece by piece: the table of thousands of seeds is many times as large as one quantity of it.
        seeds, updates = (self._distinct(arm, column) for column in ("seed", "update"))
        if not len(seeds):
            raise unknown_name(f"{self.path.name} of run {self.path.parent.name}", "arm", arm, self.arms())
        return _curves(quantity, seeds, updates, self._pieces(arm, ["seed", "update", "env_steps", quantity]))

    def all_curves(self) -> Iterator[tuple[str, str, Curves]]:
        """Yields arm, quantity and curves of everything that has a value.

        As much as may lie in memory at once is read at once: all, or one arm, or one quantity of an arm.
        """
        import pyarrow.compute as pc

        quantities, lengths = self.columns(), self._lengths()
        most = READ_AT_ONCE // (len(INDEX) + len(quantities))
        whole = self.rows() if sum(lengths.values()) <= most else None
        for arm, length in lengths.items():
            if length <= most:
                rows = self.rows(arm) if whole is None else whole.filter(pc.field("arm") == arm)
                seeds, updates = (np.unique(rows[column].to_numpy()) for column in ("seed", "update"))
                found = (_curves(quantity, seeds, updates, [rows]) for quantity in quantities)
            else:
                found = (self.curves(quantity, arm) for quantity in quantities)
            for quantity, curves in zip(quantities, found, strict=True):
                if not np.isnan(curves.values).all():
                    yield arm, quantity, curves

    def ends(self, quantities: Sequence[str], arm: str, fraction: float = 0.1) -> dict[str, np.ndarray]:
        """Returns where the seeds of an arm ended: quantity -> ``final_values`` of its curves, float64[S].

        Only the rows of the last updates are read.
        """
        import pyarrow.compute as pc

        seeds, updates = (self._distinct(arm, column) for column in ("seed", "update"))
        if not len(updates):
            return {}
        last = updates[-max(1, round(fraction * len(updates))) :]
        found = {quantity: np.full((len(seeds), len(last)), np.nan, np.float32) for quantity in quantities}
        for piece in self._pieces(arm, ["seed", "update", *quantities]):
            piece = piece.filter(pc.field("update") >= int(last[0]))
            row = np.searchsorted(seeds, piece["seed"].to_numpy())
            column = np.searchsorted(last, piece["update"].to_numpy())
            for quantity in set(quantities) & set(piece.column_names):
                found[quantity][row, column] = piece[quantity].to_numpy()
        return {quantity: final_values(values, 1.0) for quantity, values in found.items()}

    def _pieces(self, arm: str, columns: Sequence[str]) -> "Iterator[pa.Table]":
        """Reads columns of the rows of an arm, piece by piece."""
        import pyarrow.compute as pc

        for file in _holding(arm, self.files()):
            yield from storage.read_batches(file, ["arm", *columns], pc.field("arm") == arm)

    def _lengths(self) -> dict[str, int]:
        """Returns how many rows each arm has, in the order in which they were recorded."""
        lengths: dict[str, int] = {}
        for file in self.files():
            for arm, count in _content(file).lengths.items():
                lengths[arm] = lengths.get(arm, 0) + count
        return lengths

    def _distinct(self, arm: str, column: str) -> np.ndarray:
        """Returns the sorted distinct values of an index column of an arm."""
        found = [np.unique(piece[column].to_numpy()) for piece in self._pieces(arm, [column])]
        return np.unique(np.concatenate([np.arange(0), *found]))

    # Files

    def _parts(self) -> Iterator[Path]:
        return self.path.glob("part-*.parquet")

    def _merged_parts(self) -> int:
        """Returns how many parts the merged file holds."""
        return int((storage.read_schema(self.merged).metadata or {}).get(MERGED_PARTS, 0)) if self.merged.exists() else 0

    def _next_part(self) -> int:
        return max([self._merged_parts(), *(_part_number(part) + 1 for part in self._parts())])

    def _new_part(self) -> Path:
        suffix = "" if self.writer is None else f"-{self.writer}"
        return self.path / f"part-{self._next_part():05}{suffix}.parquet"

    @contextlib.contextmanager
    def _to_itself(self) -> Iterator[None]:
        """Keeps other processes of the same run from rewriting files of its tables meanwhile."""
        folder = self.path.parent
        with storage.writing(folder), (folder / ".tables").open("w") as file:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


class _Content(NamedTuple):
    """The content of a file of a table.

    quantities: the columns that are neither an index nor a factor. lengths: arm -> number of rows. factors: arm -> name -> value.
    """

    quantities: tuple[str, ...]
    lengths: dict[str, int]
    factors: dict[str, dict[str, Factor]]


def _content(file: Path) -> _Content:
    """Returns what a file holds. A run of many arms has many files, and each is asked for its arms again and again."""
    with storage.reading(file):
        stat = file.stat()
    return _content_of(file, stat.st_ino, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=10_000)
def _content_of(file: Path, *state: int) -> _Content:
    schema = storage.read_schema(file)
    names = [field.name for field in schema if _is_factor(field)]
    quantities = tuple(field.name for field in schema if field.name not in INDEX and field.name not in names)
    lengths: dict[str, int] = {}
    factors: dict[str, dict[str, Factor]] = {}
    for piece in storage.read_batches(file, ["arm", *names]):
        for row in piece.group_by(["arm", *names], use_threads=False).aggregate([([], "count_all")]).to_pylist():
            arm, count = row.pop("arm"), row.pop("count_all")
            lengths[arm] = lengths.get(arm, 0) + count
            factors.setdefault(arm, {}).update({name: value for name, value in row.items() if value is not None})
    return _Content(quantities, lengths, factors)


def _holding(arm: str, files: Sequence[Path]) -> list[Path]:
    """Returns those of the files that hold rows of an arm."""
    return [file for file in files if arm in _content(file).lengths]


def _curves(quantity: str, seeds: np.ndarray, updates: np.ndarray, pieces: "Iterable[pa.Table]") -> Curves:
    """Puts the rows of one arm into place."""
    values = np.full((len(seeds), len(updates)), np.nan, np.float32)
    env_steps, counted = np.zeros(len(updates), np.int64), True
    for piece in pieces:
        row = np.searchsorted(seeds, piece["seed"].to_numpy())
        column = np.searchsorted(updates, piece["update"].to_numpy())
        if quantity in piece.column_names:
            values[row, column] = piece[quantity].to_numpy()
        counted &= piece["env_steps"].null_count == 0
        if counted:
            env_steps[column] = piece["env_steps"].to_numpy()
    return Curves(seeds, updates, env_steps if counted else None, values)


def _index_schema() -> "pa.Schema":
    import pyarrow as pa

    types = (pa.string(), pa.int64(), pa.int64(), pa.int64())
    return pa.schema(list(zip(INDEX, types, strict=True)))


def _is_factor(field: "pa.Field") -> bool:
    return (field.metadata or {}).get(b"kind") == FACTOR[b"kind"]


def _part_number(path: Path) -> int:
    return int(path.stem.removeprefix("part-").partition("-")[0])
