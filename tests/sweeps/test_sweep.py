"""Sweeps: members are what runs of their own would be, in one program."""

import chex
import jax
import numpy as np
import pytest

import envs
from jaxrl.algorithms.deep import ppo
from jaxrl.algorithms.tabular import q_learning
from jaxrl.errors import ConfigError
from jaxrl.results.recorder import Recorder
from jaxrl.results.run_directory import RunDirectory
from jaxrl.results.sinks import Failure
from jaxrl.sweeps.members import (
    grid,
    label,
)
from jaxrl.sweeps.selection import Objective
from jaxrl.sweeps.sweep import sweep
from jaxrl.training.checkpoint import Checkpoints
from jaxrl.training.runner import run
from jaxrl.training.seed_axis import SEEDS
from tests.recording import Stopped, StopsAt
from tests.sweeps import learners
from tests.sweeps.learners import GRID, RATES, SHORT, Nested, Q, drift, swept

PPO = ppo.Config(num_envs=2, num_steps=16, num_epochs=2, num_minibatches=2, hidden=(8,))


def test_a_member_is_what_a_run_of_its_own_would_be():
    done = swept()
    assert done.metrics["td_error"].shape == (4, 4, 16)
    assert done.evaluations["greedy_exact_value"].shape == (4, 4, 8)
    np.testing.assert_array_equal(done.evaluated_at, np.arange(2, 17, 2))
    for member in (0, 3):
        alone = run(q_learning.make, GRID, Q.replace(learning_rate=RATES[member]), vmap_width=1, **SHORT)
        chex.assert_trees_all_equal(jax.tree.map(lambda leaf, member=member: leaf[member], done.metrics), alone.metrics)
        chex.assert_trees_all_equal(jax.tree.map(lambda leaf, member=member: leaf[member], done.evaluations), alone.evaluations)


def test_the_default_groups_change_the_order_of_sums_at_most():
    done, apart = swept(vmap_width=None), swept()
    for tables, others in ((done.metrics, apart.metrics), (done.evaluations, apart.evaluations)):
        chex.assert_trees_all_close(tables, others, rtol=1e-5)


@pytest.mark.slow
def test_networks_too_to_the_last_bit_in_groups_of_one():
    task, options = envs.make("cartpole"), {"seeds": [5, 2], "num_updates": 4, "chunk_length": 4, "vmap_width": 1}
    done = sweep(ppo.make, task, PPO, grid({"learning_rate": [1e-4, 1e-2], "gamma": [0.9, 0.99]}), **options)
    alone = run(ppo.make, task, PPO.replace(learning_rate=1e-2, gamma=0.9), **options)
    chex.assert_trees_all_equal(jax.tree.map(lambda leaf: leaf[2], done.metrics), alone.metrics)


def test_traced_members_share_one_program():
    def go(values, count=4):
        before = learners.traces
        sweep(drift, None, Nested(), grid(values), seeds=2, num_updates=4, chunk_length=2)
        return learners.traces - before

    first = go({"rate": [1.0, 2.0], "inside.gamma": [0.1, 0.2]})
    assert first == 3  # once each to lay out, initialise and update, as for a plain run
    assert go({"rate": [3.0, 5.0], "inside.epsilon": [0.1, 0.2]}) == 0
    assert go({"rate": [1.0, 2.0], "inside.gamma": [0.4, 0.3], "size": [5, 6]}) == 2 * first


def test_static_fields_are_swept_with_a_program_each():
    done = sweep(drift, None, Nested(), grid({"size": [2, 3], "rate": [1.0, 2.0]}), seeds=[7, 3], num_updates=4, chunk_length=2)
    assert [program.static for program in done.programs] == [{"size": 2}, {"size": 3}]
    assert [program.members for program in done.programs] == [(0, 1), (2, 3)]
    np.testing.assert_array_equal(done.metrics["size"][:, 0, 0], [2, 2, 3, 3])
    np.testing.assert_allclose(done.metrics["value"][1], 2 * done.metrics["value"][0], rtol=1e-5)
    np.testing.assert_array_equal(done.seeds, [7, 3])


