"""The recorder: it writes what the runner measured, survives a kill and replaces what a resumed run repeats."""

import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxrl.core.algorithm import Algorithm
from jaxrl.errors import ConfigError
from jaxrl.results.finding import find_run
from jaxrl.results.recorder import Recorder
from jaxrl.results.run_directory import RunDirectory
from jaxrl.results.sinks import Chunk, Plan, RunSummary
from jaxrl.training.runner import run as train
from tests.recording import SEEDS, assert_rows, make_chunk, record, value

SUMMARY = RunSummary(seconds=12.0, compile_seconds=2.0)


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "runs", "exp", {"gamma": 0.99})


def test_runner_and_recorder_agree(run):
    def init(key):
        return jax.random.uniform(key)

    def update(state, key):
        return state + 1, {"level": state, "noise": jax.random.normal(key)}

    def make(task, config):
        return Algorithm(init, update)

    done = train(make, (), (), seeds=[3, 1], num_updates=6, chunk_length=2, sinks=(Recorder(run, "walk"),))
    order = np.argsort(done.seeds)
    for metric in ("level", "noise"):
        np.testing.assert_array_equal(run.curves(metric, "walk").values, done.metrics[metric][order])
    facts = run.summary()["runs"]["walk"]
    assert facts["updates"] == facts["planned_updates"] == 6
    assert facts["seeds"] == 2
    assert 0 < facts["compile_seconds"] <= facts["seconds"]


def test_environment_steps_are_those_taken_by_then(run):
    record(run, "online", steps=8)
    record(run, "offline", steps=None)
    np.testing.assert_array_equal(run.curves("episode_return", "online").env_steps, 8 * np.arange(1, 21))
    np.testing.assert_array_equal(run.curves("greedy_return", "online").env_steps, 8 * np.array([5, 10, 15, 20]))
    assert run.curves("episode_return", "offline").env_steps is None
    assert run.metrics("offline")["env_steps"].null_count == 60


def test_steps_before_the_first_update_count(run):
    """The random steps that fill a replay buffer: the curves begin behind them, and the account holds them once for each seed."""
    recorder = Recorder(run, "warm")
    recorder.begin(Plan(SEEDS, 20, 5, 8, 1, steps_before_first_update=100))
    for first in (0, 5):
        recorder.chunk(make_chunk(SEEDS, first, 5))
    recorder.end(SUMMARY)
    np.testing.assert_array_equal(run.curves("episode_return", "warm").env_steps, 100 + 8 * np.arange(1, 11))
    np.testing.assert_array_equal(run.curves("greedy_return", "warm").env_steps, 100 + 8 * np.array([5, 10]))
    assert run.summary()["runs"]["warm"]["env_steps"] == 3 * (100 + 10 * 8)
    recorder.begin(Plan(SEEDS, 20, 5, 8, 1, first_updates=np.full(3, 10), steps_before_first_update=100))
    recorder.chunk(make_chunk(SEEDS, 10, 5))
    recorder.end(SUMMARY)  # the session that goes on has not taken them again, but they count
    assert run.summary()["runs"]["warm"]["env_steps"] == 3 * (100 + 15 * 8)
    assert run.summary()["runs"]["warm"]["env_steps_per_second"] == 3 * 5 * 8 / 10
    assert (run.summary()["runs"]["warm"]["first_update"], run.summary()["runs"]["warm"]["updates"]) == (10, 15)
    np.testing.assert_array_equal(run.curves("episode_return", "warm").env_steps, 100 + 8 * np.arange(1, 16))


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
    recorder = Recorder(run)
    recorder.begin(Plan(SEEDS, 10, 5, 1, 1))
    with pytest.raises(ConfigError, match=message):
        recorder.chunk(Chunk(0, SEEDS, metrics, evaluation, 0.1))


# Kills and resumption

KILLED = """
import sys
from dataclasses import replace
import numpy as np
from jaxrl.results.recorder import Recorder
from jaxrl.results.run_directory import RunDirectory
from jaxrl.results.sinks import Chunk, Plan
run = RunDirectory.create(sys.argv[1], "exp", {})
recorder = Recorder(run)
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


# Completeness


def test_rows_that_are_held(run):
    recorder = record(run, "a")
    plan = Plan(SEEDS, 20, 5, 8, 1, evaluates=True)
    assert recorder.held(plan).tolist() == [20, 20, 20]
    run.close()
    run.table("metrics").remove(run.table("metrics").files(), "a", SEEDS[1:2], 17)
    run.table("evaluations").remove(run.table("evaluations").files(), "a", SEEDS[2:3], 12)
    assert recorder.held(plan).tolist() == [20, 17, 14], "an evaluation is of the last update of a chunk"
    assert recorder.held(plan._replace(evaluates=False)).tolist() == [20, 17, 20]
    assert Recorder(run, "b").held(plan).tolist() == [0, 0, 0]


def test_an_algorithm_that_measures_nothing_cannot_be_recorded(run):
    recorder = Recorder(run)
    recorder.begin(Plan(SEEDS, 10, 5, 1, 1))
    with pytest.raises(ConfigError, match="must measure something in every update"):
        recorder.chunk(Chunk(0, SEEDS, {}, {}, 0.1))
