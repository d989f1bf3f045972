"""The bar game: each of N agents picks one of K nights, and a night is enjoyable while few come.

A night with x guests is worth ``x exp(-x / capacity)`` in all, ``exp(-x / capacity)`` to each guest. Played once. The reward is
computed, not looked up: a table of joint actions would have K^N entries.

Three rewards, after Wolpert and Tumer: "team" pays every agent the worth of all nights; "own" pays an agent what its night is
worth to it; "difference" pays an agent what the worth of all nights would lose without it.

Source: Wolpert and Tumer (2002), Collective intelligence, data routing and Braess' paradox; after Arthur (1994).
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.matrix_games import one_shot
from jaxrl.core.environment import Environment
from jaxrl.errors import require


@struct.dataclass
class Params:
    capacity: jax.Array  # float32[], guests at which a night is worth most


def attendance(action: jax.Array) -> jax.Array:
    """Returns how many agents, oneself included, pick the same night as each agent. action: int32[N]; float32[N]."""
    return (action[:, None] == action[None, :]).sum(1).astype(jnp.float32)


def team_reward(guests, capacity):
    """The worth of all nights together, to every agent. guests: float32[N], from ``attendance``."""
    return jnp.full_like(guests, own_reward(guests, capacity).sum())


def own_reward(guests, capacity):
    """The worth of its own night to each agent."""
    return jnp.exp(-guests / capacity)


def difference_reward(guests, capacity):
    """The worth of all nights together, less what they would be worth without this agent: only its night changes."""
    return guests * jnp.exp(-guests / capacity) - (guests - 1) * jnp.exp(-(guests - 1) / capacity)


REWARDS: dict[str, Callable] = {"team": team_reward, "own": own_reward, "difference": difference_reward}


@dataclass(frozen=True)
class _Payoff:
    reward: str

    def __call__(self, action, params):
        return REWARDS[self.reward](attendance(action), params.capacity)


def make(agents: int = 10, nights: int = 3, capacity: float = 2.0, reward: str = "team") -> Environment:
    """Builds the game.

    Args:
        agents: N.
        nights: K.
        capacity: guests at which a night is worth most, positive.
        reward: "team", "own" or "difference".

    Raises:
        ConfigError: an argument is out of range.
    """
    require(agents >= 1, "bar_game", "agents must be at least 1", agents, "Invite somebody.")
    require(nights >= 1, "bar_game", "nights must be at least 1", nights, "Open the bar.")
    require(capacity > 0, "bar_game", "capacity must be positive", capacity, "Give it some seats.")
    require(reward in REWARDS, "bar_game", f"reward must be one of {tuple(REWARDS)}", reward, "Use one of them.")
    params = Params(jnp.float32(capacity))
    return one_shot.make(params, _Payoff(reward), agents, nights)


def worth(guests: np.ndarray, capacity: float) -> np.ndarray:
    """Returns what nights with these numbers of guests are worth in all. guests: [..., K]; float64[...]."""
    return (guests * np.exp(-np.asarray(guests, np.float64) / capacity)).sum(-1)


def optimum(agents: int = 10, nights: int = 3, capacity: float = 2.0) -> tuple[float, np.ndarray]:
    """Returns the best worth of all nights and the guests of each night, ascending, by trying all ways to split the agents."""
    splits = itertools.combinations_with_replacement(range(agents + 1), nights - 1)
    guests = np.array([[*split, agents - sum(split)] for split in splits if agents - sum(split) >= max(split, default=0)])
    values = worth(guests, capacity)
    return float(values.max()), guests[values.argmax()]
