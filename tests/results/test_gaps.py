"""Rows that are missing are found and named; tests/cli/test_missing_rows.py has what the commands say about them."""

import numpy as np
import pytest

from jaxrl.errors import ResultsError
from jaxrl.results.gaps import find_gaps, require_no_gaps
from jaxrl.results.run_directory import RunDirectory
from tests.recording import record


def test_missing_rows_are_named(tmp_path):
    run = RunDirectory.create(tmp_path / "runs", "exp", {"gamma": 0.99})
    record(run, "a", seeds=np.arange(3))
    known = {"factors": {}, "make": "make", "config": {}, "task": {}, "root": 0, "evaluates": True, "chunk_length": 5}
    run.write_trainings([{"arm": "a", "seeds": 3, "updates": 20, **known}])
    require_no_gaps(run)
    run.table("metrics").remove(run.table("metrics").files(), "a", np.array([1]), 17)
    assert find_gaps(run) == ["metrics of a: 3 rows, of seed 1, updates 17 to 19"]
    with pytest.raises(ResultsError, match=r"must have a row for each seed and update.*jaxrl resume"):
        require_no_gaps(run)
