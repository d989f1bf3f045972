"""Results on disk: round trips, kills, corruption, full disks, strict JSON."""

import dataclasses
import enum
import errno
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flax import struct

from jaxrl import provenance, statistics, storage
from jaxrl.algorithm import Algorithm
from jaxrl.env import static
from jaxrl.errors import ConfigError, ResultsError, UnknownNameError
from jaxrl.quarantine import Failure
from jaxrl.results import Chunk, Plan, RunDirectory, RunSummary, final_values, find_run, find_unfinished, summarise
from jaxrl.runner import run as train

SEEDS = np.array([4, 7, 40_000_000_000 % 2**32])
SUMMARY = RunSummary(seconds=12.0, compile_seconds=2.0)


def value(seed, update, metric="episode_return"):
    """A number that tells from which row it comes."""
    return np.float32(1000.0 * (seed % 97) + update + len(metric) / 64)


def make_chunk(seeds, first, length, metrics=("episode_return",), evaluations=("greedy_return",), shift=0.0):
    updates = np.arange(first, first + length)
    return Chunk(
        first,
        np.asarray(seeds),
        {name: value(np.asarray(seeds)[:, None], updates, name) + shift for name in metrics},
        {name: value(np.asarray(seeds), updates[-1], name) + shift for name in evaluations},
        seconds=0.5,
    )


def record(run, variant="", seeds=SEEDS, first=0, last=20, length=5, steps=8, shift=0.0, **names):
    recorder = run.recorder(variant)
    recorder.begin(Plan(np.asarray(seeds), last, length, steps, devices=1))
    for update in range(first, last, length):
        recorder.chunk(make_chunk(seeds, update, length, shift=shift, **names))
    return recorder


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "runs", "exp", {"gamma": 0.99})


def parts(run, table="metrics"):
    return sorted((run.path / table).glob("part-*.parquet"))


def assert_rows(run, variant="", seeds=SEEDS, updates=range(20), table="metrics", metric="episode_return", shift=0.0):
    curves = run.curves(metric, variant, table)
    np.testing.assert_array_equal(curves.updates, list(updates))
    np.testing.assert_array_equal(curves.values, value(np.sort(seeds)[:, None], curves.updates, metric) + shift)


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


def test_environment_steps_are_those_taken_by_then(run):
    record(run, "online", steps=8)
    record(run, "offline", steps=None)
    np.testing.assert_array_equal(run.curves("episode_return", "online").env_steps, 8 * np.arange(1, 21))
    np.testing.assert_array_equal(run.curves("greedy_return", "online").env_steps, 8 * np.array([5, 10, 15, 20]))
    assert run.curves("episode_return", "offline").env_steps is None
    assert run.metrics("offline")["env_steps"].null_count == 60


def test_variants_may_have_different_columns(run):
    record(run, "ppo", metrics=("episode_return", "clip_fraction"))
    record(run, "dqn", seeds=[1, 2], last=10, metrics=("td_error", "episode_return"), evaluations=())
    for _ in range(2):
        assert run.variants() == ("ppo", "dqn")
        assert run.columns("metrics") == ("episode_return", "clip_fraction", "td_error")
        table = run.metrics()
        assert table.num_rows == 3 * 20 + 2 * 10
        assert table["clip_fraction"].null_count == 20
        assert table["td_error"].null_count == 60
        assert_rows(run, "ppo", metric="clip_fraction")
        assert_rows(run, "dqn", seeds=[1, 2], updates=range(10), metric="td_error")
        assert run.evaluations("dqn").num_rows == 0
        run.close()


def test_missing_values_are_null_and_infinities_stay(run):
    values = np.array([[1.0, np.nan], [np.inf, 2.0]])
    recorder = run.recorder()
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


def test_runner_and_recorder_agree(run):
    def init(key):
        return jax.random.uniform(key)

    def update(state, key):
        return state + 1, {"level": state, "noise": jax.random.normal(key)}

    def make(task, config):
        return Algorithm(init, update)

    done = train(make, (), (), seeds=[3, 1], num_updates=6, chunk_length=2, sinks=(run.recorder("walk"),))
    order = np.argsort(done.seeds)
    for metric in ("level", "noise"):
        np.testing.assert_array_equal(run.curves(metric, "walk").values, done.metrics[metric][order])
    facts = run.summary()["runs"]["walk"]
    assert facts["updates"] == facts["planned_updates"] == 6
    assert facts["seeds"] == 2
    assert 0 < facts["compile_seconds"] <= facts["seconds"]


# Kills and resumption

KILLED = """
import sys
import numpy as np
from jaxrl.results import Chunk, Plan, RunDirectory
run = RunDirectory.create(sys.argv[1], "exp", {})
recorder = run.recorder()
recorder.begin(Plan(np.arange(50), 100_000, 10, 1, 1))
for first in range(0, 1_000_000, 10):
    recorder.chunk(Chunk(first, np.arange(50), {"x": np.full((50, 10), first)}, {"y": np.zeros(50)}, 0.1))
    print(first, flush=True)
"""


