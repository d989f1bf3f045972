"""Policies from actors: what a network says of a batch of observations, turned into actions."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxrl import distributions, spaces
from jaxrl.rollout import Decision, Policy, View
from jaxrl.spaces import Space


def behaviour(act: Callable, action_space: Space, choose: Callable) -> Policy:
    """Returns the policy of an actor for a batch of environments: one step of a sequence.

    Args:
        act: ``(obs [1, E, ...], first [1, E], memory [E, ...]) -> (outputs, memories [1, E, ...])``.
        action_space: what it acts in.
        choose: ``sample`` or ``mode``.
    """

    def decide(key: jax.Array, view: View) -> Decision:
        obs = jax.tree.map(lambda leaf: leaf[None], view.obs)
        # The rollout zeroes the memory itself where an episode ends, so no step is a first one here.
        first = jnp.zeros((1, jax.tree.leaves(view.obs)[0].shape[0]), bool)
        outputs, memories = jax.tree.map(lambda leaf: leaf[0], act(obs, first, view.memory))
        raw = choose(distributions.of_space(action_space, outputs, view.mask), key)
        return Decision(spaces.from_unit(action_space, raw), {"raw_action": raw, "outputs": outputs}, memories)

    return decide


def action_probabilities(act: Callable, action_space: Space, view: View) -> jax.Array:
    """Returns the probabilities float32[E, ..., A] with which a feed-forward actor takes each action."""
    obs = jax.tree.map(lambda leaf: leaf[None], view.obs)
    outputs, _ = act(obs, jnp.zeros((1, jax.tree.leaves(view.obs)[0].shape[0]), bool), ())
    return distributions.of_space(action_space, outputs[0], view.mask).probs


def sample(distribution: Any, key: jax.Array) -> jax.Array:
    """Draws an action."""
    return distribution.sample(seed=key)


def mode(distribution: Any, key: jax.Array) -> jax.Array:
    """Returns the most likely action."""
    return distribution.mode()
