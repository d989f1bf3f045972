"""``extend RUN --env-steps N``: a finished run goes on, to the bits of one that had the longer budget from the start.

That is possible if only the number of updates differs. Where a configuration depends on the budget (a schedule over all updates,
say) or an arm begins from the end of another one, the longer run would have been another run from its first update on.
"""

import dataclasses
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from tyro.conf import Positional

from jaxrl.cli.execute import PROGRAM, Job, Running, execute, going_on
from jaxrl.errors import ConfigError, require
from jaxrl.experiment.arms import Arm
from jaxrl.experiment.runs import find
from jaxrl.experiment.session import say
from jaxrl.results.gaps import require_no_gaps
from jaxrl.results.provenance import differences, to_json

DIFFERENCES_NAMED = 3  # between an arm of the budget of before and the same of the new one


@dataclass(frozen=True)
class Extend(Running):
    """Go on with a finished run for more updates, as if it had been asked for them from the start.

    Evaluations stay as far apart as they were. Give one of the budgets.
    """

    run: Positional[str] = ""
    """Folder of the run, or an experiment, named as for ``run``, for its newest run."""
    env_steps: int | None = None
    """Environment steps of each learner in all, as the experiment counts them (count)."""
    num_updates: int | None = None
    """Updates of each learner in all, if the experiment counts these (count)."""


BUDGETS = ("env_steps", "num_updates")


def longer_by(job: Job) -> str:
    """Returns the command that trains a finished run twice as long."""
    known = [field.name for field in dataclasses.fields(job.config) if field.name in BUDGETS]
    budget = next((f" {_option(name)} {2 * getattr(job.config, name)}" for name in known), "")
    return f"{PROGRAM} extend {job.directory.path if job.directory else job.experiment.name}{budget}"


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def extend(options: Extend) -> int:
    """Extends a run and returns the exit status, as ``jaxrl.cli.execute.execute``.

    Raises:
        ConfigError: the longer run would have been another run from its first update on, or the budget is not longer.
        ResultsError: the run is not finished, or lost rows.
    """
    must, fix = "one process must extend a run", "Leave --num-processes out; once it goes on, resume it with several."
    require(options.num_processes in (None, 1), "extend", must, options.num_processes, fix)
    directory = find(options.runs, options.run)
    where = f"extend {directory.path}"
    require("sweep" not in directory.config(), where, "it must be the run of an experiment", "a sweep", "Run the chosen member.")
    require(directory.finished, where, "the run must be finished", "one that was stopped", "Resume it first.")
    require_no_gaps(directory)
    job = going_on(directory)
    longer = _longer(where, job, options)
    if job.published and not longer.published:
        say(f"{directory.path} will not have the published settings any more: its verdicts become open")
    with directory.locked():
        shutil.rmtree(directory.path / "replays", ignore_errors=True)  # of the policies of before
        directory.replace_config(longer.settings, longer.kind)
    return execute([longer], options)


def _longer(where: str, job: Job, options: Extend) -> Job:
    """Returns the job of the longer budget, after it was held against that of before."""
    given = {name: getattr(options, name) for name in BUDGETS if getattr(options, name) is not None}
    require(len(given) == 1, where, "one budget must be given", given or "none", "Try --env-steps 1000000.")
    ((name, count),) = given.items()
    known = [field.name for field in dataclasses.fields(job.config)]
    must, fix = "the experiment's configuration must have this budget", f"It has {', '.join(known)}."
    require(name in known, where, must, name, fix)
    before = getattr(job.config, name)
    must, fix = f"{name} must be more than the {before} of before", f"Try {_option(name)} {2 * before}."
    require(count > before, where, must, count, fix)
    longer = job._replace(config=dataclasses.replace(job.config, **{name: count}))
    old, new = job.sound_arms(), longer.sound_arms()
    must, fix = "the arms must be those of before", "Run it afresh."
    require([arm.factors for arm in old] == [arm.factors for arm in new], where, must, [arm.label for arm in new], fix)
    for one, other in zip(old, new, strict=True):
        _require_same_training(one, other)
    more = any(other.updates > one.updates for one, other in zip(old, new, strict=True))
    require(more, where, "an arm must make more updates than before", count, "Ask for more.")
    return longer


def _require_same_training(one: Arm, other: Arm) -> None:
    """Raises ConfigError unless two arms differ in the number of their updates alone, and begin afresh."""
    where, fix = f"extend, arm {one.label}", "Run it afresh with the longer budget."
    begins = "an arm must not begin from the end of another one, which is going to be another end"
    require(not one.after, where, begins, dict(one.after), fix)
    must = "an arm must not make fewer updates than before"
    require(other.updates >= one.updates, where, must, other.updates, fix)
    before, now = ({"config": to_json(arm.config), "task": to_json(arm.task), "seeds": arm.seeds} for arm in (one, other))
    pairs = differences(before, now)
    found = [f"{place}: {then} and {later}" for place, then, later in pairs[:DIFFERENCES_NAMED]]
    must = "its training must not depend on the number of updates"
    require(not found, where, must, "; ".join(found), fix, ConfigError)
    parts = [(arm.make, arm.config, arm.task, arm.evaluators, arm.initial, arm.chunk_length) for arm in (one, other)]
    require(_same(parts), where, must, "another evaluator, first state or chunk length", fix)


def _same(trees: Sequence[Any]) -> bool:
    """Returns whether two trees have the same structure and leaves."""
    (mine, structure), (theirs, other) = map(jax.tree.flatten, trees)
    if structure != other:
        return False
    return all(one is two or _equal(one, two) for one, two in zip(mine, theirs, strict=True))


def _equal(one: Any, other: Any) -> bool:
    if callable(one) or callable(other):
        return False
    one, other = np.asarray(one), np.asarray(other)
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
