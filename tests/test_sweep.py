"""Sweeps: members are what runs of their own would be, in one program; halving goes on exactly; selection is not lucky."""

import dataclasses
import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

import envs
from jaxrl.algorithm import Algorithm
from jaxrl.checkpoint import Checkpoints
from jaxrl.deep import ppo
from jaxrl.env import static
from jaxrl.errors import ConfigError, UnknownNameError
from jaxrl.evaluation import ExactValue
from jaxrl.halving import halve, rungs_of
from jaxrl.members import (
    Choice,
    Integers,
    LogUniform,
    Uniform,
    by_program,
    checked,
    describe,
    fields,
    grid,
    label,
    random_members,
    replaced,
)
from jaxrl.quarantine import Failure
from jaxrl.recorder import Recorder
from jaxrl.results import RunDirectory
from jaxrl.runner import SEEDS, run
from jaxrl.selection import Objective, held_out_seeds, interval, select
from jaxrl.statistics import final_values
from jaxrl.sweep import sweep
from jaxrl.tabular import q_learning

GRID = envs.make("cliff_walking")
Q = q_learning.Config(num_steps=20)
PPO = ppo.Config(num_envs=2, num_steps=16, num_epochs=2, num_minibatches=2, hidden=(8,))
RATES = [0.1, 0.3, 0.5, 0.9]


class Inner(NamedTuple):
    width: int = 3
    scale: float = 2.0


@struct.dataclass
class Nested:
    """rate: of change. inside: another configuration."""

    inside: q_learning.Config = dataclasses.field(default_factory=lambda: Q)
    rate: float = 1.0
    count: int = 2
    size: int = static(default=3)
    name: str = static(default="one")
    hidden: tuple[int, ...] = static(default=(4, 4))
    shape: Inner = static(default=Inner())
    limit: float | None = None


traces = 0


def count_trace():
    global traces
    traces += 1


def drift(task, config):
    """An algorithm whose state grows by ``rate`` times noise plus ``rate`` in every update."""
    count_trace()

    def update(state, key):
        state = state + config.rate * (1.0 + jax.random.normal(key, (config.size,)))
        return state, {"value": state.sum(), "size": jnp.float32(config.size)}

    return Algorithm(lambda key: jnp.zeros(config.size), update)


def noise(task, config):
    """An algorithm that learns nothing: it shows standard normal noise, other noise for every seed and every rate."""
    draw = lambda key: jax.random.normal(jax.random.fold_in(key, config.rate.astype(jnp.int32)))  # noqa: E731
    return Algorithm(lambda key: jnp.float32(0.0), lambda state, key: (state, {"value": draw(key)}))


# Members


def test_fields_say_what_is_traced():
    found = fields(Nested())
    assert {name for name, field in found.items() if field.traced} == {
        "rate",
        "count",
        *(f"inside.{name}" for name in ("learning_rate", "learning_rate_half_life", "learning_rate_min", "gamma", "epsilon")),
    }
    others = {"size", "name", "hidden", "shape.width", "shape.scale", "limit", "inside.num_envs", "inside.num_steps"}
    assert {name for name, field in found.items() if not field.traced} == others
    assert found["inside.num_steps"].value == 20
    assert fields(ppo.Config())["learning_rate"].traced
    assert not fields(ppo.Config())["hidden"].traced


def test_fields_can_be_replaced_at_any_depth():
    new = replaced(Nested(), {"inside.gamma": 0.5, "inside.num_steps": 7, "shape.width": 9, "rate": 3.0, "limit": 1.0})
    assert (new.inside.gamma, new.inside.num_steps, new.shape, new.rate, new.limit) == (0.5, 7, Inner(9, 2.0), 3.0, 1.0)
    assert (new.inside.epsilon, new.size) == (Q.epsilon, 3)


