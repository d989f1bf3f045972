"""check_algorithm catches every mistake that it claims to catch: a broken algorithm for each check."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

import jaxrl
from jaxrl.algorithms.deep import ppo
from jaxrl.blocks import distributions
from jaxrl.core import rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.averages import Average, optional
from jaxrl.core.environment import Environment, Step, static
from jaxrl.core.rollout import Decision, last_step
from jaxrl.core.spaces import Discrete
from jaxrl.errors import JaxrlError
from jaxrl.evaluation import Episodes

KEY = jax.random.key(0)


# ---- a task and an algorithm that are right


def reset(key, params):
    state = jax.random.randint(key, (), 0, 2, jnp.int32)
    return state, state


def step(key, state, action, params):
    """Two cells; action 2 is forbidden in the second."""
    state = (state + action) % 2
    return Step(state, state, state.astype(jnp.float32), jnp.bool_(False))


def mask(state, params):
    return jnp.array([True, True, False]) | (state == 0)


CELLS = Environment(None, reset, step, Discrete(2), Discrete(3), max_steps=4, action_mask_fn=mask)


@struct.dataclass
class Config:
    rate: float = 0.5
    size: int = static(default=3)


@struct.dataclass
class State:
    logits: jax.Array
    count: jax.Array


def make(task, config):
    """Learns nothing: the preferences for the actions walk at random, a step for each update."""

    def init(key):
        return State(jax.random.normal(key, (2, config.size), jnp.float32), jnp.int32(0))

    def update(state, key):
        change = config.rate * jax.random.normal(key, (2, config.size), jnp.float32)
        metrics = {"change": jnp.square(change).mean(), "episode_return": Average(jnp.float32(0), jnp.float32(0))}
        return State(state.logits + change, state.count + 1), metrics

    def choice(state, view):
        return distributions.categorical(state.logits[view.obs], view.mask)

    def policy(state, greedy):
        def act(key, view):
            distribution = choice(state, view)
            return Decision(distribution.mode() if greedy else distribution.sample(seed=key))

        return act

    return Algorithm(init, update, policy, probabilities=lambda state, view: choice(state, view).probs)


# ---- and what can be wrong with them


@dataclasses.dataclass(frozen=True)
class Changed:
    """``make`` with one part changed: ``change(algorithm, config) -> Algorithm``."""

    change: Callable

    def __call__(self, task, config):
        return self.change(make(task, config), config)


@dataclasses.dataclass(frozen=True)
class Measuring:
    """``make`` whose update returns other metrics: ``metrics(right metrics)``."""

    metrics: Callable

    def __call__(self, task, config):
        right = make(task, config)

        def update(state, key):
            state, metrics = right.update(state, key)
            return state, self.metrics(metrics)

        return right._replace(update=update)


@dataclasses.dataclass(frozen=True)
class Starting:
    """``make`` whose first state is another: ``start(right state, config)``."""

    start: Callable

    def __call__(self, task, config):
        right = make(task, config)
        return right._replace(init=lambda key: self.start(right.init(key), config))


@dataclasses.dataclass(frozen=True)
class Updating:
    """``make`` whose next state is another: ``following(right state, key, config)``."""

    following: Callable

    def __call__(self, task, config):
        right = make(task, config)

        def update(state, key):
            state, metrics = right.update(state, key)
            return self.following(state, key, config), metrics

        return right._replace(update=update)


@dataclasses.dataclass(frozen=True)
class Acting:
    """``make`` whose policy decides otherwise: ``decide(right decision, key, view)``."""

    decide: Callable

    def __call__(self, task, config):
        right = make(task, config)

        def policy(state, greedy):
            return lambda key, view: self.decide(right.policy(state, greedy)(key, view), key, view)

        return right._replace(policy=policy)


def make_a_pair(task, config):
    return make(task, config)[:2]


def make_by_the_value_of_a_field(task, config):
    return make(task, config.replace(rate=float(config.rate)))


# flax checks the metrics of none of these functions, so each is right but for one thing.


def vector(metrics):
    return metrics | {"change": jnp.ones((3, 40), jnp.float32)}


def small_and_missing(metrics):
    return metrics | {"each": jnp.ones(3, jnp.float32), "maybe": optional(jnp.nan)}


def python_number(metrics):
    return metrics | {"change": 0.5}


def whole_number(metrics):
    return metrics | {"change": jnp.int32(1)}


def unnamed(metrics):
    return tuple(metrics.values())


calls = 0


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


def divided_by_nothing(state, key, config):
    return state.replace(logits=state.logits / (state.logits - state.logits))


def wide_in_float64(state, key, config):
    return state.replace(logits=state.logits + jnp.zeros(3))


def noise_without_a_dtype(state, key, config):
    noise = jax.random.normal(jax.random.fold_in(key, 1), (2, config.size)).astype(jnp.float32)
    return state.replace(logits=state.logits + noise)


def noise_of_the_host(state, key, config):
    shape = jax.ShapeDtypeStruct((), jnp.float32)
    noise = jax.pure_callback(
        lambda count: np.float32(np.random.default_rng().random()), shape, state.count, vmap_method="sequential"
    )
    return state.replace(logits=state.logits + noise)


@dataclasses.dataclass(frozen=True)
class LateNoise:
    """Something outside the state that changes after so many calls on the host."""

    quiet: int

    def __call__(self, state, key, config):
        def noise(count):
            global calls
            calls += 1
            return np.float32(calls > self.quiet)

        shape = jax.ShapeDtypeStruct((), jnp.float32)
        return state.replace(logits=state.logits + jax.pure_callback(noise, shape, state.count, vmap_method="sequential"))


@jax.custom_batching.custom_vmap
def number_of_lanes(value):
    return value * 0 + 1


@number_of_lanes.def_vmap
def _(axis_size, in_batched, value):
    return value * 0 + axis_size, True


def feels_the_batch(state, key, config):
    return state.replace(logits=state.logits + number_of_lanes(state.logits))


@jax.custom_batching.custom_vmap
def mean_of_lanes(value):
    return value


@mean_of_lanes.def_vmap
def _(axis_size, in_batched, value):
    return jnp.broadcast_to(value.mean() if in_batched[0] else value, (axis_size,)), True


def shares_its_field(state, key, config):
    return state.replace(logits=state.logits + mean_of_lanes(config.rate))


def knows_how_it_is_run(state, key, config):
    return state.replace(logits=state.logits + isinstance(key, jax.core.Tracer))


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


def beyond_the_space(decision, key, view):
    return decision._replace(action=decision.action + 3)


def any_action(decision, key, view):
    return decision._replace(action=decision.action * 0 + jnp.arange(decision.action.size, dtype=jnp.int32) % 3)


def probabilities_of_one(right, config):
    return right._replace(probabilities=lambda state, view: right.probabilities(state, view)[0])


def improbable(right, config):
    return right._replace(probabilities=lambda state, view: 0.9 * right.probabilities(state, view))


def probabilities_without_mask(right, config):
    return right._replace(probabilities=lambda state, view: jax.nn.softmax(state.logits[view.obs]))


def flat_probabilities(right, config):
    def probabilities(state, view):
        return jax.nn.softmax(jnp.where(view.mask, 0.5 * state.logits[view.obs], -1e9))

    return right._replace(probabilities=probabilities)


def least_likely(right, config):
    def policy(state, greedy):
        def act(key, view):
            last = jnp.where(view.mask, -state.logits[view.obs], -jnp.inf).argmax(-1).astype(jnp.int32)
            return Decision(last) if greedy else right.policy(state, False)(key, view)

        return act

    return right._replace(policy=policy)


@struct.dataclass
class Whole:
    rate: float = 0.5
    size: int = 3


@struct.dataclass
class Named:
    rate: str = "fast"
    size: int = static(default=3)


@dataclasses.dataclass
class NoTree:
    rate: float = 0.5
    size: int = 3


@struct.dataclass
class StaticRate:
    rate: float = static(default=0.5)
    size: int = static(default=3)


@struct.dataclass
class Declaring(Config):
    steps_per_update: Any = static(default=8)


@struct.dataclass
class DeclaringHalves(Config):
    @property
    def steps_per_update(self):
        return self.size / 2


@struct.dataclass
class DeclaringBefore(Config):
    steps_before_first_update: int = static(default=-8)


@struct.dataclass
class OfPandas(Config):
    def validate(self, task):
        task.to_csv()


@struct.dataclass
class OfOneSeed(Config):
    def validate(self, task):
        if self.rate < 0:
            raise ValueError


def make_that_steps(task, config):
    """Steps two environments three times in each update."""
    right = make(task, config)
    start = functools.partial(rollout.start, env=task, num_envs=2)

    def update(state, key):
        inner, episodes = state
        inner, metrics = right.update(inner, key)
        episodes, _ = rollout.unroll(jax.random.fold_in(key, 1), task, rollout.uniform_policy(task), episodes, 3)
        return (inner, episodes), metrics

    return Algorithm(lambda key: (right.init(jax.random.fold_in(key, 0)), start(jax.random.fold_in(key, 1))), update)


@struct.dataclass
class Evaluator:
    measured: Any = static(default=float)

    def __call__(self, key, algorithm, state):
        return {"loss": self.measured(state.logits)}


def sizes(logits):
    return logits.sum(-1) + 0j


def undefined(logits):
    return jnp.sqrt(-1.0 - jnp.square(logits[0]))


def maybe_undefined(logits):
    return optional(undefined(logits))


def total(logits):
    return logits.sum()


class Broken(NamedTuple):
    """check: the check that catches it, as the report names it. message: what the error says. changes: of the arguments."""

    check: str
    message: str
    changes: dict


def broken(check, message, make=make, **changes):
    return Broken(check, message, {"make": make} | changes)


BROKEN = [
    broken(
        "arguments", r"make must be a function.*got <module 'jaxrl.algorithms.deep.ppo'.*Give jaxrl.algorithms.deep.ppo.make", ppo
    ),
    broken("arguments", r"task must be an Environment, a data set or a game, got 'cells'. Build", task="cells"),
    broken("arguments", r"task must be a number or an array, got <function reset", task=reset),
    broken("make equal when rebuilt", r"make must be a function at module level", lambda *given: make(*given)),
    broken("make equal when rebuilt", r"make must be a function at module level", functools.partial(make)),
    broken(
        "config is a struct", r"config must be an instance of a flax.struct.dataclass, got <class 'dict'>", config={"rate": 1.0}
    ),
    broken("config is a struct", r"config must be an instance.*got <class '.*NoTree'>", config=NoTree()),
    broken("traced fields are scalars", r"config.size must be a float, or static, got 3. Declare", config=Whole()),
    broken("traced fields are scalars", r"config.rate must be a float, or static, got 'fast'", config=Named()),
    broken("traced fields are scalars", r"config.rate must be a scalar, got 'float32\[2\]'", config=Config(jnp.ones(2))),
    broken("static fields are hashable", r"config.size must be hashable.*got \[3\]", config=Config(size=[3])),  # pyright: ignore
    broken("static fields are hashable", r"config.rate must be traced.*got 0.5", config=StaticRate()),
    broken("static fields are hashable", r"config.size must be a function at module level", config=Config(size=lambda: 3)),  # pyright: ignore
    broken("rebuilt compiles once", r"task and config made again.*another structure of config", rebuilt=(CELLS, Config(size=4))),
    broken("validate", r"config.validate\(task\) must accept the task, got AttributeError", config=OfPandas()),
    broken("validate", r"must accept fields that hold an entry for each seed", config=OfOneSeed()),
    broken("declared steps", r"steps_per_update must be an integer of at least 1, got 0", config=Declaring(steps_per_update=0)),
    broken("declared steps", r"steps_per_update must be an integer.*got 1.5", config=DeclaringHalves()),
    broken("declared steps", r"steps_before_first_update must be an integer.*0, got -8", config=DeclaringBefore()),
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
    broken("values stay finite", r"got \['state.logits in update 0 of seed 0'", Updating(divided_by_nothing)),
    broken("evaluations are finite", r"may be missing, got \['loss/0', 'loss/1'", evaluators=(Evaluator(undefined),)),
    broken("same key same result", r"two runs from one key must be equal", Updating(noise_of_the_host)),
    broken("chunks change nothing", r"in one chunk and in several", Updating(LateNoise(8))),
    broken("resuming changes nothing", r"interrupted must go on as if", Updating(LateNoise(14))),
    broken("batched equals single", r"the same alone and beside others", Updating(feels_the_batch)),
    broken("sweep equals plain", r"a member of a sweep must be what it is alone", Updating(shares_its_field)),
    broken("compiled equals eager", r"compiled and uncompiled", Updating(knows_how_it_is_run)),
    broken("actions in space", r"actions in Discrete\(n=3\), got 'values in \(3, 5\)'", Acting(beyond_the_space)),
    broken("actions are legal", r"policy\(state, False\) must take legal actions alone, got '\d+ illegal", Acting(any_action)),
    broken("probabilities are distributions", r"sum to 1, got 0\.(9|89)", Changed(improbable)),
    broken("probabilities are distributions", r"give illegal actions 0", Changed(probabilities_without_mask)),
    broken("greedy is the mode", r"take an action that is most probable", Changed(least_likely)),
    broken("frequencies", r"as frequent as probabilities say.*got 'a chance of", Changed(flat_probabilities)),
]


def check(make=make, task: Any = CELLS, config: Any = None, **options):
    return jaxrl.check_algorithm(make, task, Config() if config is None else config, KEY, **options)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.check)
def test_broken_algorithm_is_caught(broken):
    global calls
    calls = 0
    with pytest.raises(JaxrlError, match=broken.message) as caught:
        check(**broken.changes)
    assert caught.value.__notes__[-1] == f"Found by the check {broken.check!r}."


@pytest.fixture(scope="module")
def report():
    config = Declaring(steps_per_update=6)
    return check(evaluators=(Episodes(CELLS, num_episodes=2),)), check(make_that_steps, config=config, eager=False)


def test_every_check_has_a_broken_algorithm(report):
    assert {broken.check for broken in BROKEN} == set(report[0].passed) | set(report[1].passed)


def test_report_lists_what_applies(report):
    assert report[0].skipped == ("steps per update",)
    assert {"compiled equals eager", "actions in space", "frequencies", "evaluations are finite"} <= set(report[1].skipped)


def make_that_sees_all(task, config):
    """Its policy looks at whatever a rollout shows."""
    right = make(task, config)

    def policy(state, greedy):
        def act(key, view):
            seen = view.t + view.action + view.reward.astype(jnp.int32) + view.state
            action = right.policy(state, greedy)(key, view).action
            return Decision(jnp.where(seen % 2 == 0, action, 0), memory=view.memory)

        return act

    return right._replace(policy=policy, memory=last_step(task), probabilities=None)


def test_a_policy_may_look_at_all_that_a_rollout_shows():
    assert "actions are legal" in check(make_that_sees_all, evaluators=(Episodes(CELLS, num_episodes=2),), eager=False).passed


def test_arrays_and_what_is_declared_as_missing_are_right():
    check(Measuring(small_and_missing), evaluators=(Evaluator(maybe_undefined),))
