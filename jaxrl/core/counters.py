"""Counters that reach a ceiling instead of ending: int32 arrays that stay at their largest number once they are there.

A float32 counter stands still at 2^24, where adding 1 changes nothing, and an int32 counter that is added to wraps to negative
numbers after 2^31. A quantity that depends on a count (a step size, a rate of exploration) falls as 1 / n or has reached its end
long before the ceiling, so that a count that stays there is as good as one that goes on.
"""

import jax
import jax.numpy as jnp
import numpy as np

CEILING = np.iinfo(np.int32).max


def zeros(*shape: int) -> jax.Array:
    """Returns counters that have counted nothing, int32[*shape]."""
    return jnp.zeros(shape, jnp.int32)


def advanced(count: jax.Array, by: int = 1) -> jax.Array:
    """Returns counters after ``by`` more, int32[...]; they stay at the ceiling instead of passing it.

    Args:
        count: int32[...], at least 0.
        by: at least 0; static.
    """
    return jnp.where(count > CEILING - by, CEILING, count + by)


def advanced_at(count: jax.Array, place: tuple[jax.Array, ...], where: jax.Array | None = None) -> jax.Array:
    """Returns counters after one more at each of several places, each place as often as it is named, int32[...].

    Args:
        count: int32[...], at least 0.
        place: int32 of any one shape for each axis of ``count``; names at least one place.
        where: bool, of that shape: which places count; None for all.
    """
    room = count[place] <= CEILING - place[0].size
    room = room if where is None else room & where
    return count.at[place].add(room.astype(jnp.int32))
