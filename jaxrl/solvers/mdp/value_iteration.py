"""Value iteration: sweeps V <- max_a Q from 0, until the value is as close to the optimum as asked for.

Source: Sutton and Barto (2018), section 4.4; Puterman (1994), section 6.3.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxrl.core.finite import TabularModel
from jaxrl.errors import require_count
from jaxrl.solvers.fixed_point import MAX_SWEEPS, FixedPoint, deciding, fixed_point
from jaxrl.solvers.mdp.backups import absolute_rewards, action_values, legal
from jaxrl.solvers.mdp.endless import require_values
from jaxrl.solvers.mdp.problem import require_problem
from jaxrl.solvers.mdp.solution import Solution


def value_iteration(
    model: TabularModel, gamma: jax.Array | float, tolerance: jax.Array | float = 1e-6, max_sweeps: jax.Array | int = MAX_SWEEPS
) -> Solution:
    """Sweeps V <- max_a Q until the value is as close to the optimum as asked for (Sutton & Barto, equation 4.10).

    Args:
        model: the environment's tables, with one reward (no agent axis).
        gamma: discount in [0, 1]; each sweep shrinks the error at least by gamma.
        tolerance: the error to accept, relative to the largest value (at gamma = 1, the last change of a sweep); 0 goes to the
            limit of the precision.
        max_sweeps: an end for problems with gamma = 1 that do not converge.

    Raises:
        ConfigError: gamma lies outside [0, 1], the tolerance is negative, ``max_sweeps`` is below 1, or gamma is 1 although some
            policy earns for ever, or every one goes on being paid; of traced values the last is not asked.
        EnvError: the model has a reward for each of several agents, or its tables are unsound.
    """
    require_problem("value_iteration", model, gamma, tolerance, max_sweeps)
    require_values("value_iteration", model, gamma)
    return _value_iteration(model.tables, gamma, tolerance, max_sweeps)


@jax.jit
def _value_iteration(model, gamma, tolerance, max_sweeps) -> Solution:
    return iterate(model, lambda value: action_values(model, value, gamma), gamma, tolerance, max_sweeps)


@partial(jax.jit, static_argnames="count")
def _value_sweeps(model, gamma, count) -> jax.Array:
    def sweep(value, _):
        value = legal(model, action_values(model, value, gamma)).max(-1)
        return value, value

    start = jnp.zeros(model.num_states, jnp.result_type(float))
    return jnp.concatenate([start[None], jax.lax.scan(sweep, start, length=count)[1]])


def value_sweeps(model: TabularModel, gamma: jax.Array | float, count: int) -> jax.Array:
    """Returns the values before the first sweep of value iteration and after each one, float[count + 1, X].

    Args:
        model: the environment's tables, with one reward (no agent axis).
        gamma: discount in [0, 1].
        count: sweeps, at least 1; static.

    Raises:
        ConfigError: gamma lies outside [0, 1], or ``count`` is below 1. EnvError: as ``value_iteration``.
    """
    require_count("value_sweeps", "count", count)
    require_problem("value_sweeps", model, gamma)
    return _value_sweeps(model.tables, gamma, count)


def iterate(model: TabularModel, backup: Callable, contraction: Any, tolerance: Any, max_sweeps: Any) -> Solution:
    """Sweeps with ``backup``, ``(value [X]) -> action values [X, A]``; see ``fixed_point`` for the rest."""

    outcomes = model.next_state.shape[-1]
    absolute = absolute_rewards(model)

    def sweep(value):
        values = legal(model, backup(value))
        return values.max(-1), deciding(values, absolute, outcomes)

    start = jnp.zeros(model.num_states, jnp.result_type(float))
    found: FixedPoint = fixed_point(sweep, start, contraction, tolerance, max_sweeps, outcomes)
    values = legal(model, backup(found.value))
    return Solution(found.value, values, found.sweeps, found.residual, found.error_bound, found.converged)
