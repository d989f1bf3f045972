"""Numbers that no training measured: stored by a session, read by claims, drawn against each other."""

import numpy as np
import pytest

import envs
from jaxrl.algorithms.tabular import q_learning
from jaxrl.experiment.claims import above_zero, exceeds, recorded, recorded_within
from jaxrl.experiment.session import Session
from jaxrl.report import figures
from jaxrl.results.run_directory import RunDirectory


@pytest.fixture
def session(tmp_path):
    return Session(RunDirectory.create(tmp_path, "example", {}))


def test_what_is_recorded_can_be_read(session):
    values = np.arange(6.0).reshape(2, 3)
    session.record({"gold": values, "proxy": -values}, "one")
    session.record({"gold": [7.0, 8.0]}, "two")
    session.record({"error": 1e-9})
    session.directory.close()
    run = RunDirectory.open(session.directory.path)
    np.testing.assert_array_equal(run.curves("gold", "one", "metrics").values, values)
    np.testing.assert_array_equal(recorded(run, "proxy", "one"), [-2.0, -5.0])
    np.testing.assert_array_equal(recorded(run, "proxy", "one", 0), [0.0, -3.0])
    np.testing.assert_array_equal(recorded(run, "gold", "two"), [8.0])
    np.testing.assert_allclose(recorded(run, "error"), [1e-9], rtol=1e-6)


def test_paired_differences_are_held_against_their_standard_error(session):
    random = np.random.default_rng(0)
    common, noise = random.normal(size=(2, 50))
    session.record({"value": (common + 1.0 + 0.1 * noise)[:, None]}, "more")
    session.record({"value": common[:, None]}, "less")
    session.record({"value": (common + noise - noise.mean())[:, None]}, "same")
    run = session.directory

    def of(name):
        return lambda run: recorded(run, "value", name)

    verdict = exceeds(of("more"), of("less"), "gain")(run)
    assert verdict.passed
    assert verdict.value == pytest.approx(1.0 + 0.1 * noise.mean(), abs=1e-6)
    assert verdict.low < verdict.value < verdict.high
    assert not exceeds(of("same"), of("less"), "nothing")(run).passed
    assert not exceeds(of("less"), of("more"), "loss")(run).passed
    assert not above_zero(of("less"), "noise")(run).passed or abs(common.mean()) > 0.25


def test_recorded_within(session):
    session.record({"exact": 0.5}, "one")
    session.record({"exact": [[0.0], [1.0], [2.0]]}, "several")
    run = session.directory
    assert recorded_within("exact", 0.4, 0.6, "one")(run).passed
    assert recorded_within("exact", 0.4, 0.6, "one")(run).low is None
    assert not recorded_within("exact", 0.0, 0.4, "one")(run).passed
    assert recorded_within("exact", 0.9, 1.1, "several")(run).value == 1.0


def test_a_relation_is_drawn_and_explains_itself(session):
    lines = {"a": (np.arange(1, 4), np.random.default_rng(0).normal(size=(5, 3))), "b": (np.arange(1, 3), np.ones((5, 2)))}
    path = figures.relation(session.directory, "curve", lines, "x", "y", x_scale="log", level=1.0, note="A note.")
    assert path.stat().st_size > 5_000
    assert "5 seeds each" in figures.caption(path)
    assert figures.caption(path).endswith("A note.")
    exact = figures.relation(session.directory, "exact", {"a": (np.arange(3), np.ones((1, 3)))}, "x", "y")
    assert "One exact computation" in figures.caption(exact)


@pytest.mark.parametrize("at_once", [None, 2])
def test_an_episode_is_filmed_whether_the_states_are_on_the_device_or_on_the_host(tmp_path, at_once):
    session = Session(RunDirectory.create(tmp_path, "example", {}), at_once=at_once)
    session.train(q_learning.make, envs.make("corridor"), q_learning.Config(), seeds=3, num_updates=2)
    assert (session.directory.path / "replays" / "run.gif").read_bytes().startswith(b"GIF8")


def exploding():
    return q_learning.Config(num_steps=20, learning_rate=np.array([0.1, np.inf], np.float32))


def test_seeds_in_quarantine_are_not_forgotten_by_a_kill_before_the_account(tmp_path, monkeypatch):
    """The last checkpoint is there, the note in summary.json is not: what resumes takes it from the checkpoint."""
    directory = RunDirectory.create(tmp_path, "example", {})
    training = {"seeds": 2, "num_updates": 4, "evaluators": ()}
    grid = envs.make("cliff_walking")
    monkeypatch.setattr(q_learning.Config, "validate", lambda config, env: None)
    Session(directory).train(q_learning.make, grid, exploding(), **training)
    before = directory.summary()["runs"][""]
    assert list(before["failed_seeds"]) == ["1"]
    directory.write_summary({"runs": {}})
    Session(directory).train(q_learning.make, grid, exploding(), **training)
    after = directory.summary()["runs"][""]
    assert after["failed_seeds"] == before["failed_seeds"]
    assert after["first_update"] + after["updates"] == after["planned_updates"] == 4
    assert set(after) == set(before)
