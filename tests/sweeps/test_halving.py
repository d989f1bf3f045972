"""Successive halving: survivors are what they would be without rungs, also after a kill."""

import functools

import numpy as np
import pytest

from jaxrl.algorithms.tabular import q_learning
from jaxrl.errors import ConfigError
from jaxrl.results.recorder import Recorder
from jaxrl.results.run_directory import RunDirectory
from jaxrl.results.sinks import Failure
from jaxrl.statistics import final_values
from jaxrl.sweeps.halving import halve, rungs_of
from jaxrl.sweeps.members import (
    grid,
    label,
)
from jaxrl.sweeps.selection import Objective
from jaxrl.sweeps.sweep import sweep
from jaxrl.training.checkpoint import Checkpoints
from tests.sweeps import learners
from tests.sweeps.learners import GRID, RATES, Nested, Q, drift


def test_rungs():
    assert rungs_of(16, 8) == [2, 4, 8, 16]
    assert rungs_of(16, 5) == [2, 4, 8, 16]
    assert rungs_of(27, 9, eta=3) == [3, 9, 27]
    assert rungs_of(12, 100) == [3, 6, 12]
    assert rungs_of(7, 100) == [7]
    assert rungs_of(8, 1) == [8]
    with pytest.raises(ConfigError, match="eta must be at least 2"):
        rungs_of(8, 4, eta=1)


OBJECTIVE = Objective("td_error", maximize=False)

MEMBERS = grid({"learning_rate": RATES, "num_envs": [1, 2]})


@functools.cache
def halved():
    return halve(q_learning.make, GRID, Q, MEMBERS, objective=OBJECTIVE, seeds=4, rungs=[4, 8, 16], chunk_length=4, vmap_width=1)


def test_survivors_are_what_they_would_be_without_rungs():
    done = halved()
    whole = sweep(q_learning.make, GRID, Q, MEMBERS, seeds=4, num_updates=16, chunk_length=4, vmap_width=1)
    for member, made in enumerate(done.sweep.num_updates):
        for name, values in whole.metrics.items():
            np.testing.assert_array_equal(done.sweep.metrics[name][member, :, :made], values[member, :, :made])
            assert np.isnan(done.sweep.metrics[name][member, :, made:]).all()
    assert sorted(done.sweep.num_updates) == [4] * 4 + [8] * 2 + [16] * 2


def test_the_worse_half_is_dropped_after_each_rung():
    done = halved()
    assert [rung.num_updates for rung in done.rungs] == [4, 8, 16]
    assert [len(rung.members) for rung in done.rungs] == [8, 4, 2]
    for rung, after in zip(done.rungs, done.rungs[1:], strict=False):
        means = rung.scores.mean(1)
        assert (np.diff(means) >= 0).all()
        assert set(after.members) == set(rung.members[: len(after.members)])
    assert np.isfinite(done.scores).all(1).tolist() == [member in done.rungs[-1].members for member in range(8)]


def drift_in_rungs(task, config):
    return drift(task, config)


def test_each_rung_has_one_program_for_each_width():
    before = learners.traces
    members = grid({"rate": [1.0, 2.0, 3.0, 4.0]})
    done = halve(drift_in_rungs, None, Nested(), members, objective=Objective("value"), seeds=2, rungs=[2, 4, 8])
    assert [program.members for program in done.sweep.programs] == [(0, 1, 2, 3), (2, 3), (3,)]
    # Once to see what is measured, once to lay out, once to initialise; then a program of updates for each rung.
    assert learners.traces - before == 3 + 3


def test_halving_goes_on_after_a_kill(tmp_path):
    directory = RunDirectory.create(tmp_path, "example", {})
    members = grid({"rate": [1.0, 2.0, 3.0, 4.0]})

    def score(done):
        pairs = zip(map(label, members), done.num_updates, strict=True)
        return np.stack([final_values(directory.curves("value", name).values[:, :made]) for name, made in pairs])

    class Killed(Exception):
        pass

    class KillAt:
        def __init__(self, update):
            self.update = update

        def begin(self, plan):
            pass

        def chunk(self, chunk):
            if chunk.first_update == self.update:
                raise Killed

        def end(self, summary):
            pass

    def go(update):
        return halve(
            drift,
            None,
            Nested(),
            members,
            objective=Objective("value"),
            seeds=2,
            rungs=[4, 8],
            chunk_length=2,
            sinks=lambda member: (Recorder(directory, label(members[member])),),
            watch=(KillAt(update),),
            checkpoints=lambda program, rung: Checkpoints(tmp_path / f"{program}-{rung}", seconds_between=0.0),
            score=score,
        )

    plain = halve(drift, None, Nested(), members, objective=Objective("value"), seeds=2, rungs=[4, 8], chunk_length=2)
    for update in (2, 6):
        with pytest.raises(Killed):
            go(update)
    done = go(None)
    assert [rung.members for rung in done.rungs] == [rung.members for rung in plain.rungs]
    np.testing.assert_array_equal(done.scores, plain.scores)
    for member, made in enumerate(plain.sweep.num_updates):
        stored = directory.curves("value", label(members[member])).values
        np.testing.assert_array_equal(stored, plain.sweep.metrics["value"][member, :, :made])


def test_a_diverged_seed_stays_in_quarantine_on_the_next_rung():
    config = Nested(rate=np.array([1.0, np.inf], np.float32))
    members = grid({"inside.gamma": [0.1, 0.2, 0.3, 0.4]})
    done = halve(drift, None, config, members, objective=Objective("value"), seeds=2, rungs=[2, 4], chunk_length=2)
    assert done.sweep.failures == {(member, 1): Failure(0, "state") for member in range(4)}
    assert np.isfinite(done.sweep.metrics["value"][[0, 1], 0]).all()
    assert np.isnan(done.sweep.metrics["value"][[0, 1], 1, 1:]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rungs": [4, 4]}, "rungs must be rising"),
        ({"rungs": []}, "rungs must be rising"),
        ({"rungs": [4, 6], "chunk_length": 4}, "chunk_length must divide all rungs .* Try 2"),
        ({"eta": 1}, "eta must be at least 2"),
    ],
)
def test_bad_rungs(changes, message):
    with pytest.raises(ConfigError, match=message):
        halve(drift, None, Nested(), [{"rate": 1.0}], **({"objective": OBJECTIVE, "seeds": 2, "rungs": [2, 4]} | changes))


def test_carries_are_handed_on_in_batches_that_fit():
    members = grid({"rate": [1.0, 2.0, 3.0, 4.0]})
    options = {"objective": Objective("value"), "seeds": 2, "rungs": [2, 4], "chunk_length": 2}
    whole = halve(drift, None, Nested(), members, **options)
    batches = halve(drift, None, Nested(), members, **options, batch_seeds=3)
    np.testing.assert_array_equal(batches.sweep.metrics["value"], whole.sweep.metrics["value"])
