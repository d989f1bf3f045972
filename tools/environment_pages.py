"""``python -m tools.environment_pages DIR``: a page for every family of environments, made of their docstrings, with pictures.

The text follows from the code alone: the same code writes the same bytes. What a page says of an environment is the docstring of
its file and that of its factory, so that is where it is corrected.
"""

import inspect
import itertools
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import envs
from jaxrl.cli import docstrings
from jaxrl.cli.catalogue import Entry, catalogue, describe_space
from jaxrl.cli.docstrings import cell, first_paragraph, inline, markdown, source_of, table, without_sections
from jaxrl.experiment.pairing import unbound
from jaxrl.results.storage import replacing
from tools.environment_pictures import caption, pictures

COMMAND = "python -m tools.environment_pages docs/environments"
LONGEST_DEFAULT, LONGEST_FLOAT = 80, 8  # characters; what is longer is shown as it stands in the code


def write(folder: Path) -> int:
    """Writes all pages, their index and all pictures, and returns the exit status.

    Raises:
        ResultsError: the folder cannot be written.
    """
    entries = [entry for entry in catalogue() if entry.module.__name__.startswith(f"{envs.__name__}.")]
    drawn = pictures(entries)
    for name, image in drawn.items():
        _write(folder / "images" / f"{name}.png", image)
    texts = pages(entries, set(drawn))
    for name, text in texts.items():
        _write(folder / name, text.encode())
    print(f"{len(texts)} pages and {len(drawn)} pictures in {folder}")
    return 0


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as file:
        file.write(content)


def pages(entries: list[Entry], drawn: set[str]) -> dict[str, str]:
    """Returns the text of every page by its file name.

    Args:
        entries: of the catalogue.
        drawn: the environments that have a picture.
    """
    families = {name: list(group) for name, group in itertools.groupby(entries, lambda entry: entry.family)}
    texts = {f"{name}.md": _page(name, group, drawn) for name, group in families.items()}
    return {"README.md": _index(families), **texts}


def _index(families: dict[str, list[Entry]]) -> str:
    rows = []
    for name, group in families.items():
        links = ", ".join(f"[{entry.name}]({name}.md#{entry.name})" for entry in group)
        rows.append((f"[{_title(name)}]({name}.md)", cell(first_paragraph(_about(name))), links))
    count = sum(map(len, families.values()))
    text = f"{count} environments. `envs.make(name, **parameters)` builds one; `jaxrl envs` lists them."
    return _joined(
        "# Environments",
        text,
        table(("family", "what it is", "environments"), rows),
        "![Gridworlds, board games and particle tasks](../environments.png)",
        f"Written by `{COMMAND}`, from the docstrings of the code.",
    )


def _page(family: str, entries: list[Entry], drawn: set[str]) -> str:
    rows = [(f"[{entry.name}](#{entry.name})", cell(_summary(entry, entries))) for entry in entries]
    modules = sorted(_modules(entries).items(), key=lambda item: item[0].__name__)
    sections = [_module_section(module, group, drawn) for module, group in modules]
    return _joined(
        f"# {_title(family)}",
        *markdown(_about(family)),
        "[All families](README.md)",
        table(("environment", "what it is"), rows),
        *sections,
    )


def _modules(entries: Iterable[Entry]) -> dict[ModuleType, list[Entry]]:
    found: dict[ModuleType, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.module, []).append(entry)
    return found


def _module_section(module: ModuleType, entries: list[Entry], drawn: set[str]) -> str:
    """The text of a file once, and under it what its environments are."""
    text = inspect.getdoc(module) or ""
    about = markdown(without_sections(text)) + _source(source_of(text))
    if len(entries) == 1:
        (entry,) = entries
        own = _own_text(entry).partition(".")[2].lstrip()  # the first sentence says what is built, and so does the page
        return _joined(f"## {entry.name}", *_picture(entry, drawn), *about, *_details(entry, own))
    name = module.__name__.rpartition(".")[2]
    parts = [_joined(f"### {entry.name}", *_picture(entry, drawn), *_details(entry, _own_text(entry))) for entry in entries]
    taken = name in {entry.name for entry in entries}  # a link to the environment must not lead here
    return _joined(f"## {f'The rules of {name}' if taken else name.replace('_', ' ')}", *about, *parts)


