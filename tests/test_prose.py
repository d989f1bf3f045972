"""The prose of docstrings, comments, messages and pages keeps to plain sentences.

Three forms are excluded: a sentence or a heading that begins with a clause of "What" (questions may), "whoever" and "nobody".
Each has a noun that says more: the result, the caller, no agent.
"""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FORMS = (
    re.compile(r"\bWhat (?!.*\?)[\w`]"),
    re.compile(r"\bwho(?:m)?ever\b", re.IGNORECASE),
    re.compile(r"\bnobody\b", re.IGNORECASE),
    re.compile(r"\bthat which\b", re.IGNORECASE),
)
PLACES = ("jaxrl", "envs", "experiments", "docs")


def occurrences(text):
    return [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if any(f.search(line) for f in FORMS)]


def test_the_forms_are_found():
    text = "What is kept is written.\nWhat is a program?\nwhoever asks\nNobody knows\nand that which is\nWhatever it is"
    assert [number for number, _ in occurrences(text)] == [1, 3, 4, 5]


def test_sentences_have_nouns_as_subjects():
    files = [ROOT / "README.md"]
    files += [path for place in PLACES for kind in ("*.py", "*.md", "*.txt") for path in sorted((ROOT / place).rglob(kind))]
    found = {str(path.relative_to(ROOT)): occurrences(path.read_text(encoding="utf-8")) for path in files}
    assert {name: lines for name, lines in found.items() if lines} == {}, "rewrite these sentences with a noun as their subject"
