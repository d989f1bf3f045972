"""``sweep NAME``: a training of an experiment with many values of its algorithm's fields, and what the best of them is worth.

Members are compared on the seeds of the experiment. The best is then trained once more on other seeds: only that score is free of
the luck that it was chosen for.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np
from tyro.conf import UseAppendAction

from jaxrl.cli import sweep_fields
from jaxrl.cli.execute import PROGRAM, Chosen, Job, Running, going_on, trackers
from jaxrl.errors import JaxrlError, ResultsError, require
from jaxrl.experiment.arms import Arm, programs, train
from jaxrl.experiment.session import Interrupted, Session, say, training
from jaxrl.report.sweep_report import Tried, write
from jaxrl.results.finding import find_unfinished
from jaxrl.results.gaps import require_no_gaps
from jaxrl.results.progress import Progress
from jaxrl.results.provenance import digest, from_json
from jaxrl.results.recorder import Recorder
from jaxrl.results.run_directory import RunDirectory
from jaxrl.results.sinks import Chunk, Plan, RunSummary, Sink
from jaxrl.sweeps import members
from jaxrl.sweeps.halving import chunk_length_of, halve, rungs_of
from jaxrl.sweeps.members import Field
from jaxrl.sweeps.search import search
from jaxrl.sweeps.selection import Objective, held_out_seeds, select
from jaxrl.sweeps.sweep import Sweep, sweep
from jaxrl.training.checkpoint import Checkpoints
from jaxrl.training.graceful_stop import INTERRUPTED, GracefulStop
from jaxrl.training.trainer import default_chunk_length

SUFFIX = ".sweep"  # ends the name under which the sweeps of an experiment are stored
EXAMPLES = """Every combination: --grid learning_rate=1e-4,3e-4 --grid gamma=0.9,0.99
Drawn at random, logarithms equally likely: --random learning_rate=log:1e-5..1e-2 --draws 32
Looked for by Optuna: --random learning_rate=log:1e-5..1e-2 --trials 64
A static field, with a program for each value: --grid "hidden=(64,64),(256,)\""""


@dataclass(frozen=True)
class Options(Running, Chosen):
    """Which fields are swept, and how. Of several arms the first is swept; choose another by --only."""

    grid: Annotated[tuple[str, ...], UseAppendAction] = ()
    """FIELD=VALUE,VALUE,...: a field of the algorithm's configuration and its values. Give it again for another field."""
    random: Annotated[tuple[str, ...], UseAppendAction] = ()
    """FIELD=LOW..HIGH, FIELD=log:LOW..HIGH or FIELD=VALUE,VALUE,...: values to draw from. Give it again for another field."""
    draws: int = 16
    """How many members --random draws (count)."""
    metric: str = ""
    """The score of a member; by default the metric that the experiment shows first beside its progress bar."""
    minimize: bool = False
    """Less of it is better."""
    held_out: int | None = None
    """Seeds that the best member is measured on in the end, none of which it was chosen on; by default as many (count)."""
    halving: bool = False
    """Drop the worse members on the way (successive halving)."""
    eta: int = 2
    """With --halving: after each rung one in this many members goes on."""
    trials: int | None = None
    """Let Optuna look for the best values: how many trials (count)."""
    batch: int = 8
    """With --trials: how many are trained at once (count)."""
    storage: str | None = None
    """With --trials: URL of Optuna's storage, such as postgresql+psycopg://...; by default an SQLite file in the run's folder."""
    sweep_seed: int = 0
    """Number of the seed of random draws and of Optuna."""


