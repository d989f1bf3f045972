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
    total, length = _sums(reward, ended, gamma)
    last = jnp.take_along_axis(places, length[None] - 1, axis=0)[0]
    first, end = replay.items_at(buffer, start), replay.items_at(buffer, last)
    steps = first._replace(reward=total, next_obs=end.next_obs, terminated=end.terminated, next_mask=end.next_mask)
    return steps, jnp.asarray(gamma, jnp.float32) ** length


def n_steps_within(steps: Any, num_steps: int, gamma: jax.Array | float) -> tuple[Any, jax.Array, jax.Array]:
    """Returns the steps of sequences with the rewards of n steps, or of as many as their episode or their sequence still had.

    Args:
        steps: a named tuple [L, B] with ``reward``, ``terminated`` and ``ended``, as for ``n_steps_from``.
        num_steps: n, at least 1.
        gamma: discount in [0, 1].

    Returns:
        steps: [L, B], with the reward sum_k gamma^k r_k, and ``terminated`` of the last step. All else is that of each step
            itself: a network with memory must take in ``next_obs`` where it was seen; see ``at_last``.
        discount: float32[L, B], gamma to the number of steps: that of the value after the last of them.
        last: int32[L, B], the place of that step in the sequence.

    Source: as for ``n_steps_from``; within sequences: Kapturowski et al. (2019), section 2.3.
    """
    length = steps.reward.shape[0]
    place = jnp.arange(length, dtype=jnp.int32)
    window = jnp.minimum(place + jnp.arange(num_steps, dtype=jnp.int32)[:, None], length - 1)
    total, count = _sums(steps.reward[window], steps.ended.at[-1].set(True)[window], gamma)
    last = place[:, None] + count - 1
    return (
        steps._replace(reward=total, terminated=at_last(steps.terminated, last)),
        jnp.asarray(gamma, jnp.float32) ** count,
        last,
    )


def at_last(values: jax.Array, last: jax.Array) -> jax.Array:
    """Returns for each step of a sequence what belongs to the last step of its sum, [L, B, ...], from values [L, B, ...]."""
    return jnp.take_along_axis(values, last.reshape(*last.shape, *[1] * (values.ndim - 2)), axis=0)


def _sums(reward: jax.Array, ended: jax.Array, gamma: jax.Array | float) -> tuple[jax.Array, jax.Array]:
    """Returns the sums of the rewards up to the first end, float32[...], and of how many, int32[...]; from [n, ...] each."""
    before = jnp.concatenate([jnp.zeros_like(ended[:1]), ended[:-1]])
    counts = ~jnp.cumsum(before, axis=0, dtype=bool)  # no earlier step ended the episode
    exponent = jnp.arange(reward.shape[0], dtype=jnp.float32).reshape(-1, *[1] * (reward.ndim - 1))
    powers = jnp.asarray(gamma, jnp.float32) ** exponent
    return jnp.where(counts, powers * reward, 0.0).sum(0), counts.sum(0, dtype=jnp.int32)
