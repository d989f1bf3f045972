"""Parts that games of several agents share, on any board: how agents see each other, and drawing what differs."""

import jax
import jax.numpy as jnp


def without_diagonal(pairs):
    """Returns [N, N - 1, ...], the rows of [N, N, ...] without their own entry; a reshaping, so it costs no look-ups."""
    size, rest = pairs.shape[0], pairs.shape[2:]
    return pairs.reshape(size * size, *rest)[1:].reshape(size - 1, size + 1, *rest)[:, :-1].reshape(size, size - 1, *rest)


def others(value: jax.Array) -> jax.Array:
    """Returns what each agent knows of the others, [N, N - 1, ...], of what all have, [N, ...]."""
    return without_diagonal(jnp.broadcast_to(value, (value.shape[0], *value.shape)))


def distinct(key: jax.Array, count: int, total: int) -> jax.Array:
    """Draws different numbers out of 0 .. total - 1 in random order, int32[count]; cheap where few are drawn out of many."""
    ranks = jax.random.randint(key, (count,), 0, total - jnp.arange(count), jnp.int32)
    numbers = ranks[:1]
    for rank in ranks[1:]:  # among the numbers that are left
        for taken in jnp.sort(numbers):
            rank += rank >= taken
        numbers = jnp.append(numbers, rank)
    return numbers


def distinct_among(key: jax.Array, count: int, allowed: jax.Array) -> jax.Array:
    """Draws different numbers in random order, int32[count], out of those that are allowed: bool[C], at least ``count`` true."""
    score = jnp.where(allowed, jax.random.uniform(key, allowed.shape, jnp.float32), -1.0)
    return jax.lax.top_k(score, count)[1].astype(jnp.int32)
