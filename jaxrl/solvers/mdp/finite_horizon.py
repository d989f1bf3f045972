"""A finite horizon, without discount: the optimum by backward induction, and policies that depend on the epoch.

    V_H = 0    V_h(x) = max_a Q_h(x, a)    Q_h(x, a) = sum_k p_k [r_k + (1 - terminated_k) V_{h+1}(x'_k)]

Each epoch has tables of its own, [H, ...]: with less time left another action may be best.

Source: Puterman (1994), section 4.5.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrl.core.finite import TabularModel
from jaxrl.errors import require_count
from jaxrl.solvers.mdp.backups import action_values, legal
from jaxrl.solvers.mdp.problem import require_policy, require_problem


class EpochValues(NamedTuple):
    """Values by epoch, exact up to the rounding of H steps.

    value: float[H + 1, X], of every state before each epoch; zeros at the end.
    action_value: float[H, X, A], minus infinity where an action is illegal.
    """

    value: jax.Array
    action_value: jax.Array

    def start_value(self, model: TabularModel) -> jax.Array:
        """Returns the expected value of the first state, float[]."""
        return (model.initial * self.value[0]).sum()


def backward_induction(model: TabularModel, horizon: int) -> EpochValues:
    """Returns the best values that a policy can reach in ``horizon`` steps.

    Args:
        model: the environment's tables, with one reward (no agent axis).
        horizon: H, steps, at least 1; static.

    Raises:
        ConfigError: the horizon is no integer of at least 1.
        EnvError: the model has a reward for each of several agents, or its tables are unsound.
    """
    require_problem("backward_induction", model)
    require_count("backward_induction", "horizon", horizon)
    return _backward_induction(model.tables, horizon)


@partial(jax.jit, static_argnames="horizon")
def _backward_induction(model, horizon) -> EpochValues:
    return _induced(model, lambda values, _: values.max(-1), jnp.arange(horizon))


def epoch_values(model: TabularModel, policy: Any) -> EpochValues:
    """Returns the values of a policy that may differ by epoch.

    Args:
        model: the environment's tables, with one reward (no agent axis).
        policy: float[H, X, A], probabilities of the (joint) actions in each epoch.

    Raises:
        ConfigError: the policy has another shape, or a row is not a distribution.
        EnvError: the model has a reward for each of several agents, or its tables are unsound.
    """
    require_problem("epoch_values", model)
    shape = jnp.shape(policy)
    policy = require_policy("epoch_values", policy, (*shape[:1], model.num_states, model.num_actions))
    return _epoch_values(model.tables, policy)


@jax.jit
def _epoch_values(model, policy) -> EpochValues:
    return _induced(model, lambda values, chance: jnp.where(chance > 0, chance * values, 0.0).sum(-1), policy)


def _induced(model: TabularModel, choose, along: jax.Array) -> EpochValues:
    """Goes back from the end. choose: ``(action values [X, A], entry of along) -> value [X]``; along: [H, ...]."""

    def back(value, entry):
        values = legal(model, action_values(model, value, 1.0))
        value = choose(values, entry)
        return value, (value, values)

    end = jnp.zeros(model.num_states, jnp.result_type(float))
    _, (value, action_value) = jax.lax.scan(back, end, along, reverse=True)
    return EpochValues(jnp.concatenate([value, end[None]]), action_value)
