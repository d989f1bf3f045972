"""Runs are found by the name of their experiment and by their path."""

import pytest

from jaxrl.errors import ResultsError, UnknownNameError
from jaxrl.results.finding import find_run
from jaxrl.results.run_directory import RunDirectory


def test_find_run_takes_a_name_or_a_path(tmp_path, monkeypatch):
    old = RunDirectory.create(tmp_path, "core_ppo", {"x": 1})
    new = RunDirectory.create(tmp_path, "core_ppo", {"x": 2})
    assert find_run(tmp_path, "core_ppo").path == new.path
    assert find_run(tmp_path, old.path).path == old.path
    assert find_run(tmp_path, f"core_ppo/{old.path.name}").path == old.path
    monkeypatch.chdir(old.path.parent)
    assert find_run(tmp_path, old.path.name).config() == {"x": 1}
    assert find_run(tmp_path, old.path.name).experiment == "core_ppo"
    with pytest.raises(UnknownNameError, match="Did you mean 'core_ppo'"):
        find_run(tmp_path, "coreppo")
    with pytest.raises(UnknownNameError, match="Known: none"):
        find_run(tmp_path / "nowhere", "core_ppo")
    (tmp_path / "core_dp").mkdir()
    with pytest.raises(ResultsError, match="must have a run"):
        find_run(tmp_path, "core_dp")
