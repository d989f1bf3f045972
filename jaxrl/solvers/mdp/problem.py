"""Checks of the arguments of exact solvers: problems that have no solution, and tables that are no policy or no values."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core.finite import TabularModel, require_model, require_tables
from jaxrl.errors import (
    EnvError,
    is_traced,
    require,
    require_discount,
    require_distribution,
    require_real,
    require_tolerance,
    require_within,
)
from jaxrl.solvers.fixed_point import MAX_SWEEPS


def require_problem(
    where: str, model: TabularModel, gamma: Any = 1.0, tolerance: Any = 0.0, max_sweeps: Any = 1, *, one_reward: bool = True
) -> None:
    """Refuses a problem that has no solution. Of traced values the shapes alone are checked.

    Args:
        where: who asks.
        model, gamma, tolerance, max_sweeps: arguments of a solver.
        one_reward: whether rewards must not have an agent axis.

    Raises:
        ConfigError: gamma lies outside [0, 1], the tolerance is no number of at least 0, or ``max_sweeps`` none of at least 1.
        EnvError: the model has a reward for each of several agents although one is asked for, or its tables are unsound.
    """
    require_discount(where, gamma)
    require_tolerance(where, tolerance)
    require_within(where, "max_sweeps", max_sweeps, 1, np.inf, f"The default is {MAX_SWEEPS}.")
    (require_one_reward if one_reward else require_model)(where, model)


def require_values(where: str, model: TabularModel, value: Any) -> jax.Array:
    """Returns a number for each state as an array, which may be traced; raises ConfigError if it has another shape."""
    must, fix = f"value must have shape [{model.num_states}]", "Give one number for each state."
    table = value if is_traced(value) else require_real(where, "value", value, fix)
    require(table.shape == (model.num_states,), where, must, table.shape, fix)
    return jnp.asarray(table)


def require_policy(where: str, policy: Any, shape: tuple[int, ...], mask: Any = None) -> jax.Array:
    """Returns a policy as an array; raises ConfigError unless it has this shape, and distributions over its last axis.

    Of a traced policy the shape alone is checked. mask: bool[X, A], the legal actions, to which the policy must keep.
    """
    fix = "Normalise its rows."
    table = policy if is_traced(policy) else require_real(where, "the policy", policy, fix)
    require(table.shape == shape, where, f"the policy must have shape {list(shape)}", table.shape, "Give a row for each state.")
    if not is_traced(policy):
        require_distribution(where, "the policy", table, fix)
        if mask is not None and not is_traced(mask):
            illegal = (table > 0) & ~np.asarray(mask)
            at = "action {1} in state {0}".format(*np.argwhere(illegal)[0][-2:]) if illegal.any() else ""
            must, fix = "the policy must take legal actions", "Give illegal ones probability 0."
            require(not illegal.any(), where, must, at, fix)
    return jnp.asarray(table, jnp.result_type(table, jnp.float32))


def require_one_reward(where: str, model: TabularModel) -> None:
    """Raises EnvError where rewards have an agent axis, or as ``require_model``. where: who asks."""
    require_tables(where, model)
    must, found = "the model must have one reward, [X, A, K]", list(np.shape(model.reward))
    require(np.ndim(model.reward) == 3, where, must, found, "Use jaxrl.solvers.markov_games.for_player.", EnvError)
    require_model(where, model)
