"""Soak: experiments that are killed at random moments and resumed, and one process that works for a long time.

``python -m benchmarks.soak --minutes 30 --seed 0`` starts small experiments through the command line, ends them with SIGKILL a
bounded number of times each, resumes them until they finish, and holds what they leave behind against a run of the same settings
that nobody disturbed. Then it lets one process train again and again, and looks at what it holds. Linux only.

The moments are drawn from the seed; what they hit depends on the machine.
"""

import contextlib
import itertools
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks import report
from benchmarks.measure import ROOT, JobError, Worker
from jaxrl.errors import ResultsError
from jaxrl.results.run_directory import TABLES, RunDirectory

WIDTH = 140  # columns, where the output is not a terminal
LIMIT = 900.0  # seconds after which a run that nobody kills counts as hung
ERRORS = "errors.txt"
CHECKPOINTS = ("0", "1")  # seconds between checkpoints; one of them for each run
SHARE = 0.7  # of the time, for kills; the rest is for endurance
FEWEST_ROUNDS = 20  # however little time is left: allocators still settle in the first ones
FIRST_ROUNDS = 1 / 3  # of the rounds of one process, in which what is kept for good is still growing
MOST_GROWTH = {"bytes": 100e3, "maps": 0.1, "files": 0.02, "threads": 0.02, "arrays": 0.02}  # a round of five runs, at most
OF_THE_PROCESS = ("peak_megabytes",)  # what experiments measure of the process that they are in, not of what it computes
EXPERIMENTS: dict[str, tuple[str, ...]] = {
    "frozen_lake_q_learning": ("--seeds", "8", "--env-steps", "40000"),
    "cartpole_ppo": ("--quick", "--env-steps", "30720"),
    "bt_rm": ("--quick", "--updates", "4"),
    "core_dqn": ("--quick",),
    "core_mappo": ("--quick",),
}
"""Experiments and their options: Q-learning, PPO, reward fitting, DQN and MAPPO; those that compile fast come first."""


@dataclass(frozen=True)
class Options:
    """Kill and resume experiments, and let one process work for long. Exit status 0 only if everything held."""

    minutes: float = 30.0
    """After this long nothing new is started; what has begun is brought to its end (minutes)."""
    seed: int = 0
    """Of the moments at which runs are killed, and of the times between their checkpoints."""
    kills: int = 4
    """How often a run is killed at most (count)."""
    experiments: tuple[str, ...] = tuple(EXPERIMENTS)
    """Which experiments take part."""
    out: Path = Path("benchmarks/results")
    """Folder for the JSON file."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Soaks, prints what was found and stores it. Returns 0, 1 where something did not hold, 130 after Ctrl-C."""
    options = tyro.cli(Options, args=arguments, prog="python -m benchmarks.soak")
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    began, started = time.monotonic(), datetime.now(UTC)
    kills: list[dict[str, Any]] = []
    process: dict[str, Any] = {}
    interrupted = False
    try:
        with tempfile.TemporaryDirectory() as folder:
            for run in kill_runs(options, Path(folder), began + SHARE * 60 * options.minutes):
                kills.append(run)
                found = "; ".join(run["problems"]) or "as if undisturbed"
                console.print(
                    f"{time.monotonic() - began:5.0f} s  {run['experiment']}, {run['kills']} kills: {found}", markup=False
                )
        console.print(f"{time.monotonic() - began:5.0f} s  one process, again and again")
        process = endure(began + 60 * options.minutes)
    except KeyboardInterrupt:
        interrupted = True
        console.print("interrupted: what had been found is stored")

    results = {
        "started": started.isoformat(timespec="seconds"),
        "seconds": time.monotonic() - began,
        "seed": options.seed,
        "interrupted": interrupted,
        "machine": report.machine(),
        "kills": kills,
        "process": process,
    }
    path = options.out / f"{started:%Y-%m-%d-%H%M%S}-soak.json"
    report.store(path, results)
    for table in _tables(kills, process):
        console.print(table)
    console.print(f"{path}", highlight=False)
    if interrupted:
        return 130
    return 1 if any(run["problems"] for run in kills) or process["problems"] else 0


# Kills


def kill_runs(options: Options, folder: Path, deadline: float) -> Iterator[dict[str, Any]]:
    """Kills and resumes runs of every experiment in turn, at least one run in all, until the time is over.

    Yields for each run ``experiment``, ``kills``, ``starts``, ``checkpoint_seconds``, ``moments`` (seconds from its start until
    each kill), ``training`` (how many of the kills came after its first checkpoint) and ``problems``.
    """
    rng = random.Random(options.seed)
    undisturbed: dict[str, tuple[Path, float]] = {}
    for number in itertools.count():
        for name in options.experiments:
            if number and time.monotonic() > deadline:
                return
            if name not in undisturbed:
                if undisturbed and time.monotonic() > deadline:
                    continue
                whole = folder / "whole"
                begun = time.monotonic()
                with _running(name, whole, "60") as process:
                    status, text = _finish(process, whole)
                if status != 0:
                    yield _record(name, [f"undisturbed, it ended with status {status}: {text}"])
                    continue
                undisturbed[name] = _folders(whole, name)[0], time.monotonic() - begun
            yield _kill_run(name, folder / str(number), *undisturbed[name], options.kills, rng)


