"""Exact solvers for finite environments: value iteration, policy iteration and policy evaluation on a ``TabularModel``, and
value iteration for an agent who is averse to risk.

All are pure and compile; they use no LAPACK, so they can be vmapped over thousands of policies. They compute in the precision
jax is set to: float32, or float64 inside ``jax.enable_x64(True)``.

Source: Sutton and Barto (2018), chapter 4; Puterman (1994), chapter 6; for risk aversion Howard and Matheson (1972).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

from jaxrl.finite import TabularModel


class Solution(NamedTuple):
    """What a solver returns.

    value: float[X], the value of every state under an optimal policy.
    action_value: float[X, A], minus infinity where an action is illegal.
    iterations: int32[], sweeps of value iteration, or improvements of policy iteration.
    """

    value: jax.Array
    action_value: jax.Array
    iterations: jax.Array

    def start_value(self, model: TabularModel) -> jax.Array:
        """Returns the expected value of the first state, float[]."""
        return model.initial @ self.value


def action_values(model: TabularModel, value: jax.Array, gamma: jax.Array | float) -> jax.Array:
    """Returns Q(x, a) = sum_k p_k [r_k + gamma (1 - terminated_k) V(x'_k)], float[X, A] (Sutton & Barto, equation 4.6)."""
    bootstrap = jnp.where(model.terminated, 0.0, jnp.asarray(value)[model.next_state])
    return (model.probability * (model.reward + gamma * bootstrap)).sum(-1)


def _legal(model: TabularModel, values: jax.Array) -> jax.Array:
    return jnp.where(model.action_mask, values, -jnp.inf)


def greedy_policy(model: TabularModel, values: jax.Array) -> jax.Array:
    """Returns the deterministic policy float[X, A] that takes the best legal action, the first among equals."""
    return jax.nn.one_hot(_legal(model, values).argmax(-1), model.num_actions, dtype=values.dtype)


def value_iteration(
    model: TabularModel, gamma: jax.Array | float, tolerance: float = 1e-6, max_sweeps: int = 100_000
) -> Solution:
    """Sweeps V <- max_a Q until no value changes by more than ``tolerance`` (Sutton & Barto, equation 4.10).

    Args:
        model: the environment's tables, with one reward (no agent axis).
        gamma: discount in [0, 1]; each sweep shrinks the error at least by gamma.
        tolerance: the change at which to stop; 1e-13 is within reach of float64.
        max_sweeps: an end for problems with gamma = 1 that do not converge.
    """
    return _iterate(model, lambda value: action_values(model, value, gamma), tolerance, max_sweeps)


def certainty_equivalents(model: TabularModel, value: jax.Array, risk_aversion: jax.Array | float) -> jax.Array:
    """Returns Q(x, a) = -log(sum_k p_k exp(-b [r_k + (1 - terminated_k) V(x'_k)])) / b, float[X, A]; b is the risk aversion.

    It is what an agent with the utility -exp(-b y) of the sum y of all rewards would take instead of going on. There is no
    discount, since Q is not in proportion to the rewards.

    Source: Howard and Matheson (1972), "Risk-Sensitive Markov Decision Processes", equation 2.10.
    """
    bootstrap = jnp.where(model.terminated, 0.0, jnp.asarray(value)[model.next_state])
    return -logsumexp(-risk_aversion * (model.reward + bootstrap), axis=-1, b=model.probability) / risk_aversion


def entropic_value_iteration(
    model: TabularModel, risk_aversion: jax.Array | float, tolerance: float = 1e-6, max_sweeps: int = 100_000
) -> Solution:
    """Sweeps V <- max_a Q with the certainty equivalents Q, as ``value_iteration`` does with expectations.

    Args:
        model: the environment's tables, with one reward (no agent axis); episodes must end, or pay nothing in the long run.
        risk_aversion: positive, per unit of reward; near 0 it is value iteration without discount.
        tolerance, max_sweeps: as for ``value_iteration``.
    """
    return _iterate(model, lambda value: certainty_equivalents(model, value, risk_aversion), tolerance, max_sweeps)


def _iterate(model: TabularModel, backup: Callable, tolerance: float, max_sweeps: int) -> Solution:
    """Sweeps with ``backup``, ``(value [X]) -> action values [X, A]``, until no value changes by more than ``tolerance``."""

    def sweep(carry):
        value, _, count = carry
        new = _legal(model, backup(value)).max(-1)
        return new, jnp.abs(new - value).max(), count + 1

    start = (jnp.zeros(model.num_states, jnp.result_type(float)), jnp.asarray(jnp.inf), jnp.int32(0))
    value, _, count = jax.lax.while_loop(lambda c: (c[1] > tolerance) & (c[2] < max_sweeps), sweep, start)
    return Solution(value, _legal(model, backup(value)), count)


def policy_evaluation(model: TabularModel, policy: jax.Array, gamma: jax.Array | float, num_doublings: int = 20) -> jax.Array:
    """Returns the exact value of a stochastic policy, V = sum_t (gamma P)^t R, float[X] (or [X, N] with agents).

    The series is summed by doubling, V_{2n} = V_n + (gamma P)^n V_n, which covers 2^num_doublings steps in num_doublings
    matrix products: exact to rounding for gamma < 1, and for gamma = 1 where the policy terminates. Unlike a linear solve it
    needs no LAPACK, and a policy that never terminates gives a large finite number rather than a singular matrix.

    Args:
        model: the environment's tables.
        policy: float[X, A], probabilities of the (joint) actions.
        gamma: discount in [0, 1].
        num_doublings: the default looks a million steps ahead.
    """
    states = jnp.arange(model.num_states)[:, None, None]
    weight = jnp.asarray(policy)[..., None] * model.probability  # [X, A, K]
    onward = gamma * jnp.where(model.terminated, 0.0, weight)
    transition = jnp.zeros((model.num_states, model.num_states), onward.dtype).at[states, model.next_state].add(onward)
    reward = jnp.asarray(model.reward)
    value = jnp.einsum("xak,xak...->x...", weight, reward)

    def double(_, carry):
        value, power = carry
        return value + power @ value, power @ power

    with jax.default_matmul_precision("highest"):
        return jax.lax.fori_loop(0, num_doublings, double, (value, transition))[0]


def policy_iteration(model: TabularModel, gamma: jax.Array | float, max_improvements: int = 1_000) -> Solution:
    """Alternates exact evaluation and greedy improvement until the policy is stable (Howard 1960; Sutton & Barto, section 4.3).

    An action is only replaced by one that is better by more than rounding, so ties cannot make the policy cycle.

    Args:
        model: the environment's tables, with one reward (no agent axis).
        gamma: discount in [0, 1]; at 1 every policy on the way must terminate.
        max_improvements: an end in case of numerical trouble.
    """
    dtype = jnp.result_type(float)
    slack = 100 * jnp.finfo(dtype).eps

    def improve(carry):
        action, _, count = carry
        value = policy_evaluation(model, jax.nn.one_hot(action, model.num_actions, dtype=dtype), gamma)
        values = _legal(model, action_values(model, value, gamma))
        current = jnp.take_along_axis(values, action[:, None], 1)[:, 0]
        better = values.max(-1) > current + slack * (1 + jnp.abs(current))
        return jnp.where(better, values.argmax(-1), action), better.any(), count + 1

    start = (jnp.argmax(model.action_mask, axis=-1), jnp.bool_(True), jnp.int32(0))
    action, _, count = jax.lax.while_loop(lambda c: c[1] & (c[2] < max_improvements), improve, start)
    value = policy_evaluation(model, jax.nn.one_hot(action, model.num_actions, dtype=dtype), gamma)
    return Solution(value, _legal(model, action_values(model, value, gamma)), count)
