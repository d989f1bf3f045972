"""check_algorithm on the structure of what an algorithm returns: a broken one for each check."""

import jax
import jax.numpy as jnp
import pytest

from tests.testing.conformance.algorithm.subject import (
    Acting,
    Changed,
    Declaring,
    Evaluator,
    Measuring,
    Starting,
    Updating,
    broken,
    make,
    make_that_steps,
    require_caught,
)

calls = 0


def make_a_pair(task, config):
    return make(task, config)[:2]


def make_by_the_value_of_a_field(task, config):
    return make(task, config.replace(rate=float(config.rate)))


def vector(metrics):
    return metrics | {"change": jnp.ones((3, 40), jnp.float32)}


def python_number(metrics):
    return metrics | {"change": 0.5}


def whole_number(metrics):
    return metrics | {"change": jnp.int32(1)}


def unnamed(metrics):
    return tuple(metrics.values())


def sometimes(metrics):
    global calls
    calls += 1
    return metrics | {f"now_{calls}": jnp.float32(0)}


def counted_where_traced(metrics):
    global calls
    calls += 1
    return metrics | {"calls": jnp.float32(calls)}


def whole_logits(state, key, config):
    return state.replace(logits=state.logits.astype(jnp.int32))


def no_count(state, key, config):
    return {"logits": state.logits}


def a_branch(state, key, config):
    return state if state.count > 3 else state.replace(logits=-state.logits)


def one_key_twice(state, key, config):
    return state.replace(logits=state.logits + jax.random.normal(key, (2, 3), jnp.float32))


def drawing_from_its_own_key(task, config):
    right = make(task, config)
    return right._replace(update=lambda state, key: right.update(state, jax.random.key(7)))


def wide_in_float64(state, key, config):
    return state.replace(logits=state.logits + jnp.zeros(3))


def noise_without_a_dtype(state, key, config):
    noise = jax.random.normal(jax.random.fold_in(key, 1), (2, config.size)).astype(jnp.float32)
    return state.replace(logits=state.logits + noise)


def a_python_number(state, config):
    return state.replace(count=0)


def a_weak_number(state, config):
    return state.replace(count=jnp.asarray(0))


def of_traced_size(state, config):
    return state.replace(logits=jnp.zeros((2, config.rate)))


def wide_table(state, config):
    return state.replace(logits=jnp.zeros((2, 3)))


def no_metrics(right, config):
    return right._replace(update=lambda state, key: right.update(state, key)[0])


def greedily(right, config):
    return right._replace(policy=lambda state, greedily: right.policy(state, greedily))


def bare_actions(decision, key, view):
    return decision.action


def real_actions(decision, key, view):
    return decision._replace(action=decision.action.astype(jnp.float32))


def forgotten_memory(right, config):
    return right._replace(memory=jnp.zeros(2, jnp.float32))


def extras_in_a_list(decision, key, view):
    return decision._replace(extras=[decision.action])


def key_of_the_action_again(decision, key, view):
    return decision._replace(action=decision.action + jax.random.randint(key, (), 0, 1, jnp.int32))


def probabilities_of_one(right, config):
    return right._replace(probabilities=lambda state, view: right.probabilities(state, view)[0])


def sizes(logits):
    return logits.sum(-1) + 0j


def total(logits):
    return logits.sum()


BROKEN = [
    broken("init structure", r"make\(task, config\) must return an Algorithm, got", make_a_pair),
    broken(
        "init structure",
        r"make\(task, config\) must be traceable by jax, got ConcretizationTypeError",
        make_by_the_value_of_a_field,
    ),
    broken("init structure", r"arrays only, at state.count too, got 'the int 0'", Starting(a_python_number)),
    broken("init structure", r"init must give state.count a dtype of its own, got 'a weak int32\[\]'", Starting(a_weak_number)),
    broken("init structure", r"init\(key\) must be traceable by jax, got TypeError: Shapes must be 1D", Starting(of_traced_size)),
    broken("update structure", r"got 'int32\[2, 3\] at .logits in place of float32\[2, 3\]'", Updating(whole_logits)),
    broken("update structure", r"got 'nothing at .logits", Updating(no_count)),
    broken(
        "update structure", r"update\(state, key\) must be traceable by jax, got TracerBoolConversionError", Updating(a_branch)
    ),
    broken("update structure", r"must return \(state, metrics\), got 'State'", Changed(no_metrics)),
    broken("update structure", r"arrays of 1 to 64 entries, under 'change' too, got 'float32\[3, 40\]'", Measuring(vector)),
    broken("update structure", r"its metrics as a dict", Measuring(unnamed)),
    broken("metrics", r"float32 numbers.*under 'change' too, got 'the float 0.5'", Measuring(python_number)),
    broken("metrics", r"float32 numbers.*under 'change' too, got 'int32\[\]'", Measuring(whole_number)),
    broken("policy structure", r"TypeError.*policy\(state, greedy=True\).*Name its parameters so", Changed(greedily)),
    broken("policy structure", r"must return a function \(key, view\) -> Decision, got", Acting(bare_actions)),
    broken("policy structure", r"actions of the action space.*int32\[3\].*got.*float32\[3\]", Acting(real_actions)),
    broken("policy structure", r"the memory in the structure of Algorithm.memory, got 'nothing at", Changed(forgotten_memory)),
    broken("policy structure", r"its extras as a dict, got 'list'", Acting(extras_in_a_list)),
    broken("probabilities structure", r"must return float32\[3, 3\].*got.*float32\[3\]", Changed(probabilities_of_one)),
    broken("given keys are used", r"update must draw from the key that it is given", drawing_from_its_own_key),
    broken("keys are used once", r"update must use each key once", Updating(one_key_twice)),
    broken("keys are used once", r"policy\(state, False\) must use each key once", Acting(key_of_the_action_again)),
    broken("metrics are always the same", r"\['now_.*'\] in one of two updates", Measuring(sometimes)),
    broken("traced twice the same", r"the same program whenever it is traced", Measuring(counted_where_traced)),
    broken("evaluators", r"must measure real numbers.*'loss' too, got 'complex64\[2\]'", evaluators=(Evaluator(sizes),)),
    broken("evaluators", r"names of its own, got \"'loss' of Evaluator and of Evaluator\"", evaluators=(Evaluator(total),) * 2),
    broken("dtypes are explicit", r"from init on, got 'float64\[2, 3\] at .logits", Starting(wide_table)),
    broken("dtypes are explicit", r"in update, got 'float64\[2, 3\] at .logits", Updating(wide_in_float64)),
    broken("dtypes are explicit", r"update must draw the same random numbers", Updating(noise_without_a_dtype)),
    broken(
        "steps per update", r"as many steps as config.steps_per_update says \(8\), got 6", make_that_steps, config=Declaring()
    ),
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.check)
def test_broken_algorithm_is_caught(broken):
    global calls
    calls = 0
    require_caught(broken)
