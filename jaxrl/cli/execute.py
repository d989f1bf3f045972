"""Running experiments one after another: results folders, resuming, claims, reports, exit status."""

import contextlib
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from rich.console import Console
from rich.table import Table
from tyro.conf import FlagCreatePairsOff, UseAppendAction

from jaxrl.core import contracts
from jaxrl.errors import ConfigError, JaxrlError, require
from jaxrl.experiment.arms import Arm
from jaxrl.experiment.experiment import Experiment
from jaxrl.experiment.session import Interrupted, say
from jaxrl.experiment.trained import Saved, failure_of
from jaxrl.results.finding import find_unfinished
from jaxrl.results.provenance import to_json
from jaxrl.results.run_directory import OTHER, PUBLISHED, QUICK, RunDirectory
from jaxrl.results.sinks import Sink
from jaxrl.training import distributed
from jaxrl.training.distributed import Processes
from jaxrl.training.graceful_stop import INTERRUPTED, GracefulStop

PROGRAM = "jaxrl"
CHECK = (
    "the environment's numbers are bad, or its action_mask_fn left no legal action in a state, which turns the reward NaN: check "
    "it by jaxrl.testing.check_environment(env, jax.random.key(0))"
)


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
    keep_checkpoints: int | None = None
    """Newest checkpoints of each batch of seeds that stay, also at the end (count); by default the last alone."""
    batch_seeds: int | None = None
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

    @property
    def of_session(self) -> dict[str, Any]:
        """The options that ``jaxrl.experiment.session.Session`` takes as they are."""
        return {
            "seconds_between_checkpoints": self.checkpoint_seconds,
            "keep_checkpoints": self.keep_checkpoints,
            "batch_seeds": self.batch_seeds,
        }


@dataclass(frozen=True)
class Chosen:
    """Which part of an experiment is run, and with which seeds."""

    only: Annotated[tuple[str, ...], UseAppendAction] = ()
    """FACTOR=VALUE or FACTOR=VALUE,VALUE: train only the arms that have it. Give it again for another factor."""
    root: int = 0
    """Number of the root key from which all seeds are derived; the published results are those of 0."""
    quick: Annotated[bool, FlagCreatePairsOff] = False
    """Start from tiny budgets, not from the published ones: shows that everything runs, decides no claim."""


