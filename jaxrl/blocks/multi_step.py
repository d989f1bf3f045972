"""Stored steps that look n steps ahead: their rewards summed, the state after them, and the discount of its value."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxrl.blocks import replay
from jaxrl.blocks.replay import ReplayBuffer


def n_steps_from(buffer: ReplayBuffer, start: jax.Array, num_steps: int, num_envs: int, gamma: jax.Array | float):
    """Returns stored steps whose reward is that of n steps, or of as many as their episode still had.

    Args:
        buffer: of named tuples with ``reward``, ``next_obs``, ``terminated``, ``next_mask`` and ``ended``: bool, an episode ended
            there, for whatever reason; written in blocks [T * E, ...] in the order of time.
        start: int32[B], places of the first steps; n - 1 steps of the same environment follow each in the buffer.
        num_steps: n, at least 1.
        num_envs: E.
        gamma: discount in [0, 1].

    Returns:
        steps: [B], with the reward sum_k gamma^k r_k, and ``next_obs``, ``terminated`` and ``next_mask`` of the last step.
        discount: float32[B], gamma to the number of steps: that of the value of ``next_obs``.

    The actions after the first are those of older policies, and nothing corrects for it.

    Source: Sutton and Barto (2018), equation 7.1; without correction as in Hessel et al. (2018), "Rainbow".
    """
    places = replay.sequence_from(start, buffer, num_steps, num_envs)
    stored: Any = buffer.items
    reward, ended = (leaf.at[places].get(mode="promise_in_bounds") for leaf in (stored.reward, stored.ended))
    before = jnp.concatenate([jnp.zeros((1, *start.shape), bool), ended[:-1]])
    counts = ~jnp.cumsum(before, axis=0, dtype=bool)  # no earlier step ended the episode
    powers = jnp.asarray(gamma, jnp.float32) ** jnp.arange(num_steps, dtype=jnp.float32)[:, None]
    length = counts.sum(0, dtype=jnp.int32)
    last = jnp.take_along_axis(places, length[None] - 1, axis=0)[0]
    first, end = replay.items_at(buffer, start), replay.items_at(buffer, last)
    total = jnp.where(counts, powers * reward, 0.0).sum(0)
    steps = first._replace(reward=total, next_obs=end.next_obs, terminated=end.terminated, next_mask=end.next_mask)
    return steps, jnp.asarray(gamma, jnp.float32) ** length