class Sweeping:
    """One sweep of one arm into a run's directory. The members are arms there."""

    def __init__(
        self,
        directory: RunDirectory,
        options: Options,
        arm: Arm,
        root: int,
        sinks: Callable[[str], Sequence[Sink]],
        others: Mapping[str, Field],
        build: Callable[[Mapping[str, Any]], Arm],
        stop: GracefulStop,
    ):
        """
        Args:
            directory: of the sweep.
            options: what is swept.
            arm: whose configuration is swept.
            root: number of the root key of all seeds.
            sinks: further sinks for the member of this name.
            others: fields of the experiment that can be swept as well, such as parameters of the environment.
            stop: that of the command.
            build: ``(values) -> Arm``, the arm where these fields have other values.
        """
        self._others, self._build = others, build
        self._built: list[Arm] = []
        self._chunk_length = arm.chunk_length
        self._directory, self._options, self._arm, self._more_sinks = directory, options, arm, sinks
        self._config = arm.config
        self._fields = {**members.fields(arm.config), **others}
        self._objective = Objective(options.metric or arm.show[0], not options.minimize)
        must, fix = "the arm of a sweep must have one task for all seeds", "Leave task_axes out."
        require(arm.task_axes is None, f"sweep of {arm.label}", must, arm.task_axes, fix)
        must, fix = "the arm of a sweep must change nothing between its updates", "Run it, or choose an arm without between."
        require(arm.between is None, f"sweep of {arm.label}", must, "between", fix)
        self._objective.require_measured(arm.make, arm.task, arm.config, arm.evaluators)
        self._what = (arm.make, arm.task, arm.config)
        self._how = {
            "seeds": arm.seeds,
            "evaluators": arm.evaluators,
            "watch": (_Quiet(Progress(directory.experiment, arm.show)),),
            "batch_seeds": options.batch_seeds,
            "root": root,
            "stop": stop,
        }

    def _sinks(self, name: str) -> tuple[Sink, ...]:
        """Returns those of a member."""
        return (Recorder(self._directory, name, {"member": name}), *self._more_sinks(name))

    def _checkpoints(self, *name: Any) -> Checkpoints:
        """Returns those of a program."""
        options, folder = self._options, self._directory.checkpoints("-".join(map(str, name)))
        return Checkpoints(folder, options.checkpoint_seconds, options.keep_checkpoints)

    def execute(self) -> Tried:
        options, arm = self._options, self._arm
        held_out = held_out_seeds(arm.seeds, arm.seeds if options.held_out is None else options.held_out)
        notes: list[str] = []
        if options.trials is not None:
            names, tried, scores, updates = self._search(notes)
        else:
            names, tried, scores, updates = self._compare(notes)
        finalists = np.where((updates == updates.max())[:, None], scores, np.nan)
        chosen = int(self._objective.ranking(finalists)[0])
        best = f"held out: {names[chosen]}"
        if self._built:  # the arm of the best member, as it is
            arm = self._built[chosen]
            what, how = (arm.make, arm.task, arm.config, [{}]), {**self._how, "evaluators": arm.evaluators}
        else:
            what, how = (*self._what, [tried[chosen]]), self._how
        selection = select(
            *what,
            finalists[[chosen]],
            self._objective,
            held_out=held_out,
            num_updates=arm.updates,
            chunk_length=arm.chunk_length,
            sinks=lambda member: self._sinks(best),
            checkpoints=functools.partial(self._checkpoints, "held-out", digest(best)),
            score=lambda done: self._scores([best], done.num_updates),
            **how,
        )
        if selection is None:
            raise Interrupted
        recorded = names if options.trials is None else [_trial(position) for position in range(len(names))]
        self._note(recorded, tried, updates)
        config = arm.config if self._built else members.replaced(arm.config, dict(tried[chosen]))
        length = arm.chunk_length or default_chunk_length(arm.updates)
        how = {"seeds": len(held_out), "first_seed": int(held_out[0]), "updates": arm.updates, "chunk_length": length}
        self._note_arm(dataclasses.replace(arm, config=config), best, how)
        selection = selection._replace(member=chosen, values=dict(tried[chosen]))
        swept = dict.fromkeys(name for member in tried for name in member)
        fields = tuple(self._fields[name] for name in swept)
        seeds, others = np.arange(arm.seeds), tuple(name for name in swept if name in self._others)
        return Tried(names, tried, scores, updates, seeds, selection, self._objective, tuple(notes), fields, others)

    def _compare(self, notes: list[str]) -> tuple[tuple[str, ...], tuple[dict[str, Any], ...], np.ndarray, np.ndarray]:
        """Trains members that are known beforehand."""
        options, arm = self._options, self._arm
        values = members.grid(sweep_fields.listed(self._fields, options.grid))
        if options.random:
            drawn = members.random_members(sweep_fields.space(self._fields, options.random), options.draws, options.sweep_seed)
            values = [{**fixed, **other} for fixed in values for other in drawn]
        must = "there must be fields to sweep"
        require(bool(options.grid or options.random), "sweep", must, "none", "Give --grid or --random; see --help.")
        if any(name in self._others for value in values for name in value):
            return self._compare_arms(values, notes)
        tried = tuple({members.label(member): member for member in members.checked(self._config, values)}.values())
        names = tuple(members.label(member) for member in tried)
        notes += members.describe(self._config, tried).splitlines()[: -1 if options.halving else None]
        how: dict[str, Any] = {**self._how, "sinks": lambda member: self._sinks(names[member])}
        if options.halving:
            rungs = rungs_of(arm.updates, len(tried), options.eta)
            self._chunk_length = chunk_length_of(rungs, options.eta)
            done = halve(
                *self._what,
                tried,
                objective=self._objective,
                rungs=rungs,
                eta=options.eta,
                checkpoints=functools.partial(self._checkpoints, "program"),
                score=lambda done: self._scores(names, done.num_updates),
                **how,
            )
            result = done.sweep
            steps = ", ".join(f"{len(rung.members)} for {rung.num_updates}" for rung in done.rungs)
            notes.append(f"successive halving, members and their updates: {steps}; {len(result.programs)} programs in all")
        else:
            result = sweep(
                *self._what,
                tried,
                num_updates=arm.updates,
                chunk_length=arm.chunk_length,
                checkpoints=functools.partial(self._checkpoints, "program"),
                **how,
            )
        if result.interrupted:
            raise Interrupted
        notes += _unequal_steps(result)
        return names, tried, self._scores(names, result.num_updates), result.num_updates

    def _compare_arms(
        self, values: Sequence[members.Member], notes: list[str]
    ) -> tuple[tuple[str, ...], tuple[dict[str, Any], ...], np.ndarray, np.ndarray]:
        """Trains members that differ in fields of the experiment: each is an arm, made anew with its task and evaluators."""
        must, fix = "fields of the experiment can be swept by --grid and --random alone", "Leave --halving out."
        require(not self._options.halving, "sweep", must, "--halving", fix)
        found = {members.label(value): value for value in values}
        names, tried = tuple(found), tuple(dict(value) for value in found.values())
        own = members.fields(self._config)
        for name, member in zip(names, tried, strict=True):
            arm = self._build({field: value for field, value in member.items() if field in self._others})
            config = members.replaced(arm.config, {field: value for field, value in member.items() if field in own})
            self._built.append(dataclasses.replace(arm, factors={"member": name}, config=config, after={}, prepare=None))
        runs = train(
            self._built,
            sinks=lambda arm: self._sinks(str(arm.factors["member"])),
            watch=lambda together: self._how["watch"],
            checkpoints=lambda together: self._checkpoints("program", digest([arm.factors for arm in together])),
            root=self._how["root"],
            batch_seeds=self._how["batch_seeds"],
            stop=self._how["stop"],
        )
        if len(runs) < len(self._built) or any(run.summary.interrupted for run in runs):
            raise Interrupted
        updates = np.array([arm.updates for arm in self._built])
        count = len(programs(self._built))
        notes.append(f"{len(tried)} members in {count} program{'s' * (count > 1)}")
        return names, tried, self._scores(names, updates), updates

    def _search(self, notes: list[str]) -> tuple[tuple[str, ...], tuple[dict[str, Any], ...], np.ndarray, np.ndarray]:
        """Lets Optuna choose the members."""
        options, arm = self._options, self._arm
        alone = not options.grid and not options.halving and bool(options.random)
        fix = "Name the fields with --random, and leave --grid and --halving out."
        require(alone, "sweep", "--trials must be given with --random alone", options, fix)
        assert options.trials is not None
        with contextlib.suppress(ImportError):  # search says so
            import optuna

            optuna.logging.set_verbosity(optuna.logging.WARNING)
        space = sweep_fields.space(self._fields, options.random)
        where = options.storage or self._directory.path / "search.db"
        found = search(
            *self._what,
            space,
            objective=self._objective,
            num_trials=options.trials,
            batch_size=options.batch,
            num_updates=arm.updates,
            storage=where,
            seed=options.sweep_seed,
            chunk_length=arm.chunk_length,
            sinks=lambda position: self._sinks(_trial(position)),
            checkpoints=functools.partial(self._checkpoints, "batch"),
            score=lambda done, first: self._scores([_trial(first + i) for i in range(len(done.members))], done.num_updates),
            **self._how,
        )
        if found.interrupted:
            raise Interrupted
        names = tuple(f"{_trial(position)}: {members.label(member)}" for position, member in enumerate(found.members))
        notes += members.describe(self._config, found.members).splitlines()
        notes.append(f"{len(names)} trials in {where}, {found.new} of them trained now")
        updates = np.full(len(names), arm.updates)
        return names, found.members, found.scores, updates

    def _note(self, names: Sequence[str], tried: Sequence[Mapping[str, Any]], updates: np.ndarray) -> None:
        """Stores what the members train."""
        for place, (name, member) in enumerate(zip(names, tried, strict=True)):
            arm = self._built[place] if self._built else self._arm
            config = arm.config if self._built else members.replaced(arm.config, dict(member))
            length = self._chunk_length or arm.chunk_length or default_chunk_length(arm.updates)
            how = {"seeds": arm.seeds, "updates": int(updates[place]), "chunk_length": length}
            self._note_arm(dataclasses.replace(arm, config=config), name, how)

    def _note_arm(self, arm: Arm, name: str, how: Mapping[str, int]) -> None:
        entry = {**training(arm), "root": self._how["root"], "arm": name, "factors": {"member": name}, **how}
        self._directory.write_trainings([entry])

    def _scores(self, names: Sequence[str], num_updates: np.ndarray) -> np.ndarray:
        """Reads the scores of members from the run's tables, which hold what was measured before a kill as well."""
        metric, directory = self._objective.metric, self._directory
        table = "evaluations" if metric in directory.columns("evaluations") else "metrics"
        curves = [directory.curves(metric, name, table) for name in names]
        pairs = zip(curves, num_updates, strict=True)
        return np.stack([self._objective.final(curve.values[:, curve.updates < made]) for curve, made in pairs])


