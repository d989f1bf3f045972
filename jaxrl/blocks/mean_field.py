"""Many agents as a mean field: each agent sees the others as one, who acts as its neighbours do on average.

A value Q(s, a, m) depends on an agent's own action a and on the mean action m of its neighbours, in place of the actions of all:
work and memory grow with the number of agents N alone. The mean action is that of the action numbers, on a scale from 0 (all
take action 0) to 1 (all take the last one). Of two actions, and of quantities, it says what there is to know; of three and more
actions without an order it does not.

A table knows the mean action to ``levels`` evenly spaced levels. Of K neighbours with A actions each, K (A - 1) + 1 levels tell
all means apart.

Source: Yang et al. (2018), Mean field multi-agent reinforcement learning, section 3.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks.agents import require_roles, roles_of
from jaxrl.core import rollout, spaces
from jaxrl.core.config import require_agents, require_discrete
from jaxrl.core.environment import Environment, static
from jaxrl.core.rollout import Transition, View
from jaxrl.errors import (
    require,
    require_at_most,
    require_between,
    require_counts,
    require_numbers,
    require_positive,
    unknown_name,
)

NEIGHBOURHOODS = ("all", "torus")


@struct.dataclass
class MeanFieldConfig:
    """Hyper-parameters of every agent. Floats are traced: sweeping them recompiles nothing."""

    learning_rate: float = 0.5  # alpha_0 of the action values, in (0, 1]
    learning_rate_half_life: float = jnp.inf  # visits after which alpha has halved; infinite keeps it constant
    learning_rate_min: float = 0.0  # alpha never falls below, in [0, learning_rate]
    gamma: float = 0.95  # discount, in [0, 1]
    temperature: float = 1.0  # tau of the policy, in units of the values, positive
    initial_value: float = 0.0  # of every entry of the table
    inertia: float = 0.0  # probability with which an agent repeats its last action, in [0, 1)
    neighbourhood: str = static(default="all")  # all: everybody else; torus: the four beside each agent on a square board
    levels: int = static(default=5)  # M, of the mean action in the table (count)
    shared_parameters: bool = static(default=True)  # one table for all agents; False: each its own
    # A role for each agent, or "environment": those that it names. Agents of one role share, others do not. None: see above.
    roles: tuple[int, ...] | str | None = static(default=None)
    num_envs: int = static(default=1)  # E, environments side by side (count)
    num_steps: int = static(default=100)  # steps of each environment in one update (count); the table learns at every step

    @property
    def steps_per_update(self) -> int:
        return self.num_envs * self.num_steps

    def validate_field(self, where: str, env: Environment) -> None:
        """Raises ConfigError or SpaceError where a value is out of range, or ``env`` has no agents that fit. where: who asks."""
        require_agents(where, env, "Use jaxrl.algorithms.tabular.q_learning.")
        require_discrete(where, env, "Use MAPPO, or number observations and actions.")
        require_counts(where, self, "num_envs", "num_steps", "levels")
        require_roles(where, env, self)
        require_numbers(where, self, "learning_rate_half_life")
        require_between(where, self, 0, 1, "learning_rate", "learning_rate_min", "gamma")
        require_between(where, self, 0, 1, "inertia", below=True)
        require_positive(where, self, "learning_rate", "learning_rate_half_life", "temperature")
        require_at_most(where, self, "learning_rate_min", "learning_rate")
        if self.neighbourhood not in NEIGHBOURHOODS:
            raise unknown_name(where, "neighbourhood", self.neighbourhood, NEIGHBOURHOODS)
        agents, must = env.num_agents or 0, "there must be at least 2 agents"
        require(agents >= 2, where, must, agents, "One agent has no neighbours.")
        square = self.neighbourhood != "torus" or (agents >= 9 and math.isqrt(agents) ** 2 == agents)
        must = "a torus must have a square number of agents, at least 9"
        require(square, where, must, agents, "Set neighbourhood='all', or change how many agents there are.")
        must = "no action may be illegal"
        require(env.action_mask_fn is None, where, must, "an environment with an action mask", "Use IQL or MAPPO.")


def shape(env: Environment, config: MeanFieldConfig) -> tuple[int, int, int, int]:
    """Returns (G, X, M, A): how many tables, observations, levels of the mean action, and actions there are."""
    tables = len(set(roles_of(env, config) or (0,)))
    return tables, spaces.flat_size(env.observation_space), config.levels, spaces.flat_size(env.action_space)


def table_of(env: Environment, config: MeanFieldConfig) -> jax.Array:
    """Returns which table each agent reads and writes, int32[N]."""
    return jnp.asarray(roles_of(env, config) or (0,) * (env.num_agents or 1), jnp.int32)


def neighbour_mean(value: jax.Array, neighbourhood: str) -> jax.Array:
    """Returns the mean over each agent's neighbours, float32[..., N].

    Args:
        value: float32[..., N], of the agents; on a torus row by row.
        neighbourhood: "all", everybody else; "torus", the four beside an agent.
    """
    agents = value.shape[-1]
    if neighbourhood == "all":
        return (value.sum(-1, keepdims=True) - value) / (agents - 1)
    size = math.isqrt(agents)
    board = value.reshape(*value.shape[:-1], size, size)
    beside = sum((jnp.roll(board, shift, axis) for axis in (-2, -1) for shift in (-1, 1)), jnp.zeros_like(board))
    return beside.reshape(value.shape) / 4


def mean_action(action: jax.Array, actions: int, neighbourhood: str) -> jax.Array:
    """Returns the mean action of each agent's neighbours, float32[..., N] in [0, 1]; action: int32[..., N], of A actions."""
    return neighbour_mean(action.astype(jnp.float32) / max(actions - 1, 1), neighbourhood)


