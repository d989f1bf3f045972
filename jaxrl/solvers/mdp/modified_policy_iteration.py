"""Modified policy iteration: greedy improvement, then a few sweeps of the value of the greedy policy in place of solving for it.

    repeat
        pi <- greedy in Q of V;  V <- max_a Q
        n times: V <- r_pi + gamma P_pi V

With n = 0 it is value iteration; as n grows it becomes policy iteration.

Source: Puterman and Shin (1978); Puterman (1994), section 6.5.
"""

from functools import partial

import jax
import jax.numpy as jnp

from jaxrl.core.finite import TabularModel
from jaxrl.errors import require_count, require_discount
from jaxrl.solvers.fixed_point import MAX_SWEEPS, deciding, error_bound, rounding_of
from jaxrl.solvers.mdp.backups import absolute_rewards, action_values, legal
from jaxrl.solvers.mdp.problem import require_problem
from jaxrl.solvers.mdp.solution import Solution


def modified_policy_iteration(
    model: TabularModel,
    gamma: jax.Array | float,
    evaluation_sweeps: int = 5,
    tolerance: jax.Array | float = 1e-6,
    max_improvements: jax.Array | int = MAX_SWEEPS,
) -> Solution:
    """Alternates greedy improvement and sweeps of the greedy policy until the value is as close to the optimum as asked for.

    Args:
        model: the environment's tables, with one reward (no agent axis).
        gamma: discount in [0, 1).
        evaluation_sweeps: n, after each improvement; static.
        tolerance: the error to accept, relative to the largest value; 0 goes to the limit of the precision.
        max_improvements: an end in case of numerical trouble.

    Returns:
        The solution; its iterations are improvements.

    Raises:
        ConfigError: gamma lies outside [0, 1), or another number is out of range.
        EnvError: the model has a reward for each of several agents, or its tables are unsound.
    """
    where = "modified_policy_iteration"
    require_count(where, "evaluation_sweeps", evaluation_sweeps, 0)
    require_discount(where, gamma, below_one=True)
    require_problem(where, model, gamma, tolerance, max_improvements)
    return _modified_policy_iteration(model.tables, gamma, evaluation_sweeps, tolerance, max_improvements)


@partial(jax.jit, static_argnames="evaluation_sweeps")
def _modified_policy_iteration(model, gamma, evaluation_sweeps, tolerance, max_improvements) -> Solution:
    outcomes, absolute = model.next_state.shape[-1], absolute_rewards(model)

    def improve(carry):
        value, *_, count = carry
        values = legal(model, action_values(model, value, gamma))
        best, action = values.max(-1), values.argmax(-1)[:, None]
        rounding = rounding_of(outcomes, deciding(values, absolute, outcomes) + jnp.abs(best).max())

        def evaluate(_, value):
            return jnp.take_along_axis(action_values(model, value, gamma), action, 1)[:, 0]

        residual = jnp.abs(best - value).max()
        return jax.lax.fori_loop(0, evaluation_sweeps, evaluate, best), best, residual, rounding, count + 1

    def unsettled(carry):
        # NaN compares false and ends the loop: it is not converged then.
        return (carry[2] > limit(carry)) & (carry[4] < max_improvements)

    def limit(carry):
        _, best, _, rounding, _ = carry
        return jnp.maximum(tolerance * (1 - gamma) * jnp.abs(best).max(), rounding)

    zeros = jnp.zeros(model.num_states, jnp.result_type(float))
    infinite = jnp.full((), jnp.inf, zeros.dtype)
    carry = jax.lax.while_loop(unsettled, improve, (zeros, zeros, infinite, 0 * zeros[0], jnp.int32(0)))
    _, best, residual, rounding, count = carry
    converged = jnp.isfinite(residual) & (residual <= limit(carry))
    values = legal(model, action_values(model, best, gamma))
    return Solution(best, values, count, residual, error_bound(residual, jnp.asarray(gamma), rounding), converged)
