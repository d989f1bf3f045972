"""The sink that fills the tables of a run's folder, chunk by chunk, and notes what the run took."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxrl.errors import require
from jaxrl.results.accounts import account, steps_made
from jaxrl.results.factors import Factor
from jaxrl.results.run_directory import RunDirectory
from jaxrl.results.sinks import Chunk, Plan, RunSummary


class Recorder:
    """Records one arm into a ``RunDirectory``.

    Recording an arm again from update ``i`` on (a resumed run) replaces its rows from there.
    """

    def __init__(self, run: RunDirectory, arm: str = "", factors: Mapping[str, Factor] | None = None):
        """
        Args:
            run: the folder.
            arm: the name that distinguishes this training from others of the same experiment. Arms may have different metrics.
            factors: what tells the arm from the others, in columns of their own.
        """
        self._run, self._arm, self._factors = run, arm, dict(factors or {})
        self._tables = {name: run.table(name) for name in ("metrics", "evaluations")}
        self._plan: Plan
        self._earlier: dict[str, list[Path]] = {}  # table -> the files that it had before
        self._seen: set[bytes] = set()
        self._made = np.zeros(0, np.int64)  # of each seed

    def held(self, plan: Plan) -> np.ndarray:
        """See ``jaxrl.results.sinks.Record``: a row of every update in one table, of every evaluation in the other."""
        whole = self._tables["metrics"].present(self._arm, plan.seeds, np.arange(plan.num_updates))
        whole[:, plan.evaluated] &= self._tables["evaluations"].present(self._arm, plan.seeds, plan.evaluated)
        return np.where(whole.all(axis=1), plan.num_updates, whole.argmin(axis=1))

    def begin(self, plan: Plan) -> None:
        """See ``jaxrl.results.sinks.Sink``."""
        self._plan, self._seen, self._made = plan, set(), first_updates(plan)
        self._earlier = {name: table.files() for name, table in self._tables.items()}

    def chunk(self, chunk: Chunk) -> None:
        """Appends to each table what the chunk has for it.

        Raises:
            ConfigError: no metric was measured: then no row could say that an update was made.
        """
        must, fix = "an algorithm must measure something in every update", "Return a metric."
        require(bool(chunk.metrics), f"record of {self._arm or 'the run'}", must, "no metric", fix)
        end = chunk.first_update + chunk.num_updates
        batch = np.asarray(chunk.seeds).tobytes()
        if batch not in self._seen:
            self._seen.add(batch)
            # Where a shorter run ended in the middle of a chunk of this one, its last evaluation has no place in this one.
            first = {"metrics": chunk.first_update}
            first["evaluations"] = chunk.first_update - chunk.first_update % self._plan.chunk_length
            for name, table in self._tables.items():
                table.remove(self._earlier[name], self._arm, chunk.seeds, first[name])
        evaluation = {name: np.asarray(values)[:, None] for name, values in chunk.evaluation.items()}
        self._append("metrics", chunk.seeds, np.arange(chunk.first_update, end), chunk.metrics)
        self._append("evaluations", chunk.seeds, np.arange(end - 1, end), evaluation)
        self._made[np.isin(self._plan.seeds, chunk.seeds)] = end

    def end(self, summary: RunSummary) -> None:
        """Notes what the run cost, and which seeds failed."""
        plan, first = self._plan, first_updates(self._plan)
        before, now = steps_made(plan, first), steps_made(plan, self._made)
        running = summary.seconds - summary.compile_seconds
        session = {
            "first_update": int(first.mean()),
            "devices": plan.devices,
            "seconds": summary.seconds,
            "compile_seconds": summary.compile_seconds,
            "env_steps_per_second": None if now is None or before is None or running <= 0 else (now - before) / running,
        }
        self._run.accounts.note(self._arm, account(plan, self._made, summary) | session)

    def complete(self, plan: Plan, summary: RunSummary) -> None:
        """Notes what holds of all seeds: a session that was killed before its end, or another process, could not say it."""
        self._run.accounts.complete(self._arm, account(plan, np.full(len(plan.seeds), plan.num_updates), summary))

    def _append(self, name: str, seeds: np.ndarray, updates: np.ndarray, columns: Mapping[str, np.ndarray]) -> None:
        self._tables[name].append(self._arm, seeds, updates, self._plan.env_steps(updates + 1), columns, self._factors)


def first_updates(plan: Plan) -> np.ndarray:
    """Returns the number of the update with which each seed goes on, int64[S]."""
    return np.zeros(len(plan.seeds), np.int64) if plan.first_updates is None else np.array(plan.first_updates, np.int64)
