"""Agents in a batch: where their axis stands, and what they share.

An agent whose row of the action mask leaves it one action is inactive (``jaxrl.core.masks.active``): dead, waiting, or not to
move. Its policy has nothing to learn from such a step. Its critic has, since the agent may still be paid.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxrl.core import spaces
from jaxrl.core.environment import Environment
from jaxrl.core.rollout import Transition
from jaxrl.core.spaces import Box, joint


def of_every_agent(flag: jax.Array, reward: jax.Array) -> jax.Array:
    """Repeats what holds of an environment for the agents in it.

    Args:
        flag: of the environments, [T, E].
        reward: [T, E], or [T, E, N] with agents.

    Returns:
        ``flag``, in the shape of ``reward``.
    """
    return jnp.broadcast_to(flag.reshape(*flag.shape, *(1,) * (reward.ndim - flag.ndim)), reward.shape)


def global_observations(env: Environment, batch: Transition) -> tuple[jax.Array, jax.Array]:
    """Returns a central view of the steps [T, E, ...] and of those that follow them, float32[T, E, G] each.

    ``env.global_obs``, or where the environment has none the observations of all agents, one after another.
    """
    if batch.global_obs is not None and batch.next_global_obs is not None:
        return batch.global_obs, batch.next_global_obs
    return joint(env.observation_space, batch.obs), joint(env.observation_space, batch.next_obs)


def global_space(env: Environment) -> Box:
    """Returns the space of what ``global_observations`` shows of one state."""
    agents = env.num_agents or 1
    if env.global_obs_fn is None:
        return Box(-jnp.inf, jnp.inf, (agents * spaces.flat_size(env.observation_space),))
    seen: Any = jax.eval_shape(lambda key: env.global_obs(env.reset(key)[1]), jax.random.key(0))
    return Box(-jnp.inf, jnp.inf, seen.shape)


def numbered(features: jax.Array) -> jax.Array:
    """Appends to the features float32[..., N, F] of each agent its number, one-hot: float32[..., N, F + N]."""
    ids = jnp.eye(features.shape[-2], dtype=jnp.float32)
    return jnp.concatenate([features, jnp.broadcast_to(ids, (*features.shape[:-1], ids.shape[0]))], axis=-1)


def for_every_agent(features: jax.Array, num_agents: int) -> jax.Array:
    """Repeats what is seen of an environment, float32[..., G], for the agents in it: float32[..., N, G]."""
    return jnp.broadcast_to(features[..., None, :], (*features.shape[:-1], num_agents, features.shape[-1]))


def actions_of_others(action: jax.Array, num_actions: int) -> jax.Array:
    """Returns what all other agents do, as each agent is told it, float32[..., N, N * A].

    Args:
        action: int32[..., N].
        num_actions: A.

    Returns:
        For each agent the actions of all agents one after another, one-hot, with zeros in the place of its own.
    """
    agents = action.shape[-1]
    one_hot = jax.nn.one_hot(action, num_actions, dtype=jnp.float32)[..., None, :, :]
    others = jnp.where(jnp.eye(agents, dtype=bool)[..., None], 0.0, one_hot)
    return others.reshape(*action.shape, agents * num_actions)


def transition_axes(axis: int) -> Any:
    """Returns where the axis of the agents stands in a transition: what ``jax.vmap`` maps over for learners beside each other.

    The ends, the time and the report of an environment, and the observation of a central critic, are the same for all agents.

    Args:
        axis: 1 for the transitions [E, N, ...] of one step, 2 for those [T, E, N, ...] of a block.
    """
    own: Any = axis
    common: Any = None
    return Transition(
        obs=own,
        action=own,
        reward=own,
        next_obs=own,
        terminated=common,
        truncated=common,
        mask=own,
        next_mask=own,
        t=common,
        return_=own,
        extras=own,
        global_obs=common,
        next_global_obs=common,
        info=common,
    )
