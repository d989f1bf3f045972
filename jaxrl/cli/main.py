"""The command line: ``jaxrl list | run NAME | reproduce NAME... | resume RUN | report RUN``, also ``python -m jaxrl``."""

import operator
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, arg

from jaxrl.cli import door
from jaxrl.cli.execute import PROGRAM, Chosen, Job, Running, Storage, execute, going_on
from jaxrl.errors import JaxrlError, require, unknown_name
from jaxrl.experiment.experiment import Experiment, load, names
from jaxrl.experiment.runs import find
from jaxrl.experiment.session import say
from jaxrl.experiment.trained import Saved
from jaxrl.results.gaps import require_no_gaps
from jaxrl.training.graceful_stop import INTERRUPTED


@dataclass(frozen=True)
class Reproduce(Running):
    """Run experiments with their published settings and check their claims. Exit status 0 only if every claim holds; with
    --quick, which decides none, if everything ran."""

    names: Positional[tuple[str, ...]] = ()
    """Experiments: names (see the list command), paths of files, or modules."""
    quick: bool = False
    """Use tiny budgets: shows that everything runs, decides no claim."""
    root: int = 0
    """Number of the root key from which all seeds are derived."""
    roots: int = 1
    """Run with so many roots, from --root on, and say how often each claim holds (count)."""


@dataclass(frozen=True)
class Resume(Running):
    """Go on with a run that was stopped, with the settings it was started with: the result is the same to the last bit."""

    run: Positional[str] = ""
    """Folder of the run, or an experiment, named as for ``run``, for its newest run."""


@dataclass(frozen=True)
class Replay(Storage):
    """Make the update again, step by step, that put a seed into quarantine, and show the operation that went wrong."""

    run: Positional[str] = ""
    """Folder of the run, or an experiment, named as for ``run``, for its newest run."""
    seed: int = 0
    """Number of the seed."""
    arm: str | None = None
    """Name of the arm; by default the first in which this seed failed."""


@dataclass(frozen=True)
class Verify(Storage):
    """Run the same seeds in several ways and print what changes their results: batches, chunks, vmap width, devices."""

    name: Positional[str] = ""
    """The experiment; see the list command. It runs with tiny budgets."""
    seeds: int = 64
    """How many seeds take part."""
    cpu_devices: int = 8
    """On a CPU, how many devices it is divided into."""


@dataclass(frozen=True)
class Report(Storage):
    """Write the report of a finished or interrupted run again, claims included."""

    run: Positional[str] = ""
    """Folder of the run, or an experiment, named as for ``run``, for its newest run."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status: 0, 1 where a claim failed, 2 for a user error, 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(arguments)
    except JaxrlError as error:
        say(f"error: {error}")
        return 2
    except MemoryError as error:
        fix = "Give fewer seeds, or smaller numbers."
        say(f"error: {PROGRAM}: everything must fit into the memory of this machine, got {str(error) or 'none left'!r}. {fix}")
        return 2
    except KeyboardInterrupt:
        say("interrupted before anything was computed")
        return INTERRUPTED


def _dispatch(arguments: list[str]) -> int:
    commands: dict[str, Callable[[list[str]], int]] = {
        "list": _list,
        "envs": _envs,
        "run": _run,
        "train": _train,
        "plan": _plan,
        "sweep": _sweep,
        "reproduce": _reproduce,
        "resume": _resume,
        "extend": _extend,
        "replay": _replay,
        "verify": _verify,
        "report": _report,
        "new": _new,
        "compare": _compare,
        "label": _label,
    }
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0 if arguments else 2
    command, rest = arguments[0], arguments[1:]
    if command not in commands:
        raise unknown_name(PROGRAM, "command", command, commands)
    return commands[command](rest)


def _usage() -> str:
    return f"""usage: {PROGRAM} COMMAND ...

  list                  the experiments
  envs                  the environments
  run NAME [options]    run one experiment; run NAME --help explains its options
  train ALGORITHM ENVIRONMENT [options]
                        an algorithm on an environment, without a script; elsewhere this experiment is named ALGORITHM:ENVIRONMENT
  plan NAME [options]   the needs of a run: memory, seeds that fit at once, time
  sweep NAME [options]  many values of the algorithm's fields at once, and the worth of the best on other seeds
  reproduce NAME...     run experiments with their published settings and check their claims
  replay RUN            find the operation that put a seed into quarantine
  verify NAME           measure what the bits of an experiment depend on
  resume RUN            go on with a run that was stopped, as if it had not been
  extend RUN            go on with a finished run for more updates
  label RUN             answer the questions that a run waits for: a page in your browser, also for several people
  compare RUN...        runs or arms side by side: table, figure, numbers
  report RUN            write the report of a run again
  new KIND NAME         a working, tested start: an experiment, environment, algorithm or project of your own

