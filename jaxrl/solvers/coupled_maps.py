"""Maps that are applied over and over: how fast near starts part, and copies that are coupled by their mean.

Copies of a chaotic map with Lyapunov exponent lambda, of which each takes a share ``coupling`` of the mean of all, move as one if

    (1 - coupling) exp(lambda) < 1,

since a small difference of two of them is multiplied by (1 - coupling) f'(x) in a step. Everything compiles and vmaps.

Source: Kaneko (1990), "Clustering, coding, switching, hierarchical ordering, and control in a network of chaotic elements"; Ott
(2002), Chaos in Dynamical Systems, section 4.4, on exponents.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrl.errors import require, require_count, require_within

BLOCKS = 16  # of an orbit, whose means tell the error of the mean of all


class Exponent(NamedTuple):
    """value: float[], the mean of log |f'| along an orbit. standard_error: float[], from the means of 16 blocks of it."""

    value: jax.Array
    standard_error: jax.Array


def lyapunov_exponent(function: Callable, start: Any, num_steps: int, burn_in: int = 1000) -> Exponent:
    """Returns how fast near starts part, per step: positive where the map is chaotic, negative where orbits come together.

    Args:
        function: ``(x float[]) -> float[]``, differentiable, on an interval that it maps into itself.
        start: float[].
        num_steps: of the orbit (count), a multiple of 16.
        burn_in: steps before it (count).

    Raises:
        ConfigError: the number of steps is no multiple of 16, or a count is too small.
    """
    where = "lyapunov_exponent"
    require_count(where, "num_steps", num_steps)
    require_count(where, "burn_in", burn_in, 0)
    require(num_steps % BLOCKS == 0, where, f"num_steps must be a multiple of {BLOCKS}", num_steps, "16,000, say.")
    return _exponent(function, jnp.asarray(start, jnp.result_type(float, start)), num_steps, burn_in)


@partial(jax.jit, static_argnums=(0, 2, 3))
def _exponent(function: Callable, start: jax.Array, num_steps: int, burn_in: int) -> Exponent:
    settled = jax.lax.fori_loop(0, burn_in, lambda _, x: function(x), start)

    def step(x, _):
        following, slope = jax.value_and_grad(function)(x)
        return following, jnp.log(jnp.abs(slope))

    _, logs = jax.lax.scan(step, settled, length=num_steps)
    means = logs.reshape(BLOCKS, -1).mean(1)
    return Exponent(means.mean(), means.std(ddof=1) / BLOCKS**0.5)


def coupled(function: Callable, coupling: jax.Array | float) -> Callable:
    """Returns a step of N copies of a map, each of which takes a share of the mean of all: ``(x float[N]) -> float[N]``.

        x_i <- (1 - coupling) f(x)_i + coupling * mean of f(x)

    Args:
        function: ``(x float[N]) -> float[N]``, the map of every copy; they may differ.
        coupling: in [0, 1].

    Raises:
        ConfigError: the coupling is out of range. Traced values are not checked.
    """
    require_within("coupled", "coupling", coupling, 0, 1, "0 leaves the copies by themselves.")

    def step(x):
        moved = function(x)
        return (1 - coupling) * moved + coupling * moved.mean()

    return step


def synchronisation_threshold(exponent: Any) -> Any:
    """Returns the coupling above which copies of a map of this exponent move as one: 1 - exp(-exponent), at least 0."""
    return jnp.maximum(-jnp.expm1(-jnp.asarray(exponent)), 0.0)
