"""The first operation that went bad is found within loops, branches and calls, and only in the history of what is bad."""

import jax
import jax.numpy as jnp
import pytest

import envs
from jaxrl.core.environment import Step, uncompiled
from jaxrl.training.diagnosis import first_bad_operation


def in_scan(x):
    total, squares = jax.lax.scan(lambda total, y: (total + y, jnp.log(y - 2.0)), x, jnp.arange(4.0))
    return {"total": total, "squares": squares}


def in_constant_of_scan(x):
    return {"carry": jax.lax.scan(lambda carry, y: (carry * jnp.sqrt(x - 5.0), y), x, jnp.arange(3.0), reverse=True)[0]}


def in_while(x):
    return {"value": jax.lax.while_loop(lambda v: v[1] < 3, lambda v: (v[0] / (2.0 - v[1]), v[1] + 1), (x, 0.0))[0]}


def in_branch(x):
    return {"value": jax.lax.cond(x > 0, lambda v: jnp.log(v - 1.0), lambda v: v, x)}


@pytest.mark.parametrize(
    ("function", "name", "primitive"),
    [
        (in_scan, "squares", "log"),
        (in_constant_of_scan, "carry", "sqrt"),
        (in_while, "value", "div"),
        (in_branch, "value", "log"),
    ],
)
def test_the_operation_and_its_line_are_named(function, name, primitive):
    found = first_bad_operation(function, jnp.float32(1.0))
    assert list(found) == [f"['{name}']"]
    operation = found[f"['{name}']"]
    assert operation is not None
    assert operation.primitive == primitive
    assert "test_diagnosis.py" in operation.place


def test_what_is_finite_is_not_named():
    assert first_bad_operation(in_scan, jnp.float32(1.0)).keys() == {"['squares']"}
    assert first_bad_operation(lambda x: {"x": x + 1}, jnp.float32(1.0)) == {}


def test_an_operation_inside_of_a_function_of_jax_has_the_line_that_called_it():
    found = first_bad_operation(jax.vmap(lambda x: jnp.where(x > 1, x, jnp.nan)), jnp.zeros(3))  # where is compiled
    assert found[""] is not None
    assert "test_diagnosis.py" in found[""].place
    assert "jnp.where" in found[""].line


def broken(key, state, action, params):
    return Step(state, state, jnp.log(state - 1.0), jnp.bool_(False))


def test_a_line_of_an_environment_is_named():
    env = envs.make("cartpole").replace(step_fn=broken)
    # Until jax 0.11, a compiled function that became a part of another one forgot its lines: the place is where it is called.
    for one, files in ((uncompiled(env), ("test_diagnosis.py",)), (env, ("test_diagnosis.py", "environment.py"))):
        step = jax.vmap(lambda state, one=one: one.step(jax.random.key(0), state, 0).reward)
        operation = first_bad_operation(step, jnp.zeros(3))[""]
        assert operation is not None
        assert any(file in operation.place for file in files)
