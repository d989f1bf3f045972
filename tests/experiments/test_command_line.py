"""The command line: what it prints, what it writes, and how it fails."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import experiments
from experiments import protocol
from experiments.__main__ import main
from experiments.protocol import Claim, Verdict, decide
from jaxrl.results import RunDirectory

ROOT = Path(__file__).parent.parent.parent


def test_list_names_every_experiment(capsys):
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in experiments.NAMES)


@pytest.mark.parametrize("name", experiments.NAMES)
def test_every_experiment_keeps_its_form(name):
    module = experiments.load(name)
    assert "Source:" in module.__doc__
    assert module.CLAIMS
    assert all(isinstance(claim, Claim) and claim.source for claim in module.CLAIMS)
    assert isinstance(module.QUICK, module.Config)


def test_quick_run_writes_everything(tmp_path, capsys):
    options = ["--quick", "--seeds", "3", "--epsilon", "0.4", "--runs", str(tmp_path)]
    assert main(["run", "frozen_lake_q_learning", *options]) == 0
    (folder,) = (tmp_path / "frozen_lake_q_learning").iterdir()
    config = json.loads((folder / "config.json").read_text())
    assert config["seeds"] == 3
    assert config["algorithm"]["epsilon"] == 0.4
    run = RunDirectory.open(folder)
    assert run.curves("exact_value").values.shape == (3, 20)
    assert run.curves("td_error").values.shape == (3, 20)
    assert [claim["passed"] for claim in run.claims()] == [None] * 4
    assert {"versions.json", "summary.json", "report.html"} <= set(os.listdir(folder))
    assert len(list((folder / "figures").glob("*.png"))) == 3
    assert (folder / "replays" / "run.gif").read_bytes().startswith(b"GIF8")  # an episode, which the report shows
    assert "data:image/gif" in (folder / "report.html").read_text()
    assert "not decided" in capsys.readouterr().out
    assert main(["report", str(folder)]) == 0
    assert main(["report", "frozen_lake_q_learning", "--runs", str(tmp_path)]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rum", "cartpole_ppo"], "Did you mean 'run'"),
        (["run", "cartpole_pp"], "Did you mean 'cartpole_ppo'"),
        (["reproduce", "frozen_lake"], "Did you mean 'frozen_lake_q_learning'"),
        (["reproduce"], "Known: bt_rm, cartpole_ppo"),
        (["run", "cartpole_ppo", "--quick", "--num-minibatches", "7"], "must be divisible by num_minibatches, got 7. Try 4"),
        (["run", "cartpole_ppo", "--quick", "--seeds", "0"], "at least one seed"),
        (["run", "frozen_lake_q_learning", "--quick", "--gamma", "1.5"], r"gamma must lie in [0, 1], got 1.5"),
        (["run", "frozen_lake_q_learning", "--quick", "--steps", "10"], "num_updates must be an integer of at least 1"),
        (["report", "nowhere"], "nowhere"),
    ],
    ids=str,
)
def test_user_errors_are_one_line_without_traceback(arguments, message, tmp_path, capsys):
    runs = [] if "rum" in arguments else ["--runs", str(tmp_path)]
    assert main([*arguments, *runs]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_results_folder_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["run", "frozen_lake_q_learning", "--quick", "--runs", str(tmp_path / "file")]) == 2
    assert "error:" in capsys.readouterr().err


def test_a_corrupt_results_folder(tmp_path, capsys):
    assert main(["run", "frozen_lake_q_learning", "--quick", "--seeds", "2", "--runs", str(tmp_path)]) == 0
    (folder,) = (tmp_path / "frozen_lake_q_learning").iterdir()
    table = folder / "metrics.parquet"
    table.write_bytes(table.read_bytes()[:200])
    capsys.readouterr()
    assert main(["report", str(folder)]) == 2
    assert "metrics.parquet" in capsys.readouterr().err


def test_help_explains_every_field():
    done = subprocess.run(
        [sys.executable, "-m", "experiments", "run", "cartpole_ppo", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0
    text = " ".join(done.stdout.replace("│", " ").split())
    for words in (
        "--seeds INT Independent learners",
        "--gamma FLOAT discount, in [0, 1] (default: 0.99)",
        "--num-envs INT environments",
    ):
        assert words in text
    assert " (default: " in text


def test_a_failed_claim_is_reported_as_failed(tmp_path, monkeypatch, capsys):
    module = experiments.load("frozen_lake_q_learning")
    never = Claim("The impossible happens", "nobody", lambda run: Verdict(False, 0.1, "value >= 1", 0.0, 0.2))
    monkeypatch.setattr(module, "CLAIMS", (never,))
    monkeypatch.setattr(module, "Config", lambda: module.QUICK)
    assert main(["reproduce", "frozen_lake_q_learning", "--runs", str(tmp_path)]) == 1
    text = capsys.readouterr().out
    assert "FAILS" in text


def test_threshold_checks(tmp_path):
    assert main(["run", "frozen_lake_q_learning", "--quick", "--runs", str(tmp_path)]) == 0
    (folder,) = (tmp_path / "frozen_lake_q_learning").iterdir()
    run = RunDirectory.open(folder)
    mean = float(protocol.last(run, "optimality_gap").mean())
    assert protocol.mean_at_least("optimality_gap", mean - 0.01)(run).passed
    assert not protocol.mean_at_least("optimality_gap", mean + 0.01)(run).passed
    assert protocol.mean_within("optimality_gap", mean - 0.01, mean + 0.01)(run).passed
    assert not protocol.mean_within("optimality_gap", mean + 0.01, 9.0)(run).passed
    entries = decide((Claim("t", "s", protocol.equals(lambda: 2.0, 1.0, 0.5)),), run)
    assert entries[0]["passed"] is False
    assert run.claims()[0]["value"] == 2.0


def test_ctrl_c_keeps_what_was_computed(tmp_path):
    command = [sys.executable, "-m", "experiments", "run", "frozen_lake_q_learning", "--seeds", "8", "--steps", "8000000"]
    restore = (  # a test run in the background inherits an ignored Ctrl-C
        "import signal, sys, runpy; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "sys.argv = sys.argv[1:]; runpy.run_module('experiments', run_name='__main__')"
    )
    command = [sys.executable, "-c", restore, *command[2:], "--runs", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(tmp_path.glob("*/*/metrics/part-*.parquet")):
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "kept" in error
    (folder,) = (tmp_path / "frozen_lake_q_learning").iterdir()
    run = RunDirectory.open(folder)
    assert run.curves("td_error").values.shape[0] == 8
    assert run.summary()["runs"][""]["interrupted"]
    assert (folder / "report.html").exists()


def test_the_catalogue_names_every_environment(capsys):
    import envs

    assert main(["envs"]) == 0
    text = capsys.readouterr().out
    rows = [line for line in text.splitlines() if line.startswith("  ")]
    named = {row.split()[0] for row in rows if row[2] != " "}
    assert named == set(envs.REGISTRY)
    (lake,) = (row for row in rows if row.split()[0] == "frozen_lake")
    assert lake.split()[1:6] == ["1", "16", "choices", "4", "choices"]
    assert " yes " in lake
