"""The subject of the checks: an environment, some steps of random play, and, where it is finite, its outcomes and its table."""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxrl import errors
from jaxrl.core import contracts
from jaxrl.core.environment import Environment, PyTree, Step
from jaxrl.core.finite import Initial, Outcomes, TabularModel, tabulate
from jaxrl.core.rollout import View, uniform_policy
from jaxrl.errors import EnvError
from jaxrl.testing.conformance.comparison import as_arrays, as_numpy, chosen, joined, on_host, take

WHERE = "check_environment"

BATCH = 512  # environments stepped at once
NUM_STEPS = 32  # of random play that the checks look at


class Played(NamedTuple):
    """Steps of random play, on the host, leading axis BATCH everywhere: where each was taken, and what it returned.

    legal: the mask, or None where the environment has none.
    """

    key: jax.Array
    obs: PyTree
    state: PyTree
    legal: PyTree
    action: PyTree
    step: Step


# A few compiled programs, and NumPy between them: an operation of jax that runs by itself is compiled by itself, and a hundred of
# them take longer than all of the checks.


@jax.jit
def single_step(env: Environment, key: jax.Array, state: PyTree, action: PyTree) -> Step:
    return env.step(key, as_arrays(state), as_arrays(action))


@jax.jit
def batched_resets(env: Environment, keys: jax.Array) -> tuple[PyTree, PyTree]:
    return jax.vmap(env.reset)(keys)


@jax.jit
def batched_steps(env: Environment, keys: jax.Array, states: PyTree, actions: PyTree) -> Step:
    return jax.vmap(env.step)(keys, as_arrays(states), as_arrays(actions))


@jax.jit
def _random_actions(env: Environment, key: jax.Array, obs: PyTree, states: PyTree) -> tuple[PyTree, PyTree]:
    """Returns which actions are legal in each state, None where all are, and a legal one."""
    legal = None if env.action_mask_fn is None else jax.vmap(env.action_mask)(as_arrays(states))
    return legal, uniform_policy(env)(key, View(obs, legal, ())).action


@jax.jit
def batched_outcomes(env: Any, states: PyTree, actions: PyTree) -> Outcomes:
    return jax.vmap(env.outcomes_fn, in_axes=(0, 0, None))(as_arrays(states), as_arrays(actions), env.params)


@jax.jit
def batched_observations(env: Any, states: PyTree) -> PyTree:
    return jax.vmap(env.observe_fn, in_axes=(0, None))(as_arrays(states), env.params)


@jax.jit
def _initial(env: Any) -> Initial:
    return env.initial_fn(env.params)


def _play(env: Environment, key: jax.Array) -> Played:
    """Plays BATCH environments and takes an equal share of the record from every step."""
    reset_key, step_key, action_key = jax.random.split(key, 3)
    step_keys, action_keys = jax.random.split(step_key, (NUM_STEPS, BATCH)), jax.random.split(action_key, NUM_STEPS)
    fresh = current = as_numpy(batched_resets(env, jax.random.split(reset_key, BATCH)))
    over, t, record = np.zeros(BATCH, bool), np.zeros(BATCH, np.int32), []
    for index, share in enumerate(np.split(np.arange(BATCH), NUM_STEPS)):
        obs, state = chosen(over, fresh, current)
        legal, action = as_numpy(_random_actions(env, action_keys[index], obs, state))
        step = as_numpy(batched_steps(env, step_keys[index], state, action))
        t = np.where(over, 1, t + 1)
        over, current = step.terminated | (t >= env.max_steps), (step.obs, step.state)
        record.append(take(Played(step_keys[index], obs, state, legal, action, step), share))
    return joined(record)


@dataclass(frozen=True)
class Subject:
    """The subject, with values that several checks need, computed once."""

    env: Environment
    key: jax.Array
    rebuilt: Environment | None
    tabulated: bool

    @functools.cached_property
    def played(self) -> Played:
        return _play(self.env, jax.random.fold_in(self.key, 0))

    @functools.cached_property
    def initial(self) -> Initial:
        return on_host(_initial(self.env))

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
    """Raises EnvError unless the condition holds; see ``jaxrl.errors.require``."""
    errors.require(bool(condition), WHERE, must, value, fix, EnvError)
