"""What is checked: an environment, some steps of random play in it, and, where it is finite, its outcomes and its table."""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl import contracts, errors
from jaxrl.conformance.comparison import on_host, take
from jaxrl.env import Environment, PyTree, Step
from jaxrl.errors import EnvironmentError
from jaxrl.finite import Outcomes, TabularModel, tabulate
from jaxrl.rollout import View, uniform_policy

WHERE = "check_environment"

BATCH = 512  # environments stepped at once: one compiled program for everything that is batched
NUM_STEPS = 32  # of random play that the checks look at


class Played(NamedTuple):
    """Steps of random play, leading axis BATCH everywhere: where each was taken, and what it returned."""

    key: jax.Array
    state: PyTree
    obs: PyTree
    action: PyTree
    step: Step


@jax.jit
def compiled_reset(env: Environment, key: jax.Array) -> tuple[PyTree, PyTree]:
    return env.reset(key)


@jax.jit
def compiled_step(env: Environment, key: jax.Array, state: PyTree, action: PyTree) -> Step:
    return env.step(key, state, action)


@jax.jit
def batched_resets(env: Environment, keys: jax.Array) -> tuple[PyTree, PyTree]:
    return jax.vmap(env.reset)(keys)


@jax.jit
def batched_steps(env: Environment, keys: jax.Array, states: PyTree, actions: PyTree) -> Step:
    return jax.vmap(env.step)(keys, states, actions)


@jax.jit
def batched_outcomes(env: Any, states: PyTree, actions: PyTree) -> Outcomes:
    return jax.vmap(env.outcomes_fn, in_axes=(0, 0, None))(states, actions, env.params)


@jax.jit
def _go_on(env: Environment, key: jax.Array, over: jax.Array, fresh: tuple, current: tuple) -> tuple:
    """Begins again where an episode is over. Returns ``(obs, state, legal random action)``."""
    obs, state = jax.vmap(lambda end, *pair: jax.tree.map(functools.partial(jnp.where, end), *pair))(over, fresh, current)
    mask = None if env.action_mask_fn is None else jax.vmap(env.action_mask)(state)
    return obs, state, uniform_policy(env)(key, View(obs, mask, ())).action


def _play(env: Environment, key: jax.Array) -> Played:
    """Plays BATCH environments and takes an equal share of the record from every step."""
    reset_key, step_key, action_key = jax.random.split(key, 3)
    step_keys, action_keys = jax.random.split(step_key, (NUM_STEPS, BATCH)), jax.random.split(action_key, NUM_STEPS)
    fresh = current = batched_resets(env, jax.random.split(reset_key, BATCH))
    over, t, record = jnp.zeros(BATCH, bool), jnp.zeros(BATCH, jnp.int32), []
    for index, shares in enumerate(np.split(np.arange(BATCH), NUM_STEPS)):
        obs, state, action = _go_on(env, action_keys[index], over, fresh, current)
        step = batched_steps(env, step_keys[index], state, action)
        t = jnp.where(over, 1, t + 1)
        over, current = step.terminated | (t >= env.max_steps), (step.obs, step.state)
        record.append(take(Played(step_keys[index], state, obs, action, step), shares))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *record)


@dataclass(frozen=True)
class Subject:
    """What is checked, with what several checks need, computed once."""

    env: Environment
    key: jax.Array
    rebuilt: Environment | None
    tabulated: bool

    @functools.cached_property
    def played(self) -> Played:
        return _play(self.env, jax.random.fold_in(self.key, 0))

    @functools.cached_property
    def outcomes(self) -> Outcomes:
        return on_host(batched_outcomes(self.env, self.played.state, self.played.action))

    @functools.cached_property
    def model(self) -> TabularModel:
        return tabulate(self.env)


def reset_shapes(subject: Subject) -> tuple:
    """Returns the first observation and state, by shape and dtype."""
    return jax.eval_shape(functools.partial(contracts.opening, WHERE, subject.env), subject.key)


def require(condition: Any, must: str, value: object, fix: str) -> None:
    """Raises EnvironmentError unless the condition holds; see ``jaxrl.errors.require``."""
    errors.require(bool(condition), WHERE, must, value, fix, EnvironmentError)
