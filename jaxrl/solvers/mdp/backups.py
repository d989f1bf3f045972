"""One step back from the values of the successors: action values, and the policy that is greedy in them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core.finite import TabularModel
from jaxrl.errors import is_traced, require, require_real
from jaxrl.solvers.mdp.problem import require_problem, require_values


def action_values(model: TabularModel, value: Any, gamma: jax.Array | float) -> jax.Array:
    """Returns Q(x, a) = sum_k p_k [r_k + gamma (1 - terminated_k) V(x'_k)], float[X, A] (Sutton & Barto, equation 4.6).

    Raises:
        ConfigError: gamma lies outside [0, 1], or there is not one number for each state.
        EnvError: the model has a reward for each of several agents, or its tables are unsound.
    """
    require_problem("action_values", model, gamma)
    bootstrap = jnp.where(model.terminated, 0.0, require_values("action_values", model, value)[model.next_state])
    worth = jnp.asarray(model.reward) + gamma * bootstrap
    return (model.probability * jnp.where(model.probability > 0, worth, 0.0)).sum(-1)  # what is impossible may be worth NaN


def greedy_policy(model: TabularModel, values: Any) -> jax.Array:
    """Returns the deterministic policy float[X, A] that takes the best legal action, the first among equals.

    Args:
        model: the environment's tables.
        values: float[X, A]; infinite ones are allowed.

    Raises:
        ConfigError: the values have another shape, or one is NaN.
    """
    where, shape = "greedy_policy", np.shape(model.action_mask)
    table = values if is_traced(values) else require_real(where, "values", values)
    require(table.shape == shape, where, f"values must have shape {list(shape)}", table.shape, "Give one for each action.")
    if not is_traced(values):
        require(not np.isnan(table).any(), where, "values must not be NaN", values, "Use -inf for an action to avoid.")
    table = jnp.asarray(table, jnp.result_type(table, jnp.float32))
    return jax.nn.one_hot(legal(model, table).argmax(-1), shape[1], dtype=table.dtype)


def legal(model: TabularModel, values: jax.Array) -> jax.Array:
    """Returns action values float[X, A], minus infinity where an action is illegal."""
    return jnp.where(model.action_mask, values, -jnp.inf)


def absolute_rewards(model: TabularModel) -> jax.Array:
    """Returns the expected absolute reward of each state and action, float[X, A]."""
    return jnp.asarray((model.probability * jnp.abs(model.reward)).sum(-1), jnp.result_type(float))


def going_on(terminated: jax.Array, weight: jax.Array, gamma: jax.Array | float) -> jax.Array:
    """Returns the weights of the successors with the discount in them, 0 where an outcome ends the episode."""
    return gamma * jnp.where(terminated, 0.0, weight)


def over(model: TabularModel) -> jax.Array:
    """Returns which states are only there to be terminated in, bool[X]: an episode never goes on in them."""
    here = jnp.arange(model.num_states)[:, None, None]
    possible = (model.probability > 0) & model.action_mask[:, :, None]
    enters = possible & ~model.terminated & (model.next_state != here)
    entered = jnp.asarray(model.initial > 0).at[model.next_state].max(enters)
    stays = jnp.where(possible, (model.next_state == here) & (model.reward == 0), True)
    return stays.all((1, 2)) & ~entered
