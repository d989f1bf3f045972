"""Finding runs on disk: the run that a user means, and the one that an experiment left unfinished."""

import os
import re
from pathlib import Path
from typing import Any

from jaxrl.errors import ResultsError, require, unknown_name
from jaxrl.results.gaps import find_gaps
from jaxrl.results.provenance import digest, to_json
from jaxrl.results.run_directory import QUICK, RunDirectory

NAME = re.compile(r"\d{8}T\d{6}\.\d{3}Z-[0-9a-f]{8}")  # of the folder of a run


def find_run(root: str | os.PathLike, name: str | os.PathLike, full: bool = False) -> RunDirectory:
    """Opens the run that a user means.

    Args:
        root: folder of all results.
        name: an experiment (its newest run, by the time in the name of the folder; what is no run is left aside), or the path
            of a run, as it stands or below ``root``.
        full: whether a run with quick settings, which only shows that everything runs, is taken only if the experiment has no
            other one.

    Raises:
        UnknownNameError: there is no such experiment and no such folder.
        ResultsError: the run cannot be read.
    """
    root, given = Path(root), expanded(name)
    folders = [folder for folder in root.iterdir() if folder.is_dir()] if root.is_dir() else []
    experiments = {folder.name for folder in folders if not folder.name.startswith(".")}
    if str(name) in experiments:
        runs = newest_first(root, str(name), full)
        require(bool(runs), "find_run", "the experiment must have a run", str(root / name), "Run it first.", ResultsError)
        return RunDirectory.open(runs[0])
    for path in (given, root / given):
        if path.is_dir():
            return RunDirectory.open(path)
    raise unknown_name(f"find_run in {root}", "experiment or run", str(name), experiments, f"ls {root}")


def newest_first(root: str | os.PathLike, experiment: str, full: bool = False) -> list[Path]:
    """Returns the runs of an experiment below a folder of all results. full: whether those with quick settings come last."""
    runs = _runs(Path(root) / experiment)[::-1]
    return sorted(runs, key=_is_quick) if full else runs


def _is_quick(path: Path) -> bool:
    """Returns whether a run has quick settings; one whose file is damaged counts as a run, and opening it says what is wrong."""
    try:
        return RunDirectory(path).settings == QUICK
    except ResultsError:
        return False


def expanded(path: str | os.PathLike) -> Path:
    """Returns a path with ``~`` expanded, unchanged if the home folder is unknown."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def find_unfinished(root: str | os.PathLike, experiment: str, config: Any) -> RunDirectory | None:
    """Returns the newest run of an experiment with this configuration if it did not come to its end or lost rows, else None."""
    wanted = to_json(config)
    folders = [path for path in _runs(Path(root) / experiment) if _has_config(path, wanted)]
    newest = RunDirectory.open(folders[-1]) if folders else None
    return None if newest is None or (newest.finished and not find_gaps(newest)) else newest


def _runs(folder: Path) -> list[Path]:
    """Returns the runs of an experiment, oldest first; what is no run, or is half made, is left aside."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if NAME.fullmatch(path.name) and (path / "config.json").is_file())


def _has_config(path: Path, wanted: Any) -> bool:
    """Returns whether a run has this configuration: of one whose file is damaged, by the name of its folder."""
    try:
        return RunDirectory(path).config() == wanted
    except ResultsError:
        return path.name.endswith(f"-{digest(wanted)}")
