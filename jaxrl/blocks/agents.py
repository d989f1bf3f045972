"""Agents in a batch: where their axis stands, and what they share.

An agent whose row of the action mask leaves it one action is inactive (``jaxrl.core.masks.active``): dead, waiting, or not to
move. Its policy has nothing to learn from such a step. Its critic has, since the agent may still be paid.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxrl.core.environment import Environment
from jaxrl.core.rollout import Transition
from jaxrl.core.spaces import joint


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


def transition_axes(axis: int) -> Any:
    """Returns where the axis of the agents stands in a transition: what ``jax.vmap`` maps over for learners beside each other.

    The ends and the time of an environment, and the observation of a central critic, are the same for all agents.

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
    )
