"""Agents in a batch: where their axis stands, and what they share.

An agent whose row of the action mask leaves it one action is inactive (``jaxrl.core.masks.active``): dead, waiting, or not to
move. Its policy has nothing to learn from such a step. Its critic has, since the agent may still be paid.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core import spaces
from jaxrl.core.environment import Environment, PyTree
from jaxrl.core.rollout import Transition
from jaxrl.core.spaces import Box, joint
from jaxrl.errors import require

ENVIRONMENT = "environment"  # roles are those that the environment names


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


def require_ids(where: str, config: Any) -> None:
    """Raises ConfigError where ``config`` has ``agent_ids`` for networks of the agents' own, which know who they belong to."""
    useful, must = config.shared_parameters or not config.agent_ids, "agent_ids need shared_parameters"
    require(useful, where, must, "agent_ids=True", "Networks of their own know who they belong to.")


def require_appendable(where: str, config: Any, *flags: str) -> None:
    """Raises ConfigError where a flag appends features to what a network with channels, or of the user's own, is shown."""
    plain = not config.channels and config.network is None
    for name in flags:
        must = f"{name} must be False with channels or a network of your own"
        require(plain or not getattr(config, name), where, must, True, "Put it into the observation.")


def roles_of(env: Environment, config: Any) -> tuple[int, ...] | None:
    """Returns the role of each of N agents, numbers 0 .. R-1 in the order in which they appear; None where all have one network.

    Agents of one role share what they learn with. Without ``config.roles``, networks of their own (``shared_parameters=False``)
    are a role for each.
    """
    num_agents = env.num_agents or 1
    if config.roles is None:
        return None if config.shared_parameters else tuple(range(num_agents))
    named = (env.roles if config.roles == ENVIRONMENT else config.roles) or ()
    order = list(dict.fromkeys(named))
    return None if len(order) == 1 else tuple(order.index(role) for role in named)


def all_differ(roles: tuple[int, ...] | None) -> bool:
    """Returns whether every agent has a role of its own."""
    return roles is not None and len(set(roles)) == len(roles)


def require_roles(where: str, env: Environment, config: Any) -> None:
    """Raises ConfigError where ``config.roles`` are not a role for each agent, or stand beside networks of the agents' own."""
    if config.roles is None:
        return
    known = config.roles != ENVIRONMENT or env.roles is not None
    must = "with roles='environment' the environment must name the roles of its agents"
    require(known, where, must, env.roles, "Give a tuple with a role for each agent.")
    roles, count = env.roles if config.roles == ENVIRONMENT else config.roles, env.num_agents or 1
    fits = isinstance(roles, tuple) and len(roles) == count and all(isinstance(role, int) and role >= 0 for role in roles)
    require(fits, where, f"roles must be {count} integers of at least 0, one for each agent", roles, f"Set roles={(0,) * count}.")
    must, fix = "roles need shared_parameters, which hold within a role", "Set shared_parameters=True, or roles=None."
    require(config.shared_parameters, where, must, "shared_parameters=False", fix)


def require_one_role(where: str, env: Environment, fix: str) -> None:
    """Raises ConfigError where an environment names several roles. where: who asks. fix: what the user can do, one sentence."""
    alike = env.roles is None or len(set(env.roles)) == 1
    require(alike, where, "all agents must have one role, to share what they learn with", env.roles, fix)


def first_parameters(network: Any, key: jax.Array, inputs: PyTree, axis: int, roles: tuple[int, ...] | None) -> PyTree:
    """Returns first parameters of the agents' network; of R networks, one for each role, every leaf has a leading axis R.

    Args:
        network: a flax module.
        key: for the draws.
        inputs: of one call of it, with the agents in ``axis``.
        axis: of the agents.
        roles: see ``roles_of``.
    """
    one = jax.tree.map(lambda leaf: jax.lax.index_in_dim(leaf, 0, axis, keepdims=False), inputs)
    if roles is None:
        return network.init(key, one)
    return jax.vmap(network.init, (0, None))(jax.random.split(key, len(set(roles))), one)


def outputs(network: Any, params: PyTree, inputs: PyTree, axis: int, roles: tuple[int, ...] | None) -> Any:
    """Returns the outputs of the agents' network, or of those of their roles; see ``first_parameters``."""
    if roles is None:
        return network.apply(params, inputs)
    own = params if all_differ(roles) else jax.tree.map(lambda leaf: leaf[np.array(roles)], params)
    return jax.vmap(network.apply, (0, axis), axis)(own, inputs)


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


def steps_of(batch: Transition, members: Any, axis: int) -> Transition:
    """Returns the transitions of some of the agents. members: int[n]. axis: of the agents, see ``transition_axes``."""

    def one(value: PyTree, stands: int | None) -> PyTree:
        return value if stands is None else jax.tree.map(lambda leaf: jnp.take(leaf, members, axis), value)

    return Transition(*(one(value, stands) for value, stands in zip(batch, transition_axes(axis), strict=True)))
