"""Games that are played once by N agents, whose payoffs are computed from the joint action instead of looked up in a table.

A table of joint actions has A^N entries; a formula serves any N. ``table`` writes the formula out where that is small, for the
solvers of ``jaxrl.solvers`` and, through ``matrix_game.make``, as a finite environment.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core.environment import Environment, PyTree, Step
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require


@dataclass(frozen=True)
class _Reset:
    agents: int

    def __call__(self, key, params):
        return jnp.zeros(self.agents, jnp.int32), jnp.bool_(False)


@dataclass(frozen=True)
class _Play:
    payoff: Callable

    def __call__(self, key, state, action, params):
        # The state is whether the game has been played; after that nothing pays.
        reward = jnp.where(state, 0.0, self.payoff(action, params))
        return Step(jnp.zeros_like(action), jnp.bool_(True), reward, jnp.bool_(True))


def make(params: PyTree, payoff: Callable, agents: int, actions: int) -> Environment:
    """Builds the game. The agents observe nothing: the observation is constant.

    Args:
        params: what the formula reads.
        payoff: ``(action int32[N], params) -> float32[N]``; at module level, or a frozen dataclass.
        agents: N.
        actions: A, of every agent.
    """
    return Environment(params, _Reset(agents), _Play(payoff), Discrete(1), Discrete(actions), max_steps=1, num_agents=agents)


def table(env: Environment) -> jax.Array:
    """Returns the payoffs of all joint actions, float[N, A, ..., A]. Pure: it compiles, and vmaps over parameters.

    Args:
        env: from ``make``.

    Raises:
        ConfigError: the table would have more than ten million entries.
    """
    space: Any = env.action_space
    step, agents = env.step_fn, env.num_agents or 1
    require(isinstance(step, _Play), "one_shot.table", "the environment must be one of one_shot.make", step, "Build it there.")
    actions = space.n
    entries = agents * actions**agents
    require(entries <= 10_000_000, "one_shot.table", "the table must have at most 10,000,000 entries", entries, "Shrink it.")
    joint = np.indices((actions,) * agents, np.int32).reshape(agents, -1).T
    payoffs = jax.vmap(step.payoff, in_axes=(0, None))(jnp.asarray(joint), env.params)
    return payoffs.T.reshape(agents, *(actions,) * agents)
