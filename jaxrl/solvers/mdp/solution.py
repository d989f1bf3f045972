"""The answers of exact solvers: the optimum, or the value of a policy, each with its own check."""

from typing import NamedTuple

import jax
import numpy as np

from jaxrl.core.finite import TabularModel


def at_start(model: TabularModel, value: jax.Array) -> jax.Array:
    """Returns the expected value of the first state, float[] (or [N] with agents), in the precision of ``value``, float[X]."""
    initial = model.initial if isinstance(value, jax.Array) else np.asarray(model.initial)
    return (initial * value.T).sum(-1)


class Solution(NamedTuple):
    """The result of a solver.

    value: float[X], the value of every state under an optimal policy.
    action_value: float[X, A], minus infinity where an action is illegal.
    iterations: int32[], sweeps of value iteration, improvements of policy iteration, or backups of single states.
    residual: float[], the largest amount by which ``value`` misses the equation that it solves.
    error_bound: float[], how far a value can be from the optimum, rounding included. Infinite without discount, where a small
        residual says nothing about the distance.
    converged: bool[], whether the solver came to its end: the tolerance or the limit of the precision, or a stable policy.
    """

    value: jax.Array
    action_value: jax.Array
    iterations: jax.Array
    residual: jax.Array
    error_bound: jax.Array
    converged: jax.Array

    def start_value(self, model: TabularModel) -> jax.Array:
        """Returns the expected value of the first state, float[]."""
        return at_start(model, self.value)


class PolicyValue(NamedTuple):
    """The value of a policy.

    value: float[X] (or [X, N] with agents), of every state.
    residual: float[], the largest amount by which ``value`` misses v = r + gamma P v.
    error_bound: float[], how far a value can be from the truth, rounding included. Infinite where nothing is discounted and the
        policy need not end the episode.
    converged: bool[], whether all rewards to come are in the sum, as far as the precision goes.
    """

    value: jax.Array
    residual: jax.Array
    error_bound: jax.Array
    converged: jax.Array

    def start_value(self, model: TabularModel) -> jax.Array:
        """Returns the expected value of the first state, float[] (or [N] with agents)."""
        return at_start(model, self.value)