def _details(entry: Entry, own: str) -> list[str]:
    """What the factory says, what its observations are, the facts, and the parameters."""
    parts = markdown(without_sections(own)) + _source(source_of(own))
    for name in re.findall(r"see ``([\w.]+)``", " ".join(own.split())):
        function = docstrings.resolved(entry.module, name)
        if inspect.isfunction(function) and not docstrings.arguments(function):
            first, *others = markdown(without_sections(inspect.getdoc(function) or ""))
            parts += [f"`{name}`: {first}", *others]
    return [*parts, _facts(entry), *_parameters(entry)]


def _parameters(entry: Entry) -> list[str]:
    """A table, in which neighbours that are explained together share a row."""
    groups = itertools.groupby(explained(entry).items(), lambda item: item[1][1])
    rows = [
        (", ".join(f"`{name}`" for name, _ in group), ", ".join(default for _, (default, _) in group), cell(text))
        for text, group in ((text, list(group)) for text, group in groups)
    ]
    return [table(("parameter", "default", "what it is"), rows)] if rows else []


def _facts(entry: Entry) -> str:
    env = entry.environment
    columns = ("agents", "observation", "action", "time limit", "exact model", "action masks", "global observation")
    values = (
        str(env.num_agents or 1),
        describe_space(env.observation_space),
        describe_space(env.action_space),
        f"{env.max_steps:,}",
        "yes" if env.is_finite else "no",
        "no" if env.action_mask_fn is None else "yes",
        "no" if env.global_obs_fn is None else "yes",
    )
    return table(columns, [values])


def explained(entry: Entry) -> dict[str, tuple[str, str]]:
    """Returns the parameters of an environment: name -> (default, explanation), "" where the docstring has none."""
    function = unbound(entry.factory)
    sources = docstrings.defaults(function)
    found = {}
    for name, parameter in inspect.signature(entry.factory).parameters.items():
        default = "" if parameter.default is parameter.empty else _default(parameter.default, sources.get(name, ""))
        found[name] = default, _explanation(function, entry.module, name)
    return found


def _explanation(function: Any, module: ModuleType, name: str) -> str:
    text = docstrings.arguments(function).get(name, "")
    elsewhere = re.fullmatch(r"see ``([\w.]+)``\.?", text)
    other = elsewhere and docstrings.resolved(module, elsewhere[1])
    return _explanation(other, inspect.getmodule(other) or module, name) if inspect.isfunction(other) else text


def _default(value: Any, source: str) -> str:
    text = repr(value)
    computed = isinstance(value, float) and len(text) > LONGEST_FLOAT
    return f"`{source if computed or callable(value) or len(text) > LONGEST_DEFAULT else text}`"


def _summary(entry: Entry, entries: list[Entry]) -> str:
    """Of its file, one sentence, where that is about this environment alone; otherwise how its factory begins."""
    if len(_modules(entries)[entry.module]) > 1:
        return first_paragraph(_own_text(entry))
    first = re.match(r".*?[.](?=\s+[A-Z]|$)|.*", first_paragraph(inspect.getdoc(entry.module) or ""))
    return first[0] if first else ""


def _own_text(entry: Entry) -> str:
    """What is said of this environment and of no other in its file: beside a payoff table, or by its factory."""
    bound = getattr(entry.factory, "args", ())
    for name, text in docstrings.of_attributes(envs.named).items():
        if any(value is getattr(envs.named, name) for value in bound):
            return text
    own = re.sub(r"^Builds (\w)", lambda found: found[1].upper(), inspect.getdoc(unbound(entry.factory)) or "")
    names = inspect.signature(unbound(entry.factory)).parameters
    settings = {**dict(zip(names, bound, strict=False)), **getattr(entry.factory, "keywords", {})}
    kind = " and ".join(f"``{name}={value!r}``" for name, value in settings.items())
    first, dot, rest = own.partition(".")
    return f"{first}, with {kind}{dot}{rest}" if kind else own


# ---- text


def _about(family: str) -> str:
    return inspect.getdoc(getattr(envs, family)) or f"{_title(family)}."


def _title(family: str) -> str:
    return family.replace("_", " ").capitalize().replace("mdps", "MDPs")


def _source(text: str) -> list[str]:
    return [f"*Source:* {inline(text)}"] if text else []


def _picture(entry: Entry, drawn: set[str]) -> list[str]:
    if entry.name not in drawn:
        return []
    shown = caption(entry)
    return [f"![{entry.name}](images/{entry.name}.png)"] + [f"*Picture:* {inline(shown)}"] * bool(shown)


def _joined(*parts: str) -> str:
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


if __name__ == "__main__":
    sys.exit(write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/environments")))
