"""Runs that are killed, resumed, replayed, planned and verified from the command line."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxrl.cli.execute import Job
from jaxrl.cli.main import main
from jaxrl.errors import ConfigError
from jaxrl.experiment.experiment import load, names
from jaxrl.results import provenance
from jaxrl.results.run_directory import HALF_MADE, RunDirectory

ROOT = Path(__file__).parents[2]
ARM = "Q-learning"
COMMAND = ["frozen_lake_q_learning", "--seeds", "8", "--env-steps", "40000", "--checkpoint-seconds", "0"]


def tables(folder):
    run = RunDirectory.open(folder)
    return {name: run.curves(name, ARM).values for table in ("metrics", "evaluations") for name in run.columns(table)}


def all_runs(folder):
    # A kill may leave a folder half made, which is no run.
    return [path for path in (folder / "frozen_lake_q_learning").glob("*") if path.suffix != HALF_MADE]


def only(folder):
    (run,) = all_runs(folder)
    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The results of a run that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    assert main(["run", *COMMAND, "--runs", str(folder)]) in (0, 1)
    return tables(only(folder))


def kill_at_random_moments(folder, moments, seed):
    """Starts, kills and resumes a run until it ends, and returns how often it was killed."""
    rng, kills = random.Random(seed), 0
    while True:
        process = subprocess.Popen(
            [sys.executable, "-m", "jaxrl", "run", *COMMAND, "--resume", "--runs", str(folder)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            if kills < moments:
                # Anywhere between the first imports and a little later than a whole run would take.
                _, error = process.communicate(timeout=rng.uniform(0.5, 7.0))
            else:
                _, error = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
        else:
            assert process.returncode in (0, 1), error.decode()
        # A kill may also come between the end of the run and that of the process.
        if all_runs(folder) and RunDirectory.open(only(folder)).finished:
            return kills


def assert_equal_tables(folder, whole):
    run = RunDirectory.open(only(folder))
    for table in ("metrics", "evaluations"):
        rows = getattr(run, table)().select(["arm", "seed", "update"]).to_pylist()
        assert len(rows) == len({tuple(row.values()) for row in rows}), "a row came twice"
    for name, values in tables(only(folder)).items():
        np.testing.assert_array_equal(values, whole[name], err_msg=name)


def test_kill_9_and_resume_change_no_bit(tmp_path, whole):
    kill_at_random_moments(tmp_path, 2, seed=1)
    assert_equal_tables(tmp_path, whole)


@pytest.mark.slow
def test_twenty_kills_change_no_bit(tmp_path, whole):
    kills = 0
    for attempt in range(20):
        kills += kill_at_random_moments(tmp_path / str(attempt), 4, seed=attempt)
        assert_equal_tables(tmp_path / str(attempt), whole)
        if kills >= 20:
            break
    assert kills >= 20


def test_resume_by_its_folder(tmp_path, whole, capsys):
    process = subprocess.Popen(
        [sys.executable, "-m", "jaxrl", "run", *COMMAND, "--runs", str(tmp_path)],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(tmp_path.glob("*/*/checkpoints/*/*/*")):
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert main(["resume", str(only(tmp_path)), "--runs", str(tmp_path)]) in (0, 1)
    assert_equal_tables(tmp_path, whole)
    assert RunDirectory.open(only(tmp_path)).finished
    capsys.readouterr()
    assert main(["resume", "frozen_lake_q_learnin", "--runs", str(tmp_path)]) == 2
    assert "Did you mean 'frozen_lake_q_learning'" in capsys.readouterr().err


def test_two_processes_may_not_write_into_one_run(tmp_path, capsys):
    assert main(["run", "frozen_lake_q_learning", "--quick", "--runs", str(tmp_path)]) == 0
    directory = RunDirectory.open(only(tmp_path))
    hold = "import sys, time\nfrom jaxrl.results.run_directory import HALF_MADE, RunDirectory\n"
    hold += "with RunDirectory.open(sys.argv[1]).locked():\n    print('held', flush=True)\n    time.sleep(60)\n"
    with subprocess.Popen([sys.executable, "-c", hold, str(directory.path)], stdout=subprocess.PIPE, cwd=ROOT) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert main(["resume", str(directory.path), "--runs", str(tmp_path)]) == 2
        assert "no other process may write" in capsys.readouterr().err
        other.kill()
    assert main(["resume", str(directory.path), "--runs", str(tmp_path)]) == 0


def test_a_run_of_another_process_is_not_removed_before_it_has_recorded_anything(tmp_path, capsys):
    experiment = load("frozen_lake_q_learning")
    directory = RunDirectory.create(tmp_path, "frozen_lake_q_learning", Job(experiment, experiment.quick).settings)
    with directory.locked():
        assert main(["run", "frozen_lake_q_learning", "--quick", "--resume", "--runs", str(tmp_path)]) == 2
    assert "no other process may write" in capsys.readouterr().err
    assert directory.path.exists()


def test_a_seed_in_quarantine_is_replayed(tmp_path, capsys):
    options = ["--num-envs", "2", "--num-steps", "8", "--num-minibatches", "2", "--num-epochs", "1"]
    command = ["run", "cartpole_ppo", "--quick", "--learning-rate", "1e38", *options, "--runs", str(tmp_path)]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert "goes into quarantine" in said
    assert "cartpole_ppo: every seed of PPO in quarantine; find the cause by jaxrl replay" in said
    assert main(["replay", "cartpole_ppo", "--seed", "1", "--runs", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert re.search(r"went bad at\n  \w+ at .*jaxrl(/\w+)+\.py:\d+", text)
    assert re.search(r"given float32.* in \[", text)
    assert main(["replay", "cartpole_ppo", "--seed", "9", "--runs", str(tmp_path)]) == 2
    assert "no seed in quarantine is named '9'" in capsys.readouterr().err


BROKEN = """
import jax.numpy as jnp
from jaxrl.core.environment import Environment, Step
from jaxrl.core.spaces import Discrete

