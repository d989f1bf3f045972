"""Many processes, on one machine or many, that share the seeds of a run.

Every process trains its own seeds on its own devices: seeds never talk, so no process waits for another in the middle of a
training, and one that dies takes only its own seeds with it, as far as they had come since the last checkpoint. Processes meet
through files in the folder of results, which all of them must see.

``jax.distributed`` tells a process which one of how many it is: SLURM, Open MPI, Kubernetes and TPU pods are recognised, and
explicit arguments win.
"""

import contextlib
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxrl.errors import ConfigError, ProcessLostError, require
from jaxrl.results.provenance import differences, digest

BEAT = 1.0  # seconds between two signs of life
PATIENCE = 15.0  # seconds without a sign after which a process counts as lost; network file systems may be slow to show one
POLL = 0.05  # seconds between two looks

STAY = "distributed: every process must stay until the end"
GO_ON = "The results of the others are kept: resume the run, on as many processes as you like."
DIFFERENCES_NAMED = 3  # between the jobs of two processes

# Processes compile programs of their own: none may wait for what others measured of its kernels.
ONE_BY_ONE = "--xla_gpu_shard_autotuning=false"

# Variables that cluster managers set for their processes: how many there are.
COUNTS = ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "JAX_NUM_PROCESSES")


def start(
    coordinator: str | None = None, count: int | None = None, index: int | None = None, folder: Path = Path(), job: Any = None
) -> "Processes":
    """Joins the other processes, if there are any, and agrees with them on the job. Call it before any array is made.

    The network serves to find each other alone: at the end of this call the processes let go of the coordinator, so that none is
    ended by the death of another one, process 0 included.

    Args:
        coordinator: ``"host:port"`` of process 0, count: how many processes there are, index: number of this one. By default
            what the cluster manager says; outside of a cluster there is one process.
        folder: where the processes leave signs, seen by all of them.
        job: what is going to be computed, as JSON: the same in every process.

    Raises:
        ConfigError: only some of the arguments are given; the others do not come within five minutes; or, in every process, one
            of them has another job or does not see the folder.
    """
    given = [value is not None for value in (coordinator, count, index)]
    must = "coordinator, num_processes and process_id must be given together"
    require(all(given) or not any(given), "distributed", must, (coordinator, count, index), "Give all three, or none.")
    if not (all(given) or _in_a_cluster()):
        return Processes()
    if not all(given):
        alone = "for one process alone set the variable of the cluster manager to it (SLURM_NTASKS=1, say)"
        print(f"waiting up to five minutes for the other processes of this allocation; {alone}", file=sys.stderr, flush=True)
    if ONE_BY_ONE not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {ONE_BY_ONE}".strip()
    try:
        jax.distributed.initialize(coordinator, count, index, heartbeat_timeout_seconds=int(PATIENCE))
    except (RuntimeError, ValueError) as error:
        fix = "Start all processes, with the same coordinator, within five minutes."
        raise ConfigError(f"distributed: all processes must find each other, got {str(error).strip()!r}. {fix}") from error
    try:
        if jax.process_count() == 1:
            return Processes()
        return Processes(meeting_place(folder, job, jax.process_index(), gather), jax.process_index(), jax.process_count())
    finally:
        jax.distributed.shutdown()  # waits until all have come here


def meeting_place(folder: Path, job: Any, index: int, gather: Callable[[str], list[str]]) -> Path:
    """Returns a folder for the signs of this start of all processes together, after they agreed on their job.

    Args:
        folder: where it is made. job: see ``start``. index: number of this process.
        gather: ``(text) -> texts``, what each process says; called equally often in each.

    Raises:
        ConfigError: in every process alike, if one has another job or does not see the folder.
    """
    jobs = [json.loads(text) for text in gather(json.dumps(job))]
    for other, theirs in enumerate(jobs):
        found = [
            f"{place or 'the job'} is {mine} in process 0, {yours} there" for place, mine, yours in differences(jobs[0], theirs)
        ]
        must, fix = "all processes must have the same job", "Start each by the same command, but for --process-id."
        require(not found, "distributed", must, f"process {other}: {'; '.join(found[:DIFFERENCES_NAMED])}", fix)
    own = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}"
    path = folder / gather(own)[0]
    refused = ""
    if index == 0:
        try:
            path.mkdir(parents=True)
        except OSError as error:
            refused = f"{path}: {error.strerror}"
    made = gather(refused)[0]
    require(not made, "distributed", "process 0 must write into the folder of results", made, "Choose another by --runs.")
    deadline = time.monotonic() + PATIENCE
    while not path.is_dir() and time.monotonic() < deadline:
        time.sleep(POLL)
    blind = [
        f"process {other}: {text}" for other, text in enumerate(gather("" if path.is_dir() else str(folder.absolute()))) if text
    ]
    must, fix = "every process must see the folder of results of process 0", "Give each the same --runs, on a disk that all see."
    require(not blind, "distributed", must, "; ".join(blind), fix)
    return path


def _in_a_cluster() -> bool:
    for name in COUNTS:
        with contextlib.suppress(ValueError):
            if int(os.environ.get(name, "1")) > 1:
                return True
    kubernetes = "JOB_COMPLETION_INDEX" in os.environ and "KUBERNETES_SERVICE_HOST" in os.environ
    return kubernetes or "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")


