"""Fixed points by repetition: ``value <- sweep(value)``, until no sweep could bring the value closer, and how close it is then.

The tolerance is relative to the size of the value itself, so that a problem in other units has the same solution in these units:
rewards times a power of two give the same digits. Where a tolerance is finer than the precision, sweeps stop once they change
nothing that the precision could tell. All is pure and compiles, in the precision of the value: float32 or float64.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

MAX_SWEEPS = 1_000_000  # an end for sweeps that do not contract


class FixedPoint(NamedTuple):
    """The result of repeated sweeps.

    value: float[...], after the last sweep.
    sweeps: int32[], how many there were.
    residual: float[], the largest absolute change of an entry by the last one; NaN or infinite where the value is.
    error_bound: float[], how far an entry of ``value`` can be from that of the fixed point, rounding included. Infinite where the
        sweep is not known to be a contraction: a small residual alone says nothing about the distance.
    converged: bool[], whether the tolerance or the limit of the precision was reached.
    """

    value: jax.Array
    sweeps: jax.Array
    residual: jax.Array
    error_bound: jax.Array
    converged: jax.Array


def fixed_point(
    sweep: Callable[[jax.Array], tuple[jax.Array, jax.Array]],
    start: jax.Array,
    contraction: jax.Array | float = 1.0,
    tolerance: jax.Array | float = 1e-6,
    max_sweeps: jax.Array | int = MAX_SWEEPS,
    terms: int = 1,
    min_sweeps: jax.Array | int = 0,
) -> FixedPoint:
    """Repeats a sweep until the value is as close to the fixed point as asked for, or as the precision allows.

    Args:
        sweep: ``(value) -> (value, magnitude)``: a value of the same shape and dtype, and the largest absolute number, float[],
            that was added to its entries before they were rounded, a reward usually. It tells how far the precision goes where
            the value itself is near 0. Numbers that did not decide an entry, such as the reward of an action that is not taken,
            must not count: they would hide changes that the precision can tell.
        start: float[...], the first value.
        contraction: by what factor, in [0, 1], a sweep at least shrinks the largest distance between entries of two values; a
            discount, usually. At 1 the distance to the fixed point cannot be bounded.
        tolerance: the error to accept, relative to the largest absolute entry; where ``contraction`` is 1, the change of a
            sweep, relative to the largest change of any: what grows without end never comes to that. 0 goes to the limit of the
            precision.
        max_sweeps: an end for sweeps that do not converge.
        terms: how many numbers a sweep adds up in one entry; rounding grows with it.
        min_sweeps: how many sweeps to make at least, unless one changes nothing at all. More than the tolerance asks for are
            felt by entries that are small compared with the largest.
    """
    dtype = start.dtype
    contraction, tolerance = jnp.asarray(contraction, dtype), jnp.asarray(tolerance, dtype)
    resolution = jnp.finfo(dtype).eps
    # The error is at most contraction / (1 - contraction) times the last change (Banach).
    share = (1 - contraction) / jnp.maximum(contraction, resolution)

    def limit(size: jax.Array, magnitude: jax.Array, largest: jax.Array) -> jax.Array:
        return jnp.maximum(tolerance * jnp.where(contraction < 1, share * size, largest), resolution * (magnitude + size))

    def again(carry):
        value, _, _, _, largest, count = carry
        new, magnitude = sweep(value)
        residual, size = jnp.abs(new - value).max(initial=0), jnp.abs(new).max(initial=0)
        return new, residual, size, jnp.asarray(magnitude, dtype), jnp.maximum(largest, residual), count + 1

    def unsettled(carry):
        # NaN compares false and ends the loop: it is not converged then.
        _, residual, size, magnitude, largest, count = carry
        return ((residual > limit(size, magnitude, largest)) | ((residual > 0) & (count < min_sweeps))) & (count < max_sweeps)

    zero = jnp.zeros((), dtype)
    first = (start, jnp.asarray(jnp.inf, dtype), zero, zero, zero, jnp.int32(0))
    value, residual, size, magnitude, largest, count = jax.lax.while_loop(unsettled, again, first)
    rounding = rounding_of(terms, magnitude + size)
    converged = jnp.isfinite(residual) & (residual <= limit(size, magnitude, largest))
    return FixedPoint(value, count, residual, error_bound(residual, contraction, rounding), converged)


def rounding_of(terms: int, size: jax.Array) -> jax.Array:
    """Bounds the rounding error of a sum of ``terms`` products of probabilities and numbers of at most ``size``, absolutely."""
    return (2 + terms / 2) * jnp.finfo(size.dtype).eps * size


def error_bound(residual: Any, contraction: Any, rounding: Any) -> jax.Array:
    """Returns how far the value after the last sweep can be from the fixed point, float[] (Banach; Puterman, theorem 6.2.3).

    Args:
        residual: the largest change of an entry by that sweep.
        contraction: the factor in [0, 1] by which a sweep shrinks distances; at 1 the bound is infinite.
        rounding: the largest rounding error of one sweep.
    """
    contracts = contraction < 1
    bound = (contraction * residual + rounding) / jnp.where(contracts, 1 - contraction, 1)
    return jnp.where(contracts | jnp.isnan(residual), bound, jnp.inf)


def deciding(values: jax.Array, absolute: jax.Array, terms: int) -> jax.Array:
    """Returns the largest rewards that had a part in taking the best of each row, float[].

    Args:
        values: float[X, A], of the actions; minus infinity where one is illegal.
        absolute: float[X, A], the expected absolute reward of each.
        terms: how many numbers were added up for each.
    """
    # An action may have missed being the best by the rounding of its own sum.
    near = values + rounding_of(terms, absolute) >= values.max(-1, keepdims=True)
    return jnp.where(near, absolute, 0).max(initial=0)
