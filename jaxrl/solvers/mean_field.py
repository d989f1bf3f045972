"""The fixpoint of a one-shot mean-field game: a Boltzmann policy in values that depend on the policy's own mean action.

    pi(a) is proportional to exp(Q(a, m) / tau),    m = sum_a pi(a) a / (A - 1)

Every agent of a large population plays pi, and its neighbours' mean action m, on a scale from 0 to 1, is what pi makes it. A mean
that answers itself lies where the answer crosses the mean: found by bisection, which needs no damping, finds one fixpoint of
several, and is certain of it. Pure: jit it, vmap it over temperatures.

Source: Yang et al. (2018), Mean field multi-agent reinforcement learning, section 3.2; for two actions Weiss (1907).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrl.errors import is_traced, nan_unless, require, require_number

BISECTIONS = 60  # halves of the bracket: more than float64 can tell apart


class MeanFieldFixpoint(NamedTuple):
    """policy: float[A]. mean: float[], the mean action that it answers.

    residual: float[], the largest difference of a probability between the policy and the Boltzmann policy in its own mean action:
        0 at a fixpoint. The fields are NaN where the bracket holds no crossing from above.
    """

    policy: jax.Array
    mean: jax.Array
    residual: jax.Array


def fixpoint(
    values: Callable, temperature: jax.Array | float, low: jax.Array | float = 0.0, high: jax.Array | float = 1.0
) -> MeanFieldFixpoint:
    """Returns a fixpoint whose mean action lies between two bounds.

    Args:
        values: ``(mean action, float[]) -> float[A]``, what each action is worth; continuous, A of at least 2.
        temperature: tau, positive, in units of the values.
        low, high: in [0, 1]. The answer to ``low`` must not lie below it, nor that to ``high`` above: so it is with 0 and 1.
            Other bounds pick one of several fixpoints.

    Returns:
        The fixpoint, in the precision that jax is set to.

    Raises:
        ConfigError: the temperature is not positive or the bounds are no part of [0, 1]. Traced ones are not looked at.
    """
    where = "mean_field.fixpoint"
    require_number(where, "temperature", temperature, 0, float("inf"), "1.0 is usual.", above=True, below=True)
    for name, bound in (("low", low), ("high", high)):
        require_number(where, name, bound, 0, 1, "Means of actions lie there; 0 and 1 are the default.")
    if not is_traced(low, high):
        require(float(low) < float(high), where, f"high must exceed low ({low})", high, "Give a wider bracket.")
    return _fixpoint(values, *(jnp.asarray(number, jnp.result_type(float)) for number in (temperature, low, high)))


@partial(jax.jit, static_argnames="values")
def _fixpoint(values: Callable, temperature: jax.Array, low: jax.Array, high: jax.Array) -> MeanFieldFixpoint:
    def answer(mean: jax.Array) -> tuple[jax.Array, jax.Array]:
        policy = jax.nn.softmax(values(mean) / temperature)
        return policy, (policy * jnp.linspace(0, 1, policy.shape[0], dtype=policy.dtype)).sum()

    def halve(bracket: tuple[jax.Array, jax.Array], _: Any):
        low, high = bracket
        middle = (low + high) / 2
        rises = answer(middle)[1] >= middle
        return (jnp.where(rises, middle, low), jnp.where(rises, high, middle)), None

    crosses = (answer(low)[1] >= low) & (answer(high)[1] <= high)
    (low, high), _ = jax.lax.scan(halve, (low, high), length=BISECTIONS)
    policy, mean = answer((low + high) / 2)
    residual = jnp.abs(answer(mean)[0] - policy).max()
    return MeanFieldFixpoint(*(nan_unless(crosses, part) for part in (policy, mean, residual)))
