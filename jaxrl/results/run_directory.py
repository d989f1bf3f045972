"""The folder of a run: what it measured, written while it runs, and read back.

A run directory is ``<root>/<experiment>/<UTC time>-<hash of the configuration>/``:

    config.json  versions.json      written when it is created; ``config-<time>.json`` is that of before ``extend``
    metrics.parquet                 a row per arm, seed and update; a column per metric; a missing value is null
    evaluations.parquet             a row per arm, seed and evaluation
    measurements.parquet            a row per arm, seed and position: numbers computed from finished arms, or without any
    metrics/part-00000.parquet ...  while running: a file per chunk; see ``jaxrl.results.tables``. ``close`` merges them
    checkpoints/<arm>/          see ``jaxrl.training.checkpoint``
    arms.json                       what is trained: of each arm its configuration and its task; written when training begins
    summary.json  claims.json  figures/  report.html

Every file appears whole or not at all. ``jaxrl.results.recorder`` is the sink that fills the tables;
``jaxrl.results.finding`` finds the folder again.
"""

import contextlib
import errno
import fcntl
import itertools
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxrl.errors import ResultsError, require, unknown_name
from jaxrl.results import storage
from jaxrl.results.accounts import Accounts, read_summary, write_summary
from jaxrl.results.factors import Factor
from jaxrl.results.forms import CLAIMS, TRAININGS, VERSIONS
from jaxrl.results.provenance import digest, to_json, versions
from jaxrl.results.tables import Curves, Table
from jaxrl.statistics import summarise_all

if TYPE_CHECKING:
    import pyarrow as pa

