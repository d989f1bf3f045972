"""The command ``sweep``: from the command line to the table, the files and the figure; resuming; user errors."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import envs
import jaxrl
from jaxrl.cli import sweep_fields
from jaxrl.cli.main import main
from jaxrl.cli.sweep import Options
from jaxrl.errors import ConfigError
from jaxrl.evaluation import ExactValue
from jaxrl.experiment.experiment import load, names
from jaxrl.report import style
from jaxrl.results.gaps import find_gaps
from jaxrl.results.run_directory import RunDirectory
from jaxrl.statistics import final_values
from jaxrl.sweeps.members import Field, fields
from jaxrl.training.checkpoint import CheckpointWarning
from tests.marks import each, slow

ROOT = Path(__file__).parents[2]
NAME = "frozen_lake_q_learning"
QUICK = ["sweep", NAME, "--quick", "--seeds", "4"]
RATES = ["--grid", "learning_rate=0.1,0.5"]


def sweep(tmp_path, *options):
    status = main([*QUICK, *options, "--runs", str(tmp_path)])
    folders = sorted((tmp_path / f"{NAME}.sweep").iterdir()) if status == 0 else [tmp_path]
    return status, folders[-1]


def test_a_grid(tmp_path, capsys):
    status, folder = sweep(tmp_path, *RATES, "--grid", "gamma=0.9,0.99", "--held-out", "3")
    assert status == 0
    text = capsys.readouterr().out
    assert "traced, so that other values need no other program: learning_rate, gamma" in text
    assert "4 members in 1 program" in text
    assert "was chosen on seeds 0 to 3" in text
    assert "On seeds 4 to 6, which it was not chosen on, it scores" in text
    run = RunDirectory.open(folder)
    table = json.loads((folder / "sweep.json").read_text())
    assert [entry["score"] for entry in table["members"]] == sorted((e["score"] for e in table["members"]), reverse=True)
    assert table["fields"] == {"learning_rate": "traced", "gamma": "traced"}
    for entry in table["members"]:
        values = final_values(run.curves("greedy_exact_value", entry["name"]).values)
        assert entry["score"] == pytest.approx(values.mean())
        assert entry["name"] == f"learning_rate={entry['values']['learning_rate']}, gamma={entry['values']['gamma']}"
    best = table["selected"]
    assert best["name"] == table["members"][0]["name"]
    again = run.curves("greedy_exact_value", f"held out: {best['name']}").values
    assert best["held_out"]["estimate"] == pytest.approx(final_values(again).mean())
    assert best["held_out_seeds"] == [4, 5, 6]
    assert run.finished
    assert "Diamond" in style.caption(folder / "figures" / "sweep.png")
    assert (folder / "report.html").exists()
    stored = {entry["arm"]: entry for entry in run.trainings()}
    assert set(stored) == {*(entry["name"] for entry in table["members"]), f"held out: {best['name']}"}
    assert stored["learning_rate=0.5, gamma=0.9"]["config"]["learning_rate"] == 0.5
    assert stored["learning_rate=0.5, gamma=0.9"]["factors"] == {"member": "learning_rate=0.5, gamma=0.9"}
    assert (stored[f"held out: {best['name']}"]["first_seed"], stored[f"held out: {best['name']}"]["seeds"]) == (4, 3)
    assert not find_gaps(run)
    assert main(["compare", str(folder), "--output", str(tmp_path / "out")]) == 0
    saved = jaxrl.load(folder)
    assert saved.results.final("greedy_exact_value", member="learning_rate=0.1, gamma=0.9").shape == (4,)
    with pytest.raises(ConfigError, match=r"Read its members by \.results"):
        saved.arm(member="learning_rate=0.1, gamma=0.9")
    (folder / "metrics.parquet").unlink()
    with pytest.warns(CheckpointWarning, match="are made again"):
        assert main(["resume", str(folder)]) == 0
    assert not find_gaps(run)


@pytest.mark.each
def test_the_member_with_the_experiments_own_value_is_the_experiment(tmp_path):
    status, folder = sweep(tmp_path, "--grid", "learning_rate=0.5,0.1")
    assert status == 0
    assert main(["run", NAME, "--quick", "--seeds", "4", "--runs", str(tmp_path)]) == 0
    (plain,) = (tmp_path / NAME).iterdir()
    mine = RunDirectory.open(folder).curves("greedy_exact_value", "learning_rate=0.5").values
    np.testing.assert_allclose(mine, RunDirectory.open(plain).curves("greedy_exact_value", "Q-learning").values, rtol=1e-5)


@pytest.mark.each
def test_halving_of_random_members(tmp_path, capsys):
    options = ["--random", "learning_rate=log:0.01..1", "--random", "num_envs=1,2", "--draws", "5", "--halving"]
    status, folder = sweep(tmp_path, *options, "--env-steps", "1600")
    assert status == 0
    text = capsys.readouterr().out
    assert "static, so that each of 2 values needs a program: num_envs" in text
    assert "successive halving, members and their updates: 5 for 2, 3 for 4, 2 for 8, 1 for 16" in text
    assert "beware: an update takes 100 to 200 environment steps" in text
    table = json.loads((folder / "sweep.json").read_text())
    assert [entry["num_updates"] for entry in table["members"]] == [16, 8, 4, 2, 2]
    run = RunDirectory.open(folder)
    for entry in table["members"]:
        assert run.curves("td_error", entry["name"]).values.shape == (4, entry["num_updates"])
    assert "Hollow" in style.caption(folder / "figures" / "sweep.png")


def test_a_search_that_goes_on(tmp_path):
    pytest.importorskip("optuna")
    options = ["--random", "learning_rate=0.05..1", "--metric", "greedy_optimality_gap", "--minimize"]
    options += ["--batch", "2", "--trials", "4"]
    status, folder = sweep(tmp_path, *options)
    assert status == 0
    assert (folder / "search.db").exists()
    table = json.loads((folder / "sweep.json").read_text())
    scores = [entry["score"] for entry in table["members"]]
    assert len(scores) == 4
    assert scores == sorted(scores)
    assert "4 of them trained now" in "".join(table["notes"])
    (folder / "summary.json").write_text("{}")  # as if it had been killed before its end
    status, again = sweep(tmp_path, *options, "--resume")
    assert (status, again) == (0, folder)
    resumed = json.loads((folder / "sweep.json").read_text())
    assert "0 of them trained now" in "".join(resumed["notes"])
    assert (resumed["members"], resumed["selected"]) == (table["members"], table["selected"])


@pytest.mark.parametrize("by", [each("the same command"), slow("its folder"), slow("its name")])
def test_a_sweep_that_was_killed_goes_on(tmp_path, by):
    options = [*RATES, "--halving", "--env-steps", "1600", "--checkpoint-seconds", "0"]
    program = (
        "import os, signal, sys, jaxrl.results.recorder as r, jaxrl.cli.main as m\n"
        "chunk, left = r.Recorder.chunk, [7]\n"
        "def kill(self, given):\n"
        "    left[0] -= 1\n"
        "    chunk(self, given) if left[0] else os.kill(os.getpid(), signal.SIGKILL)\n"
        "r.Recorder.chunk = kill\n"
        "m.main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", program, *QUICK, *options, "--runs", str(tmp_path / "a")]
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == -9
    (folder,) = (tmp_path / "a" / f"{NAME}.sweep").iterdir()
    going_on = {
        "the same command": [*QUICK, *options, "--resume"],
        "its folder": ["resume", str(folder), "--checkpoint-seconds", "0"],
        "its name": ["resume", f"{NAME}.sweep"],
    }
    assert main([*going_on[by], "--runs", str(tmp_path / "a")]) == 0
    assert main([*QUICK, *options, "--runs", str(tmp_path / "b")]) == 0
    (resumed,), (whole,) = ((tmp_path / name / f"{NAME}.sweep").iterdir() for name in "ab")
    tables = [json.loads((folder / "sweep.json").read_text()) for folder in (resumed, whole)]
    assert tables[0]["members"] == tables[1]["members"]
    assert tables[0]["selected"] == tables[1]["selected"]


def test_parameters_of_the_environment_are_swept_with_their_own_referee(tmp_path, capsys):
    """Members differ in the slip and in the discount; each is evaluated by the exact model of its own lake, in one program.

    The discount of the evaluation stays that of the experiment: members are compared by one criterion.
    """
    grid = ["--grid", "env.slip=0.0,0.6", "--grid", "gamma=0.9,0.95", "--held-out", "2"]
    common = [
        "--quick",
        "--seeds",
        "4",
        "--env-steps",
        "4000",
        "--metric",
        "greedy_optimality_gap",
        "--minimize",
        "--runs",
        str(tmp_path),
    ]
    assert main(["sweep", "q_learning:frozen_lake", *common, *grid]) == 0
    assert "4 members in 1 program" in capsys.readouterr().out
    (folder,) = (tmp_path / "q_learning-frozen_lake.sweep").iterdir()
    run = RunDirectory.open(folder)
    for slip in (0.0, 0.6):
        name = f"env.slip={slip}, gamma=0.95"
        exact = ExactValue.of(envs.make("frozen_lake", slip=slip), 0.99)
        value, gap = (run.curves(metric, name).values for metric in ("greedy_exact_value", "greedy_optimality_gap"))
        np.testing.assert_allclose(value + gap, float(exact.optimum), atol=1e-5)
    written = json.loads((folder / "sweep.json").read_text())
    assert written["fields"] == {"env.slip": "of the experiment", "gamma": "traced"}
    best = written["selected"]
    assert set(best["values"]) == {"env.slip", "gamma"}
    assert best["held_out_seeds"] == [4, 5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "there must be fields to sweep"),
        (["--grid", "learning_rat=0.1"], "no field is named 'learning_rat'. Did you mean 'learning_rate'"),
        (["--grid", "learning_rate"], "--grid must have the form FIELD=VALUES"),
        (["--grid", "learning_rate=quick"], "learning_rate must be of type float, got 'quick'. Write it like 0.5."),
        (["--random", "epsilon=low..0.5"], "epsilon must be of type float, got 'low'. Write it like 0.2."),
        (["--grid", "learning_rate=0.1", "--grid", "learning-rate=0.2"], "--grid may name a field once"),
        (["--grid", "learning_rate=0.1,7"], "learning_rate must lie in [0, 1]"),
        (["--random", "learning_rate=1..0"], "low must be below high"),
        ([*RATES, "--metric", "greedy_exact_valu"], "Did you mean 'greedy_exact_value'"),
        ([*RATES, "--only", "algorithm=other"], "algorithm must be one of Q-learning, got 'other'"),
        (["--grid", "env_steps=2000,4000", "--halving"], "fields of the experiment can be swept by --grid and --random alone"),
        ([*RATES, "--num-processes", "2"], "a sweep must have a process of its own, got 2"),
        ([*RATES, "--trials", "3"], "--trials must be given with --random alone"),
    ],
    ids=str,
)
def test_user_errors_are_one_line(options, message, tmp_path, capsys):
    assert sweep(tmp_path, *options)[0] == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("field", "example"),
    [
        (Field("rate", True, np.float32([0.0003])), "0.0003"),
        (Field("rate", True, 0.0), "0.1"),
        (Field("steps", False, 128), "128"),
        (Field("hidden", False, (64, 64)), "(64, 64)"),
        (Field("flag", False, True), "true"),
    ],
    ids=str,
)
def test_a_value_of_another_type_is_answered_by_an_example_that_the_field_takes(field, example):
    with pytest.raises(ConfigError, match=rf"Write it like {re.escape(example)}\.$"):
        sweep_fields.listed({field.name: field}, [f"{field.name}=(no"])
    assert sweep_fields.listed({field.name: field}, [f"{field.name}={example}"])


def test_no_experiment_has_an_option_of_the_same_name():
    own = {field.name for field in dataclasses.fields(Options)}
    for name in names():
        there = {field.rpartition(".")[2] for field in fields(load(name).config())}
        assert not there & own, name


def test_help(capsys):
    assert main(["sweep", "--help"]) == 0
    assert "sweep NAME" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["sweep", NAME, "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "FIELD=LOW..HIGH" in text
    assert "--random learning_rate=log:1e-5..1e-2 --draws 32" in text