def level(mean: jax.Array, levels: int) -> jax.Array:
    """Returns the nearest of the levels 0 .. M - 1 of mean actions in [0, 1], int32[...]."""
    return jnp.round(jnp.clip(mean, 0, 1) * (levels - 1)).astype(jnp.int32)


def expected_mean(env: Environment, config: MeanFieldConfig, opening: jax.Array, view: View) -> jax.Array:
    """Returns which mean action an agent expects of its neighbours: the last one, or at the first step the estimate.

    Args:
        env, config: of the learner.
        opening: float32[N], the estimate for the first step of an episode.
        view: of a policy whose memory has the last step; its fields have leading axes [E] and [E, N].

    Returns:
        float32[E, N].
    """
    rows = jnp.shape(view.obs)[0]
    first = jnp.broadcast_to(opening, (rows, opening.shape[0]))
    if view.action is None or view.t is None:
        return first
    last = mean_action(view.action, spaces.flat_size(env.action_space), config.neighbourhood)
    return jnp.where((view.t == 0)[:, None], first, last)


def repeated(key: jax.Array, inertia: jax.Array | float, action: jax.Array, view: View) -> jax.Array:
    """Returns the actions int32[E, N]; after the first step each is the agent's last one instead with probability ``inertia``."""
    if view.action is None or view.t is None:
        return action
    keeps = (jax.random.uniform(key, action.shape, jnp.float32) < inertia) & (view.t > 0)[:, None]
    return jnp.where(keeps, view.action, action)


def moved(opening: jax.Array, step_size: jax.Array | float, first: jax.Array, mean: jax.Array) -> jax.Array:
    """Moves the estimate of the first mean action of an episode towards those that have just been seen, float32[N].

    Args:
        opening: float32[N].
        step_size: in (0, 1].
        first: bool[E], whether the step was the first of its episode.
        mean: float32[E, N], the mean actions of the step.
    """
    count = first.sum()
    seen = jnp.where(first[:, None], mean, 0.0).sum(0) / jnp.maximum(count, 1)
    return jnp.where(count > 0, opening + step_size * (seen - opening), opening)


def metrics(batch: Transition, error: jax.Array, mean: jax.Array) -> dict[str, jax.Array]:
    """Returns the metrics of an update of T steps.

    mean_action: of all agents, in [0, 1]. alignment: the distance of that mean from the middle, |2 m - 1|, a mean over steps: 1
    where all take the action at the same end, 0 where both ends balance. td_error: of the action values, its absolute value.
    reward: of an agent, a step.

    Args:
        batch: transitions [T, E, N]. error: float32[T, E, N]. mean: float32[T, E, N], of the neighbours.
    """
    of_all = mean.mean(-1)  # every agent is a neighbour as often as it has neighbours
    return {
        "td_error": jnp.abs(error).mean(),
        "reward": batch.reward.mean(),
        "mean_action": of_all.mean(),
        "alignment": jnp.abs(2 * of_all - 1).mean(),
    }


def memory(env: Environment) -> Any:
    """Returns the memory of a policy that reads the last actions."""
    return rollout.last_step(env)
