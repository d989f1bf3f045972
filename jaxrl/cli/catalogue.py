"""``envs``: the environments that there are, with what an algorithm sees of them."""

import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax
from rich.console import Console
from rich.table import Table

import envs
from jaxrl.cli.docstrings import source_of
from jaxrl.core.environment import Environment
from jaxrl.core.spaces import Box, Dict, Discrete, MultiDiscrete, Tuple
from jaxrl.errors import JaxrlError
from jaxrl.experiment.pairing import unbound

WIDTH = 160  # columns, where the output is not a terminal


class Entry(NamedTuple):
    """One environment, with its default parameters.

    family: the folder it is in, or the package of the project that registered it.
    what: the first line about it. source: where it is from, as far as its file says.
    factory: what the registry has of this name, and module: where that was written.
    """

    name: str
    family: str
    what: str
    source: str
    environment: Environment
    factory: Callable[..., Environment]
    module: ModuleType


def catalogue(build: Callable[[str], Environment] = envs.make) -> list[Entry]:
    """Returns all environments, a family after the other. build: makes the environment of a name."""
    entries = []
    for name in envs.names():
        factory = envs.factory_of(name)
        module = inspect.getmodule(unbound(factory))
        assert module is not None
        text = inspect.getdoc(module) or ""
        package, _, rest = module.__name__.partition(".")
        family = rest.partition(".")[0] if package == envs.__name__ else package
        entries.append(Entry(name, family, text.partition("\n")[0], source_of(text), build(name), factory, module))
    return sorted(entries, key=lambda entry: (entry.family, entry.name))


def outline(name: str) -> Environment:
    """Returns an environment whose arrays may be shapes without values: most are compiled anew only to be computed once."""
    try:
        return jax.eval_shape(envs.factory_of(name))
    except (jax.errors.JAXTypeError, JaxrlError):  # it looks at its values
        return envs.make(name)


def describe_space(space: Any) -> str:
    """Returns a space in a few characters."""
    if isinstance(space, Discrete):
        return f"{space.n} choice{'s' * (space.n > 1)}"
    if isinstance(space, MultiDiscrete):
        return f"{' x '.join(map(str, space.nvec))} choices"
    if isinstance(space, Tuple):
        return "(" + ", ".join(map(describe_space, space.items)) + ")"
    if isinstance(space, Dict):
        return "{" + ", ".join(f"{name}: {describe_space(part)}" for name, part in space.items) + "}"
    assert isinstance(space, Box)
    return f"R^{'x'.join(map(str, space.shape)) or '1'}"


def show() -> int:
    """Prints the catalogue and returns the exit status."""
    columns = ("environment", "agents", "observation", "action", "time limit", "exact model", "source")
    table = Table(*columns, box=None, pad_edge=False)
    family = ""
    for entry in catalogue(outline):
        env = entry.environment
        if entry.family != family:
            family = entry.family
            table.add_row(f"[bold]{family.replace('_', ' ')}[/bold]")
        table.add_row(
            f"  {entry.name}",
            str(env.num_agents or 1),
            describe_space(env.observation_space),
            describe_space(env.action_space),
            f"{env.max_steps:,}",
            "yes" if env.outcomes_fn is not None else "",
            entry.source,
        )
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)
    print(f"{len(envs.names())} environments; envs.make(name, **parameters) builds one.")
    return 0
