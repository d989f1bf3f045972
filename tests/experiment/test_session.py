"""A session: arms are trained into a directory, measurements are recorded, figures drawn, and all is read by factor."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import envs
from jaxrl.algorithms.tabular import q_learning
from jaxrl.errors import ConfigError, UnknownNameError
from jaxrl.experiment import Arm, load
from jaxrl.experiment.results import Results
from jaxrl.experiment.session import Session
from jaxrl.report import relation_figures, style
from jaxrl.results.provenance import to_json
from jaxrl.results.run_directory import RunDirectory
from tests.recording import strict

SMALL = str(Path(__file__).parents[1] / "small_experiment.py")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    experiment = load(SMALL)
    session = Session(RunDirectory.create(tmp_path_factory.mktemp("runs"), "small", {}))
    session.train(experiment.arms(experiment.quick))
    session.measure(experiment, experiment.quick)
    return session


def test_factors_are_typed_columns_of_every_table(small):
    table = small.directory.evaluations().to_pandas()
    assert set(table.columns) >= {"arm", "seed", "update", "env_steps", "method", "rate", "greedy_exact_value"}
    assert table["rate"].dtype == np.float64
    assert sorted(set(zip(table["method"], table["rate"], strict=True))) == [("continued", 0.1), ("plain", 0.1), ("plain", 0.5)]
    assert "rate" not in small.directory.columns("evaluations")
    measured = small.directory.measurements().to_pandas()
    assert measured["method"].tolist() == ["plain"] * 4 + ["random"]
    assert measured["rate"].isna().tolist() == [False] * 4 + [True]


def test_results_are_read_by_factor(small):
    results = small.results
    assert results.arms("evaluations", method="plain") == ("plain, rate 0.1", "plain, rate 0.5")
    assert results.labels("greedy_exact_value", method="plain") == {"plain, rate 0.1": "rate 0.1", "plain, rate 0.5": "rate 0.5"}
    assert results.values("td_error", method="continued").shape == (2, 4)
    assert results.run(method="continued").state.q.shape[0] == 2
    assert results.is_exact("drawn")
    assert not results.is_exact("largest_q", rate=0.1)
    with pytest.raises(ConfigError, match="must name one arm"):
        results.final("greedy_exact_value", method="plain")
    with pytest.raises(UnknownNameError, match="an arm with the factors") as missing:
        results.final("greedy_exact_value", method="plain", rate=0.2)
    shown = "{'method': 'plain', 'rate': 0.1}"
    assert str(missing.value).count(shown) == 1  # though it stands in several tables
    with pytest.raises(UnknownNameError, match="no trained arm is named 'rate 3'"):
        results.run(rate=3)
    np.testing.assert_array_equal(
        results.final("largest_q", method="plain", rate=0.5), results.run(method="plain", rate=0.5).state.q.max((1, 2))
    )


def test_the_tables_alone_say_the_same(small):
    again = Results(RunDirectory.open(small.directory.path))
    for metric, factors in (("greedy_exact_value", {"method": "continued"}), ("largest_q", {"rate": 0.5}), ("drawn", {})):
        np.testing.assert_array_equal(again.final(metric, **factors), small.results.final(metric, **factors))


def test_what_was_trained_is_stored(small):
    stored = {entry["arm"]: entry for entry in strict(small.directory.path / "arms.json")}
    assert list(stored) == ["plain, rate 0.1", "plain, rate 0.5", "continued, rate 0.1"]
    one = stored["plain, rate 0.5"]
    assert one["factors"] == {"method": "plain", "rate": 0.5}
    assert one["make"] == "jaxrl.algorithms.tabular.q_learning.make"
    assert one["config"]["learning_rate"] == 0.5, "as arms() changed it"
    assert one["task"]["step_fn"]
    assert one["task"]["params"] == to_json(envs.make("corridor").params)
    assert (one["seeds"], one["updates"], one["root"]) == (2, 4, 0)
    assert list(stored.values()) == small.directory.trainings()


def test_arms_are_stored_as_they_were_completed(tmp_path):
    def prepare(arm, run):
        return replace(arm, config=replace(arm.config, gamma=0.25), task=envs.make("frozen_lake"))

    first = corridor(2)
    later = replace(corridor(2), factors={"method": "later"}, after={"method": "Q"}, prepare=prepare)
    session = Session(RunDirectory.create(tmp_path, "example", {}), root=5)
    session.train([first, later])
    stored = session.directory.trainings()
    assert [entry["config"]["gamma"] for entry in stored] == [first.config.gamma, 0.25]
    assert stored[0]["task"]["observation_space"] != stored[1]["task"]["observation_space"]
    assert [entry["root"] for entry in stored] == [5, 5]


def test_figures_were_drawn(small):
    drawn = sorted(path.stem for path in (small.directory.path / "figures").glob("*.png"))
    assert drawn == ["greedy_exact_value", "greedy_exact_value_distribution"]


def test_measurements_are_replaced_as_a_whole(tmp_path):
    results = Results(RunDirectory.create(tmp_path, "example", {}))
    results.record_all([({"method": "a"}, {"x": 1.0}), ({"method": "b"}, {"x": np.arange(6.0).reshape(2, 3)})])
    results.record_all([({"method": "b"}, {"x": [7.0, 8.0]})])
    assert results.arms() == ("b",)
    np.testing.assert_array_equal(results.values("x"), [[7.0, 8.0]])


@pytest.mark.parametrize(
    ("factors", "values", "message"),
    [
        ({}, {"x": 1.0}, "an arm must have a factor"),
        ({"a": None}, {"x": 1.0}, "values of factors must be texts, numbers or flags"),
        ({"a": "b"}, {}, "there must be a value"),
        ({"a": "b"}, {"x": [1.0, 2.0], "y": 1.0}, r"values must have one shape \[S, P\]"),
        ({"a": "b"}, {"x": np.zeros((1, 2, 3))}, r"values must have one shape \[S, P\]"),
        ({"a": "b"}, {"a": 1.0}, "no metric may be named like the columns"),
    ],
)
def test_measurements_that_are_refused(tmp_path, factors, values, message):
    results = Results(RunDirectory.create(tmp_path, "example", {}))
    with pytest.raises(ConfigError, match=message):
        results.record(factors, values)


def test_a_relation_is_drawn_and_explains_itself(tmp_path):
    directory = RunDirectory.create(tmp_path, "example", {})
    lines = {"a": (np.arange(1, 4), np.random.default_rng(0).normal(size=(5, 3))), "b": (np.arange(1, 3), np.ones((5, 2)))}
    path = relation_figures.relation(directory, "curve", lines, "x", "y", x_scale="log", level=1.0, note="A note.")
    assert path.stat().st_size > 5_000
    assert "5 seeds each" in style.caption(path)
    assert style.caption(path).endswith("A note.")
    exact = relation_figures.relation(directory, "exact", {"a": (np.arange(3), np.ones((1, 3)))}, "x", "y")
    assert "One exact computation" in style.caption(exact)


def corridor(seeds):
    return Arm({"method": "Q"}, q_learning.make, envs.make("corridor"), q_learning.Config(), seeds=seeds, num_updates=2)


@pytest.mark.parametrize("batch_seeds", [None, 2])
def test_an_episode_is_filmed_whether_the_states_are_on_the_device_or_on_the_host(tmp_path, batch_seeds):
    session = Session(RunDirectory.create(tmp_path, "example", {}), batch_seeds=batch_seeds)
    session.train([corridor(3)])
    assert (session.directory.path / "replays" / "Q.gif").read_bytes().startswith(b"GIF8")


def test_another_root_gives_other_seeds(tmp_path):
    found = []
    for name, root in (("a", 0), ("b", 1), ("c", 1)):
        session = Session(RunDirectory.create(tmp_path, name, {}), root=root)
        found.append(session.train([corridor(2)]).values("td_error"))
    assert not np.array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[1], found[2])


def exploding():
    config = q_learning.Config(num_steps=20, learning_rate=np.array([0.1, np.inf], np.float32))
    return Arm({"method": "Q"}, q_learning.make, envs.make("cliff_walking"), config, seeds=2, num_updates=4)


def test_seeds_in_quarantine_are_not_forgotten_by_a_kill_before_the_account(tmp_path, monkeypatch):
    """The last checkpoint is there, the note in summary.json is not: whoever resumes takes it from the checkpoint."""
    directory = RunDirectory.create(tmp_path, "example", {})
    monkeypatch.setattr(q_learning.Config, "validate", lambda config, env: None)
    Session(directory).train([exploding()])
    before = directory.summary()["runs"]["Q"]
    assert list(before["failed_seeds"]) == ["1"]
    directory.write_summary({"runs": {}})
    results = Session(directory).train([exploding()])
    after = directory.summary()["runs"]["Q"]
    assert after["failed_seeds"] == before["failed_seeds"]
    assert after["updates"] == after["planned_updates"] == 4
    assert set(after) == set(before)
    assert np.isnan(results.states().q[1]).all()
    assert np.isfinite(results.states().q[0]).all()
    np.testing.assert_array_equal(np.isnan(results.marked({"value": np.ones((2, 3))})["value"]), [[False] * 3, [True] * 3])


def test_measurements_of_one_name_are_recorded_once(tmp_path):
    """Other factors with the same values, or the same factors again, would overwrite each other unseen."""
    results = Results(RunDirectory.create(tmp_path, "example", {}))
    results.record({"method": "momentum"}, {"x": 1.0})
    for again in ({"checked": "momentum"}, {"method": "momentum"}):
        with pytest.raises(ConfigError, match="'momentum' must be measured once"):
            results.record(again, {"y": 1.0})


def test_a_metric_along_a_numeric_factor(tmp_path):
    results = Results(RunDirectory.create(tmp_path, "example", {}))
    for size in (100, 30, 1000):
        results.record({"size": size, "model": "table"}, {"error": np.array([[1.0], [2.0]]) / size})
    results.record({"size": 30, "model": "network"}, {"error": [[0.0], [0.0]]})
    sizes, errors = results.along("error", "size", model="table")
    np.testing.assert_array_equal(sizes, [30.0, 100.0, 1000.0])
    np.testing.assert_allclose(errors, np.array([[1.0], [2.0]]) / sizes, rtol=1e-6)
