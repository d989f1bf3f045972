"""Every snippet and command of the README is executed."""

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jaxrl.cli import label
from jaxrl.cli.main import main
from tests.answering import Browser

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [
    line.split("#")[0].strip() for language, block in BLOCKS if language == "bash" for line in block.splitlines() if line.strip()
]


def test_python_snippets_run_in_order(tmp_path):
    code = "\n".join(block for language, block in BLOCKS if language == "python")
    script = tmp_path / "readme.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "(1000, 200)"
    assert float(lines[1]) < 0.2
    *gaps, equilibria, welfare = [float(word) for word in " ".join(lines[2:]).replace("[", "").replace("]", "").split()]
    assert (equilibria, round(welfare, 6)) == (3, 10.5)
    assert len(gaps) == 8
    assert max(abs(gap) for gap in gaps) < 0.01


def test_the_experiment_is_an_experiment(tmp_path):
    """The snippet in a file of its own, as it stands: its claim holds, and between arms that differ."""
    path = tmp_path / "mine.py"
    path.write_text(next(block for _, block in BLOCKS if "def arms(" in block))
    assert main(["reproduce", str(path), "--runs", str(tmp_path)]) == 0
    (path,) = {found.resolve() for found in tmp_path.rglob("claims.json")}
    (claim,) = json.loads(path.read_text())
    assert claim["low"] > 0


def test_the_new_environment_is_short():
    snippet = next(block for _, block in BLOCKS if "def outcomes" in block)
    assert len([line for line in snippet.splitlines() if line.strip()]) <= 40


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make")])
def test_make_targets_exist(command):
    subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, check=True, capture_output=True)


class Answered(label.Server):
    """A server with somebody before its page who answers all pairs and finishes."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        person = Browser(self.address)
        threading.Thread(target=lambda: (person.answer(), person.finish())).start()


def test_commands_of_the_command_line(tmp_path, capsys, monkeypatch):
    """As printed, with tiny budgets and another results folder, in the order of the README: some build on those before."""
    for command in (c for c in COMMANDS if c.startswith("jaxrl")):
        words = command.split()[1:]
        name = words[0]
        if name in ("run", "train", "reproduce", "plan"):
            words.append("--quick")
        if name == "extend":
            words[words.index("--env-steps") + 1] = "4000"  # more than the tiny budget of the run
        elif "--env-steps" in words:
            words = words[: words.index("--env-steps")] + words[words.index("--env-steps") + 2 :]
        if name != "list":
            words += ["--runs", str(tmp_path)]
        if name == "label":
            monkeypatch.setattr(label, "Server", Answered)
        status = main(words)  # in this process, which has imported jax; the first of them has one of its own below
        printed = capsys.readouterr()
        assert status == 0, f"{command}\n{printed.err}"
        assert printed.out, command


def test_a_command_in_a_process_of_its_own():
    command = next(c for c in COMMANDS if c.startswith("jaxrl"))
    done = subprocess.run([sys.executable, "-m", *command.split()], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout
