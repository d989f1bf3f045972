"""An extension of griffe for the documentation site: the fields that a class docstring names become a list.

seeds: how many.                     - `seeds`: how many.
env_steps: of each seed, of     ->   - `env_steps`: of each seed, of
    which whole updates are made         which whole updates are made
"""

import re

import griffe  # pyright: ignore[reportMissingImports] of the extra docs

FIELD = re.compile(r"(\w+(?:, \w+)*): ")


class FieldLists(griffe.Extension):
    """Rewrites the docstrings of classes when they are loaded."""

    def on_class(self, *, cls: griffe.Class, **_) -> None:
        if cls.docstring is not None:
            blocks = re.split(r"\n\s*\n", cls.docstring.value)
            cls.docstring.value = "\n\n".join(listed(block, set(cls.members)) for block in blocks)


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
