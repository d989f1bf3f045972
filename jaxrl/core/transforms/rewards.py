"""Other rewards: a function in place of the reward, and a potential beside it."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core.environment import Environment, PyTree, Step
from jaxrl.core.finite import Initial, Outcomes
from jaxrl.core.transforms.inner import around, examples, require_one_number
from jaxrl.errors import require_discount


@struct.dataclass
class RewardParams:
    """The parameters of an environment whose reward was replaced or shaped.

    env: PyTree, the parameters of the environment underneath.
    reward: PyTree, the parameters of the reward function, or ``Shaping``.
    """

    env: PyTree
    reward: PyTree


class Seen(NamedTuple):
    """The state of an environment whose reward was replaced or shaped.

    obs: PyTree, what the environment underneath shows in its state; the reward is a function of it.
    over: bool[], the episode has terminated; whatever follows pays nothing.
    state: PyTree, the state of the environment underneath.
    """

    obs: PyTree
    over: jax.Array
    state: PyTree


def with_reward(env: Environment, reward: Callable, params: PyTree = ()) -> Environment:
    """Replaces the reward by a function of what the agent sees and does.

    The parameters of the reward are a traced part of the environment's. A reward that is learned is exchanged without
    compiling again: ``env.replace(params=env.params.replace(reward=fitted))``.

    Args:
        env: the environment.
        reward: ``(params, obs, action, next_obs) -> float32[]``; with agents everything has its leading axis N and the reward
            is float32[N]. ``next_obs`` is the true successor, also where the episode ends.
        params: the parameters of the reward, any pytree of arrays.

    Returns:
        The environment with ``params`` of type ``RewardParams`` and states of type ``Seen``.

    Raises:
        EnvError: the reward has another shape.
    """
    must, fix = "the reward function must return {}", "Squeeze or sum the axes beyond."
    obs, action = examples(env)
    require_one_number("with_reward", must, env, jax.eval_shape(reward, params, obs, action, obs), fix)
    return _with_changed_reward(env, _Replaced(reward), params)


@struct.dataclass
class Shaping:
    """The parameters of a potential. gamma: float32[], the discount. potential: PyTree, those of the function."""

    gamma: jax.Array
    potential: PyTree


def with_potential(env: Environment, potential: Callable, gamma: float, params: PyTree = ()) -> Environment:
    """Adds the difference of a potential to the reward of every step, F = gamma Phi(s') - Phi(s), with Phi = 0 beyond the end.

    Then the values of every policy are Q(s, a) - Phi(s), and the best policies are the same: Phi may tell what a learner would
    take long to find out. Where a time limit cuts an episode, Phi(s') remains in the reward, as the value of s' in the target.

    The parameters are traced: other numbers compile nothing again. They are ``env.params.reward``, of type ``Shaping``.

    Source: Ng, Harada and Russell (1999), "Policy Invariance Under Reward Transformations", equation 2 and theorem 1; Phi = 0
    beyond the end: Grzes (2017), "Reward Shaping in Episodic Reinforcement Learning".

    Args:
        env: the environment.
        potential: ``(params, obs) -> float32[]``, in reward units; with agents of all observations at once, float32[N].
        gamma: the discount in [0, 1] of the learner. With another one, the best policies may be others.
        params: the parameters of the potential, any pytree of arrays.

    Returns:
        The environment with ``params`` of type ``RewardParams`` and states of type ``Seen``.

    Raises:
        ConfigError: gamma lies outside [0, 1].
        EnvError: the potential has another shape.
    """
    require_discount("with_potential", gamma)
    must, fix = "the potential must return {}", "Squeeze or sum the axes beyond."
    require_one_number("with_potential", must, env, jax.eval_shape(potential, params, examples(env)[0]), fix)
    return _with_changed_reward(env, _Shaped(potential), Shaping(jnp.float32(gamma), params))


def _with_changed_reward(env: Environment, change: Callable, params: PyTree) -> Environment:
    """Changes the reward by ``(params, reward, terminated, obs, action, next_obs) -> reward``."""
    changed = around(env, RewardParams(env.params, params), _RewardReset(env.reset_fn), _RewardStep(env.step_fn, change))
    if env.outcomes_fn is None or env.initial_fn is None or env.observe_fn is None:
        return changed
    return dataclasses.replace(
        changed,
        outcomes_fn=_RewardOutcomes(env.outcomes_fn, env.observe_fn, change),
        initial_fn=_RewardInitial(env.initial_fn, env.observe_fn),
        observe_fn=_seen_obs,
    )


@dataclass(frozen=True)
class _RewardReset:
    reset: Callable

    def __call__(self, key, params):
        obs, state = self.reset(key, params.env)
        return obs, Seen(obs, jnp.bool_(False), state)


@dataclass(frozen=True)
class _Replaced:
    """Another reward in place of the environment's."""

    function: Callable

    def __call__(self, params, reward, terminated, obs, action, next_obs):
        return self.function(params, obs, action, next_obs)


@dataclass(frozen=True)
class _Shaped:
    """The environment's reward and the difference of a potential."""

    potential: Callable

    def __call__(self, params: Shaping, reward, terminated, obs, action, next_obs):
        before, after = (self.potential(params.potential, seen) for seen in (obs, next_obs))
        return reward + params.gamma * jnp.where(terminated, 0.0, after) - before


@dataclass(frozen=True)
class _RewardStep:
    step: Callable
    change: Callable

    def __call__(self, key, state, action, params):
        inner: Step = self.step(key, state.state, action, params.env)
        reward = self.change(params.reward, inner.reward, inner.terminated, state.obs, action, inner.obs)
        seen = Seen(inner.obs, inner.terminated, inner.state)
        return inner._replace(state=seen, reward=jnp.where(state.over, 0.0, reward).astype(jnp.float32))


@dataclass(frozen=True)
class _RewardOutcomes:
    outcomes: Callable
    observe: Callable
    change: Callable

    def __call__(self, state, action, params):
        inner: Outcomes = self.outcomes(state.state, action, params.env)
        obs = jax.vmap(self.observe, in_axes=(0, None))(inner.state, params.env)
        change = jax.vmap(self.change, in_axes=(None, 0, 0, None, None, 0))
        reward = change(params.reward, inner.reward, inner.terminated, state.obs, action, obs)
        reward = jnp.where(state.over, 0.0, reward).astype(inner.reward.dtype)
        return inner._replace(state=Seen(obs, inner.terminated, inner.state), reward=reward)


@dataclass(frozen=True)
class _RewardInitial:
    initial: Callable
    observe: Callable

    def __call__(self, params):
        inner: Initial = self.initial(params.env)
        obs = jax.vmap(self.observe, in_axes=(0, None))(inner.state, params.env)
        return inner._replace(state=Seen(obs, jnp.zeros(inner.probability.shape, bool), inner.state))


def _seen_obs(state, params):
    return state.obs