def test_a_killed_process_loses_nothing(tmp_path):
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        written = [int(process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGKILL)
        written += [int(line) for line in process.stdout.read().split()]
    run = find_run(tmp_path, "exp")
    curves = run.curves("x")
    assert curves.values.shape[1] >= written[-1] + 10
    assert not np.isnan(curves.values).any()
    run.close()
    np.testing.assert_array_equal(run.curves("x").values, curves.values)


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


@pytest.mark.parametrize("closed", [False, True])
def test_a_resumed_run_replaces_the_rows_that_it_repeats(run, closed):
    record(run, "a")
    record(run, "b")
    if closed:
        run.close()
    record(run, "a", seeds=SEEDS[:2], first=10, last=30, shift=0.25)
    assert_rows(run, "b")
    first_two = run.curves("episode_return", "a")
    assert first_two.values.shape == (3, 30)
    order = np.argsort(SEEDS)
    expected = value(SEEDS[:, None], np.arange(30))
    expected[:2, 10:] += 0.25
    expected[2, 20:] = np.nan
    np.testing.assert_array_equal(first_two.values, expected[order])
    assert run.metrics("a").num_rows == 2 * 30 + 20
    assert run.evaluations("a").num_rows == 2 * 6 + 4


def test_recording_goes_on_after_close(run):
    record(run, last=10)
    run.close()
    record(run, first=10, last=20)
    assert_rows(run)
    run.close()
    assert_rows(run)
    assert run.metrics().num_rows == 60


# What cannot be read


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 4] ^= 0xFF
    path.write_bytes(bytes(data))


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("metrics.parquet", truncate),
        ("metrics.parquet", empty),
        ("evaluations.parquet", truncate),
        ("config.json", truncate),
        ("config.json", Path.unlink),
        ("versions.json", Path.unlink),
        ("versions.json", empty),
        ("summary.json", lambda path: path.write_text('["a list"]')),
        ("claims.json", lambda path: path.write_bytes(b'[{"text": "\xff"}]')),
    ],
)
def test_a_damaged_file_is_named(run, name, damage):
    record(run).end(SUMMARY)
    run.write_claims([{"text": "It works", "passed": True}])
    run.close()
    damage(run.path / name)
    with pytest.raises(ResultsError, match=name):
        RunDirectory.open(run.path)


def test_a_damaged_part_is_named(run):
    record(run)
    truncate(parts(run)[2])
    with pytest.raises(ResultsError, match=r"part-00002\.parquet must be whole"):
        RunDirectory.open(run.path)
    with pytest.raises(ResultsError, match=r"part-00002\.parquet"):
        run.close()
    assert len(parts(run)) == 4
    assert not (run.path / "metrics.parquet").exists()


def test_a_flipped_byte_is_found(run):
    record(run, last=400, length=200)
    run.close()
    flip(run.path / "metrics.parquet")
    with pytest.raises(ResultsError, match=r"metrics\.parquet must be whole"):
        run.metrics()
    with pytest.raises(ResultsError, match=r"metrics\.parquet must be whole"):
        list(storage.read_batches(run.path / "metrics.parquet"))


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ResultsError, match="nowhere"):
        RunDirectory.open(tmp_path / "nowhere")
    (tmp_path / "else").mkdir()
    with pytest.raises(ResultsError, match=r"config\.json must exist"):
        RunDirectory.open(tmp_path / "else")


# What cannot be written


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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


def test_an_unwritable_root_is_named(tmp_path):
    file = tmp_path / "file"
    file.write_text("not a folder")
    with pytest.raises(ResultsError, match="Choose another folder"):
        RunDirectory.create(file, "exp", {})
    with pytest.raises(ResultsError, match="Choose another folder"):
        RunDirectory.create(file / "deeper", "exp", {})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_root_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ResultsError, match="Choose another folder"):
        RunDirectory.create(tmp_path, "exp", {})
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", ".hidden"])
def test_an_experiment_needs_a_plain_name(tmp_path, name):
    with pytest.raises(ConfigError, match="name must consist of"):
        RunDirectory.create(tmp_path, name, {})


def test_runs_begun_together_get_folders_of_their_own(tmp_path):
    runs = [RunDirectory.create(tmp_path, "exp", {"x": 1}) for _ in range(4)]
    assert len({run.path for run in runs}) == 4
    assert sorted(run.path for run in runs) == [run.path for run in runs]
    assert len({run.path.name[-8:] for run in runs}) == 1
    assert RunDirectory.create(tmp_path, "exp", {"x": 2}).path.name[-8:] != runs[0].path.name[-8:]


