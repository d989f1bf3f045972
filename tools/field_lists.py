"""An extension of griffe for the documentation site: the fields of a class become a list under its docstring.

A docstring may name fields, and a field may have a comment or a docstring of its own:

seeds: how many.                     - `seeds`: how many.
env_steps: of each seed, of     ->   - `env_steps`: of each seed, of
    which whole updates are made         which whole updates are made

gamma: float = 0.99  # discount ->   - `gamma: float = 0.99`: discount
"""

import re

import griffe  # pyright: ignore[reportMissingImports] of the extra docs

FIELD = re.compile(r"(\w+(?:, \w+)*): ")
DEFAULT = re.compile(r"static\((?:default(?:_factory)?=)?(.*)\)$")


class FieldLists(griffe.Extension):
    """Rewrites the docstrings of classes when they are loaded."""

    def on_class(self, *, cls: griffe.Class, **_) -> None:
        if cls.docstring is not None:
            blocks = re.split(r"\n\s*\n", cls.docstring.value)
            fields = "\n".join(_commented(cls))
            cls.docstring.value = "\n\n".join([*(listed(block, set(cls.members)) for block in blocks), fields]).rstrip()


def listed(block: str, members: set[str]) -> str:
    """Returns a paragraph of a docstring, as a list if its first line names fields that are members of the class."""
    lines = block.splitlines()
    if not lines or not _names(lines[0], members):
        return block
    items = []
    for line in lines:
        names = _names(line, members)
        start = ", ".join(f"`{name}`" for name in names)
        items.append(f"- {start}: {line.partition(': ')[2]}" if names else f"    {line.strip()}")
    return "\n".join(items)


def _names(line: str, members: set[str]) -> list[str]:
    found = FIELD.match(line)
    names = found[1].split(", ") if found else []
    return names if set(names) <= members else []


def _commented(cls: griffe.Class) -> list[str]:
    """Returns an item for each field that has a comment on its line."""
    items = []
    lines = cls.module.source.splitlines()
    for field in cls.attributes.values():
        if field.lineno and field.annotation is not None and field.docstring is None:
            comment = _comment(lines, field.endlineno or field.lineno)
            default = DEFAULT.sub(lambda found: found[1], str(field.value or ""))
            items += [f"- `{field.name}: {field.annotation}{default and f' = {default}'}`: {comment}"] if comment else []
    return items


def _comment(lines: list[str], last: int) -> str:
    """Returns the comment behind a field that ends in line ``last``, and the lines of comment that continue it."""
    head = lines[last - 1].partition("  # ")[2]
    if not head:
        return ""
    rest = []
    for line in lines[last:]:
        if not line.strip().startswith("#"):
            break
        rest.append(line.strip().lstrip("# "))
    return " ".join([head, *rest])
