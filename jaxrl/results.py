"""Results on disk: what a run measured, written while it runs, and read back.

A run directory is ``<root>/<experiment>/<UTC time>-<hash of the configuration>/``:

    config.json  versions.json      written when it is created
    metrics.parquet                 a row per variant, seed and update; a column per metric; a missing value is null
    evaluations.parquet             a row per variant, seed and evaluation
    metrics/part-00000.parquet ...  while running: a file per chunk, so that a kill loses nothing; ``close`` merges them
    checkpoints/<variant>/          see ``jaxrl.checkpoint``
    summary.json  claims.json  figures/  report.html

Every file appears whole or not at all. ``Sink`` is what the runner talks
to; ``RunDirectory.recorder`` is the sink that fills these files. Nothing here runs inside compiled code.
"""

import contextlib
import errno
import fcntl
import itertools
import math
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from jaxrl import storage
from jaxrl.errors import ResultsError, require, unknown_name
from jaxrl.provenance import digest, to_json, versions
from jaxrl.quarantine import Failure

if TYPE_CHECKING:
    import pyarrow as pa

TABLES = ("metrics", "evaluations")
INDEX = ("variant", "seed", "update", "env_steps")
HALF_MADE = ".partial"  # ends the name of a folder that is no run yet
MERGED_PARTS = b"merged_parts"  # how many parts a merged file holds: a kill before they are removed must not count rows twice


class Plan(NamedTuple):
    """What is known before the first chunk.

    seeds: int[S], the seed numbers.
    num_updates: U, updates per seed.
    chunk_length: updates in a chunk.
    steps_per_update: environment steps that one seed takes in one update, or None for what learns from a data set.
    devices: how many devices share the seeds.
    resumed_updates: how many updates, summed over seeds, had been made before this run went on from a checkpoint.
    """

    seeds: np.ndarray
    num_updates: int
    chunk_length: int
    steps_per_update: int | None
    devices: int
    resumed_updates: int = 0


class Chunk(NamedTuple):
    """What one chunk of n updates brought to a batch of B seeds: those that are in memory together, all of them or fewer.

    first_update: number of its first update, counted from 0.
    seeds: int[B], their numbers.
    metrics: name -> float[B, n], NaN where a value is missing.
    evaluation: name -> float[B], measured after its last update; may be empty.
    seconds: wall seconds that it took.
    failures: seeds that went into quarantine, and why.
    """

    first_update: int
    seeds: np.ndarray
    metrics: dict[str, np.ndarray]
    evaluation: dict[str, np.ndarray]
    seconds: float
    failures: Mapping[int, Failure] = {}

    @property
    def num_updates(self) -> int:
        """n, how many updates each seed made."""
        return next((values.shape[1] for values in self.metrics.values()), 0)


class RunSummary(NamedTuple):
    """What is known when a run ends, however it ends.

    seconds: wall seconds in all.
    compile_seconds: of these, tracing and compiling.
    interrupted: whether it ended early.
    failed_seeds: number of each seed in quarantine -> its first update with a value that is not finite, and which value.
    """

    seconds: float
    compile_seconds: float
    interrupted: bool = False
    failed_seeds: Mapping[int, Failure] = {}


class Sink(Protocol):
    """Something that follows a run on the host. Called in this order; ``end`` is called once, also after a failure."""

    def begin(self, plan: Plan) -> None:
        """Learns what is going to happen."""
        ...

    def chunk(self, chunk: Chunk) -> None:
        """Takes in one chunk. Its arrays may be kept but not changed: other sinks hold them too."""
        ...

    def end(self, summary: RunSummary) -> None:
        """Learns that no more chunks will come."""
        ...


class Curves(NamedTuple):
    """One measured quantity over time.

    updates: int64[U], numbers of the updates after which it was measured, counted from 0.
    env_steps: int64[U], environment steps that one seed had taken by then; None for what learns from a data set.
    values: float32[S, U], a row per seed in the order of their numbers, NaN where a value is missing.
    """

    updates: np.ndarray
    env_steps: np.ndarray | None
    values: np.ndarray