def test_grids_and_random_members():
    assert grid({"a": [1, 2], "b": "xy"}) == [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"}]
    space = {"a": LogUniform(1e-5, 1e-1), "b": Uniform(-1.0, 1.0), "c": Integers(1, 3), "d": Choice(((1,), (2, 2)))}
    drawn = random_members(space, 400, seed=3)
    assert drawn[:9] == random_members(space, 9, seed=3) != random_members(space, 9, seed=4)
    logs = np.log10([member["a"] for member in drawn])
    assert logs.min() >= -5
    assert logs.max() <= -1
    assert abs(np.mean(logs) + 3) < 4 * 4 / np.sqrt(12 * 400)  # four standard errors of a uniform mean
    assert {member["c"] for member in drawn} == {1, 2, 3}
    assert {member["d"] for member in drawn} == {(1,), (2, 2)}
    assert all(float(f"{member['b']:.4g}") == member["b"] for member in drawn)
    logs = [Integers(1, 1000, log=True).draw(np.random.default_rng(i)) for i in range(200)]
    assert min(logs) >= 1
    assert max(logs) <= 1000
    assert 10 < np.median(logs) < 100


def test_values_take_the_type_of_their_field():
    (member,) = checked(Nested(), [{"rate": 1, "inside.gamma": np.float64(0.1), "hidden": [8], "size": np.int32(2), "count": 5}])
    assert member == {"rate": 1.0, "inside.gamma": 0.1, "hidden": (8,), "size": 2, "count": 5}
    assert [type(value) for value in member.values()] == [float, float, tuple, int, int]
    assert label(member) == "rate=1.0, inside.gamma=0.1, hidden=(8,), size=2, count=5"
    assert checked(Nested(), [{"rate": 1 / 3}])[0]["rate"] == 0.33333334  # what float32 makes of it


@pytest.mark.parametrize(
    ("member", "error", "message"),
    [
        ({"rat": 1.0}, UnknownNameError, "no field is named 'rat'. Did you mean 'rate'?"),
        ({"inside.gama": 0.9}, UnknownNameError, "Did you mean 'inside.gamma'"),
        ({"rate": "fast"}, ConfigError, "rate must be a number or infinite, got 'fast'"),
        ({"rate": float("nan")}, ConfigError, "rate must be a number or infinite, got nan"),
        ({"rate": [1.0]}, ConfigError, "rate must be a number"),
        ({"count": 0.5}, ConfigError, "count must be a number without a fraction, got 0.5"),
        ({"size": 2.0}, ConfigError, "size must be of type int, got 2.0"),
        ({"size": True}, ConfigError, "size must be of type int, got True"),
        ({"name": 3}, ConfigError, "name must be of type str, got 3"),
    ],
)
def test_bad_members(member, error, message):
    with pytest.raises(error, match=message.replace("?", r"\?")):
        sweep(drift, None, Nested(), [member], seeds=2, num_updates=2)


def test_bad_spaces():
    for make, message in (
        (lambda: Uniform(1.0, 1.0), "low must be below high"),
        (lambda: LogUniform(0.0, 1.0), "low must be positive"),
        (lambda: Integers(0, 4, log=True), "low must be positive"),
        (lambda: Choice(()), "there must be an option"),
        (lambda: grid({"rate": []}), "rate must have a value"),
        (lambda: random_members({}, 0), "count must be at least 1"),
        (lambda: sweep(drift, None, Nested(), [], seeds=2, num_updates=2), "at least one member"),
    ):
        with pytest.raises(ConfigError, match=message):
            make()


def test_members_are_grouped_by_program():
    members = checked(Nested(), grid({"rate": [1.0, 2.0], "size": [3, 4]}))
    assert by_program(Nested(), members) == [({"size": 3}, [0, 2]), ({"size": 4}, [1, 3])]
    text = describe(Nested(), members)
    assert "traced, so that other values need no other program: rate" in text
    assert "static, so that each of 2 values needs a program: size" in text
    assert "4 members in 2 programs" in text


# Sweeps


EXACT = (ExactValue.of(GRID, 0.99),)
SHORT = {"seeds": 4, "num_updates": 16, "chunk_length": 2, "evaluators": EXACT}


@functools.cache
def swept(group=1):
    return sweep(q_learning.make, GRID, Q, grid({"learning_rate": RATES}), group=group, **SHORT)


def test_a_member_is_what_a_run_of_its_own_would_be():
    done = swept()
    assert done.metrics["td_error"].shape == (4, 4, 16)
    assert done.evaluations["exact_value"].shape == (4, 4, 8)
    np.testing.assert_array_equal(done.evaluated_at, np.arange(2, 17, 2))
    for member in (0, 3):
        alone = run(q_learning.make, GRID, Q.replace(learning_rate=RATES[member]), group=1, **SHORT)
        chex.assert_trees_all_equal(jax.tree.map(lambda leaf, member=member: leaf[member], done.metrics), alone.metrics)
        chex.assert_trees_all_equal(jax.tree.map(lambda leaf, member=member: leaf[member], done.evaluations), alone.evaluations)


def test_the_default_groups_change_the_order_of_sums_at_most():
    done, apart = swept(group=None), swept()
    for tables, others in ((done.metrics, apart.metrics), (done.evaluations, apart.evaluations)):
        chex.assert_trees_all_close(tables, others, rtol=1e-5)


@pytest.mark.slow
def test_networks_too_to_the_last_bit_in_groups_of_one():
    task, options = envs.make("cartpole"), {"seeds": [5, 2], "num_updates": 4, "chunk_length": 4, "group": 1}
    done = sweep(ppo.make, task, PPO, grid({"learning_rate": [1e-4, 1e-2], "gamma": [0.9, 0.99]}), **options)
    alone = run(ppo.make, task, PPO.replace(learning_rate=1e-2, gamma=0.9), **options)
    chex.assert_trees_all_equal(jax.tree.map(lambda leaf: leaf[2], done.metrics), alone.metrics)


def test_traced_members_share_one_program():
    def go(values, count=4):
        before = traces
        sweep(drift, None, Nested(), grid(values), seeds=2, num_updates=4, chunk_length=2)
        return traces - before

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
    with pytest.raises(ConfigError, match=r"each seed must be named once, got '3 \(2 times\)'"):
        run(drift, None, Nested(), seeds=[[3, 1], [3, 3]], num_updates=2)


def test_each_member_has_a_variant_of_its_own(tmp_path):
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
        at_once=4,
    )
    assert directory.variants() == ("rate=1.0", "rate=inf", "rate=2.0")
    for member in (0, 2):
        np.testing.assert_array_equal(directory.curves("value", names[member]).values, done.metrics["value"][member])
    facts = directory.summary()["runs"]
    assert facts["rate=1.0"]["failed_seeds"] == {}
    assert facts["rate=inf"]["failed_seeds"] == {seed: {"update": 0, "place": "metric value"} for seed in ("4", "6")}
    assert done.failures == {(1, 4): Failure(0, "metric value"), (1, 6): Failure(0, "metric value")}
    assert sum(entry["seconds"] for entry in facts.values()) <= done.seconds
    ranked = Objective("value").ranking(Objective("value").of(done))
    assert ranked[-1] == 1  # who diverges is last, however large it grew


