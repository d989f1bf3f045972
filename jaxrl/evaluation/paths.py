"""The course of many policies, step by step, as the mean over the same paths."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrl.core import rollout
from jaxrl.core.environment import Environment
from jaxrl.core.rollout import Decision, Policy
from jaxrl.errors import require


class MeanPath(NamedTuple):
    """Means over paths at each of T steps, of N policies.

    action: float32[N, T, ...]. earned: float32[N, T], or with an agent axis at the end, the sum of the rewards up to the step.
    """

    action: jax.Array
    earned: jax.Array


def mean_path(
    key: jax.Array, env: Environment, policy: Callable[[Environment, Any], Policy], policies: Any, num_paths: int
) -> MeanPath:
    """Follows N policies to the environment's time limit, all on the same paths.

    An episode that ends before is followed by the next one, so it serves environments whose episodes have one length.

    Args:
        key: one key; it draws the paths, and the actions of policies that are random.
        env: the environment.
        policy: ``(env, entry) -> policy``; see ``jaxrl.core.rollout.Policy``. It must remember nothing.
        policies: PyTree[N, ...], the entries.
        num_paths: how many.

    Raises:
        ConfigError: there is no path.
    """
    require(num_paths >= 1, "mean_path", "num_paths must be at least 1", num_paths, "Try 1000.")
    return _mean_path(num_paths, policy, env, policies, key)


@partial(jax.jit, static_argnums=(0, 1))
def _mean_path(num_paths, policy, env, policies, key) -> MeanPath:
    def one(entry):
        start_key, play_key = jax.random.split(key)
        episodes = rollout.start(start_key, env, num_paths)
        _, batch = rollout.unroll(play_key, env, policy(env, entry), episodes, env.max_steps)
        action = jax.tree.map(lambda leaf: leaf.mean(1, dtype=jnp.float32), batch.action)
        return MeanPath(action, jnp.cumsum(batch.reward, axis=0).mean(1))

    return jax.vmap(one)(policies)


def open_loop(env: Environment, actions: jax.Array) -> Policy:
    """Returns the policy that takes a fixed action at each step, PyTree[T, ...], whatever it sees."""
    return lambda key, view: Decision(jax.tree.map(lambda leaf: leaf[view.t], actions))