@dataclass(frozen=True)
class RunDirectory:
    """The folder of one run. ``create`` makes a new one, ``open`` checks an old one; all else reads or writes its files.

    writer: number of this process where several record into the folder at the same time; the first of them merges, at the end.
    """

    path: Path
    writer: int | None = None

    @classmethod
    def create(cls, root: str | os.PathLike, experiment: str, config: Any) -> "RunDirectory":
        """Makes a folder for a new run and writes its configuration and versions. Starts jax's backend.

        Args:
            root: folder of all results; made if missing.
            experiment: name of the experiment: letters, digits, ``_``, ``-`` and ``.``.
            config: the resolved configuration; see ``jaxrl.provenance.to_json``.

        Raises:
            ConfigError: the name or the configuration cannot be stored.
            ResultsError: the folder cannot be written.
        """
        require(
            re.fullmatch(r"\w[\w.-]*", experiment) is not None,
            "RunDirectory.create",
            "an experiment's name must consist of letters, digits, '_', '-' and '.'",
            experiment,
            "Rename it.",
        )
        resolved = to_json(config)
        found = versions()  # may take a while; the folder shall not wait half made for it
        while True:
            now = datetime.now(UTC)
            path = Path(root) / experiment / f"{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03}Z-{digest(resolved)}"
            unfinished = path.with_name(f"{path.name}.{os.getpid()}{HALF_MADE}")
            storage.write_json(unfinished / "config.json", resolved)
            storage.write_json(unfinished / "versions.json", found)
            with storage.writing(path):
                try:
                    unfinished.rename(path)
                except OSError as error:
                    shutil.rmtree(unfinished)
                    if error.errno in (errno.EEXIST, errno.ENOTEMPTY):  # another run of this configuration began just now
                        continue
                    raise
            return cls(path)

    @classmethod
    def open(cls, path: str | os.PathLike) -> "RunDirectory":
        """Opens a run and checks that every file in it can be read.

        Raises:
            ResultsError: a file is missing, cut short or corrupt; the message names it.
        """
        run = cls(Path(path))
        require(
            run.path.is_dir(),
            "RunDirectory.open",
            "there must be a folder of results",
            str(path),
            "Give the path of a run, or the name of an experiment to find_run.",
            ResultsError,
        )
        for read in (run.config, run.versions, run.summary, run.claims):
            read()
        for name in TABLES:
            for file in run._files(name):
                storage.read_schema(file)
        return run

    @property
    def experiment(self) -> str:
        """The name of the experiment."""
        return self.path.resolve().parent.name

    @property
    def figures(self) -> Path:
        """The folder for figures; whoever saves one makes it."""
        return self.path / "figures"

    def checkpoints(self, variant: str = "") -> Path:
        """Returns the folder for the checkpoints of a variant."""
        readable = re.sub(r"[^\w.-]+", "-", variant)
        unique = readable if readable == variant and readable != "run" else f"{readable}-{digest(variant)}"
        return self.path / "checkpoints" / (unique if variant else "run")

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return bool(self.summary().get("finished"))

    # Writing

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes of this machine from writing into the folder meanwhile.

        Raises:
            ResultsError: another process is writing into it.
        """
        with storage.writing(self.path), (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                fix = "Wait for it, or end it."
                raise ResultsError(f"results: no other process may write into {self.path}, got one that does. {fix}") from error
            except OSError:  # some network file systems have no locks
                pass
            yield

    @contextlib.contextmanager
    def _tables_to_itself(self) -> Iterator[None]:
        """Keeps other processes of the same run from rewriting files of the tables meanwhile."""
        with storage.writing(self.path), (self.path / ".tables").open("w") as file:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def resume(self) -> None:
        """Notes that a run goes on: where the versions or devices are others than before, they are written beside the first.

        Removes what a kill left half written.
        """
        for partial in self.path.rglob("*.partial"):
            if partial.is_file():
                partial.unlink(missing_ok=True)
        shutil.rmtree(self.path / "facts", ignore_errors=True)
        now = versions()
        if now != self.versions():
            storage.write_json(self.path / f"versions-{datetime.now(UTC):%Y%m%dT%H%M%S}Z.json", now)
        self.write_summary({"finished": False})

    def recorder(self, variant: str = "") -> "Recorder":
        """Returns a sink that appends what a run measures to the tables.

        Args:
            variant: what distinguishes this run from others of the same experiment: an algorithm's name, say. Variants may
                have different metrics. Recording a variant again from update ``i`` on (a resumed run) replaces its rows
                from there.
        """
        return Recorder(self, variant)

    def close(self) -> None:
        """Merges the parts of each table into one file. May be called at any time and repeatedly; recording can go on.

        Where several processes record, the first of them calls it when all are done.
        """
        import pyarrow as pa

        self._merge_facts()

        for name in TABLES:
            if not (self.path / name).is_dir():
                continue
            files = self._files(name)
            merged = self.path / f"{name}.parquet"
            if any(file != merged for file in files):
                columns = pa.unify_schemas([storage.read_schema(file).remove_metadata() for file in files])
                columns = columns.with_metadata({MERGED_PARTS: str(self._next_part(name)).encode()})
                storage.write_table(merged, columns, itertools.chain.from_iterable(map(storage.read_batches, files)))
            with storage.writing(self.path / name):
                shutil.rmtree(self.path / name)

    def write_summary(self, values: Mapping[str, Any]) -> None:
        """Puts entries into ``summary.json``, keeping those that are there under other names.

        Args:
            values: ``"results"`` is what the report shows in a table: a list of ``{"variant": ..., "metric": ...,
                **summarise(values)}``, for example from ``self.summarise()``. ``"runs"`` is written by the recorders:
                variant -> seeds, updates, seconds, compile_seconds, env_steps_per_second, failed_seeds and so on.
        """
        storage.write_json(self.path / "summary.json", {**self.summary(), **values})

    def write_claims(self, claims: Sequence[Mapping[str, Any]]) -> None:
        """Writes ``claims.json``.

        Args:
            claims: for each ``"text"`` (str), ``"passed"`` (bool, or None where it could not be decided), and where they
                apply ``"source"`` (str), ``"value"``, ``"low"``, ``"high"`` (float, the measured value and its interval),
                ``"criterion"`` (str, what the interval is held against) and ``"detail"`` (str).
        """
        for index, claim in enumerate(claims):
            missing = sorted({"text", "passed"} - set(claim))
            require(not missing, f"claim {index}", "a claim must have a text and a verdict", missing, "Add what is missing.")
        storage.write_json(self.path / "claims.json", list(claims))

    # Reading

    def config(self) -> Any:
        """Returns the resolved configuration."""
        return storage.read_json(self.path / "config.json", object)

    def versions(self) -> dict[str, Any]:
        """Returns the versions of packages, the devices and the settings; see ``jaxrl.provenance.versions``."""
        return storage.read_json(self.path / "versions.json", dict)

    def summary(self) -> dict[str, Any]:
        """Returns the summary, empty while there is none."""
        return storage.read_json(self.path / "summary.json", dict, missing={})

    def claims(self) -> list[dict[str, Any]]:
        """Returns the claims and their verdicts, empty while there are none."""
        return storage.read_json(self.path / "claims.json", list, missing=[])

    def columns(self, table: str) -> tuple[str, ...]:
        """Returns the names of what a table holds for any variant, in the order in which they appeared."""
        names = [name for file in self._files(table) for name in storage.read_schema(file).names]
        return tuple(name for name in dict.fromkeys(names) if name not in INDEX)

    def variants(self, table: str | None = None) -> tuple[str, ...]:
        """Returns the names of the variants in a table, or in any, in the order in which they were recorded."""
        files = [file for name in (TABLES if table is None else (table,)) for file in self._files(name)]
        names = [storage.read_table(file, ["variant"])["variant"].unique().to_pylist() for file in files]
        return tuple(dict.fromkeys(itertools.chain.from_iterable(names)))

    def metrics(self, variant: str | None = None) -> "pa.Table":
        """Returns the rows of one variant or of all: ``variant, seed, update, env_steps`` and a column per metric."""
        return self._table("metrics", variant)

    def evaluations(self, variant: str | None = None) -> "pa.Table":
        """Returns what was measured between chunks, as ``metrics`` does."""
        return self._table("evaluations", variant)

    def curves(self, metric: str, variant: str = "", table: str | None = None) -> Curves:
        """Returns one quantity for all seeds and updates of a variant, for example to draw it.

        Args:
            metric: name of a column.
            variant: name of a variant.
            table: ``"metrics"`` or ``"evaluations"``; may be left out where only one of them has this column.

        Raises:
            UnknownNameError: there is no such metric, variant or table.
            ConfigError: both tables have this column and ``table`` is not given.
        """
        if table is not None and table not in TABLES:
            raise unknown_name("curves", "table", table, TABLES)
        tables = {name: self.columns(name) for name in (TABLES if table is None else (table,))}
        found = [name for name, columns in tables.items() if metric in columns]
        if not found:
            raise unknown_name(f"run {self.path.name}", "metric", metric, {c for columns in tables.values() for c in columns})
        require(len(found) == 1, "curves", f"one table must have {metric!r}", found, "Say which one: table='evaluations'.")
        # Piece by piece: the table of thousands of seeds is many times as large as one quantity of it.
        seeds, updates = (self._distinct(found[0], variant, column) for column in ("seed", "update"))
        if not len(seeds):
            raise unknown_name(f"{found[0]} of run {self.path.name}", "variant", variant, self.variants(found[0]))
        values = np.full((len(seeds), len(updates)), np.nan, np.float32)
        env_steps, counted = np.zeros(len(updates), np.int64), True
        for piece in self._pieces(found[0], variant, ["seed", "update", "env_steps", metric]):
            row = np.searchsorted(seeds, piece["seed"].to_numpy())
            column = np.searchsorted(updates, piece["update"].to_numpy())
            if metric in piece.column_names:
                values[row, column] = piece[metric].to_numpy()
            counted &= piece["env_steps"].null_count == 0
            if counted:
                env_steps[column] = piece["env_steps"].to_numpy()
        return Curves(updates, env_steps if counted else None, values)

    def summarise(self, metrics: Collection[str] | None = None) -> list[dict[str, Any]]:
        """Returns statistics over seeds of the final values of every variant.

        Args:
            metrics: which quantities, by default all. One that is in both tables is reported for both.

        Returns:
            A list of ``{"variant", "metric", "table", **summarise(final_values(...))}``; variants that have no value of a
            metric are left out.
        """
        rows, finals = [], []
        for table in TABLES:
            wanted = [name for name in self.columns(table) if metrics is None or name in metrics]
            for variant in self.variants(table) if wanted else ():
                for metric, values in self.ends(table, variant, wanted).items():
                    if np.isfinite(values).any():
                        rows.append({"variant": variant, "metric": metric, "table": table})
                        finals.append(values)
        rows = [{**row, **summary} for row, summary in zip(rows, summarise_all(finals), strict=True)]
        # A metric after the other, as they are read in the report.
        order = {key: index for index, key in enumerate(dict.fromkeys((row["table"], row["metric"]) for row in rows))}
        return sorted(rows, key=lambda row: order[row["table"], row["metric"]])

    def ends(self, table: str, variant: str, metrics: Sequence[str], fraction: float = 0.1) -> dict[str, np.ndarray]:
        """Returns where the seeds of a variant ended: metric -> ``final_values`` of its curves, float64[S].

        Only the rows of the last updates are read.
        """
        import pyarrow.compute as pc

        seeds, updates = (self._distinct(table, variant, column) for column in ("seed", "update"))
        if not len(updates):
            return {}
        last = updates[-max(1, round(fraction * len(updates))) :]
        tables = {metric: np.full((len(seeds), len(last)), np.nan, np.float32) for metric in metrics}
        for piece in self._pieces(table, variant, ["seed", "update", *metrics]):
            piece = piece.filter(pc.field("update") >= int(last[0]))
            row = np.searchsorted(seeds, piece["seed"].to_numpy())
            column = np.searchsorted(last, piece["update"].to_numpy())
            for metric in set(metrics) & set(piece.column_names):
                tables[metric][row, column] = piece[metric].to_numpy()
        return {metric: final_values(values, 1.0) for metric, values in tables.items()}

    def _table(self, name: str, variant: str | None, columns: Sequence[str] | None = None) -> "pa.Table":
        import pyarrow as pa
        import pyarrow.compute as pc

        rows = None if variant is None else pc.field("variant") == variant
        tables = [_index_schema().empty_table(), *(storage.read_table(file, columns, rows) for file in self._files(name))]
        return pa.concat_tables(tables, promote_options="default")

    def _pieces(self, name: str, variant: str, columns: Sequence[str]) -> "Iterator[pa.Table]":
        """Reads columns of the rows of a variant, piece by piece."""
        import pyarrow.compute as pc

        for file in self._files(name):
            yield from storage.read_batches(file, ["variant", *columns], pc.field("variant") == variant)

    def _distinct(self, name: str, variant: str, column: str) -> np.ndarray:
        """Returns the sorted distinct values of an index column of a variant."""
        found = [np.unique(piece[column].to_numpy()) for piece in self._pieces(name, variant, [column])]
        return np.unique(np.concatenate([np.arange(0), *found]))

    def _files(self, name: str) -> list[Path]:
        """Returns the files that make up a table, oldest first."""
        merged = self.path / f"{name}.parquet"
        held = _merged_parts(merged)
        parts = sorted((self.path / name).glob("part-*.parquet"), key=_part_number)
        return [merged] * merged.exists() + [part for part in parts if _part_number(part) >= held]

    def _new_part(self, name: str) -> Path:
        """Returns where the next part of a table goes."""
        suffix = "" if self.writer is None else f"-{self.writer}"
        return self.path / name / f"part-{self._next_part(name):05}{suffix}.parquet"

    def _write_facts(self, variant: str, facts: dict[str, Any]) -> None:
        """Notes what recording a variant took; of several processes each for itself, since they may end at the same time."""
        if self.writer is None:
            self.write_summary({"runs": {**self.summary().get("runs", {}), variant: facts}})
        else:
            path = self.path / "facts" / f"{digest(variant)}-{self.writer}.json"
            storage.write_json(path, {"variant": variant, **facts})

    def _merge_facts(self) -> None:
        """Adds up what the processes noted and removes their notes."""
        runs: dict[str, dict[str, Any]] = {}
        paths = sorted((self.path / "facts").glob("*.json"))
        for path in paths:
            facts = storage.read_json(path, dict)
            variant = facts.pop("variant")
            runs[variant] = _sum_of_facts(runs[variant], facts) if variant in runs else facts
        if runs:
            self.write_summary({"runs": {**self.summary().get("runs", {}), **runs}})
            with storage.writing(self.path / "facts"):
                shutil.rmtree(self.path / "facts")

    def _next_part(self, name: str) -> int:
        held = _merged_parts(self.path / f"{name}.parquet")
        return max([held, *(_part_number(part) + 1 for part in (self.path / name).glob("part-*.parquet"))])


class Recorder:
    """The sink that fills the tables of a run directory; see ``RunDirectory.recorder``."""

    def __init__(self, run: RunDirectory, variant: str):
        self._run = run
        self._variant = variant
        self._plan: Plan
        self._earlier: dict[str, list[Path]] = {}
        self._seen: set[bytes] = set()
        self._seed_updates = 0

    def begin(self, plan: Plan) -> None:
        """See ``Sink``."""
        self._plan, self._seen, self._seed_updates = plan, set(), 0
        self._earlier = {name: self._run._files(name) for name in TABLES}

    def chunk(self, chunk: Chunk) -> None:
        """Writes a part file to each table that the chunk has values for."""
        end = chunk.first_update + chunk.num_updates
        batch = np.asarray(chunk.seeds).tobytes()
        if batch not in self._seen:
            self._seen.add(batch)
            self._forget(chunk.seeds, min(chunk.first_update, end - 1))
        evaluation = {name: np.asarray(values)[:, None] for name, values in chunk.evaluation.items()}
        self._append("metrics", chunk.seeds, np.arange(chunk.first_update, end), chunk.metrics)
        self._append("evaluations", chunk.seeds, np.arange(end - 1, end), evaluation)
        self._seed_updates += chunk.num_updates * len(chunk.seeds)

    def end(self, summary: RunSummary) -> None:
        """Adds what the run cost, and which seeds failed, to ``summary.json``."""
        plan = self._plan
        steps = None if plan.steps_per_update is None else plan.steps_per_update * self._seed_updates
        running = summary.seconds - summary.compile_seconds
        facts = {
            "seeds": len(plan.seeds),
            "devices": plan.devices,
            "first_update": plan.resumed_updates // len(plan.seeds),  # where seeds are not equally far: on average
            "updates": self._seed_updates // len(plan.seeds),
            "planned_updates": plan.num_updates,
            "interrupted": summary.interrupted,
            "seconds": summary.seconds,
            "compile_seconds": summary.compile_seconds,
            "env_steps": steps,
            "env_steps_per_second": None if steps is None or running <= 0 else steps / running,
            "failed_seeds": {seed: failure._asdict() for seed, failure in sorted(summary.failed_seeds.items())},
        }
        self._run._write_facts(self._variant, facts)

    def _append(self, name: str, seeds: np.ndarray, updates: np.ndarray, columns: Mapping[str, np.ndarray]) -> None:
        import pyarrow as pa

        if not columns:
            return
        plan, shape = self._plan, (len(seeds), len(updates))
        for column, values in columns.items():
            require(
                np.shape(values) == shape, f"{name} {column!r}", f"shape must be {shape}", np.shape(values), "Return a scalar."
            )
            require(column not in INDEX, name, f"no metric may be named like the columns {INDEX}", column, "Rename it.")
        update = np.tile(updates, shape[0])
        steps = None if plan.steps_per_update is None else (update + 1) * plan.steps_per_update
        rows = [
            pa.repeat(self._variant, len(update)),
            np.repeat(np.asarray(seeds), shape[1]).astype(np.int64),
            update,
            pa.nulls(len(update), pa.int64()) if steps is None else steps,
        ]
        table = pa.table(rows, schema=_index_schema())
        for column, values in columns.items():
            table = table.append_column(column, pa.array(np.asarray(values, np.float32).ravel(), from_pandas=True))
        storage.write_table(self._run._new_part(name), table.schema, [table])

    def _forget(self, seeds: np.ndarray, first_update: int) -> None:
        """Removes what an earlier, longer-lived recording of these seeds wrote at or after an update."""
        import pyarrow.compute as pc

        rows = (pc.field("variant") == self._variant) & (pc.field("update") >= first_update)
        rows &= pc.field("seed").isin([int(seed) for seed in seeds])
        if not any(self._earlier.values()):
            return
        with self._run._tables_to_itself():
            for file in itertools.chain.from_iterable(self._earlier.values()):
                if storage.read_table(file, ["seed"], rows).num_rows:
                    kept = (table.filter(~rows) for table in storage.read_batches(file))
                    storage.write_table(file, storage.read_schema(file), kept)


def final_values(values: np.ndarray, fraction: float = 0.1) -> np.ndarray:
    """Returns each seed's mean over the last updates.

    Args:
        values: float[S, U], NaN where a value is missing.
        fraction: which share of the updates counts as last, in (0, 1]; at least one update.

    Returns:
        float64[S], NaN for a seed without a value there.
    """
    last = np.asarray(values, np.float64)[:, -max(1, round(fraction * values.shape[1])) :]
    present = ~np.isnan(last)
    count = present.sum(1)
    total = np.where(present, last, 0.0).sum(1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def summarise(values: np.ndarray) -> dict[str, Any]:
    """Returns statistics of one number per seed.

    Args:
        values: float[S]; a seed without a finite value is counted as missing and left out.

    Returns:
        ``iqm`` with its 95 % bootstrap interval ``low``, ``high`` (NaN below two seeds), ``mean``, ``median``, ``minimum``,
        ``maximum`` (all NaN without a seed), ``seeds``, how many have a value, and ``missing``, how many have none.
    """
    return summarise_all([values])[0]


def summarise_all(samples: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """Returns ``summarise`` of each sample; one bootstrap serves all that have equally many finite values."""
    from jaxrl import statistics

    samples = [np.asarray(values, np.float64) for values in samples]
    finite = [values[np.isfinite(values)] for values in samples]
    intervals = dict.fromkeys(range(len(samples)), (math.nan, math.nan))
    for count in {len(values) for values in finite if len(values) > 1}:
        members = [index for index, values in enumerate(finite) if len(values) == count]
        found = statistics.iqm_intervals(np.stack([finite[index] for index in members]))
        intervals |= dict(zip(members, zip(found.low.tolist(), found.high.tolist(), strict=True), strict=True))
    summaries = []
    for index, (sample, values) in enumerate(zip(samples, finite, strict=True)):
        statistic = (statistics.iqm, np.mean, np.median, np.min, np.max)
        iqm, mean, median, minimum, maximum = (float(f(values)) if len(values) else math.nan for f in statistic)
        low, high = intervals[index]
        summary = {"iqm": iqm, "low": low, "high": high, "mean": mean, "median": median, "minimum": minimum, "maximum": maximum}
        summaries.append({**summary, "seeds": len(values), "missing": len(sample) - len(values)})
    return summaries


def find_run(root: str | os.PathLike, name: str | os.PathLike) -> RunDirectory:
    """Opens the run that a user means.

    Args:
        root: folder of all results.
        name: an experiment (its newest run), or the path of a run, as it stands or below ``root``.

    Raises:
        UnknownNameError: there is no such experiment and no such folder.
        ResultsError: the run cannot be read.
    """
    root = Path(root)
    folders = [folder for folder in root.iterdir() if folder.is_dir()] if root.is_dir() else []
    experiments = {folder.name for folder in folders if not folder.name.startswith(".")}
    if str(name) in experiments:
        runs = sorted(path for path in (root / name).iterdir() if path.is_dir() and path.suffix != HALF_MADE)
        require(bool(runs), "find_run", "the experiment must have a run", str(root / name), "Run it first.", ResultsError)
        return RunDirectory.open(runs[-1])
    for path in (Path(name), root / name):
        if path.is_dir():
            return RunDirectory.open(path)
    raise unknown_name(f"find_run in {root}", "experiment or run", str(name), experiments)


def find_unfinished(root: str | os.PathLike, experiment: str, config: Any) -> RunDirectory | None:
    """Returns the newest run of an experiment with this configuration if it did not come to its end, else None."""
    folders = sorted((Path(root) / experiment).glob(f"*-{digest(to_json(config))}"))
    newest = RunDirectory.open(folders[-1]) if folders else None
    return None if newest is None or newest.finished else newest


def _index_schema() -> "pa.Schema":
    import pyarrow as pa

    types = (pa.string(), pa.int64(), pa.int64(), pa.int64())
    return pa.schema(list(zip(INDEX, types, strict=True)))


def _part_number(path: Path) -> int:
    return int(path.stem.removeprefix("part-").partition("-")[0])


def _sum_of_facts(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Returns what two processes took that recorded seeds of their own at the same time."""
    total = {
        **one,
        **{name: one[name] + other[name] for name in ("seeds", "devices")},
        **{name: max(one[name], other[name]) for name in ("seconds", "compile_seconds", "interrupted")},
        **{name: min(one[name], other[name]) for name in ("first_update", "updates")},
        "failed_seeds": {**one["failed_seeds"], **other["failed_seeds"]},
    }
    for name in ("env_steps", "env_steps_per_second"):
        total[name] = None if one[name] is None or other[name] is None else one[name] + other[name]
    return total


def _merged_parts(path: Path) -> int:
    return int((storage.read_schema(path).metadata or {}).get(MERGED_PARTS, 0)) if path.exists() else 0
