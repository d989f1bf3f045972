"""A task and an algorithm that are right, and ways to change one thing about them."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest
from flax import struct

import jaxrl
from jaxrl.blocks import distributions
from jaxrl.core import rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.averages import Average
from jaxrl.core.environment import Environment, Step, static
from jaxrl.core.rollout import Decision
from jaxrl.core.spaces import Discrete
from jaxrl.errors import JaxrlError

KEY = jax.random.key(0)


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


@struct.dataclass
class Declaring(Config):
    steps_per_update: Any = static(default=8)


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


def undefined(logits):
    return jnp.sqrt(-1.0 - jnp.square(logits[0]))


class Broken(NamedTuple):
    """check: the check that catches it, as the report names it. message: what the error says. changes: of the arguments."""

    check: str
    message: str
    changes: dict


def broken(check, message, make=make, **changes):
    return Broken(check, message, {"make": make} | changes)


def check(make=make, task: Any = CELLS, config: Any = None, **options):
    return jaxrl.check_algorithm(make, task, Config() if config is None else config, KEY, **options)


def require_caught(broken):
    """Fails unless the one check that is meant to catch an algorithm does, and says so."""
    with pytest.raises(JaxrlError, match=broken.message) as caught:
        check(**broken.changes)
    assert caught.value.__notes__[-1] == f"Found by the check {broken.check!r}."