def gather(text: str) -> list[str]:
    """Returns the text of every process, in their order."""
    from jax.experimental import multihost_utils

    data = np.frombuffer(text.encode(), np.uint8)
    sizes = np.asarray(multihost_utils.process_allgather(np.int32(data.size))).ravel()
    padded = np.zeros(max(1, sizes.max()), np.uint8)
    padded[: data.size] = data
    rows = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(sizes), -1)
    return [bytes(row[:size]).decode() for row, size in zip(rows, sizes, strict=True)]


class Processes:
    """The processes that work on the same results: how many, which one this is, who is alive.

    With a single process nothing here waits or writes.
    """

    def __init__(self, folder: str | os.PathLike | None = None, index: int = 0, count: int = 1, patience: float = PATIENCE):
        """
        Args:
            folder: where the processes leave signs, seen by all of them and used for nothing else; None with one process.
            index: number of this process.
            count: how many there are.
            patience: seconds without a sign of life after which a process counts as lost.
        """
        require(0 <= index < count, "Processes", f"index must lie in [0, {count})", index, "Count from 0.")
        require(folder is not None or count == 1, "Processes", "several processes must share a folder", folder, "Give one.")
        self.index, self.count = index, count
        self._folder = Path(folder) if folder is not None else Path()
        self._patience = patience
        self._step = 0
        self._over = threading.Event()

    @property
    def first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.index == 0

    @contextlib.contextmanager
    def alive(self) -> Iterator[None]:
        """Gives signs of life meanwhile, and says at the end whether this process came to it or failed.

        The last one to go takes the folder with it.
        """
        if self.count == 1:
            yield
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        self._sign("alive").touch()
        beat = threading.Thread(target=self._beat, daemon=True)
        beat.start()
        name, text = "done", ""
        try:
            yield
        except BaseException as error:
            name, text = "left", f"{type(error).__name__}: {error}"
            raise
        finally:
            self._over.set()
            beat.join()
            with contextlib.suppress(FileNotFoundError):  # the others took this one for lost
                self._sign(name).write_text(text)
                done = {other for other in range(self.count) if (self._folder / f"done-{other}").exists()}
                if len(done | set(self.lost()) | {self.index}) == self.count:
                    shutil.rmtree(self._folder, ignore_errors=True)

    def wait(self) -> None:
        """Waits until every process has come to the same call.

        Raises:
            ProcessLostError: one never will.
        """
        self.gather("")

    def agree(self, text: str) -> str:
        """Returns the text that process 0 gives.

        Raises:
            ProcessLostError: a process is lost.
        """
        return self.gather(text)[0]

    def gather(self, text: str) -> list[str]:
        """Returns the text of every process, in their order.

        Raises:
            ProcessLostError: a process is lost.
        """
        self._step += 1
        if self.count == 1:
            return [text]
        said = self._sign(f"said-{self._step}")
        partial = said.with_name(f"{said.name}.partial")
        signs = [self._folder / f"said-{self._step}-{other}" for other in range(self.count)]
        try:
            partial.write_text(text)
            partial.replace(said)
            self._wait_for(signs)
            return [sign.read_text() for sign in signs]
        except FileNotFoundError as error:
            raise ProcessLostError(f"{STAY}, got all others gone, with {self._folder}. {GO_ON}") from error

    def require_same(self, what: str, value: Any) -> None:
        """Raises ConfigError in every process unless all of them have the same JSON value."""
        if self.count == 1:
            return
        said = self.gather(digest(value))
        others = {f"process {other}": text for other, text in enumerate(said) if text != said[0]}
        must, fix = f"every process must have the same {what} as process 0 ({said[0]})", "Start the same program in each."
        require(not others, "distributed", must, others, fix)

    def lost(self) -> dict[int, str]:
        """Returns the processes that will give no more signs, and why: after ``patience`` seconds of silence."""
        if self.count == 1:
            return {}
        self._sign("alive").touch()  # by the clock of the file system, which need not be ours
        now = self._sign("alive").stat().st_mtime
        found = {}
        for other in range(self.count):
            if other == self.index:
                continue
            with contextlib.suppress(FileNotFoundError):
                found[other] = (self._folder / f"left-{other}").read_text()
                continue
            if (self._folder / f"done-{other}").exists():
                continue
            with contextlib.suppress(FileNotFoundError):  # it may not have begun
                silent = now - (self._folder / f"alive-{other}").stat().st_mtime
                if silent > self._patience:
                    found[other] = f"no sign of life for {silent:.0f} seconds"
        return found

    def _sign(self, name: str) -> Path:
        return self._folder / f"{name}-{self.index}"

    def _beat(self) -> None:
        told: set[int] = set()
        while not self._over.wait(BEAT):
            with contextlib.suppress(OSError):
                lost = {other: reason for other, reason in self.lost().items() if other not in told}
                told |= set(lost)
                for other, reason in lost.items():
                    print(f"process {other} is lost ({reason}); process {self.index} goes on with its own seeds", flush=True)

    def _wait_for(self, signs: list[Path]) -> None:
        """Waits for a sign of every process."""
        while missing := [other for other, sign in enumerate(signs) if not sign.exists()]:
            lost = {other: reason for other, reason in self.lost().items() if other in missing and not signs[other].exists()}
            if lost:
                text = "; ".join(f"process {other}: {reason}" for other, reason in sorted(lost.items()))
                raise ProcessLostError(f"{STAY}, got {text}. {GO_ON}")
            time.sleep(POLL)