def test_a_sweep_goes_on_from_its_checkpoints(tmp_path):
    class Stop(Exception):
        pass

    class StopAfter:
        def __init__(self, update):
            self.update = update

        def begin(self, plan):
            pass

        def chunk(self, chunk):
            if chunk.first_update >= self.update:
                raise Stop

        def end(self, summary):
            pass

    def go(*watch):
        where = lambda program: Checkpoints(tmp_path / str(program), seconds_between=0.0)  # noqa: E731
        members = grid({"rate": [1.0, 2.0], "size": [2, 3]})
        return sweep(drift, None, Nested(), members, seeds=2, num_updates=8, chunk_length=2, checkpoints=where, watch=watch)

    with pytest.raises(Stop):
        go(StopAfter(4))
    resumed = go()
    whole = sweep(drift, None, Nested(), grid({"rate": [1.0, 2.0], "size": [2, 3]}), seeds=2, num_updates=8, chunk_length=2)
    value, expected = resumed.metrics["value"], whole.metrics["value"]
    np.testing.assert_array_equal(value[[1, 3]], expected[[1, 3]])  # had not begun
    assert np.isnan(value[[0, 2], :, :4]).all()
    np.testing.assert_array_equal(value[[0, 2], :, -2:], expected[[0, 2], :, -2:])


# What is best


def test_an_objective_averages_the_last_updates():
    done = swept()
    for metric, tables in (("td_error", done.metrics), ("exact_value", done.evaluations)):
        expected = np.stack([final_values(table, 0.25) for table in tables[metric]])
        np.testing.assert_array_equal(Objective(metric, fraction=0.25).of(done), expected)
    with pytest.raises(UnknownNameError, match=r"no metric is named 'exact_valu'\. Did you mean 'exact_value'"):
        Objective("exact_valu").of(done)


