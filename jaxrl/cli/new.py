"""``new experiment|environment|algorithm|project NAME``: a small, working, tested start of one's own."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template

from jaxrl.errors import ResultsError, require, unknown_name
from jaxrl.results import storage

KINDS = ("experiment", "environment", "algorithm", "project")


def new(kind: str, name: str, folder: Path = Path()) -> list[Path]:
    """Writes the files of a start and returns their paths.

    Args:
        kind: one of ``KINDS``. A project has one of each of the others.
        name: an identifier: of the module, or of the project's folder.
        folder: where they are written.

    Raises:
        UnknownNameError: there is no such kind. ConfigError: the name is no identifier.
        ResultsError: a file is there already, or cannot be written.
    """
    if kind not in KINDS:
        raise unknown_name("new", "kind of start", kind, KINDS)
    module = name.replace("-", "_")
    must, fix = "a name must be an identifier in lower case", "Try my_idea."
    require(module.isidentifier() and module == module.lower(), "new", must, name, fix)
    files = {folder / path: text for path, text in (_project(module) if kind == "project" else _single(kind, module)).items()}
    there = [str(path) for path in files if path.exists()]
    require(not there, "new", "the files must not be there yet", there, "Choose another name.", ResultsError)
    for path, text in files.items():
        with storage.replacing(path) as file:
            file.write(text.encode())
    return list(files)


def _single(kind: str, module: str) -> dict[str, str]:
    words = {"module": module, "file": f"{module}.py", "up": "parent", "name": module, "title": _title(module)}
    words |= {
        "imports": "import envs\nfrom jaxrl.algorithms.tabular import q_learning",
        "algorithm": "q_learning",
        "environment": 'envs.make("corridor")',
    }
    return {f"{module}.py": _filled(f"{kind}.py", words), f"test_{module}.py": _filled(f"test_{kind}.py", words)}


def _project(module: str) -> dict[str, str]:
    title = _title(module)
    words = {"name": module, "title": title, "algorithm": "learner", "environment": "environment.make()", "up": "parents[1]"}
    words |= {"imports": "import algorithm as learner\nimport environment"}
    files = {part: _filled(part, words) for part in ("pyproject.toml", "README.md")}
    for kind in ("environment", "algorithm", "experiment"):
        own = {**words, "module": kind, "file": f"{kind}.py"}
        files |= {f"{kind}.py": _filled(f"{kind}.py", own), f"tests/test_{kind}.py": _filled(f"test_{kind}.py", own)}
    return {f"{module}/{path}": text for path, text in files.items()}


def _title(module: str) -> str:
    return module.replace("_", " ").capitalize()


def _filled(template: str, words: Mapping[str, str]) -> str:
    text = resources.files("jaxrl.cli").joinpath("templates", f"{template}.txt").read_text(encoding="utf-8")
    return Template(text).substitute(words)
