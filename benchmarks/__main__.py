"""Speed and memory, ours beside the peers'. Prints tables and stores everything that was measured in one JSON file."""

import contextlib
import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from benchmarks import peer_environment, report
from benchmarks.measure import JobError, Worker, in_turn
from benchmarks.peer_environment import PeersError
from benchmarks.plan import FULL, GROUPS, QUICK, Comparison, Entry, Group, comparisons
from jaxrl.errors import unknown_name

PEERS_PYTHON = "JAXRL_PEERS_PYTHON"
WIDTH = 140  # columns, where the output is not a terminal
INTERRUPTED = 130  # what a shell reports for a program ended by Ctrl-C


@dataclass(frozen=True)
class Options:
    """Speed and memory, ours beside the peers'. Exit status 0 only if every job of ours could be measured."""

    groups: tuple[Group, ...] = GROUPS
    """What to measure."""
    environments: tuple[str, ...] = ()
    """Which environments are stepped; by default all, which takes an hour."""
    quick: bool = False
    """Use tiny sizes: shows that everything runs; the numbers mean nothing."""
    peers: bool = True
    """Measure the peers too. The first use installs them into .venv-peers, which takes minutes."""
    peers_python: Path | None = None
    """An interpreter that has the peers, instead of .venv-peers. The environment variable JAXRL_PEERS_PYTHON says the same."""
    out: Path = Path("benchmarks/results")
    """Folder for the JSON file."""


@dataclass(frozen=True)
class Interpreters:
    """The programs that run jobs. peers: None to leave the peers out."""

    ours: Path
    peers: Path | None

    def start(self, entry: Entry, cache: str) -> Worker:
        """Starts the process of an entry. cache: the folder of our compiled programs."""
        python = self.ours if entry.is_ours else self.peers
        environment = {"JAXRL_CACHE": cache, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # several jobs share an accelerator
        return Worker([str(python), "-m", entry.module], entry.arguments, environment)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what the arguments ask for and returns the exit status: 0, 1 where a job of ours failed, 130 after Ctrl-C."""
    options = tyro.cli(Options, args=arguments, prog="python -m benchmarks")
    try:
        return _measure(options, Console(width=None if sys.stdout.isatty() else WIDTH))
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted before anything was measured")
        return INTERRUPTED


def _measure(options: Options, console: Console) -> int:
    # A cache of compiled programs that the user has set for all of jax would make every cold start warm.
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
    began, started = time.monotonic(), datetime.now(UTC)
    ours = _ask(Path(sys.executable), "benchmarks.jobs", {"job": "machine"})
    device = ours["versions"]["device"]
    peers_python, peers = _peers(options, device["platform"], console)
    interpreters = Interpreters(Path(sys.executable), peers_python)

    sizes = QUICK if options.quick else FULL
    records: list[report.Record] = []
    failures: list[dict[str, Any]] = []
    interrupted = False
    try:
        for comparison in comparisons(sizes, options.groups, _chosen(options, ours["environments"]), device["count"]):
            entries = [entry for entry in comparison.entries if entry.is_ours or interpreters.peers]
            if entries:
                console.print(f"{time.monotonic() - began:5.0f} s  {comparison.group}: {comparison.name}", highlight=False)
                measured, failed = _compare(comparison._replace(entries=entries), interpreters)
                records += measured
                failures += failed
    except KeyboardInterrupt:
        if not records:
            raise
        interrupted = True
        console.print("interrupted: what had been measured is stored")

    results = {
        "started": started.isoformat(timespec="seconds"),
        "seconds": time.monotonic() - began,
        "quick": options.quick,
        "interrupted": interrupted,
        "groups": options.groups,
        "machine": report.machine(),
        "versions": ours["versions"],
        "peers": peers,
        "records": records,
        "ratios": report.ratios(records),
        "failures": failures,
    }
    name = re.sub(r"[^a-z0-9]+", "-", device["kind"].lower()).strip("-")
    path = options.out / f"{started:%Y-%m-%d-%H%M}-{name}{'-quick' * options.quick}.json"
    report.store(path, results)
    for table in report.tables(records):
        console.print(table)
    for failure in failures:
        console.print(f"failed: {failure['name']}, {failure['contender']}: {failure['reason']}", markup=False)
    console.print(f"{path}", highlight=False)
    if interrupted:
        return INTERRUPTED
    return 1 if any(failure["ours"] for failure in failures) else 0


def _chosen(options: Options, environments: Sequence[str]) -> Sequence[str]:
    for name in options.environments:
        if name not in environments:
            raise SystemExit(str(unknown_name("benchmarks", "environment", name, environments)))
    return options.environments or environments


def _ask(python: Path, module: str, arguments: dict[str, Any]) -> dict[str, Any]:
    with Worker([str(python), "-m", module], arguments) as worker:
        return worker.report()


def _peers(options: Options, platform: str, console: Console) -> tuple[Path | None, dict[str, Any]]:
    """Returns the peers' interpreter and their versions, or None and the reason why they are left out."""
    if not options.peers:
        return None, {"reason": "not asked for"}
    python = options.peers_python or (Path(os.environ[PEERS_PYTHON]) if os.environ.get(PEERS_PYTHON) else None)
    try:
        if python is None:
            console.print("the peers' virtual environment is looked up, or installed")
            python = peer_environment.interpreter(platform)
        packages = [*peer_environment.LIBRARIES, "jax", "jaxlib"]
        return python, _ask(python, "benchmarks.peers", {"job": "versions", "packages": packages})
    except (PeersError, JobError) as error:
        console.print(f"without the peers: {error}", markup=False)
        return None, {"reason": str(error)}


def _compare(comparison: Comparison, interpreters: Interpreters) -> tuple[list[report.Record], list[dict[str, Any]]]:
    """Starts the jobs of a comparison one after the other, then measures them in turn."""
    reasons: dict[str, str] = {}
    starts: dict[str, list[dict[str, Any]]] = {}
    with contextlib.ExitStack() as stack:
        cache = stack.enter_context(tempfile.TemporaryDirectory())
        workers: dict[str, Worker] = {}
        for entry in comparison.entries:
            starts[entry.contender] = []
            try:
                if comparison.restarts and entry.is_ours:
                    with interpreters.start(entry, cache) as worker:
                        starts[entry.contender].append(worker.report())
                worker = stack.enter_context(interpreters.start(entry, cache))
                starts[entry.contender].append(worker.report())
                workers[entry.contender] = worker
            except JobError as error:
                reasons[entry.contender] = str(error)
        repeats, failed = in_turn(workers, comparison.repeats)
    reasons |= failed
    records = [
        report.record(comparison, entry, starts[entry.contender], repeats.get(entry.contender, ()))
        for entry in comparison.entries
    ]
    if comparison.within is not None:
        reasons |= report.disagreements(records, comparison.within)

    failures = [
        {"group": comparison.group, "name": comparison.name, "contender": entry.contender, "ours": entry.is_ours}
        | {"reason": reasons[entry.contender]}
        for entry in comparison.entries
        if entry.contender in reasons
    ]
    return records, failures


if __name__ == "__main__":
    sys.exit(main())
