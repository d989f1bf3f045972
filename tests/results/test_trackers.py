"""TensorBoard and Weights & Biases: what they wrote is read back from their files, bit by bit, by decoders of our own."""

import json
import struct
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxrl.errors import ConfigError
from jaxrl.results.sinks import Chunk, Failure, Plan, RunSummary
from jaxrl.results.trackers import SECONDS_UNTIL_SHOWN, TensorBoard, WeightsAndBiases

SEEDS, UPDATES, LENGTH, STEPS = 5, 40, 10, 16
FAILURES = {3: Failure(12, "metric loss")}


def measurements(seeds=SEEDS, updates=UPDATES):
    """Returns metrics [S, U] with gaps, and an evaluation [S, C]."""
    rng = np.random.default_rng(0)
    returns = rng.normal(size=(seeds, updates)).astype(np.float32)
    returns[:, :2] = np.nan  # no episode has ended yet
    loss = rng.normal(size=(seeds, updates)).astype(np.float32)
    if seeds > 3:
        loss[3, 12], loss[3, 13:] = np.inf, np.nan
    return {"episode_return": returns, "loss": loss}, rng.normal(size=(seeds, updates // LENGTH)).astype(np.float32)


def chunk(first, rows, metrics, evaluation):
    """Returns one chunk of a batch of seeds."""
    inside = {name: values[rows, first : first + LENGTH] for name, values in metrics.items()}
    return Chunk(first, rows, inside, {"greedy_return": evaluation[rows, first // LENGTH]}, 0.1)


def play(sink, batches, seeds=SEEDS, updates=UPDATES, steps=STEPS, stop=None):
    """Feeds a sink a run that is cut into batches of seeds; ``stop`` ends it after so many chunks."""
    metrics, evaluation = measurements(seeds, updates)
    sink.begin(Plan(np.arange(seeds), updates, LENGTH, steps, 1))
    calls = [(first, np.asarray(rows)) for rows in batches for first in range(0, updates, LENGTH)]
    for first, rows in calls[:stop]:
        sink.chunk(chunk(first, rows, metrics, evaluation))
    sink.end(RunSummary(2.0, 1.0, stop is not None, FAILURES if seeds > 3 else {}))
    return metrics, evaluation


def tensorboard_events(folder):
    """Decodes the TFRecords of the event files: length, checksum, protocol buffer, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted(Path(folder).glob("events.out.tfevents.*")):
        data, at = path.read_bytes(), 0
        while at + 12 <= len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            if at + 16 + length > len(data):  # is being written
                break
            yield Event.FromString(data[at + 12 : at + 12 + length])
            at += 16 + length


def tensorboard_curves(folder):
    curves = {}
    for event in tensorboard_events(folder):
        for value in event.summary.value:
            if value.HasField("simple_value"):
                curves.setdefault(value.tag, {})[event.step] = value.simple_value
    return curves


def wandb_records(folder):
    """Decodes the log of an offline run: 32 KiB blocks of fragments (checksum, length, kind), after a 7 byte header."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = Path(folder).glob("wandb/offline-run-*/run-*.wandb")
    data, at, held = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        if at + 7 + length > len(data):  # is being written
            break
        held += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last fragment
            yield Record.FromString(held)
            held = b""


def wandb_curves(folder):
    curves = {}
    for record in wandb_records(folder):
        if record.WhichOneof("record_type") == "history":
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            step = row.get("env_steps", row.get("updates"))
            for tag, value in row.items():
                if tag.startswith(("metrics/", "evaluations/")):
                    curves.setdefault(tag, {})[step] = value
    return curves


def reference(metrics, evaluation, table, name, update):
    """Returns the finite values over seeds after an update."""
    column = metrics[name][:, update] if table == "metrics" else evaluation[:, update // LENGTH]
    return column[np.isfinite(column)].astype(np.float64)


def check_all_points(curves, metrics, evaluation, steps=STEPS):
    for table, name, updates in (
        ("metrics", "loss", range(UPDATES)),
        ("metrics", "episode_return", range(2, UPDATES)),
        ("evaluations", "greedy_return", range(LENGTH - 1, UPDATES, LENGTH)),
    ):
        places = [(update + 1) * steps for update in updates]
        for tag in ("mean", "quantile_05", "quantile_95"):
            assert list(curves[f"{table}/{name}/{tag}"]) == places, (name, tag)
        for update, place in zip(updates, places, strict=True):
            finite = reference(metrics, evaluation, table, name, update)
            found = [curves[f"{table}/{name}/{tag}"][place] for tag in ("mean", "quantile_05", "quantile_95", "seeds")]
            np.testing.assert_allclose(found, [finite.mean(), *np.quantile(finite, [0.05, 0.95]), len(finite)], rtol=1e-6)


@pytest.mark.parametrize("batches", [[range(5)], [[0, 1], [2, 3], [4]], [[4, 2], [0, 3, 1]]])
def test_tensorboard_holds_every_update(tmp_path, batches):
    metrics, evaluation = play(TensorBoard(tmp_path, config={"gamma": 0.99}), batches)
    check_all_points(tensorboard_curves(tmp_path), metrics, evaluation)


def test_steps_before_the_first_update_are_on_the_axis(tmp_path):
    metrics, evaluation = measurements()
    sink = TensorBoard(tmp_path)
    sink.begin(Plan(np.arange(SEEDS), UPDATES, LENGTH, STEPS, 1, steps_before_first_update=1000))
    sink.chunk(chunk(0, np.arange(SEEDS), metrics, evaluation))
    sink.end(RunSummary(1.0, 0.5))
    assert sorted(tensorboard_curves(tmp_path)["metrics/loss/mean"]) == [1000 + STEPS * (i + 1) for i in range(LENGTH)]


def test_tensorboard_shows_the_configuration_and_the_failed_seeds(tmp_path):
    play(TensorBoard(tmp_path, config={"gamma": 0.99}), [range(5)])
    texts = {
        value.tag.removesuffix("/text_summary"): value.tensor.string_val[0].decode()
        for event in tensorboard_events(tmp_path)
        for value in event.summary.value
        if value.tensor.string_val
    }
    assert '"gamma": 0.99' in texts["config"]
    assert "seed 3" in texts["failed_seeds"]
    assert "metric loss" in texts["failed_seeds"]


def test_points_are_written_while_the_run_goes_on(tmp_path):
    metrics, evaluation = measurements()
    sink = TensorBoard(tmp_path)
    sink.begin(Plan(np.arange(SEEDS), UPDATES, LENGTH, STEPS, 1))
    sink.chunk(chunk(0, np.arange(SEEDS), metrics, evaluation))
    deadline = time.monotonic() + 4 * SECONDS_UNTIL_SHOWN
    while len(tensorboard_curves(tmp_path).get("metrics/loss/mean", ())) < LENGTH:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    sink.end(RunSummary(1.0, 0.5))


@pytest.mark.parametrize("batches", [[range(5)], [[0, 1], [2, 3, 4]]])
@pytest.mark.parametrize("points", [3, 7, 39, 40])
def test_long_curves_are_means_over_blocks(tmp_path, batches, points):
    metrics, _ = play(TensorBoard(tmp_path, points=points), batches)
    length = -(-UPDATES // points)
    curves = tensorboard_curves(tmp_path)
    found = curves["metrics/episode_return/mean"]
    ends = [min(end, UPDATES) for end in range(length, UPDATES + length, length)]
    assert len(ends) <= points
    assert list(found) == [end * STEPS for end in ends if end > 2]
    for first, end in zip([0, *ends], ends, strict=False):
        if end > 2:
            values = np.nanmean(metrics["episode_return"][:, first:end], axis=1)
            np.testing.assert_allclose(found[end * STEPS], values.mean(), rtol=1e-5)
    assert len(curves["evaluations/greedy_return/mean"]) == UPDATES // LENGTH


def test_what_an_interrupt_leaves_is_written(tmp_path):
    """All of the first batch has been seen, and two chunks of the second: the later points hold the first batch alone."""
    metrics, _ = play(TensorBoard(tmp_path), [[0, 1, 2], [3, 4]], stop=6)
    curves = tensorboard_curves(tmp_path)
    assert len(curves["metrics/loss/mean"]) == UPDATES
    assert list(curves["metrics/episode_return/seeds"].values())[2:] == [5.0] * 18 + [3.0] * 20
    np.testing.assert_allclose(curves["metrics/loss/mean"][UPDATES * STEPS], metrics["loss"][:3, -1].mean(), rtol=1e-6)


def test_one_seed_has_no_spread_and_a_data_set_counts_updates(tmp_path):
    metrics, _ = play(TensorBoard(tmp_path), [[0]], seeds=1, steps=None)
    curves = tensorboard_curves(tmp_path)
    assert sorted(curves) == ["evaluations/greedy_return/mean", "metrics/episode_return/mean", "metrics/loss/mean"]
    assert list(curves["metrics/loss/mean"]) == list(range(1, UPDATES + 1))
    np.testing.assert_allclose(list(curves["metrics/loss/mean"].values()), metrics["loss"][0], rtol=1e-6)


def test_wandb_offline_holds_the_same_points(tmp_path):
    sink = WeightsAndBiases("project", name="ppo", group="exp", config={"gamma": 0.99}, folder=tmp_path)
    metrics, evaluation = play(sink, [[0, 1], [2, 3, 4]])
    kinds, deadline = {}, time.monotonic() + 30
    while "exit" not in kinds:  # wandb's own process writes the end of the file a moment later
        assert time.monotonic() < deadline
        kinds = {}
        for record in wandb_records(tmp_path):
            kinds.setdefault(record.WhichOneof("record_type"), []).append(record)
    check_all_points(wandb_curves(tmp_path), metrics, evaluation)
    (run,) = [record.run for record in kinds["run"]][:1]
    assert (run.project, run.display_name, run.run_group) == ("project", "ppo", "exp")
    assert any(item.key == "gamma" and item.value_json == "0.99" for item in run.config.update)
    assert kinds["exit"][0].exit.exit_code == 0
    summary = {item.key or "/".join(item.nested_key): item.value_json for r in kinds["summary"] for item in r.summary.update}
    assert any("metric loss" in value for value in summary.values())


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    for package in ("tensorboardX", "wandb"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=r"TensorBoard: the package tensorboardX .* pip install 'jaxrl\[tensorboard\]'"):
        TensorBoard(tmp_path)
    with pytest.raises(ConfigError, match=r"WeightsAndBiases: the package wandb .* pip install 'jaxrl\[wandb\]'"):
        WeightsAndBiases("project")


def test_bad_arguments_are_named(tmp_path):
    with pytest.raises(ConfigError, match="points must be at least 1, got 0"):
        TensorBoard(tmp_path, points=0)
    with pytest.raises(ConfigError, match="mode must be 'offline' or 'online', got 'disabled'"):
        WeightsAndBiases("project", mode="disabled")
