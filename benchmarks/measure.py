"""Timing, memory and worker processes: everything that ours and the peers have in common.

A job runs in a process of its own, so that what it compiles and what memory it takes are its own. It writes a line of JSON once
it is ready, and another one each time it is told to repeat, so that several jobs can be measured in turn while only one works.
The peers' interpreter imports this file too: it needs the standard library alone.
"""

import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SILENCE_LIMIT = 600.0  # seconds after which a job that does not answer is given up


class JobError(Exception):
    """A job ended without the report that was due."""


class Case(NamedTuple):
    """One thing whose speed is measured.

    build: () -> work; ``work(count)`` does ``count`` equal pieces of work and returns when the last one has ended.
    steps: in one piece; of the environment, unless the job says what else a step is.
    answer: of the first piece: what ``work(1)`` returned -> numbers that must be the same for all who do this work, or nearly.
    """

    build: Callable[[], Callable[[int], Any]]
    steps: int
    answer: Callable[[Any], Mapping[str, float]] | None = None


def speed(cases: Mapping[str, Case], seconds: float, device: str) -> Iterator[dict[str, Any]]:
    """A job that measures throughput.

    What the first piece of a case takes longer than the second is the time until it was ready: building, tracing, compiling.
    The pieces measured afterwards contain none of it.

    Args:
        cases: name -> what to measure.
        seconds: how long a repeat of one case lasts at least, roughly.
        device: what the work runs on, for the record.

    Yields:
        First ``device``, ``baseline_bytes`` and ``peak_bytes`` of this process, ``ready_seconds`` of every case, and ``answers``
        of those that have one. Then, for each repeat, ``peak_bytes`` and ``cases``: name -> ``steps`` and the ``seconds`` they
        took.
    """
    baseline = peak_memory()
    ready, prepared, answers = {}, {}, {}
    for name, case in cases.items():
        begun = time.perf_counter()
        work = case.build()
        result = work(1)
        first = time.perf_counter() - begun
        if case.answer is not None:
            answers[name] = {part: float(value) for part, value in case.answer(result).items()}
        piece = _seconds(work, 1)
        ready[name] = max(0.0, first - piece)
        prepared[name] = work, math.ceil(seconds / piece)
    memory = {"baseline_bytes": baseline, "peak_bytes": peak_memory()}
    yield {"device": device, **memory, "ready_seconds": ready, **({"answers": answers} if answers else {})}
    while True:
        measured = {
            name: {"steps": cases[name].steps * count, "seconds": _seconds(work, count)}
            for name, (work, count) in prepared.items()
        }
        yield {"peak_bytes": peak_memory(), "cases": measured}


def outcome(name: str, steps: int, work: Callable[[], Mapping[str, Any]], device: str) -> Iterator[dict[str, Any]]:
    """A job that is done once, from nothing to its result, compilation included; reports like those of ``speed``.

    Args:
        name: of the only case.
        steps: environment steps in all.
        work: returns what it found, to be kept beside the time.
        device: what the work runs on, for the record.
    """
    baseline = peak_memory()
    yield {"device": device, "baseline_bytes": baseline, "peak_bytes": baseline, "ready_seconds": {}}
    begun = time.perf_counter()
    found = work()
    case = {"steps": steps, "seconds": time.perf_counter() - begun, **found}
    yield {"peak_bytes": peak_memory(), "cases": {name: case}}


def _seconds(work: Callable[[int], Any], count: int) -> float:
    begun = time.perf_counter()
    work(count)
    return time.perf_counter() - begun


def peak_memory() -> int:
    """Returns the largest resident set of this process so far, in bytes.

    Linux lets a child begin with its parent's peak, so whoever starts workers must stay small: it does not import jax.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def serve(jobs: Mapping[str, Callable[..., Iterator[dict[str, Any]]]]) -> None:
    """The main function of a worker: runs the job named on the command line, a report for every line on standard input.

    Args:
        jobs: name -> a generator function. The command line holds one JSON object: ``job`` and its arguments.
    """
    reports = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print must not get between the reports
    arguments = json.loads(sys.argv[1])
    try:
        for report in jobs[arguments.pop("job")](**arguments):
            print(json.dumps(report, allow_nan=False), file=reports, flush=True)
            if not sys.stdin.readline():
                return
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=reports, flush=True)
        raise


class Worker:
    """A job in a process of its own, seen from outside. A context manager: leaving it ends the process."""

    def __init__(self, command: Sequence[str], arguments: Mapping[str, Any], environment: Mapping[str, str] | None = None):
        """
        Args:
            command: the program, which calls ``serve``.
            arguments: ``job`` and what it takes, as plain JSON.
            environment: variables to be set for it.

        Raises:
            JobError: there is no such program.
        """
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed when the worker is)
        try:
            self._process = subprocess.Popen(
                [*command, json.dumps(arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,  # Ctrl-C is for us to handle
            )
        except OSError as error:
            self._errors.close()
            raise JobError(f"cannot be started: {error}") from error

    def report(self) -> dict[str, Any]:
        """Waits for the next report.

        Raises:
            JobError: the job failed, or was silent for ``SILENCE_LIMIT`` seconds.
        """
        begun = time.monotonic()
        alarm = threading.Timer(SILENCE_LIMIT, self._process.kill)
        alarm.start()
        try:
            line = self._process.stdout.readline()
        finally:
            alarm.cancel()
        overdue = time.monotonic() - begun >= SILENCE_LIMIT
        report = json.loads(line) if line else {"error": self._last_words(overdue)}
        if "error" in report:
            raise JobError(report["error"])
        return report

    def repeat(self) -> dict[str, Any]:
        """Has the job work once more and waits for its report; raises like ``report``."""
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise JobError(self._last_words(False)) from None
        return self.report()

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _last_words(self, overdue: bool) -> str:
        if overdue:
            return f"no answer within {SILENCE_LIMIT:.0f} seconds"
        status = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return f"ended with status {status}: {lines[-1] if lines else 'without a message'}"


def in_turn(workers: Mapping[str, Worker], repeats: int) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """Measures jobs in turn, one at a time, so that a machine that slows down slows all of them.

    Args:
        workers: name -> a worker that is ready.
        repeats: how often each is measured.

    Returns:
        name -> its reports, one per repeat; and name -> why it failed, for those that did.
    """
    reports: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    failures: dict[str, str] = {}
    for _ in range(repeats):
        for name, worker in workers.items():
            if name not in failures:
                try:
                    reports[name].append(worker.repeat())
                except JobError as error:
                    failures[name] = str(error)
    return reports, failures