MOST_PARTS = 64
TABLES = ("metrics", "evaluations", "measurements")
PUBLISHED, QUICK, OTHER = "published", "quick", "other"  # words for the settings of a run
HALF_MADE = ".partial"  # ends the name of a folder that is no run yet


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
            config: the resolved configuration; see ``jaxrl.results.provenance.to_json``.

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
        must, fix = "a configuration must have fields", "Make it a dataclass, or a dictionary."
        require(isinstance(resolved, dict), "RunDirectory.create", must, resolved, fix)
        found = versions()  # may take a while; the folder shall not wait half made for it
        while True:
            now = datetime.now(UTC)
            path = Path(root) / experiment / f"{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03}Z-{digest(resolved)}"
            unfinished = path.with_name(f"{path.name}.{os.getpid()}{HALF_MADE}")
            storage.write_json(unfinished / "config.json", resolved)
            storage.write_json(unfinished / "versions.json", found)
            with storage.writing(path):
                if _took_its_name(unfinished, path):
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
        for read in (run.config, run.versions, run.trainings, run.summary, run.claims):
            read()
        for name in TABLES:
            for file in run.table(name).files():
                storage.read_schema(file)
        return run

    @property
    def experiment(self) -> str:
        """The name of the experiment, wherever the folder lies now; of a run that stores no name that of the folder above."""
        stored = self.config().get("experiment")
        name = stored.get("name") if isinstance(stored, dict) else None
        return name if isinstance(name, str) else self.path.resolve().parent.name

    @property
    def figures(self) -> Path:
        """The folder for figures; saving a figure makes it."""
        return self.path / "figures"

    def checkpoints(self, arm: str = "") -> Path:
        """Returns the folder for the checkpoints of an arm."""
        readable = re.sub(r"[^\w.-]+", "-", arm)
        unique = readable if readable == arm and readable != "run" else f"{readable}-{digest(arm)}"
        return self.path / "checkpoints" / (unique if arm else "run")

    def table(self, name: str) -> Table:
        """Returns one of the ``TABLES``."""
        return Table(self.path / name, self.writer)

    @property
    def accounts(self) -> Accounts:
        """The accounts of the arms."""
        return Accounts(self.path, self.writer)

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return bool(self.summary().get("finished"))

    @property
    def settings(self) -> str:
        """A word for the settings of the run: "published", "quick", "other", or "unknown" where it was not noted."""
        return self.summary().get("settings", "unknown")

    # Writing

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes of this machine from writing into the folder meanwhile.

        Raises:
            ResultsError: another process is writing into it.
        """
        with storage.writing(self.path):
            file = (self.path / ".lock").open("w")
        with file:  # what fails inside is not about this file
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                fix = "Wait for it, or end it."
                raise ResultsError(f"results: no other process may write into {self.path}, got one that does. {fix}") from error
            except OSError:  # some network file systems have no locks
                pass
            yield

    def resume(self, settings: str) -> None:
        """Notes that a run begins or goes on: versions or devices other than before are written beside the first.

        Removes what a kill left half written.

        Args:
            settings: a word for those with which it runs; see ``settings``. Noted once: a run goes on with the configuration
                that it has, by whatever options that was asked for.
        """
        for partial in self.path.rglob("*.partial"):
            if partial.is_file():
                partial.unlink(missing_ok=True)
        self.accounts.discard_notes()
        now = versions()
        if now != self.versions():
            storage.write_json(self.path / f"versions-{datetime.now(UTC):%Y%m%dT%H%M%S}Z.json", now)
        noted = {} if "settings" in self.summary() else {"settings": settings}
        self.write_summary({"finished": False} | noted)

    def remove_if_empty(self) -> None:
        """Removes the folder of a run that was refused before anything was recorded: it would hide those before it."""
        if not any(self.table(name).files() for name in TABLES) and not (self.path / "checkpoints").exists():
            shutil.rmtree(self.path, ignore_errors=True)
            with contextlib.suppress(OSError):  # other runs are in it
                self.path.parent.rmdir()

    def close(self) -> None:
        """Merges the parts of each table into one file. May be called at any time and repeatedly; recording can go on.

        Where several processes record, the first of them calls it when all are done.
        """
        self.accounts.merge()
        for name in TABLES:
            self.table(name).merge()

    def write_summary(self, values: Mapping[str, Any]) -> None:
        """Puts entries into ``summary.json``, keeping those that are there under other names.

        Args:
            values: ``"results"`` is what the report shows in a table: a list of ``{"arm": ..., "metric": ...,
                **summarise(values)}``, for example from ``self.summarise()``. ``"runs"`` is written by the recorders:
                arm -> seeds, updates, seconds, compile_seconds, env_steps_per_second, failed_seeds and so on.
        """
        write_summary(self.path, values)

    def replace_config(self, config: Any, settings: str) -> None:
        """Writes the configuration with which a run goes on; that of before stays beside it, with the time in its name.

        Args:
            config: as for ``create``.
            settings: a word for it; see ``settings``.
        """
        now = datetime.now(UTC)
        storage.write_json(self.path / f"config-{now:%Y%m%dT%H%M%S}Z.json", self.config())
        storage.write_json(self.path / "config.json", config)
        self.write_summary({"settings": settings})

    def write_trainings(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Puts entries into ``arms.json``, each in the place of the one that is of the same arm.

        Args:
            entries: of each arm ``"arm"`` (its name), ``"factors"``, ``"make"``, ``"config"``, ``"task"``, ``"seeds"``,
                ``"updates"`` and ``"root"``; to know which rows must be there also ``"chunk_length"``, ``"evaluates"`` (bool)
                and ``"first_seed"``.
        """
        known = {entry["arm"]: entry for entry in self.trainings()}
        known |= {entry["arm"]: to_json(entry, entry["arm"]) for entry in entries}
        storage.write_json(self.path / "arms.json", list(known.values()))

    def write_claims(self, claims: Sequence[Mapping[str, Any]]) -> None:
        """Writes ``claims.json``.

        Args:
            claims: for each ``"text"`` (str), ``"verdict"`` ("holds", "fails" or "open"), and where they apply ``"source"``
                (str), ``"value"``, ``"low"``, ``"high"`` (float, the measured value and its interval), ``"criterion"`` (str,
                the inequality) and ``"detail"`` (str).
        """
        for index, claim in enumerate(claims):
            missing = sorted({"text", "verdict"} - set(claim))
            require(not missing, f"claim {index}", "a claim must have a text and a verdict", missing, "Add them.")
            word, fix = claim["verdict"], 'Use one of "holds", "fails", "open".'
            require(word in ("holds", "fails", "open"), f"claim {index}", "a verdict must be one of three words", word, fix)
        storage.write_json(self.path / "claims.json", list(claims))

    # Reading

    def config(self) -> dict[str, Any]:
        """Returns the resolved configuration."""
        return storage.read_json(self.path / "config.json", dict)

    def versions(self) -> dict[str, Any]:
        """Returns the versions of packages, the devices and the settings; see ``jaxrl.results.provenance.versions``."""
        return storage.read_json(self.path / "versions.json", VERSIONS)

    def summary(self) -> dict[str, Any]:
        """Returns the summary, empty while there is none."""
        return read_summary(self.path)

    def claims(self) -> list[dict[str, Any]]:
        """Returns the claims and their verdicts, empty while there are none."""
        return storage.read_json(self.path / "claims.json", CLAIMS, missing=[])

    def trainings(self) -> list[dict[str, Any]]:
        """Returns what was trained, an entry for each arm as ``write_trainings`` takes them; empty where nothing was."""
        return storage.read_json(self.path / "arms.json", TRAININGS, missing=[])

    def columns(self, table: str) -> tuple[str, ...]:
        """Returns the names of what a table holds for any arm, in the order in which they appeared."""
        return self.table(table).columns()

    def arms(self, table: str | None = None) -> tuple[str, ...]:
        """Returns the names of the arms in a table, or in any, in the order in which they were recorded."""
        names = [self.table(name).arms() for name in (TABLES if table is None else (table,))]
        return tuple(dict.fromkeys(itertools.chain.from_iterable(names)))

    def factors(self, table: str | None = None) -> dict[str, dict[str, Factor]]:
        """Returns the factors of the arms in a table, or in any, in the order in which they were recorded."""
        found: dict[str, dict[str, Factor]] = {}
        for name in TABLES if table is None else (table,):
            for arm, factors in self.table(name).factors().items():
                found.setdefault(arm, {}).update(factors)
        return found

    def record(self, arm: str, factors: Mapping[str, Factor], columns: Mapping[str, np.ndarray]) -> None:
        """Adds measurements of an arm.

        Args:
            arm: its name, which no trained arm need have.
            factors: they tell it from the others.
            columns: name -> float[S, P], a row per seed; the P positions (sizes, temperatures, days) are the experiment's.
        """
        seeds, length = next(iter(columns.values())).shape
        self.table("measurements").append(arm, np.arange(seeds), np.arange(length), None, columns, factors)

    def tidy(self) -> None:
        """Merges the tables that lie in many parts, each of which every reading opens."""
        for name in TABLES:
            if len(self.table(name).files()) > MOST_PARTS:
                self.table(name).merge()

    def metrics(self, arm: str | None = None) -> "pa.Table":
        """Returns the rows of one arm or of all: ``arm, seed, update, env_steps`` and a column per metric."""
        return self.table("metrics").rows(arm)

    def evaluations(self, arm: str | None = None) -> "pa.Table":
        """Returns what was measured between chunks, as ``metrics`` does."""
        return self.table("evaluations").rows(arm)

    def measurements(self, arm: str | None = None) -> "pa.Table":
        """Returns what was computed after the arms had been trained, as ``metrics`` does; ``update`` counts the positions."""
        return self.table("measurements").rows(arm)

    def curves(self, metric: str, arm: str = "", table: str | None = None) -> Curves:
        """Returns one quantity for all seeds and updates of an arm, for example to draw it.

        Args:
            metric: name of a column.
            arm: name of an arm.
            table: one of ``TABLES``; may be left out where only one of them has this column.

        Raises:
            UnknownNameError: there is no such metric, arm or table.
            ConfigError: both tables have this column and ``table`` is not given.
        """
        if table is not None and table not in TABLES:
            raise unknown_name("curves", "table", table, TABLES)
        tables = {name: self.columns(name) for name in (TABLES if table is None else (table,))}
        found = [name for name, columns in tables.items() if metric in columns]
        if not found:
            raise unknown_name(f"run {self.path.name}", "metric", metric, {c for columns in tables.values() for c in columns})
        require(len(found) == 1, "curves", f"one table must have {metric!r}", found, "Say which one: table='evaluations'.")
        return self.table(found[0]).curves(metric, arm)

    def summarise(self, metrics: Collection[str] | None = None) -> list[dict[str, Any]]:
        """Returns statistics over seeds of the final values of every arm.

        Args:
            metrics: which quantities, by default all. One that is in both tables is reported for both.

        Returns:
            A list of ``{"arm", "metric", "table", **summarise(final_values(...))}``; arms that have no value of a
            metric are left out.
        """
        rows, finals = [], []
        for table in TABLES:
            wanted = [name for name in self.columns(table) if metrics is None or name in metrics]
            for arm in self.arms(table) if wanted else ():
                ends = {name: values for name, values in self.table(table).ends(wanted, arm).items() if np.isfinite(values).any()}
                rows += [{"arm": arm, "metric": metric, "table": table} for metric in ends]
                finals += ends.values()
        rows = [{**row, **summary} for row, summary in zip(rows, summarise_all(finals), strict=True)]
        # A metric after the other, as they are read in the report.
        order = {key: index for index, key in enumerate(dict.fromkeys((row["table"], row["metric"]) for row in rows))}
        return sorted(rows, key=lambda row: order[row["table"], row["metric"]])


def _took_its_name(unfinished: Path, path: Path) -> bool:
    """Gives a new folder its name; False, and the folder is gone, if another run of this configuration began just now."""
    try:
        unfinished.rename(path)
    except OSError as error:
        shutil.rmtree(unfinished)
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        return False
    return True
