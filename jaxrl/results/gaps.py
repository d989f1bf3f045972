"""Gaps in the tables of a run: the rows that are missing of what was trained."""

import numpy as np

from jaxrl.errors import ResultsError, require
from jaxrl.results.run_directory import RunDirectory
from jaxrl.results.sinks import Plan

GAPS_NAMED = 4  # of the tables of arms


def find_gaps(run: RunDirectory) -> list[str]:
    """Returns in words the rows that are missing: a table must have one for each seed and update of what was trained."""
    found = []
    for entry in run.trainings():
        evaluates = entry.get("evaluates", False)
        seeds = entry.get("first_seed", 0) + np.arange(entry["seeds"])
        plan = Plan(seeds, entry["updates"], entry.get("chunk_length", entry["updates"]), None, 1)
        plan = plan._replace(evaluates=evaluates)
        for name, updates in (("metrics", np.arange(plan.num_updates)), ("evaluations", plan.evaluated)):
            there = run.table(name).present(entry["arm"], plan.seeds, updates)
            found += [] if there.all() else [f"{name} of {entry['arm'] or 'the run'}: {_lacking(there, seeds, updates)}"]
    return found


def require_no_gaps(run: RunDirectory) -> None:
    """Raises ResultsError unless the tables have a row for each seed and update of what was trained."""
    gaps = find_gaps(run)
    more = f"; and {len(gaps) - GAPS_NAMED} more" if len(gaps) > GAPS_NAMED else ""
    must = f"the tables of {run.path} must have a row for each seed and update"
    fix = f"Make them again: jaxrl resume {run.path}"
    require(not gaps, "results", must, "; ".join(gaps[:GAPS_NAMED]) + more, fix, ResultsError)


def _lacking(there: np.ndarray, seeds: np.ndarray, updates: np.ndarray) -> str:
    """Says which rows are missing. there: bool[S, n]; seeds: int[S] and updates: int[n], their numbers."""
    seeds, lacking = seeds[~there.all(axis=1)], updates[~there.all(axis=0)]
    which = f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"
    return f"{int((~there).sum())} rows, of {which}, updates {lacking[0]} to {lacking[-1]}"
