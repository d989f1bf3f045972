"""The common case without a script: an algorithm on an environment, ``ALGORITHM:ENVIRONMENT``, as an experiment of one arm.

Both are names of ours, or paths of Python files: an algorithm's file has ``make`` and ``Config``, an environment's file a factory
``make``. An environment that a project registers (``envs.register``) is ``NAME``, ``module:NAME`` or ``file.py:NAME``.
Options are those of the algorithm's Config, and ``--env.NAME`` for the parameters of the environment.
"""

import dataclasses
import functools
import hashlib
import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import tyro

import envs
from jaxrl import algorithms
from jaxrl.core import contracts
from jaxrl.core.config import Discounted
from jaxrl.core.environment import Environment
from jaxrl.core.spaces import Discrete
from jaxrl.errors import ConfigError, require, unknown_name
from jaxrl.evaluation import Episodes, ExactValue
from jaxrl.experiment import draw
from jaxrl.experiment.arms import Arm
from jaxrl.experiment.modules import can_be_imported, import_file, offered, public_names
from jaxrl.experiment.results import Results

AREAS = ("tabular", "deep", "model_based", "planning", "multiagent")  # of algorithms whose task is an environment
# Those whose task, or learner, a command line cannot give: the words for it, and the way to train them.
ELSEWHERE = {
    "offline": (
        "a data set",
        "Collect one by jaxrl.blocks.datasets.collect, then call jaxrl.run({name}.make, data, {name}.Config()).",
    ),
    "games": ("a game", "Call jaxrl.run({name}.make, game, {name}.Config(...))."),
    "exploration": ("a learner", "Call jaxrl.run({name}.make, env, {name}.Config(learner=..., ...))."),
    "constrained": ("a learner", "Call jaxrl.run({name}.make, env, {name}.Config(learner=..., ...))."),
    "population": ("a learner", "Call jaxrl.run({name}.make, env, {name}.Config(learner=..., ...))."),
}
SIMPLE = (bool, int, float, str)  # types of parameters that the command line can give
ENVIRONMENT_STEPS, SEEDS = 100_000, 8
LARGEST_EXACT = 2_000  # states of a finite environment whose policies are evaluated exactly as well


@dataclass(frozen=True)
class Pairing:
    """An algorithm and an environment. make_env: ``(**parameters) -> Environment``; defaults: those that can be given."""

    algorithm: str
    environment: str
    make: Callable
    config: type
    make_env: Callable[..., Environment]
    defaults: dict[str, tuple[type, Any]]
    digest: str

    def arms(self, config: Any) -> Iterator[Arm]:
        """Yields the only arm."""
        env = self.make_env(**{name: getattr(config.env, name) for name in self.defaults})
        contracts.validate("train", config.algorithm, env)
        yield Arm(
            {"algorithm": self.algorithm, "environment": self.environment},
            self.make,
            env,
            config.algorithm,
            seeds=config.seeds,
            env_steps=config.env_steps,
            evaluators=evaluators(env, self.make, config.algorithm),
            show=("greedy_return", "episode_return"),
        )


def algorithm_names() -> dict[str, str]:
    """Returns name -> module of the algorithms whose task is an environment."""
    return {name: module for area in AREAS for name, module in _of_area(area).items()}


def _of_area(area: str) -> dict[str, str]:
    folders = [str(Path(folder) / area) for folder in algorithms.__path__]
    return {module.name: f"{algorithms.__name__}.{area}.{module.name}" for module in pkgutil.iter_modules(folders)}


def pair(source: str) -> Pairing:
    """Returns the algorithm and the environment that ``ALGORITHM:ENVIRONMENT`` names.

    Raises:
        UnknownNameError: one of them is not known. ConfigError: a file lacks a part.
    """
    first, _, second = source.partition(":")
    name, module = _algorithm(first)
    make_env, title, text = _environment(second)
    digest = hashlib.sha256(Path(module.__file__ or "").read_bytes() + text).hexdigest()[:16]
    return Pairing(name, title, module.make, module.Config, make_env, _parameters(make_env), digest)


def config_class(pairing: Pairing) -> type:
    """Returns the options of a pairing as a frozen dataclass: seeds, env_steps, algorithm, env."""
    described = [
        (name, Annotated[kind, tyro.conf.arg(name=f"env.{name}".replace("_", "-"))], dataclasses.field(default=default))
        for name, (kind, default) in pairing.defaults.items()
    ]
    env = dataclasses.make_dataclass("Env", described, frozen=True)
    default = _default(pairing.config)
    made = dataclasses.make_dataclass(
        "Config",
        [
            ("seeds", int, dataclasses.field(default=SEEDS)),
            ("env_steps", int, dataclasses.field(default=ENVIRONMENT_STEPS)),
            ("algorithm", pairing.config, dataclasses.field(default_factory=lambda: default)),
            ("env", env, dataclasses.field(default_factory=env)),
        ],
        frozen=True,
    )
    made.__doc__ = f"{pairing.algorithm} on {pairing.environment}. --env.NAME are parameters of the environment."
    return made


