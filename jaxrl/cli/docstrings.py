"""Reading docstrings, in the form that all of this project have, and writing them as Markdown."""

import ast
import inspect
import itertools
import re
import textwrap
from collections.abc import Callable
from types import ModuleType
from typing import Any

SECTIONS = ("Args:", "Raises:", "Returns:", "Source")


def source_of(text: str) -> str:
    """Returns what a docstring says after "Source:", or "" where it does not."""
    sources = [part for part in text.split("\n\n") if part.startswith("Source")]
    return " ".join(sources[0].split()).partition(": ")[2] if sources else ""


def without_sections(text: str) -> str:
    """Returns a docstring without its source, arguments, errors and results."""
    return "\n\n".join(paragraph for paragraph in text.split("\n\n") if not paragraph.startswith(SECTIONS))


def first_paragraph(text: str) -> str:
    """Returns the first paragraph of a docstring in one line."""
    return " ".join(text.split("\n\n")[0].split())


def arguments(function: Callable) -> dict[str, str]:
    """Returns what the Args section says of each parameter. A line may speak of several, and a text of some together."""
    doc = inspect.getdoc(function) or ""
    section = re.split(r"\n(?=\S)", doc.partition("Args:\n")[2])[0]
    one = "|".join(sorted(inspect.signature(function).parameters, key=len, reverse=True))
    heads = list(re.finditer(rf"(?:^|(?<=\s))((?:{one})(?:, (?:{one}))*): ", section)) if one else []
    found = {}
    for head, following in itertools.zip_longest(heads, heads[1:]):
        text = " ".join(section[head.end() : following.start() if following else None].split())
        found |= dict.fromkeys(head[1].split(", "), text)
    return found


def defaults(function: Callable) -> dict[str, str]:
    """Returns the defaults of a function's parameters as they stand in the code."""
    definition = ast.parse(inspect.getsource(function)).body[0]
    assert isinstance(definition, ast.FunctionDef)
    values = definition.args.defaults
    names = [argument.arg for argument in definition.args.args]
    return {name: ast.unparse(value) for name, value in zip(names[len(names) - len(values) :], values, strict=True)}


def of_attributes(module: ModuleType) -> dict[str, str]:
    """Returns the strings that follow assignments in a file, by the name that is assigned."""
    found = {}
    for one, following in itertools.pairwise(ast.parse(inspect.getsource(module)).body):
        match one, following:
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
    return found


def resolved(module: ModuleType, name: str) -> Any:
    """Returns what a dotted name means in a module, or None."""
    value: Any = module
    for part in name.split("."):
        value = getattr(value, part, None)
    return value


def markdown(text: str) -> list[str]:
    """Returns the paragraphs of a docstring as Markdown; what is indented there is code here, as it stands."""
    found = []
    for paragraph in text.split("\n\n"):
        code = paragraph.startswith("    ")
        found.append(f"```\n{textwrap.dedent(paragraph)}\n```" if code else inline(" ".join(paragraph.split())))
    return [paragraph for paragraph in found if paragraph]


def inline(text: str) -> str:
    """Returns a line as Markdown: code stays what it is, and of the rest what would be marks is escaped."""
    parts = re.split(r"(``.+?``)", text)
    return "".join(f"`{part[2:-2]}`" if part.startswith("``") else re.sub(r"([\\*<`|]|\b_|_\b)", r"\\\1", part) for part in parts)


def cell(text: str) -> str:
    """Returns a line as an entry of a table, which a bar would end even within code."""
    return re.sub(r"(`[^`]*)\|([^`]*`)", r"\1\\|\2", inline(text))


def table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Returns a table of entries that are Markdown already."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [columns, ("---",) * len(columns), *rows])
