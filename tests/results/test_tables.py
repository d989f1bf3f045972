"""Tables on disk: round trips, merging, kills, corruption, full disks."""

import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxrl.errors import ConfigError, ResultsError
from jaxrl.results import storage, tables
from jaxrl.results.recorder import Recorder
from jaxrl.results.run_directory import RunDirectory
from jaxrl.results.sinks import Chunk, Plan
from tests.recording import SEEDS, assert_rows, full_disk, make_chunk, parts, record, truncate


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "runs", "exp", {"gamma": 0.99})


# Round trips


def test_parts_and_merged_file_hold_the_same(run):
    record(run)
    assert len(parts(run)) == len(parts(run, "evaluations")) == 4
    before = run.metrics(), run.evaluations()
    run.close()
    assert sorted(path.name for path in run.path.iterdir()) == [
        "config.json",
        "evaluations.parquet",
        "metrics.parquet",
        "versions.json",
    ]
    assert before[0].equals(run.metrics())
    assert before[1].equals(run.evaluations())
    assert_rows(run)
    assert_rows(run, updates=[4, 9, 14, 19], table="evaluations", metric="greedy_return")
    assert before[0].schema.field("episode_return").type == pa.float32()
    assert pq.ParquetFile(run.path / "metrics.parquet").metadata.row_group(0).column(0).compression == "ZSTD"
    run.close()
    assert_rows(RunDirectory.open(run.path))


def test_arms_may_have_different_columns(run):
    record(run, "ppo", metrics=("episode_return", "clip_fraction"))
    record(run, "dqn", seeds=[1, 2], last=10, metrics=("td_error", "episode_return"), evaluations=())
    for _ in range(2):
        assert run.arms() == ("ppo", "dqn")
        assert run.columns("metrics") == ("episode_return", "clip_fraction", "td_error")
        table = run.metrics()
        assert table.num_rows == 3 * 20 + 2 * 10
        assert table["clip_fraction"].null_count == 20
        assert table["td_error"].null_count == 60
        assert_rows(run, "ppo", metric="clip_fraction")
        assert_rows(run, "dqn", seeds=[1, 2], updates=range(10), metric="td_error")
        assert run.evaluations("dqn").num_rows == 0
        run.close()


@pytest.mark.parametrize("most", [10**7, 250, 1], ids=["all at once", "an arm at a time", "a quantity at a time"])
def test_all_curves_are_those_of_each(run, monkeypatch, most):
    record(run, "ppo", metrics=("episode_return", "clip_fraction"))
    record(run, "dqn", seeds=[1, 2], last=10, metrics=("td_error", "episode_return"), evaluations=())
    monkeypatch.setattr(tables, "READ_AT_ONCE", most)
    found = {(arm, quantity): curves for arm, quantity, curves in run.table("metrics").all_curves()}
    pairs = [("ppo", "episode_return"), ("ppo", "clip_fraction"), ("dqn", "episode_return"), ("dqn", "td_error")]
    assert list(found) == pairs
    for arm, quantity in pairs:
        expected = run.curves(quantity, arm)
        for part, same in zip(found[arm, quantity], expected, strict=True):
            np.testing.assert_array_equal(part, same)
    assert found["dqn", "td_error"].seeds.tolist() == [1, 2]


def test_missing_values_are_null_and_infinities_stay(run):
    values = np.array([[1.0, np.nan], [np.inf, 2.0]])
    recorder = Recorder(run)
    recorder.begin(Plan(np.arange(2), 2, 2, 1, 1))
    recorder.chunk(Chunk(0, np.arange(2), {"x": values}, {"y": np.array([np.nan, 3.0])}, 0.1))
    for _ in range(2):
        assert run.metrics()["x"].to_pylist() == [1.0, None, np.inf, 2.0]
        assert run.evaluations()["y"].to_pylist() == [None, 3.0]
        np.testing.assert_array_equal(run.curves("x").values, values.astype(np.float32))
        run.close()


