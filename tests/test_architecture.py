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
ROOMS += ["testing", "compat", "sweeps", "studies", "report", "experiment", "cli"]
ABOVE = ["envs", "experiments", "tools", "benchmarks", "tests"]
OF_ENVIRONMENTS = ["studies", "report", "experiment", "cli"]  # rooms that may know our environments


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


# The algorithm of which each is the multi-agent form, or that it trains on steps of a model.
BUILT_ON = {
    "independent_reinforce.py": ("jaxrl.algorithms.tabular.reinforce",),
    "friend_or_foe_q.py": ("jaxrl.algorithms.multiagent.minimax_q",),
    "iql.py": ("jaxrl.algorithms.tabular.q_learning",),
    "maddpg.py": ("jaxrl.algorithms.deep.td3",),
    "mappo.py": ("jaxrl.algorithms.deep.ppo",),
    "mbpo.py": ("jaxrl.algorithms.deep.sac",),
}


@pytest.mark.parametrize("area", ["tabular", "deep", "model_based", "planning", "multiagent", "games", "offline"])
def test_algorithms_do_not_import_each_other(area):
    areas = {path.name for path in (ROOT / "jaxrl/algorithms").iterdir() if path.is_dir()}
    packages = {f"jaxrl.algorithms.{name}" for name in areas}  # by themselves these are empty
    for path in (ROOT / "jaxrl/algorithms" / area).glob("*.py"):
        others = {module for module in imported(path) - packages if within(module, "jaxrl.algorithms")}
        assert not {module for module in others if not within(module, *BUILT_ON.get(path.name, ()))}, path.name


NAMES = ("layers", "actor_critic", "attention", "values", "memory", "latent_model", "dynamics_model", "convolutional", "graphs")
NETWORKS = [f"jaxrl/blocks/networks/{name}.py" for name in (*NAMES, "equivariant", "mixers", "communication")]


def test_networks_and_distributions_are_the_only_doors():
    assert not offenders("jaxrl", lambda m: within(m, "flax.linen", "flax.nnx"), allowed=NETWORKS)
    assert not offenders("jaxrl", lambda m: within(m, "distrax"), allowed=("jaxrl/blocks/distributions.py",))


@pytest.mark.parametrize("word", ["pmap", "pure_callback", "io_callback", "debug.callback", "debug.print", "jax.random.PRNGKey"])
def test_no_callbacks_and_no_old_interfaces(word):
    assert not [str(path) for path in FILES if word in path.read_text()]


# Files that ask objects which are not ours for attributes that these may lack, and why.
ASKING = {
    "jaxrl/algorithms/constrained/lagrangian.py": "stored steps of any learner: whether they have a reward",
    "jaxrl/compat/gymnax.py": "environments of another library, in several of its versions",
    "jaxrl/compat/spaces.py": "spaces of other libraries",
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


# ---- sizes

MOST_LINES, MOST_LEVELS = 60, 3
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
FLOW = (ast.For, ast.AsyncFor, ast.While, ast.If, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)


def lines_of(function: ast.AST, text: list[str]) -> int:
    """Counts the lines of a function from ``def`` to its end, nested ones included; no docstrings, comments or empty lines."""
    quoted: set[int] = set()
    for node in ast.walk(function):
        if isinstance(node, DEFINITIONS) and ast.get_docstring(node) is not None:
            quoted |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = range(function.lineno, function.end_lineno + 1)
    return sum(number not in quoted and text[number - 1].strip()[:1] not in ("", "#") for number in lines)


def levels_of(node: ast.AST) -> int:
    """Returns how deep loops, conditions, ``with`` and ``try`` lie in each other; ``elif`` is on the level of its ``if``.

    A function inside begins anew.
    """
    inner = [child for child in ast.iter_child_nodes(node) if not isinstance(child, (*DEFINITIONS, ast.Lambda))]
    continues = isinstance(node, ast.If) and len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If)
    deepest = (levels_of(child) - (continues and child is node.orelse[0]) for child in inner)
    return max(deepest, default=0) + isinstance(node, FLOW)


def functions() -> list[tuple[str, ast.AST, list[str]]]:
    """Returns every function as ``file:name``, its tree and the lines of its file."""
    return [
        (f"{path.relative_to(ROOT)}:{node.name}", node, text.splitlines())
        for path in FILES
        for text in [path.read_text()]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_functions_are_short():
    found = {name: lines_of(function, text) for name, function, text in functions()}
    assert not {name: lines for name, lines in found.items() if lines > MOST_LINES}


def test_functions_are_flat():
    found = {name: levels_of(function) for name, function, _ in functions()}
    assert not {name: levels for name, levels in found.items() if levels > MOST_LEVELS}


def test_sizes_are_counted_as_they_say():
    text = '''def outer(
    one,
):
    """Two lines
    of docstring."""
    # A comment.

    if one:
        pass
    elif one > 1:
        for _ in one:
            pass
    def inner():
        """Again."""
        with one:
            return 1
'''
    outer = ast.parse(text).body[0]
    assert lines_of(outer, text.splitlines()) == 11
    assert levels_of(outer) == 2
