"""The accounts of a run's arms in ``summary.json``: seeds, updates, environment steps, seeds in quarantine, time.

Several processes that record one arm may end at the same time, so each notes its own facts in a file below ``facts/``; merging
adds them up.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxrl.results import storage
from jaxrl.results.forms import SUMMARY
from jaxrl.results.provenance import digest, to_json
from jaxrl.results.sinks import Plan, RunSummary

WHOLE = "-whole"  # ends the name of the note on all seeds of an arm, beside those of processes on their own
# Of an arm whose sessions noted nothing.
NO_SESSION = {"first_update": 0, "devices": 0, "seconds": 0.0, "compile_seconds": 0.0, "env_steps_per_second": None}


def read_summary(run: Path) -> dict[str, Any]:
    """Returns the summary in the folder of a run, empty while there is none."""
    return storage.read_json(run / "summary.json", SUMMARY, missing={})


def write_summary(run: Path, values: Mapping[str, Any]) -> None:
    """Puts entries into the summary in the folder of a run, keeping those that are there under other names."""
    storage.write_json(run / "summary.json", {**read_summary(run), **values})


@dataclass(frozen=True)
class Accounts:
    """The accounts of the arms of a run.

    run: its folder. writer: number of this process where several record into the folder at the same time.
    """

    run: Path
    writer: int | None = None

    @property
    def _notes(self) -> Path:
        return self.run / "facts"

    def note(self, arm: str, facts: dict[str, Any]) -> None:
        """Notes what recording an arm took; of several processes each for itself, since they may end at the same time."""
        if self.writer is None:
            write_summary(self.run, {"runs": {**read_summary(self.run).get("runs", {}), arm: facts}})
        else:
            storage.write_json(self._notes / f"{digest(arm)}-{self.writer}.json", {"arm": arm, **facts})

    def complete(self, arm: str, facts: Mapping[str, Any]) -> None:
        """Notes what holds of an arm that is finished, whatever its sessions noted; of several processes the first does."""
        if self.writer is None:
            known = read_summary(self.run).get("runs", {})
            whole = {**NO_SESSION, **known.get(arm, {}), **to_json(facts)}
            if whole != known.get(arm):
                write_summary(self.run, {"runs": {**known, arm: whole}})
        elif self.writer == 0:
            storage.write_json(self._notes / f"{digest(arm)}{WHOLE}.json", {"arm": arm, **facts})

    def merge(self) -> None:
        """Adds up what the processes noted and removes their notes."""
        runs: dict[str, dict[str, Any]] = {}
        whole: dict[str, dict[str, Any]] = {}
        for path in sorted(self._notes.glob("*.json")):
            facts = storage.read_json(path, dict)
            arm = facts.pop("arm")
            if path.stem.endswith(WHOLE):
                whole[arm] = facts
            else:
                runs[arm] = _sum_of_facts(runs[arm], facts) if arm in runs else facts
        if runs or whole:
            runs = {**read_summary(self.run).get("runs", {}), **runs}
            complete = {arm: {**NO_SESSION, **runs.get(arm, {}), **facts} for arm, facts in whole.items()}
            write_summary(self.run, {"runs": {**runs, **complete}})
            with storage.writing(self._notes):
                shutil.rmtree(self._notes)

    def discard_notes(self) -> None:
        """Removes what processes noted that were killed before they were merged."""
        shutil.rmtree(self._notes, ignore_errors=True)


def account(plan: Plan, made: np.ndarray, summary: RunSummary) -> dict[str, Any]:
    """Returns the part of an arm's account that does not depend on where it was stopped and resumed.

    Args:
        plan: of the run. made: int[S], how many updates each seed made. summary: which seeds failed, and if it ended early.
    """
    return {
        "seeds": len(plan.seeds),
        "updates": int(made.mean()),  # where seeds are not equally far: on average
        "planned_updates": plan.num_updates,
        "env_steps": steps_made(plan, made),
        "interrupted": summary.interrupted,
        "failed_seeds": {seed: failure._asdict() for seed, failure in sorted(summary.failed_seeds.items())},
    }


def steps_made(plan: Plan, made: np.ndarray) -> int | None:
    """Returns the environment steps of all seeds together; None for what learns from a data set.

    Args:
        plan: of the run. made: int[S], how many updates each seed made.
    """
    return None if plan.steps_per_update is None else int(plan.env_steps(made)[made > 0].sum())


def _sum_of_facts(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Returns what two processes took that recorded seeds of their own at the same time."""
    total = {
        **one,
        **{name: one[name] + other[name] for name in ("seeds", "devices")},
        **{name: max(one[name], other[name]) for name in ("seconds", "compile_seconds", "interrupted")},
        **{name: _mean_over_seeds(name, one, other) for name in ("first_update", "updates")},
        "failed_seeds": {**one["failed_seeds"], **other["failed_seeds"]},
    }
    for name in ("env_steps", "env_steps_per_second"):
        total[name] = None if one[name] is None or other[name] is None else one[name] + other[name]
    return total


def _mean_over_seeds(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> int:
    return (one[name] * one["seeds"] + other[name] * other["seeds"]) // (one["seeds"] + other["seeds"])
