"""Folders of runs that are damaged, moved or not runs at all: what every command says of them."""

import json
import shutil
from pathlib import Path

import pytest

import jaxrl
from jaxrl.cli.main import main
from jaxrl.errors import JaxrlError, ResultsError
from jaxrl.results.finding import find_run, find_unfinished
from jaxrl.results.run_directory import HALF_MADE, RunDirectory

NAME = "frozen_lake_q_learning"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that has everything, a seed in quarantine by its summary included."""
    runs = tmp_path_factory.mktemp("runs")
    assert main(["run", NAME, "--quick", "--seeds", "2", "--runs", str(runs)]) == 0
    (folder,) = (runs / NAME).iterdir()
    summary = json.loads((folder / "summary.json").read_text())
    for facts in summary["runs"].values():
        facts["failed_seeds"] = {"0": {"update": 3, "place": "metric td_error"}}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "runs" / NAME / whole.name))


COMMANDS = {
    "report": lambda folder, out: main(["report", str(folder)]),
    "resume": lambda folder, out: main(["resume", str(folder), "--runs", str(folder.parents[1])]),
    "compare": lambda folder, out: main(["compare", str(folder), "--output", str(out)]),
    "replay": lambda folder, out: main(["replay", str(folder)]),
    "load": lambda folder, out: jaxrl.load(folder).arm().state(0),
}


def changed(*path, value=None, drop=False):
    """Returns how to damage a JSON value: what lies at a path becomes another value, or is dropped."""

    def change(whole):
        if not path:
            return value
        place = whole
        for name in path[:-1]:
            place = place[next(iter(place)) if name is ANY else name]
        name = next(iter(place)) if path[-1] is ANY else path[-1]
        if drop:
            del place[name]
        else:
            place[name] = value
        return whole

    return change


ANY = object()  # stands for the first name of an object
DAMAGES = [
    ("config.json", changed(value=[])),
    ("config.json", changed(value=7)),
    ("summary.json", changed(value=[])),
    ("summary.json", changed("runs", value=[])),
    ("summary.json", changed("runs", value={"Q": 3})),
    ("summary.json", changed("runs", ANY, "seconds", value="long")),
    ("summary.json", changed("runs", ANY, "planned_updates", drop=True)),
    ("summary.json", changed("runs", ANY, "seeds", value=2.5)),
    ("summary.json", changed("runs", ANY, "failed_seeds", value=[1])),
    ("summary.json", changed("runs", ANY, "failed_seeds", value={"first": 3})),
    ("summary.json", changed("runs", ANY, "failed_seeds", value={"0": {"place": "x"}})),
    ("summary.json", changed("results", value={})),
    ("summary.json", changed("results", 0, "iqm", value=[1])),
    ("summary.json", changed("results", 0, "metric", drop=True)),
    ("summary.json", changed("finished", value="yes")),
    ("claims.json", changed(value={})),
    ("claims.json", changed(0, value="holds")),
    ("claims.json", changed(0, "text", drop=True)),
    ("claims.json", changed(0, "verdict", drop=True)),
    ("claims.json", changed(0, "verdict", value="maybe")),
    ("claims.json", changed(0, "value", value={"a": 1})),
    ("versions.json", changed(value=[])),
    ("versions.json", changed("device", drop=True)),
    ("versions.json", changed("device", "count", value=None)),
    ("arms.json", changed(value={})),
    ("arms.json", changed(0, value=None)),
    ("arms.json", changed(0, "task", drop=True)),
    ("arms.json", changed(0, "arm", value=["Q"])),
    ("arms.json", changed(0, "seeds", value="two")),
]
# Only who reads the settings of the experiment can say that they are none.
UNREADABLE = [
    changed("experiment", drop=True),
    changed("experiment", value="frozen_lake"),
    changed("experiment", "source", value=None),
    changed("experiment", "digest", drop=True),
    changed("config", value=[]),
    changed("config", "seeds", value="many"),
    changed("config", "seeds", value={}),
    changed("config", "algorithm", "gamma", value="high"),
    changed("config", "seeds", drop=True),
    changed("only", value="rate=1"),
    changed("only", value=[1]),
    changed("root", value="first"),
    changed("root", value=-1),
    changed("root", drop=True),
]


def damage(file, change):
    file.write_text(json.dumps(change(json.loads(file.read_text()))))


def refused(command, folder, out, capsys):
    """Returns what a command says of a folder that it refuses."""
    capsys.readouterr()
    if command == "load":
        with pytest.raises(JaxrlError) as found:
            COMMANDS[command](folder, out)
        return str(found.value)
    assert COMMANDS[command](folder, out) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


@pytest.mark.parametrize(("name", "change"), DAMAGES)
def test_a_file_of_another_form_is_named_by_every_command(name, change, folder, tmp_path, capsys):
    damage(folder / name, change)
    for command in COMMANDS:
        text = refused(command, folder, tmp_path / "out", capsys)
        assert str(folder / name) in text, (command, text)
        assert "where" in text or "no '" in text or "the name" in text


@pytest.mark.parametrize("change", UNREADABLE)
def test_settings_that_are_none_are_named(change, folder, tmp_path, capsys):
    damage(folder / "config.json", change)
    for command in ("resume", "replay", "load"):
        assert str(folder / "config.json") in refused(command, folder, tmp_path / "out", capsys), command


@pytest.mark.parametrize("name", ["config.json", "summary.json", "claims.json", "versions.json", "arms.json"])
@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\x00", '{"a": 1}}'])
def test_what_is_no_json_is_named(name, text, folder, tmp_path, capsys):
    (folder / name).write_text(text)
    for command in COMMANDS:
        assert name in refused(command, folder, tmp_path / "out", capsys), command


def test_checkpoints_of_another_form_are_refused(folder, tmp_path, capsys):
    for manifest in folder.rglob("checkpoint.json"):
        damage(manifest, changed("seeds", value={"a": 1}))
    for command in ("replay", "load"):
        assert "checkpoint.json must have all its entries" in refused(command, folder, tmp_path / "out", capsys)


def test_what_is_no_run_is_left_aside(folder):
    runs = folder.parents[1]
    newest = find_run(runs, NAME)
    for other in ("zzz", "99991231T235959.000Z-00000000", f"99991231T235959.999Z-0123abcd.7{HALF_MADE}", "99991231-notes"):
        (folder.parent / other).mkdir()
    (folder.parent / "99991231T235959.999Z-01234567").write_text("a file")
    shutil.copytree(folder, folder.parent / "zzz copy")
    assert find_run(runs, NAME) == newest == RunDirectory(folder)
    job = newest.config()
    assert find_unfinished(runs, NAME, job) is None  # it is finished
    newest.write_summary({"finished": False})
    assert find_unfinished(runs, NAME, job) == newest
    shutil.rmtree(folder)
    with pytest.raises(ResultsError, match="the experiment must have a run"):
        find_run(runs, NAME)


def test_a_folder_that_was_moved_goes_on(folder, tmp_path, capsys):
    RunDirectory(folder).write_summary({"finished": False})
    moved = tmp_path / "archive" / "my best run"
    shutil.move(folder, moved)
    assert main(["resume", str(moved), "--runs", str(tmp_path / "runs")]) == 0
    assert f"{NAME}: {moved / 'report.html'}" in capsys.readouterr().out
    assert RunDirectory.open(moved).finished
    assert RunDirectory(moved).experiment == NAME
    assert NAME in (moved / "report.html").read_text()
    assert jaxrl.load(moved).arm().state(1) is not None
