"""Members of a sweep: which fields there are, the values that they take, and members that share a program."""

import numpy as np
import pytest

from jaxrl.algorithms.deep import ppo
from jaxrl.errors import ConfigError, UnknownNameError
from jaxrl.sweeps.members import (
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
from jaxrl.sweeps.sweep import sweep
from tests.sweeps.learners import Inner, Nested, Q, drift


def test_fields_say_what_is_traced():
    found = fields(Nested())
    assert {name for name, field in found.items() if field.traced} == {
        "rate",
        "count",
        *(f"inside.{name}" for name in ("learning_rate", "learning_rate_half_life", "learning_rate_min", "gamma")),
        *(f"inside.{name}" for name in ("epsilon", "temperature", "uncertainty", "initial_value")),
    }
    inside = {"inside.num_envs", "inside.num_steps", "inside.exploration"}
    others = {"size", "name", "hidden", "shape.width", "shape.scale", "limit", *inside}
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