def test_small_parts_are_merged_into_large_row_groups(run, monkeypatch):
    monkeypatch.setattr(storage, "ROWS_PER_GROUP", 40)
    record(run, length=1)
    run.close()
    metadata = pq.ParquetFile(run.path / "metrics.parquet").metadata
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [42, 18]
    assert_rows(run)


# Kills


def test_a_file_half_written_is_not_seen(run):
    record(run)
    (run.path / "metrics" / "part-00004.parquet.partial").write_bytes(b"PAR1 and no more")
    assert_rows(RunDirectory.open(run.path))
    run.close()
    assert not (run.path / "metrics").exists()


def test_close_killed_before_the_parts_are_removed_counts_no_row_twice(run, monkeypatch):
    record(run)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run.close()
    assert (run.path / "metrics.parquet").exists()
    assert len(parts(run)) == 4
    assert run.metrics().num_rows == 60
    assert_rows(run)
    record(run, first=20, last=30)
    assert run.metrics().num_rows == 90
    run.close()
    assert run.metrics().num_rows == 90
    assert not (run.path / "metrics").exists()
    assert_rows(run, updates=range(30))


def test_close_that_fails_while_merging_leaves_the_parts(run, monkeypatch):
    record(run)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(ResultsError, match="Free some space"):
            run.close()
    assert not (run.path / "metrics.parquet").exists()
    assert_rows(run)


# What cannot be read or written


def test_a_damaged_part_is_named(run):
    record(run)
    truncate(parts(run)[2])
    with pytest.raises(ResultsError, match=r"part-00002\.parquet must be whole"):
        RunDirectory.open(run.path)
    with pytest.raises(ResultsError, match=r"part-00002\.parquet"):
        run.close()
    assert len(parts(run)) == 4
    assert not (run.path / "metrics.parquet").exists()


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 4] ^= 0xFF
    path.write_bytes(bytes(data))


def test_a_flipped_byte_is_found(run):
    record(run, last=400, length=200)
    run.close()
    flip(run.path / "metrics.parquet")
    with pytest.raises(ResultsError, match=r"metrics\.parquet must be whole"):
        run.metrics()
    with pytest.raises(ResultsError, match=r"metrics\.parquet must be whole"):
        list(storage.read_batches(run.path / "metrics.parquet"))


def test_a_full_disk_loses_only_the_chunk_that_did_not_fit(run, monkeypatch):
    recorder = record(run)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(ResultsError, match=r"part-00004\.parquet must be writable.*Free some space"):
            recorder.chunk(make_chunk(SEEDS, 20, 5))
    assert not list(run.path.rglob("*.partial"))
    assert_rows(run)
    recorder.chunk(make_chunk(SEEDS, 20, 5))
    assert_rows(run, updates=range(25))


def test_factors_are_typed_columns_that_survive_merging(tmp_path):
    """Of arms with other factors they are missing; integers and floats of one factor become floats."""
    table = tables.Table(tmp_path / "metrics")
    one, two = np.array([0, 1]), np.array([0])
    table.append("a", one, two, None, {"x": np.ones((2, 1))}, {"method": "plain", "rate": 1, "dueling": True})
    table.append("b", one, two, None, {"x": np.ones((2, 1))}, {"method": "plain", "rate": 0.5, "dueling": False})
    table.append("c", one, two, None, {"y": np.ones((2, 1))}, {"size": 3})
    expected = {
        "a": {"method": "plain", "rate": 1, "dueling": True},
        "b": {"method": "plain", "rate": 0.5, "dueling": False},
        "c": {"size": 3},
    }
    for _ in range(2):
        assert table.factors() == expected
        assert table.columns() == ("x", "y")
        frame = table.rows().to_pandas()
        assert frame["rate"].tolist()[:4] == [1.0, 1.0, 0.5, 0.5]
        assert frame["size"].isna().tolist() == [True] * 4 + [False] * 2
        table.merge()
    table.remove(table.files(), "a", one, 0)
    assert list(table.factors()) == ["b", "c"]
    table.clear()
    assert table.factors() == {}
    with pytest.raises(ConfigError, match="no metric may be named like the columns"):
        table.append("a", one, two, None, {"rate": np.ones((2, 1))}, {"rate": 1})