def _record(name: str, problems: list[str], **values: Any) -> dict[str, Any]:
    return {"experiment": name, "kills": 0, "starts": 1, "training": 0, "moments": [], "problems": problems} | values


def _kill_run(name: str, runs: Path, whole: Path, seconds: float, kills: int, rng: random.Random) -> dict[str, Any]:
    """Runs an experiment that takes so many seconds undisturbed, killing it up to so many times."""
    moments: list[float] = []
    training = starts = 0
    checkpoint_seconds = rng.choice(CHECKPOINTS)
    while True:
        starts += 1
        begun = time.monotonic()
        with _running(name, runs, checkpoint_seconds) as process:
            if len(moments) < kills:
                # Every other kill on average waits until the training goes on, or a run would mostly die while it compiles.
                waits, part = rng.random() < 0.5, rng.random()
                if waits:
                    _wait_for_checkpoint(process, runs)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(part * (3.0 if waits else seconds))
            if process.poll() is not None or len(moments) == kills:
                status, text = _finish(process, runs)
                break
        moments.append(time.monotonic() - begun)  # leaving the block killed it
        training += bool(_checkpoints(runs))
        if _is_finished(_folders(runs, name)):  # too late; asked to resume, the command would begin another run
            status, text = 0, ""
            break
    problems = [f"it ended with status {status}: {text}"] if status else compare(whole, _folders(runs, name))
    counts = {"kills": len(moments), "starts": starts, "training": training, "moments": moments}
    return _record(name, problems, checkpoint_seconds=checkpoint_seconds, **counts)


@contextlib.contextmanager
def _running(name: str, runs: Path, checkpoint_seconds: str) -> Iterator[subprocess.Popen]:
    """Starts a run, or goes on with one, and kills it at the end of the block if it still runs."""
    command = [sys.executable, "-m", "jaxrl", "run", name, *EXPERIMENTS[name], "--resume", "--runs", str(runs)]
    command += ["--checkpoint-seconds", checkpoint_seconds]
    runs.mkdir(parents=True, exist_ok=True)
    with (runs / ERRORS).open("w") as errors:
        # A session of its own: Ctrl-C is for us to handle.
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def _finish(process: subprocess.Popen, runs: Path) -> tuple[int, str]:
    """Waits for a run and returns its exit status and its last words."""
    try:
        status = process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        return -1, f"hung for {LIMIT:.0f} s"
    lines = (runs / ERRORS).read_text().strip().splitlines()
    return status, lines[-1] if lines else ""


def _wait_for_checkpoint(process: subprocess.Popen, runs: Path) -> None:
    """Waits until the newest checkpoint is another one than now, or the run has ended."""
    before = _checkpoints(runs)
    while process.poll() is None and _checkpoints(runs) == before:
        time.sleep(0.02)


def _checkpoints(runs: Path) -> set[str]:
    return {str(path) for path in runs.glob("*/*/checkpoints/*/*/*") if path.name.isdecimal()}


def _folders(runs: Path, name: str) -> list[Path]:
    return sorted(path for path in (runs / name).glob("*") if path.is_dir())


def _is_finished(folders: Sequence[Path]) -> bool:
    with contextlib.suppress(ResultsError):
        return bool(folders) and RunDirectory(folders[-1]).finished
    return False


def compare(whole: Path, folders: Sequence[Path]) -> list[str]:
    """Returns what is wrong with what a killed run left behind, in words; nothing if all is as it must be.

    Args:
        whole: the folder of an undisturbed run of the same settings.
        folders: all folders that the killed run and its successors made.
    """
    if len(folders) != 1:
        finished = sum(_is_finished([folder]) for folder in folders)
        return [f"it left {len(folders)} folders of runs instead of one, {finished} of them finished"]
    problems = [f"a file is left half written: {path.name}" for path in folders[0].rglob("*.partial*")]
    for name in ("report.html", "claims.json"):
        if (whole / name).exists() and not (folders[0] / name).exists():
            problems.append(f"{name} is missing")
    try:
        expected, found = RunDirectory.open(whole), RunDirectory.open(folders[0])
        if not found.finished:
            problems.append("it is not marked as finished")
        problems += [problem for table in TABLES for problem in _compare_tables(expected, found, table)]
    except ResultsError as error:
        problems.append(str(error))
    return problems