NAME is one of ours, the path of a Python file, a module, or ALGORITHM:ENVIRONMENT. RUN is the folder of a run, or a NAME for its
newest run; compare takes the newest that is not quick. Options of every command: COMMAND --help."""


def _list(arguments: list[str]) -> int:
    door.read(_NoOptions, arguments, f"{PROGRAM} list", "List the experiments.")
    table = Table("experiment", "title", box=None, pad_edge=False)
    for name in names():
        table.add_row(name, load(name).title)
    Console().print(table)
    return 0


def _envs(arguments: list[str]) -> int:
    door.read(_NoOptions, arguments, f"{PROGRAM} envs", "List the environments.")
    from jaxrl.cli.catalogue import show
    from jaxrl.training import platform

    platform.setup()
    return show()


@dataclass(frozen=True)
class _NoOptions:
    pass


@dataclass(frozen=True)
class Run(Running, Chosen):
    """How and which part of an experiment is run."""


def _run(arguments: list[str], called: str = "") -> int:
    parsed = _job("run", arguments, Run, called=called)
    return parsed if isinstance(parsed, int) else execute([parsed[0]], parsed[1])


def _train(arguments: list[str]) -> int:
    if len(arguments) < 2 or arguments[0].startswith("-") or arguments[1].startswith("-"):
        from jaxrl.experiment.pairing import algorithm_names

        known = ", ".join(algorithm_names())
        print(f"usage: {PROGRAM} train ALGORITHM ENVIRONMENT [options]\n\nALGORITHM: {known}, or a file with make and Config.")
        print(f"ENVIRONMENT: see {PROGRAM} envs, a file with a factory make, or module:NAME of one that the module registers.")
        return 0 if arguments and arguments[0] in ("-h", "--help") else 2
    return _run([f"{arguments[0]}:{arguments[1]}", *arguments[2:]], f"train {arguments[0]} {arguments[1]}")


def _plan(arguments: list[str]) -> int:
    parsed = _job("plan", arguments, Run)
    if isinstance(parsed, int):
        return parsed
    from jaxrl.training import platform

    platform.setup(deterministic=parsed[1].deterministic)
    from jaxrl.cli.plan import plan

    return plan(parsed[0], parsed[1].batch_seeds)


def _sweep(arguments: list[str]) -> int:
    from jaxrl.cli.sweep import EXAMPLES, Options, sweep_experiment

    parsed = _job("sweep", arguments, Options, EXAMPLES)
    return parsed if isinstance(parsed, int) else sweep_experiment(*parsed)


def _job(command: str, arguments: list[str], options: type, more: str = "", called: str = "") -> tuple[Job, Any] | int:
    """Reads the name of an experiment and the options of a command; returns an exit status where only help was asked for.

    called: what the user typed before the options, by default the command and the name.
    """
    if not arguments or arguments[0].startswith("-"):
        print(f"usage: {PROGRAM} {command} NAME [options]\n\nNAME: {', '.join(names())},\nthe path of a file, or a module.")
        return 0 if arguments and arguments[0] in ("-h", "--help") else 2
    experiment = load(arguments[0])
    default = experiment.quick if "--quick" in arguments else experiment.config()
    where = f"{PROGRAM} {called or f'{command} {arguments[0]}'}"
    running, config = _parse(where, experiment, default, arguments[1:], options, more)
    return Job(experiment, config, running.only, running.root, quick=running.quick), running


def _parse(where: str, experiment: Experiment, default: Any, arguments: list[str], running: type, more: str) -> tuple[Any, Any]:
    @dataclass(frozen=True)
    class Options(running):
        # Not "config": a field of the experiment may have a class of this name, and the parser tells groups apart by it.
        experiments_own: Annotated[Any, arg(name="")] = default

    if not _repeated_fields(experiment.config()):
        taken = sorted({field.name for field in fields(running)} & set(_field_names(experiment.config())))
        must = "fields of the experiment's configuration must not be named as options of the command"
        require(not taken, where, must, taken, f"Rename {taken[0]} to own_{taken[0]}." if taken else "")
        Options.__annotations__["experiments_own"] = tyro.conf.OmitArgPrefixes[Annotated[experiment.config, arg(name="")]]
    else:  # two configurations inside have fields of one name: --minimax.gamma, --independent.gamma
        Options.__annotations__["experiments_own"] = Annotated[experiment.config, arg(name="")]
    options = door.read(Options, arguments, where, "\n\n".join([experiment.doc, more] if more else [experiment.doc]))
    door.require_counts(where, options.experiments_own, experiment.config())
    return options, options.experiments_own


def _repeated_fields(config: Any) -> bool:
    """Returns whether two configurations inside a configuration have fields of one name."""
    named = _field_names(config)
    return len(set(named)) < len(named)


def _field_names(config: Any) -> list[str]:
    """Returns the names of the fields of a configuration, those of configurations inside it in their place."""
    named: list[str] = []
    for field in fields(config):
        part = getattr(config, field.name)
        named += [inner.name for inner in fields(part)] if is_dataclass(part) else [field.name]
    return named


def _reproduce(arguments: list[str]) -> int:
    options = door.read(Reproduce, arguments, f"{PROGRAM} reproduce")
    must, fix = "there must be an experiment", f"Name one or more that `{PROGRAM} list` shows."
    require(bool(options.names), f"{PROGRAM} reproduce", must, options.names, fix)
    found = [load(name) for name in options.names]
    roots = range(options.root, options.root + options.roots)
    config = operator.attrgetter("quick") if options.quick else operator.methodcaller("config")
    jobs = [Job(one, config(one), root=root, quick=options.quick) for one in found for root in roots]
    return execute(jobs, options)


def _resume(arguments: list[str]) -> int:
    options = door.read(Resume, arguments, f"{PROGRAM} resume")
    from jaxrl.cli.extend import longer_by
    from jaxrl.cli.sweep import is_sweep, resume_sweep

    directory = find(options.runs, options.run)
    job, sweep = going_on(directory), is_sweep(directory)
    if directory.finished:
        longer = "" if sweep else f"; to train longer: {longer_by(job)}"
        say(f"{directory.path} was finished: only rows that are missing and the report are made again{longer}")
    return resume_sweep(directory, options) if sweep else execute([job], options)


def _extend(arguments: list[str]) -> int:
    from jaxrl.cli.extend import Extend, extend

    return extend(door.read(Extend, arguments, f"{PROGRAM} extend"))


def _compare(arguments: list[str]) -> int:
    from jaxrl.cli.compare import Compare, compare

    return compare(door.read(Compare, arguments, f"{PROGRAM} compare"))


def _replay(arguments: list[str]) -> int:
    options = door.read(Replay, arguments, f"{PROGRAM} replay")
    from jaxrl.cli.diagnose import replay
    from jaxrl.training import platform

    platform.setup()
    return replay(Saved(find(options.runs, options.run)), options.seed, options.arm)


def _verify(arguments: list[str]) -> int:
    options = door.read(Verify, arguments, f"{PROGRAM} verify")
    experiment = load(options.name)
    from jaxrl.cli.verify import verify
    from jaxrl.training import platform

    platform.setup(options.cpu_devices)
    return verify(Job(experiment, experiment.quick), options.seeds)


def _label(arguments: list[str]) -> int:
    from jaxrl.cli.label import Label, label

    return label(door.read(Label, arguments, f"{PROGRAM} label"))


@dataclass(frozen=True)
class New:
    """Write a small, working, tested start of your own into this folder."""

    kind: Positional[Literal["experiment", "environment", "algorithm", "project"]]
    """The kind of start; a project has one of each of the others."""
    name: Positional[str]
    """An identifier, such as my_idea."""


def _new(arguments: list[str]) -> int:
    from jaxrl.cli.new import new

    options = door.read(New, arguments, f"{PROGRAM} new")
    for path in new(options.kind, options.name):
        print(path)
    return 0


def _report(arguments: list[str]) -> int:
    from jaxrl.report.page import write_report

    options = door.read(Report, arguments, f"{PROGRAM} report")
    directory = find(options.runs, options.run)
    print(write_report(directory))
    if directory.finished:
        require_no_gaps(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
