"""The results of an experiment: its arms and its measurements, read by factor. Claims and figures need nothing else."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.errors import ConfigError, ResultsError, UnknownNameError, require, unknown_name
from jaxrl.results import factors as factor
from jaxrl.results.factors import Factor
from jaxrl.results.run_directory import TABLES, RunDirectory
from jaxrl.results.tables import Curves
from jaxrl.training.runner import Run

LARGEST_KEPT = 1_000_000  # numbers of one metric of one arm that are kept after reading, 8 MB
TableName = Literal["metrics", "evaluations", "measurements"]


class Results:
    """The tables of a run directory, and the Runs of the arms that were trained just now.

    Wherever factors are given, those of an arm that are left out may have any value.
    """

    def __init__(self, directory: RunDirectory, root: int = 0):
        """
        Args:
            directory: of the run.
            root: number of the root key of its seeds, for whatever ``measure`` draws.
        """
        self.directory, self.root = directory, root
        self._runs: list[tuple[dict[str, Factor], Run]] = []
        # Read once while nothing is written: a claim asks for a number of one arm, and there are many claims.
        self._factors: dict[str, dict[str, dict[str, Factor]]] = {}
        self._columns: dict[str, tuple[str, ...]] = {}
        self._read: dict[tuple[str, str, str], Curves] = {}

    # Contents

    def arms(self, table: TableName | None = None, /, **factors: Any) -> tuple[str, ...]:
        """Returns the names of the arms and measurements with these factors, in the order in which they were recorded."""
        tables = TABLES if table is None else (table,)
        found = (name for each in tables for name, known in self._of(each).items() if factor.matches(known, factors))
        return tuple(dict.fromkeys(found))

    def labels(self, metric: str, /, **factors: Any) -> dict[str, str]:
        """Returns the arms with these factors that have a metric, each with a label that names only factors that differ."""
        found: dict[str, dict[str, Factor]] = {}
        for table in TABLES:
            if metric in self._columns_of(table):
                arms = {name: known for name, known in self._of(table).items() if factor.matches(known, factors)}
                found |= {name: known for name, known in arms.items() if self._has(table, metric, name)}
        if not found:
            raise self._missing(metric, factors)
        return factor.short_labels(found)

    def recorded(self) -> dict[str, dict[str, Factor]]:
        """Returns the factors of every arm and measurement by its name, in the order in which they were recorded."""
        return {name: dict(known) for table in TABLES for name, known in self._of(table).items()}

    def factors_of(self, metric: str, table: TableName | None = None, /, **factors: Any) -> dict[str, Factor]:
        """Returns all factors of the one arm with these factors that has a metric.

        Raises:
            UnknownNameError, ConfigError: as ``curves``.
        """
        name, arm = self._place(metric, table, factors)
        return dict(self._of(name)[arm])

    # Reading

    def curves(self, metric: str, table: TableName | None = None, /, **factors: Any) -> Curves:
        """Returns a metric of the one arm with these factors, at all updates.

        Raises:
            UnknownNameError: no arm with these factors has the metric.
            ConfigError: several have it, or several tables do and none is named.
        """
        name, arm = self._place(metric, table, factors)
        return self._curves(name, metric, arm)

    def values(self, metric: str, table: TableName | None = None, /, **factors: Any) -> np.ndarray:
        """Returns the values of ``curves``, float64[S, U]."""
        return self.curves(metric, table, **factors).values.astype(np.float64)

    def final(self, metric: str, table: TableName | None = None, /, **factors: Any) -> np.ndarray:
        """Returns the last value of every seed, float64[S]."""
        return self.values(metric, table, **factors)[:, -1]

    def along(self, metric: str, name: str, table: TableName | None = None, /, **factors: Any) -> tuple[np.ndarray, np.ndarray]:
        """Returns a metric's last values against a numeric factor: its K values in rising order, and float64[S, K].

        Args:
            metric, table: see ``curves``.
            name: of the factor.
            factors: of the arms, which differ in that factor alone.
        """
        known = (known for each in TABLES for known in self._of(each).values() if factor.matches(known, factors))
        numbers = sorted({float(one[name]) for one in known if name in one})
        return np.array(numbers), np.stack([self.final(metric, table, **factors, **{name: x}) for x in numbers], axis=1)

    def is_exact(self, metric: str, table: TableName | None = None, /, **factors: Any) -> bool:
        """Returns whether a metric is one computed number, not one of a training's seeds."""
        name, arm = self._place(metric, table, factors)
        return name == "measurements" and len(self._curves(name, metric, arm).seeds) == 1

    def run(self, **factors: Any) -> Run:
        """Returns the Run of the one arm with these factors: its final states above all.

        Raises:
            UnknownNameError: no arm that was trained by this command has them. ConfigError: several have them.
        """
        found = [(known, run) for known, run in self._runs if factor.matches(known, factors)]
        if not found:
            raise unknown_name("results", "trained arm", factor.label(factors), [factor.label(known) for known, _ in self._runs])
        self._require_one(factors, {factor.label(known): known for known, _ in found})
        return found[0][1]

    def states(self, **factors: Any) -> Any:
        """Returns the final states of the one arm with these factors, PyTree[S, ...] on the host.

        The floats of a seed in quarantine are NaN: its state is that of before the update that failed, which is no result.

        Raises:
            UnknownNameError, ConfigError: as ``run``.
        """
        return self.marked(self.run(**factors).state, **factors)

    def marked(self, values: Any, **factors: Any) -> Any:
        """Returns what was computed from the final states of the one arm with these factors, with NaN for seeds in quarantine.

        Args:
            values: PyTree[S, ...], a row for each seed of the arm. Those of a policy whose parameters are NaN may be finite: it
                takes some action. So the states of ``run`` are used, and the result is marked.
            factors: of the arm.

        Raises:
            UnknownNameError, ConfigError: as ``run``.
        """
        run = self.run(**factors)
        failed = np.isin(run.seeds, list(run.summary.failed_seeds))

        def mark(leaf: Any) -> Any:
            if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                return leaf
            leaf = np.array(jax.device_get(leaf))
            if failed.any() and np.issubdtype(leaf.dtype, np.floating):
                leaf[failed] = np.nan
            return leaf

        return jax.tree.map(mark, values)

    # Writing

    def add(self, factors: Mapping[str, Factor], run: Run) -> None:
        """Adds the Run of an arm."""
        self._runs.append((dict(factors), run))
        self._forget()

    def record_all(self, rows: Iterable[tuple[Mapping[str, Factor], Mapping[str, Any]]], write: bool = True) -> None:
        """Stores measurements, in place of all that were there. Those before a row can be read while it is computed.

        Args:
            rows: factors and values, as for ``record``.
            write: whether this process is the one that writes.
        """
        table = self.directory.table("measurements")
        if write:
            table.clear()
        for factors, values in rows:
            if write:
                self.record(factors, values)
        if write:
            table.merge()

    def record(self, factors: Mapping[str, Factor], values: Mapping[str, Any]) -> None:
        """Adds measurements.

        Args:
            factors: what they are of: those of an arm, or others.
            values: name -> float[S, P], a row per seed; float[P] is one row, and a number one row of one position. float[S] of
                seeds is float[S, 1]. All have the same shape.

        Raises:
            ConfigError: the factors or the shapes do not allow it.
        """
        where = f"measure {factor.label(factors)}"
        factor.require_factors(where, factors)
        require(len(values) > 0, where, "there must be a value", dict(values), "Name what was measured.")
        columns = {name: np.atleast_2d(np.asarray(value, np.float64)) for name, value in values.items()}
        shapes = {name: column.shape for name, column in columns.items()}
        alike = len(set(shapes.values())) == 1 and next(iter(columns.values())).ndim == 2
        require(alike, where, "values must have one shape [S, P]", shapes, "Record the others by themselves.")
        name = factor.label(factors)
        taken = self._of("measurements").get(name)
        must, fix = f"{name!r} must be measured once, by factors of one kind", "Record its values together, or rename a factor."
        require(taken is None, where, must, taken, fix)
        self.directory.record(name, factors, columns)
        self._forget()

    # Finding the arm

    def _forget(self) -> None:
        self._factors, self._columns, self._read = {}, {}, {}

    def _columns_of(self, table: str) -> tuple[str, ...]:
        if table not in self._columns:
            self._columns[table] = self.directory.columns(table)
        return self._columns[table]

    def _curves(self, table: str, metric: str, arm: str) -> Curves:
        key = (table, metric, arm)
        if key not in self._read:
            curves = self.directory.table(table).curves(metric, arm)
            if curves.values.size > LARGEST_KEPT:
                return curves
            self._read[key] = curves
        return self._read[key]

    def _of(self, table: str) -> dict[str, dict[str, Factor]]:
        if table not in self._factors:
            self._factors[table] = self.directory.table(table).factors()
        return self._factors[table]

    def _place(self, metric: str, table: TableName | None, factors: Mapping[str, Any]) -> tuple[str, str]:
        """Returns the table and the arm that hold a metric."""
        if table is not None and table not in TABLES:
            raise unknown_name("results", "table", table, TABLES)
        found = {
            (name, arm): known
            for name in (TABLES if table is None else (table,))
            if metric in self._columns_of(name)
            for arm, known in self._of(name).items()
            if factor.matches(known, factors)
        }
        if len(found) > 1:  # a column of the table may be another arm's
            found = {(name, arm): known for (name, arm), known in found.items() if self._has(name, metric, arm)} or found
        if not found:
            raise self._missing(metric, factors)
        self._require_one(factors, {f"{arm} ({name})": known for (name, arm), known in found.items()})
        return next(iter(found))

    def _has(self, table: str, metric: str, arm: str) -> bool:
        return bool(np.isfinite(self._curves(table, metric, arm).values).any())

    def _require_one(self, factors: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        must = f"the factors {dict(factors)} must name one arm"
        require(len(found) == 1, "results", must, list(found), "Name more factors, or the table.", ConfigError)

    def _missing(self, metric: str, factors: Mapping[str, Any]) -> Exception:
        metrics = {name for table in TABLES for name in self._columns_of(table)}
        if metric not in metrics:
            return unknown_name(f"run {self.directory.path.name}", "metric", metric, metrics)
        known = list(self.recorded().values())
        names = dict.fromkeys(name for f in known for name in f)
        if unknown := [name for name in factors if name not in names]:
            return unknown_name(f"run {self.directory.path.name}", "factor", unknown[0], names)
        some = ", ".join(str(f) for f in known[:6])
        fix = "Name values that occur, or train the arm."
        error = ResultsError if any(factor.matches(one, factors) for one in known) else UnknownNameError
        return error(f"results: an arm with the factors {dict(factors)} must have {metric!r}, got {some}. {fix}")
