"""The rules of the house that a machine can check: who imports whom, and what never stands in the library."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path for folder in ("jaxrl", "envs", "experiments", "tools") for path in (ROOT / folder).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Returns the modules that a file imports anywhere, ``from x import y`` counted as x and x.y."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def offenders(folder: str, forbidden, allowed=()) -> list[str]:
    """Returns the forbidden imports of the files of a folder, or of the one file of that name."""
    return [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in FILES
        if path.with_suffix("").is_relative_to(ROOT / folder) and str(path.relative_to(ROOT)) not in allowed
        for module in imported(path)
        if forbidden(module)
    ]


def within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


# Every room imports from the rooms before it alone, and so does everything outside of the library.
ROOMS = ["errors", "statistics", "core", "blocks", "solvers", "results", "evaluation", "algorithms", "training"]
ROOMS += ["testing", "compat", "sweeps", "report", "experiment", "cli"]
ABOVE = ["envs", "experiments", "tools", "benchmarks", "tests"]
OF_ENVIRONMENTS = ["report", "experiment", "cli"]  # rooms that may know our environments


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_downwards(room):
    above = [f"jaxrl.{name}" for name in ROOMS[ROOMS.index(room) + 1 :]]
    outside = ABOVE[1:] if room in OF_ENVIRONMENTS else ABOVE
    assert not offenders(f"jaxrl/{room}", lambda module: within(module, *above, *outside))


def test_every_module_stands_in_a_room():
    there = {
        path.relative_to(ROOT / "jaxrl").parts[0].removesuffix(".py") for path in FILES if path.is_relative_to(ROOT / "jaxrl")
    }
    assert there == {*ROOMS, "__init__", "__main__"}


def test_papers_hold_scripts_only():
    """Whatever two scripts share stands in the library."""
    folder = ROOT / "experiments"
    assert {path.name for path in folder.glob("*.py")} == {"__init__.py", "__main__.py"}
    assert not offenders("experiments", lambda module: within(module, "experiments", "jaxrl.cli"), ("experiments/__main__.py",))


def test_environments_rest_on_four_modules_only():
    known = ("jaxrl.core.environment", "jaxrl.core.finite", "jaxrl.core.spaces", "jaxrl.errors")
    assert not offenders("envs", lambda module: within(module, *ABOVE[1:], "jaxrl") and not within(module, *known))


# The one-agent algorithm of which each is the multi-agent one.
BUILT_ON = {
    "iql.py": ("jaxrl.algorithms.tabular.q_learning",),
    "mappo.py": ("jaxrl.algorithms.deep.ppo",),
    "minimax_q.py": ("jaxrl.algorithms.tabular.q_learning",),
}


@pytest.mark.parametrize("area", ["tabular", "deep", "multiagent", "games"])
def test_algorithms_do_not_import_each_other(area):
    areas = {path.name for path in (ROOT / "jaxrl/algorithms").iterdir() if path.is_dir()}
    packages = {f"jaxrl.algorithms.{name}" for name in areas}  # by themselves these are empty
    for path in (ROOT / "jaxrl/algorithms" / area).glob("*.py"):
        others = {module for module in imported(path) - packages if within(module, "jaxrl.algorithms")}
        assert not {module for module in others if not within(module, *BUILT_ON.get(path.name, ()))}, path.name


def test_networks_and_distributions_are_the_only_doors():
    assert not offenders("jaxrl", lambda m: within(m, "flax.linen", "flax.nnx"), allowed=("jaxrl/blocks/networks.py",))
    assert not offenders("jaxrl", lambda m: within(m, "distrax"), allowed=("jaxrl/blocks/distributions.py",))


@pytest.mark.parametrize("word", ["pmap", "pure_callback", "io_callback", "debug.callback", "debug.print", "jax.random.PRNGKey"])
def test_no_callbacks_and_no_old_interfaces(word):
    assert not [str(path) for path in FILES if word in path.read_text()]


# Files that ask objects which are not ours for attributes that these may lack, and why.
ASKING = {
    "jaxrl/compat/gymnax.py": "environments of another library, in several of its versions",
    "jaxrl/core/contracts/inputs.py": "functions and callables of the user's: the name of their module",
    "jaxrl/core/contracts/structures.py": "leaves of any pytree",
    "jaxrl/cli/docstrings.py": "modules: names that a docstring mentions",
    "jaxrl/experiment/experiment.py": "modules: the parts of a script",
    "jaxrl/experiment/pairing.py": "modules: the parts of a file with an algorithm or an environment",
    "jaxrl/results/provenance.py": "modules, functions and named tuples of any origin",
    "jaxrl/sweeps/members.py": "named tuples and leaves of any pytree",
    "jaxrl/testing/conformance/environment/protocol.py": "leaves of any pytree",
    "jaxrl/testing/conformance/programs.py": "programs of jax: an equation may hold closed or open ones",
    "jaxrl/training/platform.py": "a function of the operating system",
    "tools/environment_pages.py": "factories: partial or not",
    "tools/game_drawings.py": "parameters of games: some have illegal actions",
}


def asks(path: Path) -> bool:
    """Returns whether a file calls ``hasattr``, or ``getattr`` with a default: it does not know what it has before it."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    names = [(node.func.id, len(node.args)) for node in calls if isinstance(node.func, ast.Name)]
    return ("hasattr", 2) in names or ("getattr", 3) in names


def test_contracts_are_protocols_and_not_attributes_that_may_be_there():
    """See ``jaxrl.core.config`` and ``jaxrl.core.algorithm``."""
    found = {str(path.relative_to(ROOT)) for path in FILES if asks(path)}
    assert found == set(ASKING)


def test_importing_the_library_is_cheap():
    """Neither plotting, tables, the command line, nor distrax may be loaded, and no backend may start."""
    code = (
        "import sys, jaxrl, envs, jaxrl.algorithms.deep.ppo; from jax._src import xla_bridge\n"
        "print([m for m in ('pyarrow', 'matplotlib', 'distrax', 'scipy', 'tyro') if m in sys.modules])\n"
        "print(xla_bridge.backends_are_initialized())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "False"]


def test_the_places_that_the_documentation_names_exist():
    text = (ROOT / "docs/architecture.md").read_text()
    named = re.findall(r"`((?:jaxrl|envs|experiments|tests|tools|benchmarks)/[^`<]*)", text)
    assert len(named) > 10
    assert not [place for place in named if not (ROOT / place).exists()]
    assert not [room for room in ROOMS if f"**{room}**" not in text]