def test_ranking():
    scores = np.array([[1.0, 3.0], [9.0, np.nan], [4.0, 0.5], [np.nan, np.nan]])
    assert Objective("x").ranking(scores).tolist() == [2, 0, 1, 3]
    assert Objective("x", maximize=False).ranking(scores).tolist() == [0, 2, 1, 3]


def test_an_unknown_metric_is_noticed_before_anything_runs():
    before = traces
    with pytest.raises(UnknownNameError, match=r"no metric is named 'valve'\. Did you mean 'value'"):
        halve(drift, None, Nested(), [{"rate": 1.0}], objective=Objective("valve"), seeds=2, rungs=[2])
    assert traces == before + 1


def test_selection_uses_other_seeds():
    members = grid({"learning_rate": RATES})
    scores = Objective("td_error", maximize=False).of(swept())
    held_out = held_out_seeds(4, 3)
    np.testing.assert_array_equal(held_out, [4, 5, 6])
    chosen = select(
        q_learning.make,
        GRID,
        Q,
        members,
        scores,
        Objective("td_error", maximize=False),
        seeds=4,
        held_out=held_out,
        num_updates=16,
        chunk_length=2,
        group=1,
    )
    best = int(scores.mean(1).argmin())
    assert chosen.values == members[best]
    assert chosen.selected == interval(scores[best])
    alone = run(q_learning.make, GRID, Q.replace(**members[best]), seeds=[4, 5, 6], num_updates=16, chunk_length=2, group=1)
    np.testing.assert_array_equal(chosen.scores, final_values(alone.metrics["td_error"]))
    assert chosen.held_out.estimate == chosen.scores.mean()
    with pytest.raises(ConfigError, match=r"no seed may be held out that was chosen on, got \[3\]"):
        select(q_learning.make, GRID, Q, members, scores, Objective("td_error"), seeds=4, held_out=[3, 9], num_updates=16)


def test_the_held_out_score_has_no_winners_curse():
    """All members are pure noise of mean 0, so whatever is chosen is worth 0.

    The best of 16 means of 4 standard normal numbers each is 0.883 on average, half the expected largest of 16. Bars, set
    beforehand: both averages within four of their standard errors, over 100 sweeps.
    """
    objective, members, best = Objective("value"), grid({"rate": [float(i) for i in range(16)]}), 0.883
    options = {"seeds": 4, "num_updates": 1}
    selected, held_out = [], []
    for root in range(100):
        scores = objective.of(sweep(noise, None, Nested(), members, root=root, **options))
        chosen = select(noise, None, Nested(), members, scores, objective, held_out=held_out_seeds(4, 4), root=root, **options)
        selected.append(chosen.selected.estimate)
        held_out.append(chosen.held_out.estimate)
    assert abs(np.mean(held_out)) < 4 * np.std(held_out, ddof=1) / 10
    assert abs(np.mean(selected) - best) < 4 * np.std(selected, ddof=1) / 10
    assert np.mean(selected) > np.mean(held_out) + 0.5


# Successive halving


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
def halved(group=1):
    return halve(q_learning.make, GRID, Q, MEMBERS, objective=OBJECTIVE, seeds=4, rungs=[4, 8, 16], chunk_length=4, group=group)


def test_survivors_are_what_they_would_be_without_rungs():
    done = halved()
    whole = sweep(q_learning.make, GRID, Q, MEMBERS, seeds=4, num_updates=16, chunk_length=4, group=1)
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
    before = traces
    members = grid({"rate": [1.0, 2.0, 3.0, 4.0]})
    done = halve(drift_in_rungs, None, Nested(), members, objective=Objective("value"), seeds=2, rungs=[2, 4, 8])
    assert [program.members for program in done.sweep.programs] == [(0, 1, 2, 3), (2, 3), (3,)]
    # Once to see what is measured, once to lay out, once to initialise; then a program of updates for each rung.
    assert traces - before == 3 + 3


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
    assert done.sweep.failures == {(member, 1): Failure(0, "metric value") for member in range(4)}
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
    batches = halve(drift, None, Nested(), members, **options, at_once=3)
    np.testing.assert_array_equal(batches.sweep.metrics["value"], whole.sweep.metrics["value"])
