"""Lagrange multipliers of budgets: prices that rise while a cost exceeds its budget, and fall, never below 0, while it does not.

    maximise J_r(pi)  subject to  J_i(pi) <= d_i  for every cost i
    L(pi, lambda) = J_r(pi) - sum_i lambda_i (J_i(pi) - d_i)
    lambda_i <- [lambda_i + eta (J_i(pi) - d_i)]+

A learner that improves pi for the reward r - sum_i lambda_i c_i, more quickly than lambda moves, comes near a saddle point of L.
If the best policy must randomise, the policies go to and fro there and it is their mixture over time that keeps the budgets. The
exact optimum of a model: ``jaxrl.solvers.mdp.occupancy``.

Source: Altman (1999), "Constrained Markov Decision Processes", chapter 3; Borkar (2005), "An Actor-Critic Algorithm for
Constrained Markov Decision Processes".
"""

import jax
import jax.numpy as jnp


def init(*shape: int) -> jax.Array:
    """Returns the multipliers of budgets that nothing has exceeded yet, zeros, float32[*shape]; no shape is one budget."""
    return jnp.zeros(shape, jnp.float32)


def updated(
    multiplier: jax.Array, cost: jax.Array, budget: jax.Array | float, rate: jax.Array | float, where: jax.Array | bool = True
) -> jax.Array:
    """Returns [lambda + eta (J - d)]+, float32[...].

    Args:
        multiplier: float32[...], lambda, at least 0.
        cost: float32[...], J, an estimate of the expected discounted cost of the policy.
        budget: d, in units of the cost.
        rate: eta, at least 0.
        where: bool[...], whether there is an estimate; else lambda stays, whatever ``cost`` is.
    """
    return jnp.where(where, jnp.maximum(multiplier + rate * (cost - budget), 0.0), multiplier)


def penalised(reward: jax.Array, cost: jax.Array, multiplier: jax.Array) -> jax.Array:
    """Returns r - sum_i lambda_i c_i, float32[...], of rewards, or of values.

    Args:
        reward: float32[...].
        cost: float32[...], of one budget; with I of them float32[..., I].
        multiplier: float32[], or float32[I].
    """
    return reward - (multiplier * cost if multiplier.ndim == 0 else (multiplier * cost).sum(-1))