class Job(NamedTuple):
    """An experiment that is to be run.

    config: its configuration. only, root: see ``Chosen``. directory: of a run to go on with, None to start one. quick: whether
        its configuration began from tiny budgets.
    """

    experiment: Experiment
    config: Any
    only: tuple[str, ...] = ()
    root: int = 0
    directory: RunDirectory | None = None
    quick: bool = False

    @property
    def published(self) -> bool:
        """Whether these are the published settings, with which the claims can be decided. Any root can decide them."""
        return self.config == self.experiment.config() and not self.only

    @property
    def kind(self) -> str:
        """A word for its settings; see ``jaxrl.results.run_directory.RunDirectory.settings``."""
        return PUBLISHED if self.published else QUICK if self.quick else OTHER

    def arms(self) -> list[Arm]:
        """Returns the arms that are trained, without those that were not asked for."""
        return self.experiment.chosen_arms(self.config, self.only)

    def sound_arms(self) -> list[Arm]:
        """Returns the arms that are trained, after what shows of each without tracing it has been looked at.

        Raises:
            JaxrlError: the configuration of one does not fit its task, or its budget is less than an update.
        """
        arms = self.arms()
        for arm in arms:
            told = arm.task is not None and arm.config is not None
            if told or arm.prepare is None:  # else it is not complete yet
                contracts.require_make("run", arm.make)
                contracts.require_config("run", arm.config)
                contracts.require_own_config("run", arm.make, arm.config)
                contracts.validate("run", arm.config, arm.task_of(0))
                require(arm.updates >= 1, f"arm {arm.label}", "there must be an update", arm.updates, "Ask for one or more.")
        return arms

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that identify a run, as they are stored in its folder."""
        experiment = {"name": self.experiment.name, "source": self.experiment.source, "digest": self.experiment.digest}
        return {"experiment": experiment, "config": self.config, "only": list(self.only), "root": self.root}


def stored_job(directory: RunDirectory) -> Job:
    """Returns the job of a run, from the settings in its folder.

    Raises:
        ConfigError: they cannot be read back.
        UnknownNameError: the experiment is not there any more.
    """
    saved = Saved(directory)
    return Job(saved.experiment, saved.config, saved.only, saved.root, directory, directory.settings == QUICK)


def going_on(directory: RunDirectory) -> Job:
    """Returns the job of going on with a run.

    Raises:
        ConfigError: the file of the experiment was edited since the run began: another experiment would go on.
    """
    job = stored_job(directory)
    began, now = directory.config()["experiment"]["digest"], job.experiment.digest
    must = f"{job.experiment.source} must be the file that began the run, with digest {began}"
    require(began == now, f"resume {directory.path}", must, now, "Restore the file, or run it afresh.", ConfigError)
    return job


def execute(jobs: Sequence[Job], options: Running) -> int:
    """Runs experiments, all of them whatever becomes of one, and returns the exit status.

    Returns:
        0, also if a run waits for answers; 1 if a claim failed, or is open at its published settings, or names what was not
        measured, or if no seed is left of an arm that may not diverge;
        2 if an experiment broke off; 130 after Ctrl-C.
    """
    from jaxrl.training import platform

    platform.setup(deterministic=options.deterministic)
    settings = to_json({"jobs": [job.settings for job in jobs], "resume": options.resume, "batch_seeds": options.batch_seeds})
    where = (options.coordinator, options.num_processes, options.process_id)
    processes = distributed.start(*where, folder=options.runs / ".processes", job=settings)
    try:
        with processes.alive(), GracefulStop(say) as stop:
            status = _conduct(jobs, options, processes, stop)
            processes.wait()
    except KeyboardInterrupt:
        if processes.count == 1:
            raise
        return INTERRUPTED
    return status


def _conduct(jobs: Sequence[Job], options: Running, processes: Processes, stop: GracefulStop) -> int:
    """Every process goes through every job; the first one writes what is written once."""
    verdicts: list[tuple[Job, dict[str, Any]]] = []
    status = 0
    for job in jobs:
        if stop.asked:
            say(f"stopped before {job.experiment.name}")
            status = INTERRUPTED
            break
        name, old, directory = job.experiment.name, None, None
        try:
            arms = job.sound_arms()  # before there is a folder
            old = _old_directory(job, options) if processes.first else None
            path = processes.agree(
                str((old or RunDirectory.create(options.runs, name, job.settings)).path) if processes.first else ""
            )
            directory = RunDirectory(Path(path), processes.index if processes.count > 1 else None)
            with directory.locked() if processes.first else contextlib.nullcontext():
                entries = _run(job, arms, directory, options, processes, stop)
        except JaxrlError as error:
            if processes.first and old is None and directory is not None:
                directory.remove_if_empty()
            if processes.count > 1 or len(jobs) == 1:
                raise
            say(f"error: {name}: {error}")
            status = 2
            continue
        except KeyboardInterrupt:  # the second one, which does not wait
            if directory is None or processes.count > 1:
                raise
            entries = Interrupted()
        except Exception:  # of the experiment's own code
            if processes.first and old is None and directory is not None:
                directory.remove_if_empty()
            raise
        if isinstance(entries, Interrupted):
            for text in entries.wanted:
                say(f"{name}: {text}")
            if entries.wanted:
                say(f"answer them: {PROGRAM} label {directory.path}, then go on: {PROGRAM} resume {directory.path}")
                continue
            say(f"interrupted: {stop.kept}; go on with: {PROGRAM} resume {directory.path}")
            return INTERRUPTED
        verdicts += [(job, entry) for entry in entries]
        if any(_is_failure(job, entry) for entry in entries):
            status = max(status, 1)
        lost = _tell_of_quarantine(arms, directory) if processes.first else False
        status = max(status, int(lost))
    if processes.first:
        show(verdicts)
    return status


def _is_failure(job: Job, entry: Mapping[str, Any]) -> bool:
    """Returns whether a verdict makes the exit status 1: no tiny budget excuses a claim that no run could decide."""
    mistaken = entry["mistaken"] and not job.only  # the arms that were left out may have what it names
    return entry["verdict"] == "fails" or mistaken or (job.published and entry["verdict"] != "holds")


def _tell_of_quarantine(arms: list[Arm], directory: RunDirectory) -> bool:
    """Says where to look for the cause of seeds in quarantine, but for arms that may diverge; returns whether an arm lost all."""
    allowed, lost = {arm.label for arm in arms if arm.may_diverge}, False
    for arm, run in directory.summary().get("runs", {}).items():
        failures = {int(seed): failure_of(failure) for seed, failure in run["failed_seeds"].items()}
        if not failures or arm in allowed:
            continue
        every = len(failures) == run["seeds"]
        lost = lost or every
        who = "every seed" if every else f"{len(failures)} of {run['seeds']} seeds"
        which = f" --seed {min(failures)}" if min(failures) else ""
        cause = f"find the cause by {PROGRAM} replay {directory.path}{which}"
        environments = any(failure.of_environment for failure in failures.values())
        check = f"; {CHECK}" if environments else ""
        say(f"{directory.experiment}: {who} of {arm or 'the run'} in quarantine; {cause}{check}")
    return lost


def _old_directory(job: Job, options: Running) -> RunDirectory | None:
    """Returns the folder of the run that a job goes on with, None for a new run."""
    if job.directory is None and options.resume:
        return find_unfinished(options.runs, job.experiment.name, job.settings)
    return job.directory


def _run(
    job: Job, arms: list[Arm], directory: RunDirectory, options: Running, processes: Processes, stop: GracefulStop
) -> list[dict[str, Any]] | Interrupted:
    """Runs one experiment and returns its claims and their verdicts (the first process), or why it ended early."""
    from jaxrl.experiment.claims import decide
    from jaxrl.experiment.session import MOST_FILMS, Session
    from jaxrl.report.page import write_report

    experiment, config = job.experiment, job.config
    if processes.first:
        directory.resume(job.kind)
    processes.wait()
    session = Session(
        directory,
        root=job.root,
        **options.of_session,
        sinks=functools.partial(trackers, options, directory, config) if processes.first else lambda arm: (),
        processes=processes,
        stop=stop,
        most_films=1 if job.quick else MOST_FILMS,  # a quick run shows that everything works: one film does
    )
    interrupted = None
    try:
        if arms:
            session.train(arms)
        session.measure(experiment, config, lenient=bool(job.only))
        processes.wait()
    except Interrupted as error:
        interrupted = error
    except KeyboardInterrupt:
        interrupted = Interrupted()
    if interrupted and processes.count > 1:
        say(f"interrupted: {stop.kept}; go on with: {PROGRAM} resume {directory.path}")
        raise KeyboardInterrupt  # the others still write, so nothing can be merged yet
    entries = []
    if processes.first:
        directory.close()
        directory.write_summary({"results": directory.summarise()})
        undecided = "interrupted" if interrupted else "" if job.published else "other settings than the published ones"
        entries = decide(experiment.claims, session.results, undecided)
        report = write_report(directory)
        directory.write_summary({"finished": interrupted is None})  # at the very end: resuming relies on it
        print(f"{experiment.name}: {report}")
    if interrupted:  # a claim about a part that is yet to come has no number
        show([(job, entry) for entry in entries if entry["value"] is not None])
    return entries if interrupted is None else interrupted


def trackers(options: Running, directory: RunDirectory, config: Any, arm: str) -> list[Sink]:
    """Returns the sinks for other tools that were asked for."""
    from jaxrl.results.trackers import TensorBoard, WeightsAndBiases

    sinks: list[Sink] = []
    if options.tensorboard:
        folder = directory.path / "tensorboard" / directory.checkpoints(arm).name
        sinks.append(TensorBoard(folder, config=config))
    if options.wandb != "no":
        where = {"name": arm or None, "group": directory.path.name, "folder": directory.path, "mode": options.wandb}
        sinks.append(WeightsAndBiases(directory.experiment, config=config, **where))
    return sinks


def show(verdicts: Sequence[tuple[Job, dict[str, Any]]]) -> None:
    """Prints the verdicts of claims in a table; without a claim there is none."""
    if not verdicts:
        return
    colours = {"holds": "[green]holds[/green]", "fails": "[bold red]FAILS[/bold red]", "open": "open"}
    table = Table("verdict", "claim", "measured", show_lines=True)
    roots = {job.root for job, _ in verdicts}
    if len(roots) > 1:
        _show_roots(verdicts)
    for job, entry in verdicts:
        measured = [f"{entry['value']:.6g}"] if entry.get("value") is not None else []
        if entry.get("low") is not None and entry.get("high") is not None:
            measured.append(f"95 %: {entry['low']:.4g} .. {entry['high']:.4g}")
        measured += [text for text in (entry.get("criterion"), entry.get("detail")) if text]
        name = f"{job.experiment.name}, root {job.root}" if len(roots) > 1 else job.experiment.name
        table.add_row(colours[entry["verdict"]], f"[bold]{name}[/bold]\n{entry['text']}", "\n".join(measured))
    Console().print(table)


def _show_roots(verdicts: Sequence[tuple[Job, dict[str, Any]]]) -> None:
    """Prints how often each claim holds over roots: the answer to the question if a lucky seed was picked."""
    found: dict[tuple[str, str], list[str]] = {}
    for job, entry in verdicts:
        found.setdefault((job.experiment.name, entry["text"]), []).append(entry["verdict"])
    table = Table("holds", "fails", "open", "claim", title="over roots", show_lines=True)
    for (name, text), words in found.items():
        counts = (f"{words.count(word)} of {len(words)}" for word in ("holds", "fails", "open"))
        table.add_row(*counts, f"[bold]{name}[/bold]\n{text}")
    Console().print(table)