def evaluators(env: Environment, make: Callable, config: Any) -> tuple:
    """Returns those that suit: episodes of the greedy and the sampled policy, and exact values of an algorithm that states the
    probabilities of its actions, on a small finite environment."""
    found: list[Any] = [Episodes(env)]
    space = env.observation_space
    small = env.is_finite and env.num_agents is None and isinstance(space, Discrete) and space.n <= LARGEST_EXACT
    if small and isinstance(config, Discounted) and make(env, config).probabilities is not None:
        found.append(ExactValue.of(env, float(config.gamma)))
    return tuple(found)


def figures(results: Results) -> None:
    """Draws the return of the policies over time, and where the seeds end."""
    for metric in ("greedy_return", "episode_return"):
        draw.curves(results, metric)
    draw.ends(results, "greedy_return")


def _algorithm(name: str) -> tuple[str, ModuleType]:
    if name.endswith(".py"):
        module, title = import_file(Path(name)), Path(name).stem
    else:
        known = algorithm_names()
        title = name.replace("-", "_")
        if title not in known:
            for area, (needs, fix) in ELSEWHERE.items():
                must = "the algorithm must be one that an environment is enough for"
                found = f"{title} of jaxrl.algorithms.{area}, which needs {needs}"
                require(title not in _of_area(area), "jaxrl train", must, found, fix.format(name=title))
            raise unknown_name("algorithms", "algorithm", name, known, "jaxrl train", offered(name))
        module = importlib.import_module(known[title])
    for part in ("make", "Config"):
        must, fix = f"the file must have {part}", "See `jaxrl new algorithm`."
        require(hasattr(module, part), f"algorithm {name}", must, public_names(module), fix)
    return title, module


def _environment(name: str) -> tuple[Callable[..., Environment], str, bytes]:
    if name.endswith(".py"):
        module = import_file(Path(name))
        registered = _registered_by(module)
        fix = f"Write {name}:{registered[0]}." if registered else "See `jaxrl new environment`."
        must = "the file must have a factory make, or be given with the NAME of one that it registers, FILE.py:NAME"
        require(callable(getattr(module, "make", None)), f"environment {name}", must, registered or public_names(module), fix)
        return module.make, Path(name).stem, Path(module.__file__ or "").read_bytes()
    module, sign, title = name.rpartition(":")
    title = title.replace("-", "_")
    if module.endswith(".py"):
        import_file(Path(module))  # which registers it
        module = sign = ""
    elif sign:
        must, fix = f"{module or 'it'} must be a module that can be imported", offered(module, title)
        fix = fix or "Install its project, set PYTHONPATH, or write FILE.py:NAME."
        require(can_be_imported(module), f"environment {name}", must, "none of this name", fix)
    elif title not in envs.names() and offered(title):
        raise unknown_name("envs.make", "environment", title, envs.names(), envs.SHOWN_BY, offered(title))
    full = f"{module}{sign}{title}"
    return functools.partial(envs.make, full), title, _text_of(envs.factory_of(full), title)


def _registered_by(module: ModuleType) -> list[str]:
    """Returns the names of environments whose factories are written in a module."""
    return sorted(name for name, factory in envs.REGISTRY.items() if unbound(factory).__module__ == module.__name__)


def unbound(factory: Any) -> Any:
    """Returns the function that a factory is, without the arguments that it was given before."""
    return unbound(factory.func) if isinstance(factory, functools.partial) else factory


def _text_of(factory: Callable, title: str) -> bytes:
    """Returns what tells one environment of this name from another: of one that a project registered, the text of its file."""
    factory = unbound(factory)
    ours = factory.__module__.partition(".")[0] == envs.__name__
    return title.encode() if ours else Path(inspect.getfile(factory)).read_bytes()


def _parameters(make_env: Callable) -> dict[str, tuple[type, Any]]:
    """Returns the parameters of a factory that a command line can give: name -> type and default."""
    factory = envs.factory_of(make_env.args[0]) if isinstance(make_env, functools.partial) else make_env
    try:
        hints = typing.get_type_hints(factory)
    except (NameError, TypeError, AttributeError):
        hints = {}
    found = {}
    for parameter in inspect.signature(factory).parameters.values():
        named = parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        must, fix = "every parameter of the factory of an environment must have a default", f"Write {parameter.name}=0.5, say."
        require(not named or parameter.default is not parameter.empty, "environment", must, str(parameter), fix)
        kind, default = hints.get(parameter.name, type(parameter.default)), parameter.default
        kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
        simple = set(kinds) <= {*SIMPLE, type(None)} and isinstance(default, (*SIMPLE, type(None)))
        if simple and named:
            found[parameter.name] = kind, default
    return found


def _default(config: Any) -> Any:
    """Returns the configuration of default values.

    Raises:
        ConfigError: the class is no dataclass, or a field has no default.
    """
    plain = isinstance(config, type) and dataclasses.is_dataclass(config)
    require(plain, "algorithm", "Config must be a dataclass", config, "See `jaxrl new algorithm`.", ConfigError)
    open_fields = [
        field.name
        for field in dataclasses.fields(config)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    must, fix = "every field of Config must have a default", "Give each a default."
    require(not open_fields, "algorithm", must, open_fields, fix, ConfigError)
    return config()