@pytest.mark.parametrize(
    ("metrics", "evaluation", "message"),
    [
        ({"x": np.zeros((2, 5))}, {}, "'x'.*shape"),
        ({"x": np.zeros((3, 5)), "y": np.zeros((3, 4))}, {}, "'y'.*shape"),
        ({"x": np.zeros((3, 5))}, {"z": np.zeros((3, 2))}, "'z'.*shape"),
        ({"seed": np.zeros((3, 5))}, {}, "named like the columns"),
    ],
)
def test_measurements_of_another_shape_are_refused(run, metrics, evaluation, message):
    recorder = run.recorder()
    recorder.begin(Plan(SEEDS, 10, 5, 1, 1))
    with pytest.raises(ConfigError, match=message):
        recorder.chunk(Chunk(0, SEEDS, metrics, evaluation, 0.1))


# Finding things


def test_curves_names_what_it_does_not_find(run):
    record(run, "ppo", metrics=("episode_return", "level"), evaluations=("level",))
    with pytest.raises(UnknownNameError, match="Did you mean 'episode_return'"):
        run.curves("episode_retrun", "ppo")
    with pytest.raises(UnknownNameError, match="Did you mean 'ppo'"):
        run.curves("episode_return", "pppo")
    with pytest.raises(ConfigError, match="table='evaluations'"):
        run.curves("level", "ppo")
    with pytest.raises(UnknownNameError, match="Did you mean 'evaluations'"):
        run.curves("level", "ppo", "evaluation")
    assert run.curves("level", "ppo", "evaluations").values.shape == (3, 4)


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


# Summaries


def test_summarise_counts_missing_seeds_and_gives_the_interval():
    values = np.append(np.random.default_rng(0).normal(3.0, 1.0, 30), [np.nan, np.inf])
    found = summarise(values)
    assert (found["seeds"], found["missing"]) == (30, 2)
    expected = statistics.bootstrap_interval(values[:30])
    assert found["iqm"] == pytest.approx(expected.estimate)
    # Two bootstraps of 10,000 resamples each: their ends differ by the noise of their draws.
    np.testing.assert_allclose((found["low"], found["high"]), expected[1:], atol=0.02)
    assert found["low"] < found["iqm"] < found["high"]
    assert found["minimum"] == values[:30].min()
    assert found["maximum"] == values[:30].max()


def test_summarise_of_one_seed_and_of_none():
    one, none = summarise(np.array([2.0])), summarise(np.array([np.nan]))
    assert one["iqm"] == one["mean"] == 2.0
    assert np.isnan(one["low"])
    assert none["missing"] == 1
    assert np.isnan(none["mean"])


def test_final_values_are_means_over_the_last_updates():
    values = np.array([[0.0, 0, 1, 3], [0, 0, np.nan, 5], [9, 9, np.nan, np.nan]])
    np.testing.assert_array_equal(final_values(values, 0.5), [2, 5, np.nan])
    np.testing.assert_array_equal(final_values(values, 0.01), [3, 5, np.nan])
    np.testing.assert_array_equal(final_values(values, 1.0), [1, 5 / 3, 9])


def test_run_summarises_every_variant_and_metric(run):
    record(run, "a")
    record(run, "b", metrics=("episode_return", "extra"), evaluations=())
    rows = run.summarise()
    assert [(row["table"], row["metric"], row["variant"]) for row in rows] == [
        ("metrics", "episode_return", "a"),
        ("metrics", "episode_return", "b"),
        ("metrics", "extra", "b"),
        ("evaluations", "greedy_return", "a"),
    ]
    assert rows[0]["mean"] == pytest.approx(value(SEEDS[:, None], np.array([18, 19])).mean())
    assert [row["metric"] for row in run.summarise(["extra"])] == ["extra"]


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


def test_a_claim_needs_a_text_and_a_verdict(run):
    with pytest.raises(ConfigError, match=r"claim 1.*'passed'"):
        run.write_claims([{"text": "a", "passed": None}, {"text": "b"}])
    run.write_claims([{"text": "a", "passed": np.bool_(True), "value": np.nan}])
    assert strict(run.path / "claims.json") == run.claims() == [{"text": "a", "passed": True, "value": None}]


# JSON and versions


