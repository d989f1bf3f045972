"""A finished run goes on for more updates, and is the run that had been asked for them from the start."""

import warnings
from pathlib import Path

import pytest

from jaxrl.algorithms.tabular import q_learning
from jaxrl.cli.main import main
from jaxrl.results.finding import find_unfinished
from jaxrl.results.run_directory import RunDirectory
from jaxrl.training.checkpoint import CheckpointWarning
from tests.outcomes import TINY, only, outcome

SMALL = str(Path(__file__).parents[1] / "small_experiment.py")
SCHEDULED = '''
from dataclasses import dataclass
import envs
from jaxrl.algorithms.tabular import q_learning
from jaxrl.experiment import Arm

CLAIMS = ()

@dataclass(frozen=True)
class Config:
    """A schedule over all updates."""
    num_updates: int = 4
    """Updates (count)."""

QUICK = Config()

def arms(config):
    rate = q_learning.Config(num_steps=20, epsilon=1 / config.num_updates)
    yield Arm({"method": "Q"}, q_learning.make, envs.make("corridor"), rate, seeds=1, num_updates=config.num_updates)
'''


@pytest.fixture(autouse=True)
def bold(monkeypatch):
    monkeypatch.setattr(q_learning.Config, "validate", lambda config, env: None)


def started(runs, *options):
    assert main(["run", *options, "--runs", str(runs)]) in (0, 1)
    return only(runs)


def test_resuming_a_finished_run_says_so_and_how_it_is_trained_longer(tmp_path, capsys):
    folder = started(tmp_path, TINY, "--num-updates", "5")
    capsys.readouterr()
    assert main(["resume", str(folder), "--runs", str(tmp_path)]) in (0, 1)
    said = capsys.readouterr().err
    assert f"{folder} was finished" in said
    command = f"jaxrl extend {folder} --num-updates 10"
    assert command in said
    assert main(command.split()[1:]) in (0, 1)
    said = capsys.readouterr().err
    assert f"{folder} will not have the published settings any more: its verdicts become open" in said
    run = RunDirectory.open(folder)
    assert run.config()["config"]["num_updates"] == 10
    run.write_summary({"finished": False})
    capsys.readouterr()
    assert main(["resume", str(folder), "--runs", str(tmp_path)]) in (0, 1)
    assert "was finished" not in capsys.readouterr().err


@pytest.mark.parametrize("first", [5, 6])
def test_a_longer_run_is_the_run_of_the_longer_budget(first, tmp_path, capsys):
    """Also if the shorter one ended in the middle of a chunk of the longer one."""
    whole = outcome(started(tmp_path / "whole", TINY, "--num-updates", "9"))
    folder = started(tmp_path / "longer", TINY, "--num-updates", str(first))
    with warnings.catch_warnings():
        warnings.simplefilter("error", CheckpointWarning)  # nothing is made again
        assert main(["extend", str(folder), "--num-updates", "9"]) in (0, 1)
    assert outcome(folder) == whole
    run = RunDirectory.open(folder)
    assert run.config()["config"]["num_updates"] == 9
    assert len(list(folder.glob("config-*Z.json"))) == 1, "the settings of before"
    run.write_summary({"finished": False})
    assert find_unfinished(tmp_path / "longer", "tiny_experiment", run.config()) == run
    assert main(["resume", str(folder)]) in (0, 1)
    assert outcome(folder) == whole


def test_chunks_stay_as_long_as_they_were(tmp_path):
    """By default they are a twentieth of a run: the longer one keeps those of the shorter."""
    folder = tmp_path / "runs" / "frozen_lake_q_learning"
    options = ["frozen_lake_q_learning", "--seeds", "2", "--env-steps", "4000", "--runs", str(tmp_path / "runs")]
    assert main(["run", *options]) in (0, 1)
    assert main(["extend", "frozen_lake_q_learning", "--env-steps", "6000", "--runs", str(tmp_path / "runs")]) in (0, 1)
    run = RunDirectory.open(next(folder.iterdir()))
    assert run.curves("greedy_exact_value", "Q-learning").updates.tolist() == list(range(1, 60, 2))
    assert run.summary()["runs"]["Q-learning"]["updates"] == 60
    assert run.summary()["runs"]["Q-learning"]["env_steps"] == 2 * 6000


@pytest.mark.parametrize(
    ("experiment", "options", "message"),
    [
        (TINY, ["--num-updates", "5"], "num_updates must be more than the 5 of before, got 5"),
        (TINY, ["--env-steps", "5000"], "the experiment's configuration must have this budget, got 'env_steps'"),
        (TINY, [], "one budget must be given"),
        ("scheduled", ["--num-updates", "8"], "must not depend on the number of updates, got 'config.epsilon: 0.25 and 0.125'"),
        (SMALL, ["--env-steps", "1600"], "an arm must not begin from the end of another one"),
    ],
)
def test_a_run_that_would_have_been_another_is_refused(experiment, options, message, tmp_path, capsys):
    if experiment == "scheduled":
        experiment = tmp_path / "scheduled.py"
        experiment.write_text(SCHEDULED)
    assert main(["run", str(experiment), "--runs", str(tmp_path / "runs")]) in (0, 1)
    (folder,) = (tmp_path / "runs").glob("*/*")
    capsys.readouterr()
    before = (folder / "config.json").read_bytes()
    assert main(["extend", str(folder), *options]) == 2
    assert message in capsys.readouterr().err
    assert (folder / "config.json").read_bytes() == before
    RunDirectory(folder).write_summary({"finished": False})
    assert main(["extend", str(folder), *options]) == 2
    assert "the run must be finished" in capsys.readouterr().err