def reset(key, params):
    return jnp.int32(0), jnp.int32(0)

def step(key, state, action, params):
    reward = jnp.log(-1.0 - state)
    return Step(state, state, reward, jnp.bool_(False))

def make() -> Environment:
    return Environment((), reset, step, Discrete(2), Discrete(2), 10)
"""


def test_a_bad_reward_is_traced_to_the_line_of_the_environment(tmp_path, capsys):
    file = tmp_path / "broken.py"
    file.write_text(BROKEN)
    options = ["--seeds", "2", "--env-steps", "200", "--runs", str(tmp_path / "runs")]
    assert main(["train", "q_learning", str(file), *options]) == 1
    said = capsys.readouterr().err
    assert "seed 0 goes into quarantine at update 0: the environment's metric reward is not finite" in said
    assert "find the cause by jaxrl replay" in said
    assert "jaxrl.testing.check_environment" in said
    assert main(["replay", "q_learning-broken", "--runs", str(tmp_path / "runs")]) == 0
    printed = capsys.readouterr().out
    assert "log at " in printed
    assert f"{file.name}:10 (step)\n    reward = jnp.log(-1.0 - state)" in printed
    assert "jaxrl.testing.check_environment" in printed


# Trains as the command does, and prints the most memory that the process had by the end of the training.
TRAINED = """
import sys
from jaxrl.cli.main import main
from jaxrl.core import machine
from jaxrl.training import runner
from jaxrl.experiment import arms

def run(*args, **kwargs):
    done = runner.run(*args, **kwargs)
    print("peak", machine.peak_of_process(), flush=True)
    return done

arms.run = run
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_plan_foresees_the_memory_of_a_training(tmp_path):
    """The prediction against the peak that the system measures, each in a process of its own."""
    options = ["frozen_lake_q_learning", "--seeds", "4096", "--env-steps", "20000"]
    planned = subprocess.run(
        [sys.executable, "-m", "jaxrl", "plan", *options], cwd=ROOT, capture_output=True, text=True, check=True
    )
    cells = re.findall(r"([0-9.]+)([kMG]?)B", planned.stdout)
    expected = float(cells[2][0]) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[cells[2][1]]
    command = [sys.executable, "-c", TRAINED, "run", *options, "--runs", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    measured = float(re.search(r"peak (\d+)", done.stdout)[1])
    assert abs(expected / measured - 1) < 0.15, f"planned {expected / 1e6:.0f} MB, measured {measured / 1e6:.0f} MB"


def test_plan_shows_every_training(capsys):
    assert main(["plan", "frozen_lake_q_learning", "--seeds", "64", "--env-steps", "2000", "--batch-seeds", "32"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith(f" {ARM}"))
    assert line.split()[1:4] == ["64", "32", "536B"]


@pytest.mark.each
def test_verify_says_what_changes_bits(capsys):
    assert main(["verify", "frozen_lake_q_learning", "--seeds", "4"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip().startswith(ARM)]
    assert len(lines) == 7
    assert all(" equal " in line for line in lines), "the tables of tabular learners depend on nothing"


def test_a_stored_configuration_comes_back(tmp_path):
    for name in names():
        experiment = load(name)
        for config in (experiment.config(), experiment.quick):
            stored = json.loads(json.dumps(provenance.to_json(config), allow_nan=False))
            assert provenance.from_json(stored, experiment.config()) == config
    with pytest.raises(ConfigError, match="must say what it was"):
        provenance.from_json({"seeds": [1, 2]}, load("cartpole_ppo").config())


def test_a_full_disk_stops_a_run_cleanly(tmp_path, capsys, monkeypatch):
    from jaxrl.results import storage

    written = []
    table = storage.write_table

    def full(path, schema, tables):
        if len(written) == 8:
            raise_full(path)
        written.append(path)
        table(path, schema, tables)

    def raise_full(path):
        with storage.writing(path):
            raise OSError(28, os.strerror(28))

    monkeypatch.setattr(storage, "write_table", full)
    assert main(["run", *COMMAND, "--runs", str(tmp_path)]) == 2
    assert "Free some space, then resume" in capsys.readouterr().err
    monkeypatch.setattr(storage, "write_table", table)
    assert main(["resume", str(only(tmp_path)), "--runs", str(tmp_path)]) in (0, 1)
    assert RunDirectory.open(only(tmp_path)).finished
