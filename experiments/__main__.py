"""The command line: ``python -m experiments list | run NAME | reproduce NAME... | report RUN``."""

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
from jaxrl.errors import JaxrlError, unknown_name
from jaxrl.results import RunDirectory, find_run

PROGRAM = "python -m experiments"
INTERRUPTED = 130  # what a shell reports for a program ended by Ctrl-C


@dataclass(frozen=True)
class Storage:
    """Where results go."""

    runs: Path = Path("runs")
    """Folder for results; each run gets a folder of its own in it."""


@dataclass(frozen=True)
class Reproduce(Storage):
    """Run experiments with their published settings and check their claims. Exit status 0 only if every claim holds."""

    names: Positional[tuple[str, ...]] = ()
    """Experiments, by name; see the list command."""
    quick: bool = False
    """Use tiny budgets: shows that everything runs, decides no claim."""


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
        _say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        _say("interrupted before anything was computed")
        return INTERRUPTED


def _dispatch(arguments: list[str]) -> int:
    commands: dict[str, Callable[[list[str]], int]] = {
        "list": _list,
        "run": _run,
        "reproduce": _reproduce,
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
  reproduce NAME...     run experiments with their published settings and check their claims
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
    storage, options = _parse_run(arguments[0], experiment.Config, default, rest)
    return _conduct([(arguments[0], experiment, options, options == experiment.Config())], storage.runs)


def _parse_run(name: str, config: type, default: Any, arguments: list[str]) -> tuple[Storage, Any]:
    @dataclass(frozen=True)
    class Options(Storage):
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
    loaded = [(name, experiments.load(name)) for name in options.names]
    plans = [(name, module, module.QUICK if options.quick else module.Config(), not options.quick) for name, module in loaded]
    return _conduct(plans, options.runs)


def _report(arguments: list[str]) -> int:
    from experiments.report import write_report

    options = tyro.cli(Report, args=arguments, prog=f"{PROGRAM} report")
    directory = find_run(options.runs, options.run)
    print(write_report(directory))
    return 0


def _conduct(plans: Sequence[tuple[str, Any, Any, bool]], root: Path) -> int:
    """Runs experiments one after another: (name, module, config, whether these are the published settings)."""
    from jaxrl import platform

    platform.setup()
    from experiments.protocol import decide
    from experiments.report import write_report
    from experiments.session import Interrupted, Session

    verdicts: list[tuple[str, dict[str, Any]]] = []
    interrupted = False
    for name, module, config, published in plans:
        directory = RunDirectory.create(root, name, config)
        session = Session(directory)
        try:
            module.run(config, session)
        except Interrupted:
            interrupted = True
        directory.close()
        directory.write_summary({"results": directory.summarise()})
        undecided = "interrupted" if interrupted else "" if published else "other settings than the published ones"
        verdicts += [(name, entry) for entry in decide(module.CLAIMS, directory, undecided)]
        print(f"{name}: {write_report(directory)}")
        if interrupted:
            _say("interrupted: what had been computed is kept")
            break
    _show(verdicts)
    if interrupted:
        return INTERRUPTED
    return 1 if any(entry["passed"] is False for _, entry in verdicts) else 0


def _show(verdicts: Sequence[tuple[str, dict[str, Any]]]) -> None:
    words = {True: "[green]holds[/green]", False: "[bold red]FAILS[/bold red]", None: "not decided"}
    table = Table("verdict", "claim", "measured", show_lines=True)
    for name, entry in verdicts:
        measured = [f"{entry['value']:.6g}"] if entry.get("value") is not None else []
        if entry.get("low") is not None and entry.get("high") is not None:
            measured.append(f"95 %: {entry['low']:.4g} .. {entry['high']:.4g}")
        measured.append(entry.get("criterion") or entry.get("detail", ""))
        table.add_row(words[entry["passed"]], f"[bold]{name}[/bold]\n{entry['text']}", "\n".join(measured))
    Console().print(table)


def _say(text: str) -> None:
    Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(text)


if __name__ == "__main__":
    sys.exit(main())
