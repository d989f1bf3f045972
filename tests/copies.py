"""Environments with agents made of environments without: known values carry over, and one copy is the environment itself."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrl.core.environment import Environment, Step


class Copies(NamedTuple):
    """states: PyTree[N, ...]. over: bool[N], this agent's copy has terminated."""

    states: object
    over: jax.Array


@dataclass(frozen=True)
class _Reset:
    reset: Callable
    agents: int

    def __call__(self, key, params):
        obs, state = jax.tree.map(lambda leaf: jnp.stack([leaf] * self.agents), self.reset(key, params))
        return obs, Copies(state, jnp.zeros(self.agents, bool))


@dataclass(frozen=True)
class _Step:
    step: Callable

    def __call__(self, key, state, action, params):
        step = jax.vmap(self.step, in_axes=(None, 0, 0, None))(key, state.states, action, params)
        over = state.over | step.terminated
        return Step(step.obs, Copies(step.state, over), jnp.where(state.over, 0.0, step.reward), over.all())


@dataclass(frozen=True)
class _Mask:
    mask: Callable

    def __call__(self, state, params):
        return jax.vmap(self.mask, in_axes=(0, None))(state.states, params)


@dataclass(frozen=True)
class _GlobalObs:
    """The observation of the first copy as global observation: only where all copies are alike."""

    observe: Callable

    def __call__(self, state, params):
        return self.observe(jax.tree.map(lambda leaf: leaf[0], state.states))


def copies(env: Environment, agents: int, global_obs: Callable | None = None) -> Environment:
    """Gives every one of N agents a copy of an environment. All copies share their random numbers.

    They begin alike and, where actions do not move the state, stay alike. The episode ends when every copy has.

    Args:
        env: an environment without agents.
        agents: N.
        global_obs: ``(state of one copy) -> float32[G]``, or None for an environment without a global observation.
    """
    return dataclasses.replace(
        env,
        reset_fn=_Reset(env.reset_fn, agents),
        step_fn=_Step(env.step_fn),
        action_mask_fn=env.action_mask_fn and _Mask(env.action_mask_fn),
        global_obs_fn=global_obs and _GlobalObs(global_obs),
        outcomes_fn=None,
        initial_fn=None,
        observe_fn=None,
        num_agents=agents,
    )
