"""A temperature beside the observation: how far from the best an agent is willing to act."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core.environment import Environment, PyTree, Step
from jaxrl.core.spaces import Box, Dict
from jaxrl.core.transforms.inner import around
from jaxrl.errors import require_number


@struct.dataclass
class TemperatureParams:
    """env: PyTree, the parameters of the environment underneath. low, high: float32[], of the logarithm of the temperature."""

    env: PyTree
    low: jax.Array
    high: jax.Array


class Tempered(NamedTuple):
    """log_temperature: float32[], of the episode. state: PyTree, the state of the environment underneath."""

    log_temperature: jax.Array
    state: PyTree


def with_temperature(env: Environment, low: float, high: float) -> Environment:
    """Shows beside the observation the logarithm of a temperature, which is drawn for each episode, uniformly on its scale.

    All agents of an episode have the same one, and nothing else depends on it: the learner has to heed it, as
    ``multiagent.mappo`` does with ``bounded=True``.

    Source: Evans and Ganesh (2024), "Learning and Calibrating Heterogeneous Bounded Rational Market Behaviour with Multi-Agent
    Reinforcement Learning".

    Args:
        env: any environment.
        low, high: the smallest and the largest temperature, positive, in units of rewards.

    Returns:
        The environment with ``params`` of type ``TemperatureParams``, states of type ``Tempered`` and observations
        ``{"log_temperature": float32[], "obs": that of env}``, with the agent axis where there is one; sampled, not tabulated.

    Raises:
        ConfigError: a temperature is not a positive number, or ``high`` is below ``low``.
    """
    where = "with_temperature"
    require_number(where, "low", low, 0, np.inf, "0.1 is common.", above=True, below=True)
    require_number(where, "high", high, low, np.inf, f"{low} is the least.", below=True)
    params = TemperatureParams(env.params, jnp.float32(np.log(low)), jnp.float32(np.log(high)))
    agents = () if env.num_agents is None else (env.num_agents,)
    changed = around(env, params, _Reset(env.reset_fn, agents), _Step(env.step_fn, agents))
    space = Dict.of(log_temperature=Box(-jnp.inf, jnp.inf), obs=env.observation_space)
    return dataclasses.replace(changed, observation_space=space, outcomes_fn=None, initial_fn=None, observe_fn=None)


def _beside(obs: PyTree, log_temperature: jax.Array, agents: tuple[int, ...]) -> PyTree:
    return {"log_temperature": jnp.broadcast_to(log_temperature, agents), "obs": obs}


@dataclass(frozen=True)
class _Reset:
    reset: Callable
    agents: tuple[int, ...]

    def __call__(self, key, params: TemperatureParams):
        reset_key, drawn = jax.random.split(key)
        obs, state = self.reset(reset_key, params.env)
        log_temperature = jax.random.uniform(drawn, (), jnp.float32, params.low, params.high)
        return _beside(obs, log_temperature, self.agents), Tempered(log_temperature, state)


@dataclass(frozen=True)
class _Step:
    step: Callable
    agents: tuple[int, ...]

    def __call__(self, key, state: Tempered, action, params: TemperatureParams):
        inner: Step = self.step(key, state.state, action, params.env)
        obs = _beside(inner.obs, state.log_temperature, self.agents)
        return inner._replace(obs=obs, state=Tempered(state.log_temperature, inner.state))
