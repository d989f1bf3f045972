"""Running experiments one after another: results folders, resuming, claims, reports, exit status."""

import contextlib
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
from rich.console import Console
from rich.table import Table

import experiments
from jaxrl.errors import JaxrlError
from jaxrl.experiment.claims import Experiment
from jaxrl.results.provenance import from_json
from jaxrl.results.run_directory import RunDirectory, find_unfinished
from jaxrl.results.sinks import Sink
from jaxrl.training import distributed
from jaxrl.training.distributed import Processes

INTERRUPTED = 130  # what a shell reports for a program ended by Ctrl-C


@dataclass(frozen=True)
class Storage:
    """Where results go."""

    runs: Path = Path("runs")
    """Folder for results; each run gets a folder of its own in it."""


@dataclass(frozen=True)
class Running(Storage):
    """How experiments run."""

    resume: bool = False
    """Go on with the newest run of these settings if it did not come to its end: the result is the same to the last bit."""
    checkpoint_seconds: float = 60.0
    """Least time between two checkpoints, in seconds; 0 saves after every chunk."""
    at_once: int | None = None
    """Seeds that lie in memory at once; the rest follow in batches. By default as many as fit."""
    tensorboard: bool = False
    """Write TensorBoard event files into the run's folder too; needs the extra of that name."""
    wandb: Literal["no", "offline", "online"] = "no"
    """Log to Weights & Biases too, into the run's folder or to its servers; needs the extra of that name."""
    coordinator: str | None = None
    """With several processes: host:port of process 0. SLURM, Open MPI, Kubernetes and TPU pods say it themselves."""
    num_processes: int | None = None
    """How many processes share the seeds."""
    process_id: int | None = None
    """Number of this process, from 0."""
    deterministic: bool = False
    """On a GPU: use only kernels that give the same bits every time. Slower; on a CPU or TPU they do so anyway."""


class Job(NamedTuple):
    """An experiment that is to be run. directory: of a run to go on with, None to start one."""

    name: str
    module: Experiment
    config: Any
    directory: RunDirectory | None = None

    @property
    def published(self) -> bool:
        """Whether these are the published settings, with which the claims can be decided."""
        return self.config == self.module.Config()


def stored_config(directory: RunDirectory) -> Any:
    """Returns the configuration that a run was started with.

    Raises:
        ConfigError: it cannot be read back.
    """
    return from_json(directory.config(), experiments.load(directory.experiment).Config())


def going_on(directory: RunDirectory) -> Job:
    """Returns the job of going on with a run."""
    return Job(directory.experiment, experiments.load(directory.experiment), stored_config(directory), directory)


def conduct(jobs: Sequence[Job], options: Running) -> int:
    """Runs experiments, all of them whatever becomes of one, and returns the exit status.

    Returns:
        0; 1 if a claim failed, or is open at its published settings; 2 if an experiment broke off; 130 after Ctrl-C.
    """
    from jaxrl.training import platform

    platform.setup(deterministic=options.deterministic)
    launch = distributed.start(options.coordinator, options.num_processes, options.process_id)
    if launch is None:
        return _conduct(jobs, options, Processes())
    folder = options.runs / ".processes" / launch
    processes = Processes(folder, jax.process_index(), jax.process_count())
    try:
        with processes.alive(jax.distributed.shutdown):
            status = _conduct(jobs, options, processes)
            processes.wait()
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _conduct(jobs: Sequence[Job], options: Running, processes: Processes) -> int:
    """Every process goes through every job; the first one writes what is written once."""
    verdicts: list[tuple[str, dict[str, Any]]] = []
    status = 0
    for job in jobs:
        old = _old_directory(job, options) if processes.first else None
        path = processes.agree(
            str((old or RunDirectory.create(options.runs, job.name, job.config)).path) if processes.first else ""
        )
        writer = processes.index if processes.count > 1 else None
        directory = RunDirectory(Path(path), writer)
        try:
            with directory.locked() if processes.first else contextlib.nullcontext():
                entries = _run(job, directory, options, processes)
        except JaxrlError as error:
            if processes.first and old is None:
                directory.remove_if_empty()
            if processes.count > 1 or len(jobs) == 1:
                raise
            say(f"error: {job.name}: {error}")
            status = 2
            continue
        if entries is None:
            say(f"interrupted: what had been computed is kept; go on with: python -m experiments resume {directory.path}")
            return INTERRUPTED
        verdicts += [(job.name, entry) for entry in entries]
        if any(entry["passed"] is False or (job.published and not entry["passed"]) for entry in entries):
            status = max(status, 1)
    if processes.first:
        _show(verdicts)
    return status