def _compare_tables(expected: RunDirectory, found: RunDirectory, name: str) -> Iterator[str]:
    """Compares rows as sets, since batches may come in another order, and values to the last bit."""
    keys = ["arm", "seed", "update"]
    tables = [getattr(run, name)() for run in (expected, found)]
    rows = [table.select(keys).to_pylist() for table in tables]
    sets = [{tuple(row.values()) for row in these} for these in rows]
    if len(rows[1]) != len(sets[1]):
        yield f"{name}: {len(rows[1]) - len(sets[1])} rows came twice"
    if missing := sets[0] - sets[1]:
        yield f"{name}: {len(missing)} rows are lost, {min(missing)} for one"
    if extra := sets[1] - sets[0]:
        yield f"{name}: {len(extra)} rows too many, {min(extra)} for one"
    if set(tables[0].column_names) != set(tables[1].column_names):
        yield f"{name}: other columns"
    elif sets[0] == sets[1] and len(rows[1]) == len(sets[1]):
        ordered = [table.sort_by([(key, "ascending") for key in keys]) for table in tables]
        for column in set(ordered[0].column_names) - set(OF_THE_PROCESS):
            mine, yours = (table[column].to_numpy() for table in ordered)
            differs = mine != yours
            if mine.dtype.kind == "f":
                differs &= ~(np.isnan(mine) & np.isnan(yours))
            if differs.any():
                yield f"{name}: {column} differs in {int(differs.sum())} rows"


# Endurance


def endure(deadline: float) -> dict[str, Any]:
    """Has one process train until the time is over, another one compile many shapes, and looks at what they hold.

    Returns:
        ``rounds`` and ``shapes``: what was held after each (see ``benchmarks.endurance``); ``growth``: name -> median slope per
        round; ``maps_per_shape`` and ``maps_kept`` after the caches are cleared; ``problems``.
    """
    command = [sys.executable, "-m", "benchmarks.endurance"]
    rounds: list[dict[str, Any]] = []
    shapes: list[dict[str, Any]] = []
    problems = []
    try:
        with Worker(command, {"job": "shapes"}) as worker:
            shapes.append(worker.report())
            while shapes[-1]["step"] != "cleared":
                shapes.append(worker.repeat())
        with Worker(command, {"job": "repeat"}) as worker:
            rounds.append(worker.report())
            while time.monotonic() < deadline or len(rounds) < FEWEST_ROUNDS:
                rounds.append(worker.repeat())
    except JobError as error:
        return {"rounds": rounds, "shapes": shapes, "problems": [f"the process ended: {error}"]}
    later = rounds[int(FIRST_ROUNDS * len(rounds)) :]
    growth = {name: slope([one[name] for one in later]) for name in MOST_GROWTH}
    problems = [
        f"{name} grow by {growth[name]:.3g} a round, more than {most:g}"
        for name, most in MOST_GROWTH.items()
        if growth[name] > most
    ]
    maps = [one["maps"] for one in shapes]
    per_shape = (maps[-2] - maps[1]) / (len(maps) - 3)
    kept = maps[-1] - maps[0]
    if kept > per_shape:
        problems.append(f"of {maps[-2] - maps[0]} memory maps {kept} stay after jax.clear_caches()")
    found = {"rounds": rounds, "shapes": shapes, "growth": growth, "maps_per_shape": per_shape, "maps_kept": kept}
    return {**found, "problems": problems}


def slope(values: Sequence[float]) -> float:
    """Returns the median of the slopes between all pairs of values (Theil and Sen), which a few outliers do not move."""
    pairs = itertools.combinations(range(len(values)), 2)
    return float(np.median([(values[j] - values[i]) / (j - i) for i, j in pairs]))


def _tables(kills: Sequence[dict[str, Any]], process: dict[str, Any]) -> Iterator[Table]:
    table = Table(title="Killed and resumed", title_justify="left")
    for column in ("experiment", "runs", "kills", "after a checkpoint", "problems"):
        table.add_column(column, justify="left" if column in ("experiment", "problems") else "right")
    for name in dict.fromkeys(run["experiment"] for run in kills):
        runs = [run for run in kills if run["experiment"] == name]
        sums = [str(sum(run[key] for run in runs)) for key in ("kills", "training")]
        problems = [problem for run in runs for problem in run["problems"]]
        table.add_row(name, str(len(runs)), *sums, re.sub(r"[\[\]]", "", "; ".join(problems)) or "none")
    yield table
    if not process.get("growth"):
        return
    rounds = process["rounds"]
    table = Table(title=f"One process, {rounds[-1]['runs']} runs in {len(rounds)} rounds", title_justify="left")
    for column in ("holds", "after the first round", "at the end", "growth a round", "at most"):
        table.add_column(column, justify="left" if column == "holds" else "right")
    for name, most in MOST_GROWTH.items():
        unit = 1e6 if name == "bytes" else 1
        ends = [f"{one[name] / unit:,.0f}" for one in (rounds[0], rounds[-1])]
        label = "MB" if name == "bytes" else name
        table.add_row(label, *ends, f"{process['growth'][name] / unit:.3f}", f"{most / unit:g}")
    yield table
    table = Table(title="PPO in many shapes", title_justify="left")
    for column in ("after", "MB", "memory maps"):
        table.add_column(column, justify="left" if column == "after" else "right")
    for one in process["shapes"]:
        table.add_row(one["step"], f"{one['bytes'] / 1e6:,.0f}", f"{one['maps']:,}")
    yield table


if __name__ == "__main__":
    sys.exit(main())
