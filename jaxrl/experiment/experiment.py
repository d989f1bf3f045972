"""An experiment: a module whose arms are trained, whose measurements are recorded, and whose claims are decided.

    Config     a frozen dataclass: the options of the command line and their published values
    QUICK      a small Config that only shows that everything runs
    arms       (config) -> arms: what is trained, as data; nothing is computed here. May be missing
    measure    (config, results) -> rows (factors, values): solvers, baselines, post-processing. May be missing
    figures    (results) -> None: draws into the run's directory. May be missing
    CLAIMS     see ``jaxrl.experiment.claims``

It stands anywhere: ``load`` takes the name of one of ours, the path of a file, the name of a module, or the name of an algorithm
and of an environment, ``ppo:cartpole``.
"""

import hashlib
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxrl.core import contracts
from jaxrl.errors import ConfigError, JaxrlError, require, unknown_name
from jaxrl.experiment.arms import Arm, checked, only
from jaxrl.experiment.claims import Claim
from jaxrl.experiment.modules import import_file, offered
from jaxrl.experiment.results import Results
from jaxrl.results.factors import Factor

PAPERS = "experiments"  # the package of the scripts that come with the library: a folder for each area
Row = tuple[Mapping[str, Factor], Mapping[str, Any]]  # what is measured: factors, and name -> values


@dataclass(frozen=True)
class Experiment:
    """The parts of a module, checked.

    name: under which its runs are stored. source: the name of the module or the path of the file, to find it again.
    digest: of the text of the file, so that a run is only continued by what began it.
    """

    name: str
    source: str
    digest: str
    title: str
    doc: str
    config: type
    quick: Any
    claims: tuple[Claim, ...]
    arms: Callable[[Any], Iterable[Arm]] | None
    measure: Callable[[Any, Results], Iterable[Row]] | None
    figures: Callable[[Results], None] | None

    def chosen_arms(self, config: Any, texts: Sequence[str] = ()) -> list[Arm]:
        """Returns the arms of a configuration, checked.

        Args:
            config: of the experiment.
            texts: which of them; see ``jaxrl.experiment.arms.only``. None means all.

        Raises:
            ConfigError: the function ``arms`` has a mistake, or the arms do not fit together. UnknownNameError: see ``only``.
        """
        if self.arms is None:
            return []
        with contracts.mistakes(f"experiment {self.name}", "arms(config)"):
            arms = list(self.arms(config))
        return only(arms, texts) if texts else checked(arms) if arms else []


def names() -> tuple[str, ...]:
    """Returns the names of the experiments that come with the library, in alphabetical order."""
    return tuple(sorted(_modules()))


def load(name: str) -> Experiment:
    """Imports an experiment.

    Args:
        name: of one of ours, the path of a Python file, the dotted name of a module, or ALGORITHM:ENVIRONMENT.

    Raises:
        UnknownNameError: there is no such experiment, file or module.
        ConfigError: the module cannot be imported or lacks a part.
    """
    known = _modules()
    if ":" in name:
        return _of_pair(name)
    if name.endswith(".py"):
        module = import_file(Path(name))
        return _of_module(module, str(Path(name).expanduser().resolve()), Path(name).stem)
    module = known.get(name.replace("-", "_"), name)
    if "." not in module:
        raise unknown_name("experiments", "experiment", name, known, "the command: jaxrl list", offered(name))
    try:
        return _of_module(importlib.import_module(module), module)
    except JaxrlError:
        raise
    except Exception as error:
        reason = f"{contracts.said(error)}{contracts.raised_at(error)}"
        file = offered(module) if isinstance(error, ModuleNotFoundError) else ""
        fix = file or "Install or mend it, or give the path of a file."
        raise ConfigError(f"experiment: {module} must be a module that can be imported, got {reason}. {fix}") from error


def _modules() -> dict[str, str]:
    """Returns name -> module of the scripts that come with the library: whatever lies in a folder of ``experiments``."""
    package = importlib.import_module(PAPERS)
    found = {}
    for area in pkgutil.iter_modules(package.__path__):
        if area.ispkg:
            folders = [str(Path(folder) / area.name) for folder in package.__path__]
            found |= {script.name: f"{PAPERS}.{area.name}.{script.name}" for script in pkgutil.iter_modules(folders)}
    return found


def _of_pair(source: str) -> Experiment:
    from jaxrl.experiment import pairing

    found = pairing.pair(source)
    config = pairing.config_class(found)
    first = next(iter(found.arms(config(seeds=2))))
    least = contracts.declared_steps("train", first.config)
    quick = config(seeds=2, env_steps=least.before + 2 * (least.per_update or 1))
    name, title = f"{found.algorithm}-{found.environment}", f"{found.algorithm} on {found.environment}."
    return Experiment(name, source, found.digest, title, title, config, quick, (), found.arms, None, pairing.figures)


def _of_module(module: ModuleType, source: str, name: str | None = None) -> Experiment:
    where = f"experiment {source}"
    config, quick, claims = (getattr(module, part, None) for part in ("Config", "QUICK", "CLAIMS"))
    must, fix = "Config must be a frozen dataclass with a default for every field", "See `jaxrl new experiment`."
    require(isinstance(config, type) and is_dataclass(config), where, must, config, fix)
    assert isinstance(config, type)
    require(isinstance(quick, config), where, "QUICK must be a Config with small budgets", quick, fix)
    ours = isinstance(claims, tuple) and all(isinstance(claim, Claim) for claim in claims)
    require(ours, where, "CLAIMS must be a tuple of Claims", claims, "Write CLAIMS = (), or name claims.")
    assert isinstance(claims, tuple)
    parts = {part: getattr(module, part, None) for part in ("arms", "measure", "figures")}
    wrong = {part: value for part, value in parts.items() if value is not None and not callable(value)}
    require(not wrong, where, "arms, measure and figures must be functions", wrong, fix)
    some = parts["arms"] is not None or parts["measure"] is not None
    require(some, where, "there must be a function arms or measure", "neither", fix)
    doc = (module.__doc__ or "").strip() or module.__name__
    text = Path(module.__file__ or "").read_bytes() if module.__file__ else b""
    name = name or source.rpartition(".")[2]
    digest = hashlib.sha256(text).hexdigest()[:16]
    return Experiment(name, source, digest, doc.splitlines()[0], doc, config, quick, claims, **parts)
