"""The sink that fills the tables of a run's folder, chunk by chunk, and notes what the run took."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

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
        self._seed_updates, self._fresh_seeds = 0, 0

    def begin(self, plan: Plan) -> None:
        """See ``jaxrl.results.sinks.Sink``."""
        self._plan, self._seen, self._seed_updates, self._fresh_seeds = plan, set(), 0, 0
        self._earlier = {name: table.files() for name, table in self._tables.items()}

    def chunk(self, chunk: Chunk) -> None:
        """Appends to each table what the chunk has for it."""
        end = chunk.first_update + chunk.num_updates
        batch = np.asarray(chunk.seeds).tobytes()
        if batch not in self._seen:
            self._seen.add(batch)
            for name, table in self._tables.items():
                table.remove(self._earlier[name], self._arm, chunk.seeds, min(chunk.first_update, end - 1))
        evaluation = {name: np.asarray(values)[:, None] for name, values in chunk.evaluation.items()}
        self._append("metrics", chunk.seeds, np.arange(chunk.first_update, end), chunk.metrics)
        self._append("evaluations", chunk.seeds, np.arange(end - 1, end), evaluation)
        self._seed_updates += chunk.num_updates * len(chunk.seeds)
        self._fresh_seeds += len(chunk.seeds) if chunk.first_update == 0 else 0

    def end(self, summary: RunSummary) -> None:
        """Notes what the run cost, and which seeds failed."""
        plan = self._plan
        steps = None
        if plan.steps_per_update is not None:  # of this session: a seed that went on from a checkpoint had begun before
            steps = plan.steps_before_first_update * self._fresh_seeds + plan.steps_per_update * self._seed_updates
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
        self._run.write_facts(self._arm, facts)

    def _append(self, name: str, seeds: np.ndarray, updates: np.ndarray, columns: Mapping[str, np.ndarray]) -> None:
        self._tables[name].append(self._arm, seeds, updates, self._plan.env_steps(updates + 1), columns, self._factors)
