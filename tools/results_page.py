"""``python -m tools.results_page RUNS``: renews the table of docs/results.md from the newest published runs in a folder.

Experiments that have no such run there keep their rows; the text below the table is written by hand.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxrl.experiment.experiment import load, names
from jaxrl.experiment.trained import Saved
from jaxrl.results.run_directory import RunDirectory

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
HEAD = "| experiment | claim | criterion | measured | verdict |\n|---|---|---|---|---|\n"


def published(runs: Path, name: str) -> Sequence[Mapping[str, Any]]:
    """Returns the claims of the newest finished run of root 0 with the published settings of today, empty if there is none."""
    for folder in sorted((runs / name).glob("*"), reverse=True):
        saved = Saved(RunDirectory(folder))
        today = saved.experiment.digest == json.loads((folder / "config.json").read_text())["experiment"]["digest"]
        if saved.directory.finished and saved.config == load(name).config() and not saved.only and saved.root == 0 and today:
            return saved.directory.claims()
    return []


def row(name: str, claim: Mapping[str, Any]) -> str:
    """Returns the row of a claim."""
    verdict = "**fails**" if claim["verdict"] == "fails" else claim["verdict"]
    measured = "" if claim.get("value") is None else f"{claim['value']:.4g}"
    if claim.get("low") is not None:
        measured += f" [{claim['low']:.4g}, {claim['high']:.4g}]"
    if claim["verdict"] == "open" and claim.get("detail"):
        measured += f"; {claim['detail']}"
    cells = (name, claim["text"], claim["criterion"], measured, verdict)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def renewed(text: str, runs: Path) -> str:
    """Returns the page with the rows of those experiments that have a published run."""
    before, _, rest = text.partition(HEAD)
    table = re.match(r"(?:\|.*\n)*", rest)
    assert table is not None
    old: dict[str, list[str]] = {}
    for line in table[0].splitlines(keepends=True):
        old.setdefault(line.split("|")[1].strip(), []).append(line)
    rows = []
    for name in names():
        claims = published(runs, name)
        rows += [row(name, claim) for claim in claims] or old.get(name, [])
    return f"{before}{HEAD}{''.join(rows)}{rest[table.end() :]}"


def main(arguments: Sequence[str]) -> int:
    """Renews the page and returns the exit status."""
    PAGE.write_text(renewed(PAGE.read_text(), Path(arguments[0] if arguments else "runs")))
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
