"""The run that a name means: whatever names an experiment, and quick runs only where there is no other."""

from pathlib import Path

import pytest

import jaxrl
from jaxrl.cli.main import main
from jaxrl.errors import ResultsError, UnknownNameError
from jaxrl.experiment.runs import find, told
from jaxrl.results.run_directory import RunDirectory

NAME = "small_experiment"
SMALL = str(Path(__file__).parents[1] / f"{NAME}.py")


def in_order(runs):
    """Returns the folders of all runs, oldest first."""
    return sorted((runs / NAME).iterdir())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A published run, one with another budget, and a quick one, in this order."""
    folder = tmp_path_factory.mktemp("runs")
    for options in ([], ["--env-steps", "400"], ["--quick", "--seeds", "3"]):
        assert main(["run", SMALL, *options, "--runs", str(folder)]) in (0, 1)
    return folder


def test_the_settings_of_a_run_are_noted(runs):
    published, other, quick = in_order(runs)
    assert [RunDirectory(path).settings for path in (published, other, quick)] == ["published", "other", "quick"]
    assert main(["resume", str(quick), "--runs", str(runs)]) in (0, 1)
    assert RunDirectory(quick).settings == "quick"
    RunDirectory(other).resume("quick")  # asked for by other options, with the same configuration
    assert RunDirectory(other).settings == "other"
    RunDirectory.create(runs / "elsewhere", "own", {"of": "a script"})
    assert find(runs / "elsewhere", "own").settings == "unknown"


def test_a_quick_run_is_taken_where_there_is_no_other(runs, tmp_path, capsys):
    _, other, quick = in_order(runs)
    assert find(runs, NAME).path == quick, "the newest"
    assert find(runs, NAME, full=True).path == other, "the newest that is no quick one"
    assert find(runs, quick, full=True).path == quick, "it is named"
    capsys.readouterr()
    assert jaxrl.load(NAME, runs).directory.path == other
    said = f"{NAME} is {other}, with settings other than the published ones"
    assert capsys.readouterr().err == f"{said}; newer runs have quick settings\n"
    assert "other settings" in repr(jaxrl.load(other))
    assert not capsys.readouterr().err
    command = ["compare", NAME, "--runs", str(runs), "--output", str(tmp_path / "comparison")]
    assert main(command) == 0
    assert said in capsys.readouterr().err
    only = tmp_path / NAME
    only.mkdir()
    quick.rename(only / quick.name)
    assert find(tmp_path, NAME, full=True).path == only / quick.name
    (only / quick.name).rename(quick)
    assert told(quick, find(runs, quick)) == ""


def test_whatever_names_an_experiment_names_its_runs(runs, tmp_path, capsys, monkeypatch):
    quick = in_order(runs)[-1]
    for name in (NAME, SMALL, f"tests.{NAME}", f"{NAME}/{quick.name}"):
        assert find(runs, name).path == quick, name
    monkeypatch.chdir(Path(SMALL).parent)
    capsys.readouterr()
    assert main(["resume", f"{NAME}.py", "--runs", str(runs)]) in (0, 1)
    assert f"{quick} was finished" in capsys.readouterr().err
    other = tmp_path / f"{NAME}.py"
    other.write_text(f"{Path(SMALL).read_text()}\n# of somebody else")
    with pytest.raises(ResultsError, match=f"there must be a run of {other}, got 'none'"):
        find(runs, other)
    with pytest.raises(UnknownNameError, match="Did you mean 'small_experiment'"):
        find(runs, "small_experimen")
    with pytest.raises(UnknownNameError, match="no experiment or run is named 's3://bucket/run'"):
        find(runs, "s3://bucket/run")


def test_a_pair_and_a_name_with_dashes_name_their_runs(tmp_path):
    for name, spelled in (("q_learning-corridor", "q_learning:corridor"), ("cartpole_ppo", "cartpole-ppo")):
        settings = {"experiment": {"name": name, "source": spelled, "digest": ""}}
        settings["experiment"]["source"] = "experiments.control.cartpole_ppo" if name == "cartpole_ppo" else spelled
        run = RunDirectory.create(tmp_path, name, settings)
        assert find(tmp_path, spelled).path == run.path
