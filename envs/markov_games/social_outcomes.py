"""How a group fares in a social dilemma: efficiency, equality, sustainability and peace of an episode.

Source: Perolat et al. (2017), "A multi-agent reinforcement learning model of common-pool resource appropriation", section 2.3.
"""

import jax
import jax.numpy as jnp


def efficiency(reward: jax.Array) -> jax.Array:
    """Returns what all agents together earn in a step, on average. reward: float32[T, N]; float32[]."""
    return reward.sum(1).mean()


def equality(reward: jax.Array) -> jax.Array:
    """Returns 1 minus the Gini coefficient of the agents' sums, which must not be negative. reward: float32[T, N]; float32[].

    1 is equality; it is 1 as well where no agent earns anything.
    """
    earned = reward.sum(0)
    difference, total = jnp.abs(earned[:, None] - earned).sum(), earned.sum()
    return jnp.where(total > 0, 1 - difference / (2 * len(earned) * jnp.where(total > 0, total, 1)), 1.0)


def sustainability(reward: jax.Array) -> jax.Array:
    """Returns the mean time at which rewards are earned, averaged over the agents that earn any. reward: float32[T, N].

    The first step is time 1. Where every agent always earns something it is (T + 1) / 2, and less where it ceases.
    """
    earns = reward > 0
    count, time = earns.sum(0), jnp.arange(1, len(reward) + 1)
    mean_time = (earns * time[:, None]).sum(0) / jnp.maximum(count, 1)
    return mean_time.sum() / jnp.maximum((count > 0).sum(), 1)


def peace(away: jax.Array) -> jax.Array:
    """Returns how many agents are in the game, on average over the steps. away: bool[T, N], removed by others; float32[]."""
    return (~away).astype(jnp.float32).sum(1).mean()