class _Quiet(NamedTuple):
    """A sink that is not told of failed seeds: their numbers are those of members and seeds together."""

    sink: Sink

    def begin(self, plan: Plan) -> None:
        self.sink.begin(plan)

    def chunk(self, chunk: Chunk) -> None:
        self.sink.chunk(chunk._replace(failures={}))

    def end(self, summary: RunSummary) -> None:
        self.sink.end(summary._replace(failed_seeds={}))


def is_sweep(directory: RunDirectory) -> bool:
    """Returns whether a folder of results is that of a sweep."""
    return "sweep" in directory.config()


def resume_sweep(directory: RunDirectory, running: Running) -> int:
    """Goes on with a sweep that was stopped and returns the exit status.

    Args:
        directory: of the sweep.
        running: how it runs; the fields that are swept, and how, are stored.

    Raises:
        ConfigError: its settings cannot be read back.
    """
    job, stored, default = going_on(directory), directory.config()["sweep"], Options()
    unknown = sorted(set(stored) - {field.name for field in dataclasses.fields(Options)})
    must, fix = "must hold options of a sweep", "Restore the file from a copy, or run again."
    require(not unknown, "results", f"{directory.path / 'config.json'} {must}", unknown, fix, ResultsError)
    own = {key: from_json(value, getattr(default, key), f"sweep.{key}") for key, value in stored.items()}
    how = {field.name: getattr(running, field.name) for field in dataclasses.fields(Running)}
    return sweep_experiment(job, Options(**how, **own, only=job.only, root=job.root))


