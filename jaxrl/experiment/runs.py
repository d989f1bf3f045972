"""The run that a user means: by its folder, or by whatever names an experiment."""

import os

from jaxrl.errors import ResultsError, UnknownNameError, require
from jaxrl.experiment.experiment import Experiment, load
from jaxrl.experiment.modules import can_be_imported
from jaxrl.results.finding import expanded, find_run, newest_first
from jaxrl.results.run_directory import OTHER, PUBLISHED, QUICK, RunDirectory

SETTINGS = {PUBLISHED: "published settings", QUICK: "quick settings", OTHER: "settings other than the published ones"}


def find(runs: str | os.PathLike, name: str | os.PathLike, full: bool = False) -> RunDirectory:
    """Opens a run.

    Args:
        runs: folder of all results.
        name: the folder of a run, or an experiment as ``jaxrl run`` takes it, for its newest run: the name under which its runs
            lie, the path of its file, its module, or ALGORITHM:ENVIRONMENT.
        full: whether a run with quick settings is taken only if the experiment has no other one.

    Raises:
        UnknownNameError: there is no such run.
        ConfigError: the experiment cannot be imported.
        ResultsError: the experiment has no run, or the run cannot be read.
    """
    root = expanded(runs)
    try:
        return find_run(root, name, full)
    except UnknownNameError:
        experiment = _experiment(str(name))
        if experiment is None:
            raise
    known = map(RunDirectory, newest_first(root, experiment.name, full))
    found = next((run for run in known if _is_of(run, experiment)), None)
    must, fix = f"there must be a run of {experiment.source}", f"Run it first: jaxrl run {name}"
    require(found is not None, f"find in {root}", must, "none", fix, ResultsError)
    assert found is not None
    return RunDirectory.open(found.path)


def told(name: str | os.PathLike, run: RunDirectory) -> str:
    """Returns in words which run a name stands for, and with which settings it ran; empty where the name is its folder."""
    own = run.path.name == expanded(name).name
    return "" if own else f"{name} is {run.path}, with {SETTINGS.get(run.settings, 'settings that were not noted')}"


def _experiment(name: str) -> Experiment | None:
    """Returns the experiment of a name under which no run lies; None if there is none of this name either."""
    dashes = "-" in name and "/" not in name  # our names may be written with these
    module = "." in name and "/" not in name and can_be_imported(name)
    if not (name.endswith(".py") or ":" in name or dashes or module):
        return None
    try:
        return load(name)
    except UnknownNameError:
        return None


def _is_of(run: RunDirectory, experiment: Experiment) -> bool:
    """Returns whether an experiment's file began a run: the same file, or one that was moved and has the same text."""
    stored = run.config().get("experiment")
    own = {"source": experiment.source, "digest": experiment.digest}
    return isinstance(stored, dict) and any(stored.get(key) == value for key, value in own.items())
