"""Losses and targets of one item. Batches are the caller's: ``jax.vmap`` or broadcasting, then a mean.

Advantages and targets are constants to every loss: no gradient flows through them. ``optax.huber_loss`` and
``optax.l2_loss`` serve where a temporal-difference error is squared, and the entropy is the distribution's.
"""

import jax
import jax.numpy as jnp

from jaxrl.exploration import greedy
from jaxrl.returns import one_step_target


def policy_gradient_loss(log_probability: jax.Array, advantage: jax.Array) -> jax.Array:
    """Returns minus the log-probability weighted by the advantage; its gradient is the policy gradient's negative.

    Args:
        log_probability: float32[], of the action that was taken, under the policy that is trained.
        advantage: float32[], return minus baseline.

    Returns:
        float32[].

    Source: Williams (1992), section 5; Sutton & Barto (2018), eq. 13.11.
    """
    return -log_probability * jax.lax.stop_gradient(advantage)


def clipped_surrogate_loss(log_ratio: jax.Array, advantage: jax.Array, clip_eps: jax.Array | float) -> jax.Array:
    """Returns PPO's clipped surrogate objective, negated.

    Args:
        log_ratio: float32[], the log-probability of the action under the policy that is trained minus that under the policy
            that took it.
        advantage: float32[].
        clip_eps: how far the ratio may move from 1 before the gradient vanishes, positive.

    Returns:
        float32[].

    Source: Schulman et al. (2017), eq. 7.
    """
    advantage = jax.lax.stop_gradient(advantage)
    ratio = jnp.exp(log_ratio)
    return -jnp.minimum(ratio * advantage, jnp.clip(ratio, 1.0 - clip_eps, 1.0 + clip_eps) * advantage)


def squared_value_loss(value: jax.Array, target: jax.Array) -> jax.Array:
    """Returns half the squared difference between a value and its target, float32[].

    Source: Schulman et al. (2017), eq. 9, halved so that the gradient is the difference itself.
    """
    return 0.5 * jnp.square(value - jax.lax.stop_gradient(target))


def clipped_value_loss(value: jax.Array, old_value: jax.Array, target: jax.Array, clip_eps: jax.Array | float) -> jax.Array:
    """Returns the larger of two squared value losses: of the value, and of the value kept near what it was.

    Args:
        value: float32[], under the parameters that are trained.
        old_value: float32[], under those that collected the data.
        target: float32[].
        clip_eps: how far the value may move before the gradient vanishes, in units of the return, positive.

    Returns:
        float32[].

    Source: Engstrom et al. (2020), "value function clipping".
    """
    old_value = jax.lax.stop_gradient(old_value)
    near = old_value + jnp.clip(value - old_value, -clip_eps, clip_eps)
    return jnp.maximum(squared_value_loss(value, target), squared_value_loss(near, target))


def kl_k1(log_ratio: jax.Array) -> jax.Array:
    """Returns an estimate of KL(old || new) from an action of the old policy: unbiased, of either sign.

    Args:
        log_ratio: float32[], the action's log-probability under the new policy minus that under the old one.

    Source: Schulman (2020), "Approximating KL Divergence", estimator k1.
    """
    return -log_ratio


def kl_k3(log_ratio: jax.Array) -> jax.Array:
    """Returns an estimate of KL(old || new) from an action of the old policy: unbiased, never negative, less noisy than k1.

    Args:
        log_ratio: float32[], the action's log-probability under the new policy minus that under the old one.

    Source: Schulman (2020), "Approximating KL Divergence", estimator k3.
    """
    return jnp.expm1(log_ratio) - log_ratio


def q_learning_target(
    reward: jax.Array,
    next_values: jax.Array,
    terminated: jax.Array,
    gamma: jax.Array | float,
    next_mask: jax.Array | None = None,
) -> jax.Array:
    """Returns the target of Q-learning: the reward and the discounted value of the best next action.

    Args:
        reward: float32[].
        next_values: float32[A], the action values of the true successor.
        terminated: bool[], the value beyond is 0.
        gamma: discount in [0, 1].
        next_mask: bool[A], the successor's legal actions, or None where every action is legal.

    Returns:
        float32[], a constant to the gradient.

    Source: Watkins and Dayan (1992), eq. 1; Sutton & Barto (2018), eq. 6.8.
    """
    best = jnp.max(next_values, where=next_mask, initial=-jnp.inf)
    return jax.lax.stop_gradient(one_step_target(reward, best, terminated, gamma))


def double_q_target(
    reward: jax.Array,
    next_values: jax.Array,
    next_selector: jax.Array,
    terminated: jax.Array,
    gamma: jax.Array | float,
    next_mask: jax.Array | None = None,
) -> jax.Array:
    """Returns the target of double Q-learning: one estimate selects the next action, the other one values it.

    Args:
        reward, terminated, gamma, next_mask: as for ``q_learning_target``.
        next_values: float32[A], the estimate that values (the other table; the target network).
        next_selector: float32[A], the estimate that selects (the table that is updated; the online network).

    Returns:
        float32[], a constant to the gradient.

    Source: van Hasselt (2010), algorithm 1; van Hasselt et al. (2016), eq. 4.
    """
    return sarsa_target(reward, next_values, greedy(next_selector, next_mask), terminated, gamma)


def sarsa_target(
    reward: jax.Array, next_values: jax.Array, next_action: jax.Array, terminated: jax.Array, gamma: jax.Array | float
) -> jax.Array:
    """Returns the target of SARSA: the reward and the discounted value of the action that is taken next.

    Args:
        reward, next_values, terminated, gamma: as for ``q_learning_target``.
        next_action: int32[].

    Returns:
        float32[], a constant to the gradient.

    Source: Sutton & Barto (2018), eq. 6.7.
    """
    return jax.lax.stop_gradient(one_step_target(reward, next_values[next_action], terminated, gamma))


def expected_sarsa_target(
    reward: jax.Array,
    next_values: jax.Array,
    next_probabilities: jax.Array,
    terminated: jax.Array,
    gamma: jax.Array | float,
) -> jax.Array:
    """Returns the target of expected SARSA: the reward and the discounted mean value under the policy.

    Args:
        reward, next_values, terminated, gamma: as for ``q_learning_target``.
        next_probabilities: float32[A], the policy in the successor; the value of an action of probability 0 is not read.

    Returns:
        float32[], a constant to the gradient.

    Source: Sutton & Barto (2018), eq. 6.9.
    """
    mean = jnp.sum(next_probabilities * next_values, where=next_probabilities > 0)
    return jax.lax.stop_gradient(one_step_target(reward, mean, terminated, gamma))
