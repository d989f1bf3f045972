"""Rewards of sets: what a visit adds to the worth of all that was visited before.

A set function F takes a mask of what has been visited, bool[C], and returns the worth of that set. Along a trajectory a visit is
paid its marginal gain, F(all so far) - F(those before), so that the sum of rewards is the worth of the trajectory: any learner
from returns then maximises F. If F is submodular, a visit adds no more to a larger set.

Source: Krause and Golovin (2014), "Submodular function maximization"; Prajapat et al. (2024), "Submodular
reinforcement learning".
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.errors import is_traced, require, require_arrays, require_count

SetFunction = Callable[[jax.Array], jax.Array]  # (visited bool[C]) -> float[]


def coverage(covers: Any, weight: Any) -> SetFunction:
    """Returns the set function that adds up the weights of all cells that are covered from a visited one; it is submodular.

    Args:
        covers: bool[C, K], whether a visit of cell c covers k.
        weight: float[K], not negative.

    Raises:
        ConfigError: the shapes do not fit, or a weight is negative. Traced values are not checked.
    """
    where = "coverage"
    found = require_arrays(where, flags={"covers": covers}, weight=weight)
    cover, worth = found["covers"], found["weight"]
    fits = cover.ndim == 2 and worth.shape == cover.shape[1:]
    require(fits, where, "covers must have shape [C, K], and weight [K]", (cover.shape, worth.shape), "Give a row for each cell.")
    if not is_traced(weight):
        require(bool((worth >= 0).all()), where, "weights must not be negative", worth, "Leave out cells of no worth.")
    return lambda visited: jnp.where((visited[:, None] & cover).any(0), worth, 0).sum()


def marginal_gains(function: SetFunction, visits: jax.Array, size: int) -> jax.Array:
    """Returns what each visit of a trajectory adds to the worth of those before, float[T]; the empty set is worth F(empty).

    Args:
        function: ``(visited bool[C]) -> float[]``.
        visits: int[T], the cells in the order of their visits.
        size: C (count).

    Raises:
        ConfigError: the size is no integer of at least 1.
    """
    require_count("marginal_gains", "size", size)

    def visit(carry, cell):
        visited, worth = carry
        visited = visited.at[cell].set(True)
        now = function(visited)
        return (visited, now), now - worth

    nothing = jnp.zeros(size, bool)
    return jax.lax.scan(visit, (nothing, function(nothing)), visits)[1]


def lone_gains(function: SetFunction, visits: jax.Array, size: int) -> jax.Array:
    """Returns what each visit would add to nothing, float[T]: rewards that do not know what was visited before.

    Args, Raises: as for ``marginal_gains``.
    """
    require_count("lone_gains", "size", size)
    nothing = jnp.zeros(size, bool)
    return jax.vmap(lambda cell: function(nothing.at[cell].set(True)) - function(nothing))(visits)


def diminishing(key: jax.Array, function: SetFunction, size: int, samples: int) -> jax.Array:
    """Returns by how much cells add more to smaller sets than to larger ones, float[samples]: never negative if F is submodular.

    Each sample draws a set, a set that it contains, and a cell of neither.

    Args:
        key: of the draws.
        function: ``(visited bool[C]) -> float[]``.
        size: C (count), at least 2.
        samples: how many (count).

    Raises:
        ConfigError: a count is too small.
    """
    require_count("diminishing", "size", size, 2)
    require_count("diminishing", "samples", samples)

    def sample(key):
        cell_key, share_key, large_key, small_key = jax.random.split(key, 4)
        cell = jax.nn.one_hot(jax.random.randint(cell_key, (), 0, size), size, dtype=bool)
        shares = jax.random.uniform(share_key, (2,))
        large = jax.random.bernoulli(large_key, shares[0], (size,)) & ~cell
        small = jax.random.bernoulli(small_key, shares[1], (size,)) & large
        return (function(small | cell) - function(small)) - (function(large | cell) - function(large))

    return jax.vmap(sample)(jax.random.split(key, samples))


def ball(height: int, width: int, radius: int) -> np.ndarray:
    """Returns which cells of a grid are at most ``radius`` moves away, by rows, bool[H W, H W].

    Raises:
        ConfigError: a count is too small.
    """
    for name, value, least in (("height", height, 1), ("width", width, 1), ("radius", radius, 0)):
        require_count("ball", name, value, least)
    place = np.stack(np.divmod(np.arange(height * width), width), -1)
    return np.abs(place[:, None] - place).sum(-1) <= radius
