"""Levers: m agents out of a large population pull one of as many levers each; all are paid the share of levers that are pulled.

Every agent knows only who it is. Without talking they cannot agree on who pulls what: pulling at random pulls 1 - (1 - 1 /
levers)^m of them on average. Played once.

Source: Sukhbaatar, Szlam and Fergus (2016), "Learning multiagent communication with backpropagation", section 4.1.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct

from envs.markov_games.agents import distinct
from jaxrl.core.environment import Environment, Step
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require


@struct.dataclass
class Params:
    population: jax.Array  # int32[P], the numbers of those from whom the agents are drawn
    levers: jax.Array  # int32[L], the numbers 0 .. L - 1


@dataclass(frozen=True)
class Reset:
    agents: int

    def __call__(self, key, params):
        identity = params.population[distinct(key, self.agents, len(params.population))]
        return identity, (identity, jnp.bool_(False))


def step(key, state, action, params):
    """Pays once. The state is who plays, int32[m], and whether they have played, bool[]."""
    identity, played = state
    pulled = (action[:, None] == params.levers).any(0).astype(jnp.float32).mean()
    reward = jnp.full(action.shape, jnp.where(played, 0.0, pulled), jnp.float32)
    return Step(identity, (identity, jnp.bool_(True)), reward, jnp.bool_(True))


def by_rank(identity: jax.Array, levers: int) -> jax.Array:
    """Returns the levers that agents pull in the order of their numbers, one of the best joint actions: int32[..., m]."""
    rank = (identity[..., None] > identity[..., None, :]).sum(-1)
    return (rank % levers).astype(jnp.int32)


def make(num_agents: int = 5, population: int = 500, num_levers: int | None = None) -> Environment:
    """Builds the game. Actions: the levers. Observation: one's own number.

    Args:
        num_agents: m. population: at least as many.
        num_levers: None is one for each agent.

    Raises:
        ConfigError: one of them is out of range.
    """
    levers = num_agents if num_levers is None else num_levers
    require(num_agents >= 1, "levers", "num_agents must be at least 1", num_agents, "5 is the default.")
    require(levers >= 1, "levers", "num_levers must be at least 1", levers, "Leave it out for one for each agent.")
    require(population >= num_agents, "levers", f"population must be at least {num_agents}", population, "500 is the default.")
    params = Params(jnp.arange(population, dtype=jnp.int32), jnp.arange(levers, dtype=jnp.int32))
    return Environment(
        params, Reset(num_agents), step, Discrete(population), Discrete(levers), max_steps=1, num_agents=num_agents
    )
