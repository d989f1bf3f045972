"""The soak: what it takes for a defect, and one short soak."""

import re
import shutil

import numpy as np
import pytest

from benchmarks import endurance, soak
from benchmarks.soak import compare, slope
from jaxrl.results.recorder import Recorder
from jaxrl.results.run_directory import RunDirectory
from jaxrl.results.sinks import Chunk, Plan, RunSummary

SEEDS = np.array([3, 1])


def recorded(folder, seeds=SEEDS, updates=4, change=0.0, finished=True, again=False):
    """A folder of a run with two metrics and one evaluation a chunk."""
    run = RunDirectory.create(folder, "small", {"seeds": 2})
    values = np.arange(2 * updates, dtype=np.float32).reshape(2, updates)[: len(seeds)]
    values[0, 1] = np.nan
    for _ in range(1 + again):
        recorder = Recorder(run)
        recorder.begin(Plan(seeds, updates, updates, 1, 1))
        recorder.chunk(Chunk(0, seeds, {"loss": values, "value": values + change}, {"score": values[:, -1]}, 0.1))
        recorder.end(RunSummary(1.0, 0.5))
        run.close()
    run.write_summary({"finished": finished})
    (run.path / "report.html").write_text("")
    return run.path


@pytest.fixture
def whole(tmp_path):
    return recorded(tmp_path / "whole")


def test_equal_runs_have_no_problems(whole, tmp_path):
    assert compare(whole, [recorded(tmp_path / "other")]) == []
    assert compare(whole, [recorded(tmp_path / "repeated", again=True)]) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"change": 1e-7}, "metrics: value differs in"),
        ({"seeds": SEEDS[:1]}, r"metrics: 4 rows are lost, \('', 1, 0\) for one"),
        ({"updates": 5}, r"metrics: 2 rows too many, \('', 1, 4\) for one"),
        ({"finished": False}, "not marked as finished"),
    ],
)
def test_what_differs_is_named(changes, problem, whole, tmp_path):
    assert re.search(problem, "; ".join(compare(whole, [recorded(tmp_path / "other", **changes)])))


def test_rows_that_came_twice(whole, tmp_path):
    other = recorded(tmp_path / "other")
    (other / "metrics").mkdir()
    shutil.copy(other / "metrics.parquet", other / "metrics" / "part-00007.parquet")
    assert "metrics: 8 rows came twice" in compare(whole, [other])


def test_what_is_left_behind(whole, tmp_path):
    other = recorded(tmp_path / "other")
    (other / "figures").mkdir()
    (other / "figures" / "a.png.123.partial").touch()
    (other / "report.html").unlink()
    assert compare(whole, [other]) == ["a file is left half written: a.png.123.partial", "report.html is missing"]
    (found,) = compare(whole, [whole, recorded(tmp_path / "second", finished=False)])
    assert found == "it left 2 folders of runs instead of one, 1 of them finished"
    (other / "versions.json").unlink()
    assert "versions.json must exist" in compare(whole, [other])[-1]


def test_a_slope_heeds_no_outliers():
    assert slope([1.0, 3.0, 5.0, 7.0]) == 2.0
    assert slope([4.0] * 5 + [400.0] + [4.0] * 5) == 0.0


def test_every_round_trains_what_the_soak_kills():
    assert len(endurance.RUNS) == len(soak.EXPERIMENTS)


@pytest.mark.slow
def test_a_short_soak(tmp_path, capsys):
    """Kills, resumes and compares for real; one experiment, since every other one compiles for a minute."""
    arguments = ["--minutes", "1", "--kills", "2", "--experiments", "frozen_lake_q_learning", "--out", str(tmp_path)]
    status = soak.main(arguments)
    out = capsys.readouterr().out
    assert status == 0, out
    assert "Killed and resumed" in out
    assert len(list(tmp_path.glob("*-soak.json"))) == 1
