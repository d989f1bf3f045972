"""The command line: ``python -m experiments list | run NAME | reproduce NAME... | resume RUN | report RUN``."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, arg

import experiments
from jaxrl.cli.execute import INTERRUPTED, Job, Running, Storage, conduct, going_on, say
from jaxrl.errors import JaxrlError, unknown_name
from jaxrl.experiment.claims import Experiment
from jaxrl.results.run_directory import find_run

PROGRAM = "python -m experiments"


@dataclass(frozen=True)
class Environments:
    """List the environments, or write a page about each family of them."""

    write: Path | None = None
    """Folder that gets a page for every family, with a picture of every environment that can be drawn."""


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
class Replay(Storage):
    """Make the update again, step by step, that put a seed into quarantine, and show the operation that went wrong."""

    run: Positional[str] = ""
    """Folder of the run, or the name of an experiment for its newest run."""
    seed: int = 0
    """Number of the seed."""
    variant: str | None = None
    """Which training of the experiment; by default the first in which this seed failed."""


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
        "envs": _envs,
        "run": _run,
        "plan": _plan,
        "sweep": _sweep,
        "reproduce": _reproduce,
        "resume": _resume,
        "replay": _replay,
        "verify": _verify,
        "report": _report,
        "compare": _compare,
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
  envs [--write DIR]    the environments; or a page about each family of them, with pictures
  run NAME [options]    run one experiment; run NAME --help explains its options
  plan NAME [options]   what a run would need: memory, seeds that fit at once, time
  sweep NAME [options]  many values of the algorithm's fields at once, and what the best are worth on other seeds
  reproduce NAME...     run experiments with their published settings and check their claims
  replay RUN            find the operation that put a seed into quarantine
  verify NAME           what the bits of an experiment depend on, measured
  resume RUN            go on with a run that was stopped, as if it had not been
  compare RUN...        runs or variants side by side: table, figure, numbers
  report RUN            write the report of a run again

Options of every command: COMMAND --help."""


def _list(arguments: list[str]) -> int:
    tyro.cli(_NoOptions, args=arguments, prog=f"{PROGRAM} list", description="List the experiments.")
    table = Table("experiment", "what it does", box=None, pad_edge=False)
    for name in experiments.NAMES:
        table.add_row(name, experiments.load(name).__doc__.strip().splitlines()[0])
    Console().print(table)
    return 0


def _envs(arguments: list[str]) -> int:
    options = tyro.cli(Environments, args=arguments, prog=f"{PROGRAM} envs")
    from jaxrl.training import platform

    platform.setup()
    if options.write is None:
        from jaxrl.cli.catalogue import show

        return show()
    from tools.environment_pages import write

    return write(options.write)


@dataclass(frozen=True)
class _NoOptions:
    pass


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0].startswith("-"):
        print(f"usage: {PROGRAM} run NAME [options]\n\nNAME: {', '.join(experiments.NAMES)}")
        return 0 if arguments and arguments[0] in ("-h", "--help") else 2
    experiment, default, rest = _load(arguments)
    running, config = _parse_run(arguments[0], experiment.Config, default, rest)
    return conduct([Job(arguments[0].replace("-", "_"), experiment, config)], running)


def _load(arguments: list[str]) -> tuple[Experiment, Any, list[str]]:
    """Returns the experiment that is named first, the configuration to start from and the other arguments."""
    experiment = experiments.load(arguments[0])
    rest = [argument for argument in arguments[1:] if argument != "--quick"]
    return experiment, experiment.QUICK if len(rest) < len(arguments) - 1 else experiment.Config(), rest


def _plan(arguments: list[str]) -> int:
    if not arguments or arguments[0].startswith("-"):
        print(f"usage: {PROGRAM} plan NAME [options of run NAME]\n\nNAME: {', '.join(experiments.NAMES)}")
        return 0 if arguments and arguments[0] in ("-h", "--help") else 2
    experiment, default, rest = _load(arguments)
    running, config = _parse_run(arguments[0], experiment.Config, default, rest)
    from jaxrl.training import platform

    platform.setup(deterministic=running.deterministic)
    from jaxrl.cli.plan import plan

    return plan(arguments[0].replace("-", "_"), experiment, config, running.at_once)


def _sweep(arguments: list[str]) -> int:
    if not arguments or arguments[0].startswith("-"):
        print(f"usage: {PROGRAM} sweep NAME [options, also those of run NAME]\n\nNAME: {', '.join(experiments.NAMES)}")
        return 0 if arguments and arguments[0] in ("-h", "--help") else 2
    experiment, rest = experiments.load(arguments[0]), arguments[1:]
    from jaxrl.cli.sweep import EXAMPLES, Options, sweep_experiment

    default = experiment.Config()
    if "--quick" in rest:
        rest.remove("--quick")
        default = experiment.QUICK
    options, config = _parse_run(arguments[0], experiment.Config, default, rest, "sweep", Options, EXAMPLES)
    return sweep_experiment(arguments[0].replace("-", "_"), experiment, config, options)


def _parse_run(
    name: str, config: type, default: Any, arguments: list[str], command: str = "run", running: type = Running, more: str = ""
) -> tuple[Any, Any]:
    @dataclass(frozen=True)
    class Options(running):
        config: Annotated[Any, arg(name="")] = default

    Options.__annotations__["config"] = tyro.conf.OmitArgPrefixes[config]
    options = tyro.cli(
        Options,
        args=arguments,
        prog=f"{PROGRAM} {command} {name}",
        description=f"{experiments.load(name).__doc__.strip()}\n\n--quick starts from tiny budgets, not from the published ones."
        + f"\n\n{more}" * bool(more),
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
    from jaxrl.cli.sweep import is_sweep, resume_sweep

    directory = find_run(options.runs, options.run)
    return resume_sweep(directory, options) if is_sweep(directory) else conduct([going_on(directory)], options)


def _compare(arguments: list[str]) -> int:
    from jaxrl.cli.compare import Compare, compare

    return compare(tyro.cli(Compare, args=arguments, prog=f"{PROGRAM} compare"))


def _replay(arguments: list[str]) -> int:
    options = tyro.cli(Replay, args=arguments, prog=f"{PROGRAM} replay")
    from jaxrl.cli.diagnose import replay
    from jaxrl.training import platform

    platform.setup()
    return replay(going_on(find_run(options.runs, options.run)), options.seed, options.variant)


def _verify(arguments: list[str]) -> int:
    options = tyro.cli(Verify, args=arguments, prog=f"{PROGRAM} verify")
    module = experiments.load(options.name)
    from jaxrl.cli.verify import verify
    from jaxrl.training import platform

    platform.setup(options.cpu_devices)
    return verify(options.name.replace("-", "_"), module, module.QUICK, options.seeds)


def _report(arguments: list[str]) -> int:
    from jaxrl.report.page import write_report

    options = tyro.cli(Report, args=arguments, prog=f"{PROGRAM} report")
    directory = find_run(options.runs, options.run)
    print(write_report(directory))
    return 0


if __name__ == "__main__":
    sys.exit(main())
