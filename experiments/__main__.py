"""The command line: ``python -m experiments list | run NAME | reproduce NAME... | resume RUN | report RUN``."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, arg

import experiments
from experiments.conduct import INTERRUPTED, Job, Running, Storage, conduct, say, unfinished
from jaxrl.errors import JaxrlError, unknown_name
from jaxrl.results import find_run

PROGRAM = "python -m experiments"


@dataclass(frozen=True)
class Reproduce(Running):
    """Run experiments with their published settings and check their claims. Exit status 0 only if every claim holds."""

    names: Positional[tuple[str, ...]] = ()
    """Experiments, by name; see the list command."""
    quick: bool = False
    """Use tiny budgets: shows that everything runs, decides no claim."""


@dataclass(frozen=True)
class Resume(Running):
    """Go on with a run that was stopped, with the settings it was started with: the result is the same to the last bit."""

    run: Positional[str] = ""
    """Folder of the run, or the name of an experiment for its newest run."""


@dataclass(frozen=True)
class Report(Storage):
    """Write the report of a finished or interrupted run again, claims included."""

    run: Positional[str] = ""
    """Folder of the run, or the name of an experiment for its newest run."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status: 0, 1 where a claim failed, 2 for a user error, 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(arguments)
    except JaxrlError as error:
        say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        say("interrupted before anything was computed")
        return INTERRUPTED


def _dispatch(arguments: list[str]) -> int:
    commands: dict[str, Callable[[list[str]], int]] = {
        "list": _list,
        "run": _run,
        "plan": _plan,
        "reproduce": _reproduce,
        "resume": _resume,
        "report": _report,
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
  run NAME [options]    run one experiment; run NAME --help explains its options
  plan NAME [options]   what a run would need: memory, seeds that fit at once, time
  reproduce NAME...     run experiments with their published settings and check their claims
  resume RUN            go on with a run that was stopped, as if it had not been
  report RUN            write the report of a run again

Options of every command: COMMAND --help."""


def _list(arguments: list[str]) -> int:
    tyro.cli(_NoOptions, args=arguments, prog=f"{PROGRAM} list", description="List the experiments.")
    table = Table("experiment", "what it does", box=None, pad_edge=False)
    for name in experiments.NAMES:
        table.add_row(name, experiments.load(name).__doc__.strip().splitlines()[0])
    Console().print(table)
    return 0


@dataclass(frozen=True)
class _NoOptions:
    pass


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0].startswith("-"):
        print(f"usage: {PROGRAM} run NAME [options]\n\nNAME: {', '.join(experiments.NAMES)}")
        return 0 if arguments and arguments[0] in ("-h", "--help") else 2
    experiment, rest = experiments.load(arguments[0]), arguments[1:]
    default = experiment.Config()
    if "--quick" in rest:
        rest.remove("--quick")
        default = experiment.QUICK
    running, config = _parse_run(arguments[0], experiment.Config, default, rest)
    return conduct([Job(arguments[0].replace("-", "_"), experiment, config)], running)


def _plan(arguments: list[str]) -> int:
    if not arguments or arguments[0].startswith("-"):
        print(f"usage: {PROGRAM} plan NAME [options of run NAME]\n\nNAME: {', '.join(experiments.NAMES)}")
        return 0 if arguments and arguments[0] in ("-h", "--help") else 2
    experiment, rest = experiments.load(arguments[0]), arguments[1:]
    running, config = _parse_run(arguments[0], experiment.Config, experiment.Config(), rest)
    from jaxrl import platform

    platform.setup(deterministic=running.deterministic)
    from experiments.plan import plan

    return plan(arguments[0].replace("-", "_"), experiment, config, running.at_once)


def _parse_run(name: str, config: type, default: Any, arguments: list[str]) -> tuple[Running, Any]:
    @dataclass(frozen=True)
    class Options(Running):
        config: Annotated[Any, arg(name="")] = default

    Options.__annotations__["config"] = tyro.conf.OmitArgPrefixes[config]
    options = tyro.cli(
        Options,
        args=arguments,
        prog=f"{PROGRAM} run {name}",
        description=f"{experiments.load(name).__doc__.strip()}\n\n--quick starts from tiny budgets, not from the published ones.",
    )
    return options, options.config


def _reproduce(arguments: list[str]) -> int:
    options = tyro.cli(Reproduce, args=arguments, prog=f"{PROGRAM} reproduce")
    if not options.names:
        raise unknown_name(f"{PROGRAM} reproduce", "experiment", "", experiments.NAMES)
    modules = [(name.replace("-", "_"), experiments.load(name)) for name in options.names]
    return conduct([Job(name, m, m.QUICK if options.quick else m.Config()) for name, m in modules], options)


def _resume(arguments: list[str]) -> int:
    options = tyro.cli(Resume, args=arguments, prog=f"{PROGRAM} resume")
    return conduct([unfinished(options.runs, options.run)], options)


def _report(arguments: list[str]) -> int:
    from experiments.report import write_report

    options = tyro.cli(Report, args=arguments, prog=f"{PROGRAM} report")
    directory = find_run(options.runs, options.run)
    print(write_report(directory))
    return 0


if __name__ == "__main__":
    sys.exit(main())
