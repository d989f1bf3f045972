"""The documentation: every snippet of the tutorials is executed with tiny budgets, links lead somewhere, and the site builds.

A page is executed in this order: blocks with a title are written as files, ``jaxrl`` commands run, and all other Python blocks
run as one script.
"""

import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import envs
from jaxrl.cli.main import main
from tests.marks import each

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))
ALWAYS = ("first_run", "own_experiment")  # the other pages are left to make conformance
BLOCK = re.compile(r"^ *```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")
QUICK = ("run", "train", "reproduce", "plan", "sweep")  # commands that know --quick
MOST = {"--seeds": 4, "--draws": 2, "--trials": 2, "--batch": 2, "--roots": 2}  # of options on the command line
FEW = {"seeds": 4, "num_updates": 3, "num_steps": 100, "num_iterations": 10, "num_paths": 4}  # of arguments in Python
PAGES = [page.stem if page.stem in ALWAYS else each(page.stem) for page in TUTORIALS]


@pytest.mark.parametrize("name", PAGES)
def test_snippets_of_a_tutorial(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(envs, "REGISTRY", dict(envs.REGISTRY))  # a page registers environments of its own
    blocks = BLOCK.findall((DOCS / "tutorials" / f"{name}.md").read_text())
    monkeypatch.chdir(tmp_path)
    for _, title, text in blocks:
        if title:
            Path(title).write_text(text)
    for language, _, text in blocks:
        for line in textwrap.dedent(text).splitlines() if language == "bash" else ():
            execute(shlex.split(line, comments=True), monkeypatch, capsys)
    script = "\n".join(text for language, title, text in blocks if language == "python" and not title)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", tiny(script)], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert bool(script) == bool(done.stdout)


def execute(words, monkeypatch, capsys):
    if not words:
        return
    if words[0] == "cd":
        monkeypatch.chdir(words[1])
        return
    assert words[0] == "jaxrl", words
    status = main(cheap(words[1:]))
    printed = capsys.readouterr()
    assert status == 0, f"{words}\n{printed.err}"
    assert printed.out, words


def cheap(words):
    """A command with tiny budgets."""
    words = list(words)
    for option in [word for word in words if word in MOST]:
        place = words.index(option) + 1
        words[place] = str(min(int(words[place]), MOST[option]))
    if "--env-steps" in words:
        place = words.index("--env-steps")
        del words[place : place + 2]
    return words + ["--quick"] * (words[0] in QUICK and "--quick" not in words)


def tiny(script):
    """A script with tiny budgets."""
    for argument, most in FEW.items():
        script = re.sub(rf"\b({argument})=([\d_]+)", lambda found, most=most: f"{found[1]}={min(int(found[2]), most)}", script)
    return script.replace("2000)", "4)")  # as many values as seeds


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: str(page.relative_to(DOCS)))
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for link in LINK.findall(text):
        path, _, _ = link.partition("#")
        if path and not re.match(r"[a-z]+:", path):
            assert (page.parent / path).exists(), link


def test_the_reference_names_every_public_module():
    named = "\n".join(page.read_text() for page in (DOCS / "api").glob("*.md"))
    found = re.findall(r"^::: ([\w.]+)$", named, re.MULTILINE)
    rooms = ("experiment", "core", "blocks", "solvers", "evaluation", "algorithms", "sweeps")
    internal = {"jaxrl.experiment.modules"}
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for room in rooms
        for path in (ROOT / "jaxrl" / room).rglob("*.py")
        if path.stem != "__init__" and not path.stem.startswith("_")
    }
    assert modules - internal - set(found) == set()


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    assert [str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if str(page.relative_to(DOCS)) not in navigation] == []


@pytest.mark.each
def test_the_site_builds(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / "api" / "algorithms.html").read_text()
    assert "<li><code>gamma: float = 0.99</code>: discount, in [0, 1]</li>" in re.sub(r"</?p>|\n", "", reference)
    page = (tmp_path / "index.html").read_text()
    assert re.findall(r"<(?:script|link)[^>]+(?:src|href)=\"(https?://[^\"]+\.(?:js|css))", page) == []
