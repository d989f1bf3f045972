"""The accounts of arms: what recording them cost, by one process or several, in one session or several."""

from dataclasses import replace

import numpy as np
import pytest

from jaxrl.results.recorder import Recorder
from jaxrl.results.run_directory import RunDirectory
from jaxrl.results.sinks import Failure, Plan, RunSummary
from tests.recording import SEEDS, make_chunk, record, strict

SUMMARY = RunSummary(seconds=12.0, compile_seconds=2.0)


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "runs", "exp", {"gamma": 0.99})


def test_recorders_add_what_each_run_cost(run):
    record(run, "a").end(SUMMARY._replace(failed_seeds={7: Failure(3, "metric x"), 4: Failure(2, "state")}))
    record(run, "b", steps=None).end(SUMMARY._replace(interrupted=True))
    run.write_summary({"results": [{"iqm": np.float32("nan")}]})
    summary = strict(run.path / "summary.json")
    assert summary["results"] == [{"iqm": None}]
    assert summary["runs"]["a"]["env_steps"] == 3 * 20 * 8
    assert summary["runs"]["a"]["env_steps_per_second"] == 3 * 20 * 8 / 10
    assert summary["runs"]["a"]["failed_seeds"] == {
        "4": {"update": 2, "place": "state"},
        "7": {"update": 3, "place": "metric x"},
    }
    assert summary["runs"]["b"]["env_steps"] is None
    assert summary["runs"]["b"]["interrupted"] is True


@pytest.mark.parametrize("writers", [(None,), (0, 1)])
def test_the_account_of_what_is_complete_does_not_depend_on_its_sessions(run, writers):
    """One process went on from update 10, another one had nothing left to do and noted nothing."""
    plan = Plan(SEEDS, 20, 5, 8, 1, first_updates=np.full(3, 10))
    for writer in writers:
        recorder = Recorder(replace(run, writer=writer), "a")
        if writer != 1:
            recorder.begin(plan)
            recorder.chunk(make_chunk(SEEDS, 10, 10))
            recorder.end(SUMMARY)
        recorder.complete(Plan(np.arange(8), 20, 5, 8, 1), SUMMARY._replace(failed_seeds={5: Failure(3, "metric x")}))
    replace(run, writer=writers[0]).close()
    facts = run.summary()["runs"]["a"]
    assert (facts["seeds"], facts["updates"], facts["planned_updates"], facts["env_steps"]) == (8, 20, 20, 8 * 20 * 8)
    assert facts["failed_seeds"] == {"5": {"update": 3, "place": "metric x"}}
    assert (facts["first_update"], facts["seconds"]) == (10, SUMMARY.seconds)
    assert not (run.path / "facts").exists()