def _old_directory(job: Job, options: Running) -> RunDirectory | None:
    """Returns the folder of the run that a job goes on with, None for a new run."""
    if job.directory is None and options.resume:
        return find_unfinished(options.runs, job.name, job.config)
    return job.directory


def _run(job: Job, directory: RunDirectory, options: Running, processes: Processes) -> list[dict[str, Any]] | None:
    """Runs one experiment and returns its claims and their verdicts (the first process); None after Ctrl-C."""
    from jaxrl.experiment.claims import decide
    from jaxrl.experiment.session import Interrupted, Session
    from jaxrl.report.page import write_report

    if processes.first:
        directory.resume()
    processes.wait()
    sinks = functools.partial(trackers, options, directory, job.config) if processes.first else lambda variant: ()
    session = Session(directory, options.checkpoint_seconds, options.at_once, sinks, processes)
    interrupted = False
    try:
        job.module.run(job.config, session)
        processes.wait()
    except (Interrupted, KeyboardInterrupt):
        interrupted = True
    if interrupted and processes.count > 1:
        say(f"interrupted: what had been computed is kept; go on with: python -m experiments resume {directory.path}")
        raise KeyboardInterrupt  # the others still write, so nothing can be merged yet
    entries = []
    if processes.first:
        directory.close()
        directory.write_summary({"results": directory.summarise()})
        undecided = "interrupted" if interrupted else "" if job.published else "other settings than the published ones"
        entries = decide(job.module.CLAIMS, directory, undecided)
        print(f"{job.name}: {write_report(directory)}")
        directory.write_summary({"finished": not interrupted})  # at the very end: whoever resumes trusts it
    if interrupted:
        _show([(job.name, entry) for entry in entries])
    return None if interrupted else entries


def trackers(options: Running, directory: RunDirectory, config: Any, variant: str) -> list[Sink]:
    """Returns the sinks for other tools that were asked for."""
    from jaxrl.results.trackers import TensorBoard, WeightsAndBiases

    sinks: list[Sink] = []
    if options.tensorboard:
        folder = directory.path / "tensorboard" / directory.checkpoints(variant).name
        sinks.append(TensorBoard(folder, config=config))
    if options.wandb != "no":
        where = {"name": variant or None, "group": directory.path.name, "folder": directory.path, "mode": options.wandb}
        sinks.append(WeightsAndBiases(directory.experiment, config=config, **where))
    return sinks


def _show(verdicts: Sequence[tuple[str, dict[str, Any]]]) -> None:
    words = {True: "[green]holds[/green]", False: "[bold red]FAILS[/bold red]", None: "open"}
    table = Table("verdict", "claim", "measured", show_lines=True)
    for name, entry in verdicts:
        measured = [f"{entry['value']:.6g}"] if entry.get("value") is not None else []
        if entry.get("low") is not None and entry.get("high") is not None:
            measured.append(f"95 %: {entry['low']:.4g} .. {entry['high']:.4g}")
        measured.append(entry.get("criterion") or entry.get("detail", ""))
        table.add_row(words[entry["passed"]], f"[bold]{name}[/bold]\n{entry['text']}", "\n".join(measured))
    Console().print(table)


def say(text: str) -> None:
    """Says something to the user, beside the results."""
    Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(text)
