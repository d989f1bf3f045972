"""Many processes, on one machine or many, that share the seeds of a run.

Every process trains its own seeds on its own devices: seeds never talk, so no process waits for another in the middle of a
training, and one that dies takes only its own seeds with it, as far as they had come since the last checkpoint. Processes meet
through files in the folder of results, which all of them must see.

``jax.distributed`` tells a process which one of how many it is: SLURM, Open MPI, Kubernetes and TPU pods are recognised, and
explicit arguments win.
"""

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxrl.errors import ConfigError, ProcessLostError, require

BEAT = 1.0  # seconds between two signs of life
PATIENCE = 15.0  # seconds without a sign after which a process counts as lost; network file systems may be slow to show one
POLL = 0.05  # seconds between two looks

# Variables that cluster managers set for their processes: how many there are.
COUNTS = ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "JAX_NUM_PROCESSES")


def start(coordinator: str | None = None, count: int | None = None, index: int | None = None) -> str | None:
    """Joins the other processes, if there are any. Call it before any array is made.

    Args:
        coordinator: ``"host:port"`` of process 0, count: how many processes there are, index: number of this one. By default
            what the cluster manager says; outside of a cluster there is one process.

    Returns:
        A name for this start of all processes together, the same in each; None where there is one process.

    Raises:
        ConfigError: only some of the arguments are given, or the others do not come within five minutes.
    """
    given = [value is not None for value in (coordinator, count, index)]
    must = "coordinator, num_processes and process_id must be given together"
    require(all(given) or not any(given), "distributed", must, (coordinator, count, index), "Give all three, or none.")
    if not (all(given) or _in_a_cluster()):
        return None
    settings: Any = jax.config
    settings.update("jax_enable_recoverability", True)  # a process must not be ended because another one died
    try:
        jax.distributed.initialize(coordinator, count, index, heartbeat_timeout_seconds=int(PATIENCE))
    except (RuntimeError, ValueError) as error:
        fix = "Start all processes, with the same coordinator, within five minutes."
        raise ConfigError(f"distributed: all processes must find each other, got {str(error).strip()!r}. {fix}") from error
    if jax.process_count() == 1:
        return None
    return _from_first(f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}")


def _in_a_cluster() -> bool:
    for name in COUNTS:
        with contextlib.suppress(ValueError):
            if int(os.environ.get(name, "1")) > 1:
                return True
    kubernetes = "JOB_COMPLETION_INDEX" in os.environ and "KUBERNETES_SERVICE_HOST" in os.environ
    return kubernetes or "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")


def _from_first(text: str, size: int = 64) -> str:
    """Returns the text that process 0 has."""
    from jax.experimental import multihost_utils

    padded = np.frombuffer(text.encode().ljust(size)[:size], np.uint8)
    return bytes(np.asarray(multihost_utils.broadcast_one_to_all(padded))).decode().strip()


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
    def alive(self, leave: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Gives signs of life meanwhile, and says at the end whether this process came to it or failed.

        Process 0, to which the others are connected, goes last and takes the folder with it.

        Args:
            leave: disconnects the others from it.
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
            if self.first:
                self._sign(name).write_text(text)
                self._wait_for_the_others_to_go()
                shutil.rmtree(self._folder, ignore_errors=True)
            else:
                leave()
                self._sign(name).write_text(text)

    def wait(self) -> None:
        """Waits until every process has come to the same call.

        Raises:
            ProcessLostError: one never will.
        """
        self._step += 1
        if self.count == 1:
            return
        self._sign(f"step-{self._step}").touch()
        self._wait_for([f"step-{self._step}-{other}" for other in range(self.count)])

    def agree(self, text: str) -> str:
        """Returns the text that process 0 gives.

        Raises:
            ProcessLostError: process 0 is lost.
        """
        self._step += 1
        if self.count == 1:
            return text
        said = self._folder / f"said-{self._step}"
        if self.first:
            partial = said.with_suffix(".partial")
            partial.write_text(text)
            partial.replace(said)
        self._wait_for([said.name])
        return said.read_text()

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
                for other, reason in self.lost().items():
                    if other not in told:
                        told.add(other)
                        print(f"process {other} is lost ({reason}); process {self.index} goes on with its own seeds", flush=True)

    def _wait_for_the_others_to_go(self) -> None:
        deadline = time.monotonic() + 2 * self._patience
        others = range(1, self.count)
        while time.monotonic() < deadline:
            done = {other for other in others if (self._folder / f"done-{other}").exists()}
            if len(done | set(self.lost())) == len(others):
                return
            time.sleep(POLL)

    def _wait_for(self, names: list[str]) -> None:
        while not all((self._folder / name).exists() for name in names):
            missing = {other: reason for other, reason in self.lost().items() if not self._has_come(other, names)}
            if missing:
                text = "; ".join(f"process {other}: {reason}" for other, reason in sorted(missing.items()))
                fix = "The results of the others are kept: resume the run, on as many processes as you like."
                raise ProcessLostError(f"distributed: every process must stay until the end, got {text}. {fix}")
            time.sleep(POLL)

    def _has_come(self, other: int, names: list[str]) -> bool:
        return any((self._folder / name).exists() for name in names if name.endswith(f"-{other}") and name.startswith("step"))