def strict(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


class Colour(enum.IntEnum):
    RED = 3


class Pair(NamedTuple):
    left: int
    right: float


@struct.dataclass
class Algorithmic:
    rate: jax.Array
    sizes: tuple = static(default=(64, 64))


@dataclasses.dataclass(frozen=True)
class Nested:
    algorithm: Algorithmic
    activation: object = jnp.tanh
    hidden: object = dataclasses.field(default=object(), repr=False)


def test_configurations_become_strict_json(tmp_path):
    config = Nested(Algorithmic(jnp.float32(0.1)))
    run = RunDirectory.create(tmp_path, "exp", config)
    assert strict(run.path / "config.json") == run.config()
    assert run.config() == {"algorithm": {"rate": 0.1, "sizes": [64, 64]}, "activation": provenance.to_json(jnp.tanh)}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (float("nan"), None),
        (float("-inf"), "-inf"),
        (np.float32("nan"), None),
        (np.float64(0.1), 0.1),
        (jnp.float32(0.3), 0.3),
        (jnp.bfloat16(0.5), 0.5),
        (np.int64(2**40), 2**40),
        (np.bool_(False), False),
        (np.array([[1, 2], [3, 4]], np.int8), [[1, 2], [3, 4]]),
        (jnp.array([1.0, jnp.nan, jnp.inf]), [1.0, None, "inf"]),
        (Colour.RED, "RED"),
        (Pair(1, 2.5), {"left": 1, "right": 2.5}),
        ({3: {"b", "a"}}, {"3": ["a", "b"]}),
        (Path("a") / "b", str(Path("a") / "b")),
        (np.dtype("float32"), "float32"),
        (jnp.int32, "jax.numpy.int32"),
        (json.dumps, "json.dumps"),
        (Pair, f"{__name__}.Pair"),
        (functools.partial(json.dumps, indent=2), {"function": "json.dumps", "indent": 2}),
        (functools.partial(json.dumps, 1), {"function": "json.dumps", "arguments": [1]}),
    ],
)
def test_to_json(given, expected):
    found = provenance.to_json(given)
    assert found == expected
    assert type(found) is type(expected)
    json.dumps(found, allow_nan=False)


def test_to_json_of_keys_and_large_arrays():
    assert provenance.to_json(jax.random.key(5)) == [0, 5]
    table = np.zeros((50, 50), np.float32)
    found = provenance.to_json(table)
    assert found["shape"] == [50, 50]
    assert found["dtype"] == "float32"
    assert found != provenance.to_json(table + 1)
    assert found == provenance.to_json(np.asfortranarray(table))


def test_what_has_no_json_form_is_named():
    with pytest.raises(ConfigError, match=r"config\.layers\[1\]\.x.*'object'"):
        provenance.to_json({"layers": [1, {"x": object()}]})


def test_versions_hold_what_numbers_depend_on(run, monkeypatch):
    monkeypatch.setenv("JAX_DEFAULT_MATMUL_PRECISION", "highest")
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "some-machine:1234")
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    found = provenance.versions()
    assert found["environment"]["XLA_FLAGS"] == "--xla_cpu_enable_fast_math=false"
    assert found["environment"]["JAX_DEFAULT_MATMUL_PRECISION"] == "highest"
    assert "some-machine" not in json.dumps(found)
    assert found["packages"]["jax"] == jax.__version__
    assert found["device"]["platform"] == "cpu"
    assert found["device"]["count"] == jax.device_count()
    assert strict(run.path / "versions.json").keys() == found.keys()


def test_git_state_belongs_to_tracked_files_only(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=name", "-c", "user.email=name@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True)

    file = tmp_path / "code.py"
    file.write_text("x = 1\n")
    assert provenance.git_state(file) is None
    git("init")
    assert provenance.git_state(file) is None
    git("add", "code.py")
    assert provenance.git_state(file) is None
    git("commit", "-m", "first")
    state = provenance.git_state(file)
    assert state is not None
    assert len(state["commit"]) == 40
    assert not state["dirty"]
    (tmp_path / "result").write_text("untracked")
    assert provenance.git_state(tmp_path / "result") is None
    file.write_text("x = 2\n")
    assert provenance.git_state(file) == {**state, "dirty": True}
    monkeypatch.setenv("PATH", "")
    assert provenance.git_state(file) is None


def test_importing_needs_no_library_of_a_run():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['pyarrow', 'matplotlib']));"
        "import jaxrl.results, jaxrl.progress, jaxrl.storage; assert 'scipy.stats' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_folder_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    """A kill while a folder is made must not leave something that looks like a run."""
    write_json = storage.write_json

    def killed(path, value):
        if path.name == "versions.json":
            raise KeyboardInterrupt
        write_json(path, value)

    monkeypatch.setattr(storage, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        RunDirectory.create(tmp_path, "exp", {"gamma": 0.5})
    monkeypatch.setattr(storage, "write_json", write_json)
    assert find_unfinished(tmp_path, "exp", {"gamma": 0.5}) is None
    with pytest.raises(ResultsError, match="the experiment must have a run"):
        find_run(tmp_path, "exp")
    run = RunDirectory.create(tmp_path, "exp", {"gamma": 0.5})
    assert find_unfinished(tmp_path, "exp", {"gamma": 0.5}) == run == find_run(tmp_path, "exp")
