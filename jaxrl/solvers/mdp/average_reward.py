"""Average reward: the best reward per step in the long run, by relative value iteration.

    gain + h(x) = max_a sum_k p_k [r_k + h(x'_k)]

where an episode that ends begins anew: what comes after a termination is the mean of h over first states. The least and the
largest change of h in a sweep bound the gain, which is how convergence is judged.

Source: White (1963); Odoni (1969); Puterman (1994), sections 8.5.5 and 8.5.3 with the transformation of section 8.5.4 against
periodic chains.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrl.core.finite import TabularModel
from jaxrl.solvers.fixed_point import deciding, rounding_of
from jaxrl.solvers.mdp.backups import absolute_rewards, legal, over
from jaxrl.solvers.mdp.problem import require_problem

LAZINESS = 0.1  # the share of time for which the chain is made to stay where it is, so that it cannot be periodic


class AverageReward(NamedTuple):
    """The best long-run average.

    gain: float[], reward per step, the middle of its bounds. low, high: float[], which the gain of the best policy lies between.
    bias: float[X], h, how much more a start in a state is worth than one from the initial distribution.
    action_value: float[X, A], minus infinity where an action is illegal; the greedy policy is the best one.
    iterations: int32[]. converged: bool[], whether the bounds are as near as asked for, or as the precision can tell. Where two
    parts of the state space cannot reach each other, gains differ from start to start, and it does not converge.
    """

    gain: jax.Array
    low: jax.Array
    high: jax.Array
    bias: jax.Array
    action_value: jax.Array
    iterations: jax.Array
    converged: jax.Array


def average_reward(
    model: TabularModel, tolerance: jax.Array | float = 1e-6, max_sweeps: jax.Array | int = 100_000
) -> AverageReward:
    """Returns the best reward per step in the long run, from whatever state.

    Args:
        model: the environment's tables, with one reward (no agent axis). All states must be able to come to the same ones.
        tolerance: the distance of the bounds to accept, relative to the larger of them; 0 goes to the limit of the precision.
        max_sweeps: an end for models in which gains differ.

    Raises:
        ConfigError: a number is out of range.
        EnvError: the model has a reward for each of several agents, or its tables are unsound.
    """
    require_problem("average_reward", model, 1.0, tolerance, max_sweeps)
    return _average_reward(model.tables, tolerance, max_sweeps)


@jax.jit
def _average_reward(model, tolerance, max_sweeps) -> AverageReward:
    outcomes, absolute = model.next_state.shape[-1], absolute_rewards(model)
    dtype = jnp.result_type(float)
    initial = jnp.asarray(model.initial, dtype)

    expected = partial(jnp.dot, initial, precision="highest")
    begins = model.terminated | over(model)[:, None, None]

    def backup(bias):
        after = jnp.where(begins, expected(bias), bias[model.next_state])
        return legal(model, (model.probability * (model.reward + after)).sum(-1))

    def sweep(carry):
        bias, *_, count = carry
        values = backup(bias)
        change = values.max(-1) - bias
        rounding = rounding_of(outcomes, deciding(values, absolute, outcomes) + jnp.abs(bias).max())
        following = bias + (1 - LAZINESS) * change
        return following - expected(following), change.min(), change.max(), rounding, count + 1

    def limit(carry):
        _, low, high, rounding, _ = carry
        return jnp.maximum(tolerance * jnp.maximum(jnp.abs(low), jnp.abs(high)), 2 * rounding)

    def unsettled(carry):
        _, low, high, _, count = carry
        return ((high - low > limit(carry)) & (count < max_sweeps)) | (count == 0)

    zeros, zero = jnp.zeros(model.num_states, dtype), jnp.zeros((), dtype)
    carry = jax.lax.while_loop(unsettled, sweep, (zeros, zero, zero, zero, jnp.int32(0)))
    bias, low, high, rounding, count = carry
    converged = jnp.isfinite(high - low) & (high - low <= limit(carry))
    return AverageReward((low + high) / 2, low - rounding, high + rounding, bias, backup(bias), count, converged)