def test_fields_that_have_an_entry_for_each_seed_keep_it():
    config = Nested(rate=np.array([1.0, 10.0], np.float32))
    done = sweep(drift, None, config, [{"inside.gamma": 0.5}, {"rate": 2.0}], seeds=2, num_updates=2, chunk_length=2)
    plain = run(drift, None, config, seeds=2, num_updates=2, chunk_length=2)
    np.testing.assert_array_equal(done.metrics["value"][0], plain.metrics["value"])
    np.testing.assert_allclose(done.metrics["value"][1], plain.metrics["value"] * np.array([[2.0], [0.2]]), rtol=1e-5)


def test_seeds_of_members_are_numbered_by_member():
    done = run(drift, None, Nested(rate=np.array([1.0, 1.0, 2.0, 2.0])), seeds=[[3, 1], [3, 1]], num_updates=2, chunk_length=2)
    np.testing.assert_array_equal(done.seeds, [3, 1, SEEDS + 3, SEEDS + 1])
    np.testing.assert_allclose(done.metrics["value"][2:], 2 * done.metrics["value"][:2], rtol=1e-5)
    with pytest.raises(ConfigError, match=r"seeds must differ, got .\[3\] more than once"):
        run(drift, None, Nested(), seeds=[[3, 1], [3, 3]], num_updates=2)


def test_each_member_is_an_arm_of_its_own(tmp_path):
    directory = RunDirectory.create(tmp_path, "example", {})
    members = grid({"rate": [1.0, np.inf, 2.0]})
    sinks = {label(member): Recorder(directory, label(member)) for member in members}
    names = list(sinks)
    done = sweep(
        drift,
        None,
        Nested(),
        members,
        seeds=[4, 6],
        num_updates=4,
        chunk_length=2,
        sinks=lambda member: (sinks[names[member]],),
        batch_seeds=4,
    )
    assert directory.arms() == ("rate=1.0", "rate=inf", "rate=2.0")
    for member in (0, 2):
        np.testing.assert_array_equal(directory.curves("value", names[member]).values, done.metrics["value"][member])
    facts = directory.summary()["runs"]
    assert facts["rate=1.0"]["failed_seeds"] == {}
    assert facts["rate=inf"]["failed_seeds"] == {seed: {"update": 0, "place": "state"} for seed in ("4", "6")}
    assert done.failures == {(1, 4): Failure(0, "state"), (1, 6): Failure(0, "state")}
    assert sum(entry["seconds"] for entry in facts.values()) <= done.seconds
    ranked = Objective("value").ranking(Objective("value").of(done))
    assert ranked[-1] == 1  # who diverges is last, however large it grew


def test_a_sweep_goes_on_from_its_checkpoints(tmp_path):
    def go(*watch):
        where = lambda program: Checkpoints(tmp_path / str(program), seconds_between=0.0)  # noqa: E731
        members = grid({"rate": [1.0, 2.0], "size": [2, 3]})
        return sweep(drift, None, Nested(), members, seeds=2, num_updates=8, chunk_length=2, checkpoints=where, watch=watch)

    with pytest.raises(Stopped):
        go(StopsAt(4))
    resumed = go()
    whole = sweep(drift, None, Nested(), grid({"rate": [1.0, 2.0], "size": [2, 3]}), seeds=2, num_updates=8, chunk_length=2)
    value, expected = resumed.metrics["value"], whole.metrics["value"]
    np.testing.assert_array_equal(value[[1, 3]], expected[[1, 3]])  # had not begun
    assert np.isnan(value[[0, 2], :, :4]).all()
    np.testing.assert_array_equal(value[[0, 2], :, -2:], expected[[0, 2], :, -2:])