def sweep_experiment(job: Job, options: Options) -> int:
    """Sweeps an arm of an experiment, prints a table, writes it into the run's folder, and returns the exit status.

    Args:
        job: the experiment; its directory is that of a sweep to go on with, None for a new one, or with ``options.resume`` for
            the newest of these settings.
        options: the fields that are swept, and how.
    """
    from jaxrl.training import platform

    must = "a sweep must have a process of its own"
    require(options.num_processes in (None, 1), "sweep", must, options.num_processes, "Leave --num-processes out.")
    platform.setup(deterministic=options.deterministic)
    from jaxrl.report.page import write_report

    shared = {field.name for part in (Running, Chosen) for field in dataclasses.fields(part)}
    own = {field.name: getattr(options, field.name) for field in dataclasses.fields(Options) if field.name not in shared}
    settings, name, directory = job.settings | {"sweep": own}, job.experiment.name + SUFFIX, job.directory
    settings["experiment"]["name"] = name
    if directory is None and options.resume:
        directory = find_unfinished(options.runs, name, settings)
    directory = directory or RunDirectory.create(options.runs, name, settings)
    with directory.locked(), GracefulStop(say) as stop:
        directory.resume(job.kind)
        interrupted, tried = False, None
        try:
            arm = _chosen_arm(job, directory, options)
            sinks = functools.partial(trackers, options, directory, settings)
            others = {} if arm.after else _fields_of_experiment(job.config, arm.config)
            build = functools.partial(_rebuilt, job, [other.label for other in job.arms()].index(arm.label))
            tried = Sweeping(directory, options, arm, job.root, sinks, others, build, stop).execute()
        except (Interrupted, KeyboardInterrupt):
            interrupted = True
        except JaxrlError:
            directory.remove_if_empty()
            raise
        if tried is not None:
            write(directory, tried)
        directory.close()
        if not interrupted:
            require_no_gaps(directory)
        directory.write_summary({"results": directory.summarise()})
        report = write_report(directory)
        directory.write_summary({"finished": not interrupted})  # at the very end: resuming relies on it
        print(f"{directory.experiment}: {report}")
    if interrupted:
        say(f"interrupted: {stop.kept}; go on with: {PROGRAM} resume {directory.path}")
        return INTERRUPTED
    return 0


