"""Soft value iteration: the optimum of reward plus alpha times the entropy of the policy.

    Q(x, a) = sum_k p_k [r_k + gamma (1 - terminated_k) V(x'_k)]
    V(x) = alpha log sum_a exp(Q(x, a) / alpha),    pi(a | x) = exp((Q(x, a) - V(x)) / alpha)

Source: Ziebart et al. (2008), "Maximum Entropy Inverse Reinforcement Learning"; Haarnoja et al. (2017), "Reinforcement Learning
with Deep Energy-Based Policies", theorem 1 and equations 15 and 16.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrl.core.finite import TabularModel
from jaxrl.errors import require_within
from jaxrl.solvers.fixed_point import MAX_SWEEPS, FixedPoint, fixed_point
from jaxrl.solvers.mdp.backups import absolute_rewards, action_values, legal, over
from jaxrl.solvers.mdp.problem import require_problem
from jaxrl.solvers.mdp.solution import Solution


class SoftSolution(NamedTuple):
    """The soft optimum.

    solution: its value is the largest sum of reward and alpha times entropy to come. policy: float[X, A], the one that has it.
    """

    solution: Solution
    policy: jax.Array


def soft_value_iteration(
    model: TabularModel,
    gamma: jax.Array | float,
    temperature: jax.Array | float,
    tolerance: jax.Array | float = 1e-6,
    max_sweeps: jax.Array | int = MAX_SWEEPS,
) -> SoftSolution:
    """Sweeps V <- alpha log sum exp(Q / alpha) until the value is as close to the soft optimum as asked for.

    A state without a choice has no entropy. States that are only reached by termination have value 0: no entropy is paid there.

    Args:
        model: the environment's tables, with one reward (no agent axis).
        gamma: discount in [0, 1]; each sweep shrinks the error at least by gamma. At 1, soft values are finite only if the
            entropy that a step is paid costs less than the reward takes.
        temperature: alpha, positive, in units of reward per nat.
        tolerance, max_sweeps: see ``value_iteration``.

    Raises:
        ConfigError: a number is out of range.
        EnvError: the model has a reward for each of several agents, or its tables are unsound.
    """
    where = "soft_value_iteration"
    require_problem(where, model, gamma, tolerance, max_sweeps)
    require_within(where, "temperature", temperature, 0, jnp.inf, "0.1 is common.", above=True)
    return _soft_value_iteration(model.tables, gamma, temperature, tolerance, max_sweeps)


@jax.jit
def _soft_value_iteration(model, gamma, temperature, tolerance, max_sweeps) -> SoftSolution:
    ended, absolute = over(model), absolute_rewards(model)
    entropy = temperature * jnp.log(jnp.asarray(model.action_mask.shape[1], absolute.dtype))

    def backup(value):
        return legal(model, action_values(model, value, gamma))

    def sweep(value):
        values = backup(value)
        # The rounding of an action's value moves the soft maximum in proportion to the chance of the action.
        magnitude = (jax.nn.softmax(values / temperature, axis=-1) * absolute).sum(-1).max(initial=0.0) + entropy
        return jnp.where(ended, 0.0, soft_maximum(values, temperature)), magnitude

    start = jnp.zeros(model.num_states, jnp.result_type(float))
    found: FixedPoint = fixed_point(sweep, start, gamma, tolerance, max_sweeps, model.next_state.shape[-1])
    values = backup(found.value)
    policy = jax.nn.softmax(values / temperature, axis=-1)
    solution = Solution(found.value, values, found.sweeps, found.residual, found.error_bound, found.converged)
    return SoftSolution(solution, policy)


def soft_maximum(values: Any, temperature: Any) -> jax.Array:
    """Returns alpha log sum_a exp(Q(x, a) / alpha) of action values float[X, A], float[X]."""
    return temperature * jax.nn.logsumexp(values / temperature, axis=-1)
