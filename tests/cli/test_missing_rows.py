"""Runs that lost rows: every command says so, and resuming makes the rows again."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxrl.cli.main import main
from jaxrl.results.finding import find_unfinished
from jaxrl.results.run_directory import RunDirectory
from jaxrl.training.checkpoint import CheckpointWarning
from tests import marks

NAME, ARM = "frozen_lake_q_learning", "Q-learning"
OPTIONS = [NAME, "--seeds", "3", "--env-steps", "4000", "--checkpoint-seconds", "0", "--batch-seeds", "2"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    assert main(["run", *OPTIONS, "--runs", str(runs)]) in (0, 1)
    (folder,) = (runs / NAME).iterdir()
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "runs" / NAME / whole.name))


def tables(folder):
    run = RunDirectory.open(folder)
    order = [("seed", "ascending"), ("update", "ascending")]
    return {name: getattr(run, name)().sort_by(order) for name in ("metrics", "evaluations")}


def account(folder):
    session = ("first_update", "devices", "seconds", "compile_seconds", "env_steps_per_second")
    runs = RunDirectory.open(folder).summary()["runs"]
    return {arm: {name: value for name, value in facts.items() if name not in session} for arm, facts in runs.items()}


def without_tables(run):
    for name in ("metrics", "evaluations"):
        (run.path / f"{name}.parquet").unlink()


def without_the_end_of_seed_1(run):
    table = run.table("metrics")
    table.remove(table.files(), ARM, np.array([1]), 31)


def without_an_evaluation(run):
    table = run.table("evaluations")
    table.remove(table.files(), ARM, np.array([2]), 39)


def without_summary(run):
    (run.path / "summary.json").unlink()


def cut_short(run):
    """The advice of the error is followed: the damaged file is removed."""
    file = run.path / "metrics.parquet"
    file.write_bytes(file.read_bytes()[:-9])
    assert main(["report", str(run.path)]) == 2
    file.unlink()


DAMAGES = [without_tables, *map(marks.slow, (without_the_end_of_seed_1, without_an_evaluation, cut_short, without_summary))]


@pytest.mark.filterwarnings("ignore:constrained_layout")  # by names of folders as labels
@pytest.mark.parametrize("damage", DAMAGES)
def test_resuming_makes_missing_rows_again(damage, whole, folder, capsys):
    run = RunDirectory.open(folder)
    damage(run)
    capsys.readouterr()
    if damage is not without_summary:
        assert main(["report", str(folder)]) == 2
        assert f"jaxrl resume {folder}" in capsys.readouterr().err
        assert "Rows are missing" in (folder / "report.html").read_text()
        main(["compare", str(whole), str(folder), "--metric", "td_error", "--output", str(folder.parents[1] / "out")])
        assert damage in (without_tables, cut_short) or "Beware: rows of" in capsys.readouterr().out
        assert find_unfinished(folder.parents[1], NAME, run.config()) == run
        with pytest.warns(CheckpointWarning, match="are made again"):
            assert main(["resume", str(folder), "--runs", str(folder.parents[1])]) in (0, 1)
    else:
        assert main(["resume", str(folder), "--runs", str(folder.parents[1])]) in (0, 1)
    assert tables(folder) == tables(whole)
    assert account(folder) == account(whole)
    assert RunDirectory.open(folder).finished
    assert main(["report", str(folder)]) == 0
    assert "Rows are missing" not in (folder / "report.html").read_text()


def test_a_part_that_is_lost_while_the_run_goes_on_is_an_error(tmp_path, capsys, monkeypatch):
    """Nothing can be said about rows that vanish behind the back of the run, but that they are missing."""
    close = RunDirectory.close

    def lose(run):
        for part in run.path.glob("metrics/part-00002*"):
            part.unlink()
        close(run)

    monkeypatch.setattr(RunDirectory, "close", lose)
    assert main(["run", *OPTIONS, "--runs", str(tmp_path)]) == 2
    text = capsys.readouterr().err
    assert re.search(r"metrics of Q-learning: 4 rows, of seeds 0 to 1, updates 4 to 5'\. Make them again: jaxrl resume", text), (
        text
    )
    (folder,) = (tmp_path / NAME).iterdir()
    assert not RunDirectory.open(folder).finished


def test_rows_are_made_again_from_a_checkpoint_that_is_kept(tmp_path, capsys):
    options = [*OPTIONS, "--keep-checkpoints", "3", "--runs", str(tmp_path)]
    assert main(["run", *options]) in (0, 1)
    (folder,) = (tmp_path / NAME).iterdir()
    before = tables(folder)
    assert [path.name for path in sorted(folder.glob("checkpoints/*/seeds-0-1-*/*"))] == [f"{n:010}" for n in (36, 38, 40)]
    table = RunDirectory.open(folder).table("metrics")
    table.remove(table.files(), ARM, np.array([1]), 39)
    with pytest.warns(CheckpointWarning, match="from update 39 on: updates 38 to 39"):
        assert main(["resume", str(folder), "--runs", str(tmp_path)]) in (0, 1)
    assert tables(folder) == before