def _chosen_arm(job: Job, directory: RunDirectory, options: Options) -> Arm:
    """Returns the arm to sweep, made from the arm that comes before it where it needs one, which is trained as it is."""
    arms = job.arms()
    require(bool(arms), "sweep", "the experiment must train an arm", job.experiment.name, "Sweep another.")
    chosen = next((arm for arm in arms if not arm.after), arms[-1]) if not job.only else arms[-1]
    if not chosen.after or chosen.prepare is None:
        return chosen
    session = Session(directory, root=job.root, **options.of_session)
    before = [arm for arm in arms if arm is not chosen]
    return chosen.prepare(chosen, session.train(before).run(**chosen.after))


def _fields_of_experiment(config: Any, algorithm: Any) -> dict[str, Field]:
    """Returns the fields of an experiment that can be swept beside those of the algorithm: numbers, flags and texts."""
    own, inside = members.fields(algorithm), dataclasses.is_dataclass
    parts = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    algorithms = [name for name, part in parts.items() if inside(part) and type(part) is type(algorithm)]
    return {
        name: field
        for name, field in members.fields(config).items()
        if name.partition(".")[0] not in ("seeds", *algorithms)
        and name not in own
        and isinstance(field.value, bool | int | float | str)
    }


def _rebuilt(job: Job, place: int, values: Mapping[str, Any]) -> Arm:
    """Returns the arm at a place as the experiment makes it with other values of its fields."""
    return job._replace(config=members.replaced(job.config, values)).arms()[place]


def _unequal_steps(done: Sweep) -> list[str]:
    lines = []
    for steps, what in ((done.steps_per_update, "an update"), (done.steps_before_first_update, "what precedes the first update")):
        known = {step for step in steps if step is not None}
        if len(known) > 1:
            count = f"{min(known)} to {max(known)} environment steps"
            lines.append(f"beware: {what} takes {count}, so members had unequal numbers of them")
    return lines


def _trial(position: int) -> str:
    return f"trial {position}"
