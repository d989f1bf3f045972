"""Losses and targets of one item. Batches are the caller's: ``jax.vmap`` or broadcasting, then a mean.

Advantages and targets are constants to every loss: no gradient flows through them. ``optax.l2_loss`` serves where a
temporal-difference error is squared, and the entropy is the distribution's.

A ConfigError says which argument is not a number, does not fit the others, or is out of range. This costs compiled code nothing:
of traced values the shapes and types alone are checked.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxrl.blocks.exploration import greedy
from jaxrl.blocks.returns import one_step_target
from jaxrl.errors import is_traced, require, require_arrays, require_distribution, require_index, require_within

LARGEST_EXPONENT = 20.0


def exponential(x: jax.Array) -> jax.Array:
    """Returns exp(x), and where x exceeds 20 its tangent there, any shape.

    exp overflows float32 at 88, and its square, which the norm of a gradient contains, at 44. The tangent keeps rising: a ratio
    of probabilities beyond e^20 is still pulled back, and by a finite gradient.
    """
    inside = jnp.minimum(x, LARGEST_EXPONENT)
    return jnp.exp(inside) * (1.0 + jnp.maximum(x - LARGEST_EXPONENT, 0.0))


def policy_gradient_loss(log_probability: jax.Array, advantage: jax.Array) -> jax.Array:
    """Returns minus the log-probability weighted by the advantage; its gradient is the policy gradient's negative.

    Args:
        log_probability: float32[], of the action that was taken, under the policy that is trained.
        advantage: float32[], return minus baseline.

    Returns:
        float32[].

    Source: Williams (1992), section 5; Sutton & Barto (2018), eq. 13.11.
    """
    found = require_arrays("policy_gradient_loss", log_probability=log_probability, advantage=advantage)
    return -found["log_probability"] * jax.lax.stop_gradient(found["advantage"])


def clipped_surrogate_loss(log_ratio: jax.Array, advantage: jax.Array, clip_eps: jax.Array | float) -> jax.Array:
    """Returns PPO's clipped surrogate objective, negated.

    Args:
        log_ratio: float32[], the log-probability of the action under the policy that is trained minus that under the policy
            that took it.
        advantage: float32[].
        clip_eps: how far the ratio may move from 1 before the gradient vanishes, positive.

    Returns:
        float32[].

    Source: Schulman et al. (2017), eq. 7. Ours: beyond e^20 the ratio is the tangent of the exponential; see ``exponential``.
    """
    where = "clipped_surrogate_loss"
    found = require_arrays(where, log_ratio=log_ratio, advantage=advantage)
    _require_positive(where, "clip_eps", clip_eps, "0.2 is common.")
    advantage = jax.lax.stop_gradient(found["advantage"])
    ratio = exponential(found["log_ratio"])
    return -jnp.minimum(ratio * advantage, jnp.clip(ratio, 1.0 - clip_eps, 1.0 + clip_eps) * advantage)


def squared_value_loss(value: jax.Array, target: jax.Array) -> jax.Array:
    """Returns half the squared difference between a value and its target, float32[].

    Source: Schulman et al. (2017), eq. 9, halved so that the gradient is the difference itself.
    """
    value, target = _pair("squared_value_loss", value, target)
    return 0.5 * jnp.square(value - target)


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
    where = "clipped_value_loss"
    _require_positive(where, "clip_eps", clip_eps, "0.2 is common.")
    value, old_value, target = require_arrays(where, value=value, old_value=old_value, target=target).values()
    old_value = jax.lax.stop_gradient(old_value)
    near = old_value + jnp.clip(value - old_value, -clip_eps, clip_eps)
    return jnp.maximum(squared_value_loss(value, target), squared_value_loss(near, target))


def huber_loss(value: jax.Array, target: jax.Array, delta: jax.Array | float = 1.0) -> jax.Array:
    """Returns half the squared difference between a value and its target, and a linear loss where it exceeds ``delta``.

    Args:
        value: float32[].
        target: float32[].
        delta: the largest slope, positive; infinite gives the squared loss. ``optax.huber_loss`` is the same function, but
            adds and subtracts delta in its gradient, which float32 cannot do where delta is large.

    Returns:
        float32[].

    Source: Huber (1964); Mnih et al. (2015), "Training algorithm", clip the error in this way.
    """
    _require_positive("huber_loss", "delta", delta, "1 is common.")
    value, target = _pair("huber_loss", value, target)
    error = jnp.abs(value - target)
    slope = jnp.minimum(error, delta)
    return slope * (error - 0.5 * slope)


def expectile_loss(value: jax.Array, target: jax.Array, expectile: jax.Array | float) -> jax.Array:
    """Returns |tau - 1(target < value)| (target - value)^2: its minimiser in expectation is the tau-expectile of the target.

    For tau = 1/2 this is ``squared_value_loss``, and the minimiser the mean; for tau towards 1 it is the largest target there is.

    Args:
        value: float32[], the estimate that is trained.
        target: float32[], a constant to the gradient.
        expectile: tau, in (0, 1).

    Returns:
        float32[], at least 0.

    Source: Newey and Powell (1987); Kostrikov et al. (2022), equation 5 and section 4.1.
    """
    require_within("expectile_loss", "expectile", expectile, 0, 1, "0.7 is common.", above=True, below=True)
    value, target = _pair("expectile_loss", value, target)
    error = target - value
    return jnp.where(error < 0, 1.0 - expectile, expectile) * jnp.square(error)


def kl_k1(log_ratio: jax.Array) -> jax.Array:
    """Returns an estimate of KL(old || new) from an action of the old policy: unbiased, of either sign.

    Args:
        log_ratio: float32[], the action's log-probability under the new policy minus that under the old one.

    Source: Schulman (2020), "Approximating KL Divergence", estimator k1.
    """
    return -require_arrays("kl_k1", log_ratio=log_ratio)["log_ratio"]


def kl_k3(log_ratio: jax.Array) -> jax.Array:
    """Returns an estimate of KL(old || new) from an action of the old policy: unbiased, never negative, less noisy than k1.

    Args:
        log_ratio: float32[], the action's log-probability under the new policy minus that under the old one.

    Source: Schulman (2020), "Approximating KL Divergence", estimator k3. Ours: beyond e^20 the ratio is the tangent of the
    exponential; see ``exponential``.
    """
    log_ratio = require_arrays("kl_k3", log_ratio=log_ratio)["log_ratio"]
    small = jnp.abs(log_ratio) < _SERIES
    near, far = jnp.where(small, log_ratio, 0.0), jnp.where(small, 1.0, log_ratio)
    inside = jnp.minimum(far, LARGEST_EXPONENT)
    exact = jnp.expm1(inside) + jnp.exp(inside) * jnp.maximum(far - LARGEST_EXPONENT, 0.0) - far
    return jnp.where(small, jnp.square(near) * _curvature(near), exact)


_SERIES = 0.1  # below, exp(x) - 1 - x has lost digits to cancellation


def _curvature(x: jax.Array) -> jax.Array:
    """Returns (exp(x) - 1 - x) / x^2 by its Taylor series, for small x."""
    return 0.5 + x * (1 / 6 + x * (1 / 24 + x * (1 / 120 + x / 720)))


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
    found = _require_options("q_learning_target", next_mask, next_values=next_values)
    best = jnp.max(found["next_values"], where=found.get("next_mask"), initial=-jnp.inf)
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
    found = _require_options("double_q_target", next_mask, next_values=next_values, next_selector=next_selector)
    action = greedy(found["next_selector"], found.get("next_mask"))
    return sarsa_target(reward, found["next_values"], action, terminated, gamma)


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
    where = "sarsa_target"
    values = _require_options(where, None, next_values=next_values)["next_values"]
    require_index(where, "next_action", next_action, values.shape[0])
    return jax.lax.stop_gradient(one_step_target(reward, values[next_action], terminated, gamma))


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
    where = "expected_sarsa_target"
    found = _require_options(where, None, next_values=next_values, next_probabilities=next_probabilities)
    if not is_traced(next_probabilities):
        require_distribution(where, "next_probabilities", next_probabilities)
    chance = found["next_probabilities"]
    mean = jnp.sum(chance * found["next_values"], where=chance > 0)
    return jax.lax.stop_gradient(one_step_target(reward, mean, terminated, gamma))


def _require_options(where: str, mask: Any, **values: Any) -> dict[str, jax.Array]:
    """Returns numbers of actions as arrays; raises ConfigError unless all are float[A], A at least 1, and the mask bool[A]."""
    found = require_arrays(where, flags={} if mask is None else {"next_mask": mask}, **values)
    shapes = {name: array.shape for name, array in found.items()}
    first, *_ = shapes.values()
    alike = len(set(shapes.values())) == 1 and len(first) == 1 and first > (0,)
    require(
        alike, where, "all must have one shape [A], A at least 1", shapes, "Give each action a number; jax.vmap takes batches."
    )
    return found


def _require_positive(where: str, name: str, value: Any, fix: str) -> None:
    require_within(where, name, value, 0, jnp.inf, fix, above=True)


def _pair(where: str, value: Any, target: Any) -> tuple[jax.Array, jax.Array]:
    """Returns a value and its target, a constant to the gradient, as arrays."""
    found = require_arrays(where, value=value, target=target)
    return found["value"], jax.lax.stop_gradient(found["target"])


def _averse_pair(where: str, value: Any, target: Any, risk_aversion: Any) -> tuple[jax.Array, jax.Array]:
    """As ``_pair``, after a check of the risk aversion."""
    require_within(where, "risk_aversion", risk_aversion, 0, jnp.inf, "1 is common.", above=True, below=True)
    return _pair(where, value, target)


def itakura_saito_loss(value: jax.Array, target: jax.Array, risk_aversion: jax.Array | float) -> jax.Array:
    """Returns (exp(-a d) + a d - 1) / a^2 with d = target - value: its minimiser is the certainty equivalent of the target.

    In expectation the gradient vanishes where E[exp(-a d)] = 1, that is value = -log E[exp(-a target)] / a. Only differences
    enter, so adding a constant to all values changes nothing. Divided by a^2, it is d^2 / 2 for small a.

    Args:
        value: float32[], the estimate that is trained.
        target: float32[], reward plus value of the successor; a constant to the gradient.
        risk_aversion: a, positive, per unit of reward.

    Returns:
        float32[], at least 0.

    Source: Udovichenko et al. (2025), "Risk-Averse Reinforcement Learning with Itakura-Saito Loss", the divergence written out.
    Ours: where -a d exceeds 20, the exponential goes on as its tangent; see ``exponential``.
    """
    value, target = _averse_pair("itakura_saito_loss", value, target, risk_aversion)
    error = target - value
    exponent = -risk_aversion * error
    small = jnp.abs(exponent) < _SERIES  # where risk aversion vanishes, this is half the squared error
    near, far = jnp.where(small, exponent, 0.0), jnp.where(small, 1.0, exponent)
    return jnp.where(small, jnp.square(error) * _curvature(near), kl_k3(far) / jnp.where(small, 1.0, risk_aversion**2))


def exponential_squared_loss(value: jax.Array, target: jax.Array, risk_aversion: jax.Array | float) -> jax.Array:
    """Returns (exp(-a value) - exp(-a target))^2 / (2 a^2), the squared error of the exponential utility (EMSE), float32[].

    It has the minimiser of ``itakura_saito_loss``, but its gradient scales with exp(-2 a value): it vanishes for large values
    and overflows for very negative ones. In float32 it is infinite or NaN once -a value or -a target exceeds 44; this is what it
    is compared for, so that nothing is cut here.

    Args:
        value, target, risk_aversion: as for ``itakura_saito_loss``.

    Source: Udovichenko et al. (2025), section on baselines.
    """
    value, target = _averse_pair("exponential_squared_loss", value, target, risk_aversion)
    return jnp.square(jnp.exp(-risk_aversion * value) - jnp.exp(-risk_aversion * target)) / (2.0 * risk_aversion**2)


def softplus_loss(value: jax.Array, target: jax.Array, risk_aversion: jax.Array | float) -> jax.Array:
    """Returns the squared error weighted by 2 sigmoid(-a d), with d = target - value and the weight a constant, float32[].

    Its stochastic gradient 2 d sigmoid(-a d) stays finite for every error. The value at which it vanishes on average is the
    certainty equivalent where the target is normal, and only there: f(d) sigmoid(-a d) is even in d when the mean of d is half
    of a times its variance.

    Args:
        value, target, risk_aversion: as for ``itakura_saito_loss``.

    Source: the stochastic-approximation rule that Udovichenko et al. (2025) compare with under the name softplus.
    """
    value, target = _averse_pair("softplus_loss", value, target, risk_aversion)
    error = target - value
    return jax.lax.stop_gradient(jax.nn.sigmoid(-risk_aversion * error)) * jnp.square(error)


def mean_variance_loss(value: jax.Array, target: jax.Array, risk_aversion: jax.Array | float) -> jax.Array:
    """Returns d^2 / 2 - a d^3 / 6 with d = target - value, float32[]: the Itakura-Saito loss up to third order.

    Its stationary value is the mean of the target minus a / 2 times the mean square of d: right for small risks, with no lower
    bound for large errors.

    Args:
        value, target, risk_aversion: as for ``itakura_saito_loss``.

    Source: Taylor expansion of ``itakura_saito_loss``; the mean-variance approximation of the certainty equivalent (Pratt 1964).
    """
    value, target = _averse_pair("mean_variance_loss", value, target, risk_aversion)
    error = target - value
    return 0.5 * jnp.square(error) - risk_aversion * error**3 / 6.0
