"""Returns and advantages of one sequence of T steps. Batches are the caller's: ``jax.vmap`` over environments and seeds.

Everywhere ``next_value[t]`` is the value of the true successor of step t, also where the episode ends there. A termination is
worth 0 beyond; a truncation, and the end of the sequence, are continued by ``next_value``. Nothing here stops a gradient.

A ConfigError says which sequences do not fit together, and which number is out of range. This costs compiled code nothing: of
traced values the shapes and types alone are checked.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.errors import is_traced, require, require_arrays, require_count, require_discount, require_within


def _recur_backward(constant: jax.Array, factor: jax.Array) -> jax.Array:
    """Solves ``x[t] = constant[t] + factor[t] x[t + 1]`` with ``x[T] = 0``.

    A plain loop: 4 to 20 times faster on a CPU than an unrolled loop or an associative scan at 128 steps of 4 environments.
    """

    def step(following, terms):
        constant, factor = terms
        current = constant + factor * following
        return current, current

    return jax.lax.scan(step, jnp.zeros_like(constant[0]), (constant, factor), reverse=True)[1]


def _sequences(where: str, *, flags: dict[str, Any], **values: Any) -> tuple[jax.Array, ...]:
    """Returns values and flags as arrays, in this order; raises ConfigError unless all have one shape, of at least one step."""
    found = require_arrays(where, flags=flags, **values)
    shapes = {name: array.shape for name, array in found.items()}
    must = "rewards, values and ends must have one shape, [T, ...] with T at least 1"
    (first, *_), alike = shapes.values(), len(set(shapes.values())) == 1
    require(alike and first[:1] > (0,), where, must, shapes, "Cut them to the same steps.")
    return tuple(found.values())


def one_step_target(reward: jax.Array, next_value: jax.Array, terminated: jax.Array, gamma: jax.Array | float) -> jax.Array:
    """Returns ``reward + gamma next_value``, without the second term where the episode terminated; any shape.

    The ``next_value`` at a termination does not matter, not even if it is infinite.

    Raises:
        ConfigError: gamma lies outside [0, 1], ``terminated`` is not bool, or the values are not numbers.

    Source: Sutton & Barto (2018), the target of eq. 6.2.
    """
    where, flags = "one_step_target", {"terminated": terminated}
    require_discount(where, gamma)
    found = require_arrays(where, flags=flags, reward=reward, next_value=next_value)
    reward, next_value, terminated = found.values()
    return reward + gamma * jnp.where(terminated, 0.0, next_value)


def td_error(
    reward: jax.Array, value: jax.Array, next_value: jax.Array, terminated: jax.Array, gamma: jax.Array | float
) -> jax.Array:
    """Returns the temporal-difference error ``reward + gamma next_value - value``; any shape.

    Raises:
        ConfigError: as for ``one_step_target``.

    Source: Sutton & Barto (2018), eq. 6.5.
    """
    flags = {"terminated": terminated}
    found = require_arrays("td_error", flags=flags, reward=reward, value=value, next_value=next_value)
    return one_step_target(found["reward"], found["next_value"], found["terminated"], gamma) - found["value"]


def lambda_returns(
    reward: jax.Array,
    next_value: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    gamma: jax.Array | float,
    trace_decay: jax.Array | float,
) -> jax.Array:
    """Returns lambda-returns: the average over n of the n-step returns, weighted by powers of ``trace_decay``.

    Args:
        reward: float32[T].
        next_value: float32[T], the value of each step's true successor.
        terminated: bool[T], the value beyond is 0.
        truncated: bool[T], the episode was cut; the value beyond is ``next_value``.
        gamma: discount in [0, 1].
        trace_decay: lambda in [0, 1]; 0 gives one-step targets, 1 discounted returns.

    Returns:
        float32[T].

    Raises:
        ConfigError: the sequences do not fit together, flags are not bool, or gamma or ``trace_decay`` lies outside [0, 1].

    Source: Sutton & Barto (2018), eq. 12.18.
    """
    where, flags = "lambda_returns", {"terminated": terminated, "truncated": truncated}
    reward, next_value, terminated, truncated = _sequences(where, flags=flags, reward=reward, next_value=next_value)
    require_discount(where, gamma)
    require_within(where, "trace_decay", trace_decay, 0, 1, "0.95 is common.")
    cut = jnp.logical_or(terminated, truncated).at[-1].set(True)
    bootstrap = jnp.where(cut, 1.0, 1.0 - trace_decay) * next_value
    return _recur_backward(one_step_target(reward, bootstrap, terminated, gamma), jnp.where(cut, 0.0, gamma * trace_decay))


def discounted_returns(
    reward: jax.Array, next_value: jax.Array, terminated: jax.Array, truncated: jax.Array, gamma: jax.Array | float
) -> jax.Array:
    """Returns the discounted sum of the rewards to the end of each episode, continued by ``next_value`` where it was cut.

    Zeros as ``next_value`` leave out what lies beyond a cut.

    Args:
        reward, next_value, terminated, truncated, gamma: as for ``lambda_returns``.

    Returns:
        float32[T].

    Raises:
        ConfigError: as for ``lambda_returns``.

    Source: Sutton & Barto (2018), eq. 3.9.
    """
    return lambda_returns(reward, next_value, terminated, truncated, gamma, 1.0)


def n_step_returns(
    reward: jax.Array,
    next_value: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    gamma: jax.Array | float,
    num_steps: int,
) -> jax.Array:
    """Returns the discounted sum of ``num_steps`` rewards and the value after them.

    A return is shorter where the episode or the sequence ends sooner.

    Args:
        reward, next_value, terminated, truncated, gamma: as for ``lambda_returns``.
        num_steps: n, at least 1; static.

    Returns:
        float32[T].

    Raises:
        ConfigError: as for ``lambda_returns``, or ``num_steps`` is no integer of at least 1.

    Source: Sutton & Barto (2018), eq. 7.1.
    """
    where, flags = "n_step_returns", {"terminated": terminated, "truncated": truncated}
    reward, next_value, terminated, truncated = _sequences(where, flags=flags, reward=reward, next_value=next_value)
    require_discount(where, gamma)
    require_count(where, "num_steps", num_steps)
    cut = jnp.logical_or(terminated, truncated).at[-1].set(True)

    def lengthen(_, returns):
        following = jnp.where(cut, next_value, jnp.roll(returns, -1))
        return one_step_target(reward, following, terminated, gamma)

    return jax.lax.fori_loop(1, num_steps, lengthen, one_step_target(reward, next_value, terminated, gamma))


def generalized_advantage(
    reward: jax.Array,
    value: jax.Array,
    next_value: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    gamma: jax.Array | float,
    gae_lambda: jax.Array | float,
) -> jax.Array:
    """Returns generalised advantage estimates: temporal-difference errors, summed within an episode and decayed.

    Adding ``value`` gives the lambda-returns that a critic is fitted to.

    Args:
        reward: float32[T, ...]; further axes (environments, agents) are sequences of their own.
        value: float32[T, ...], the value of each step's observation.
        next_value: float32[T, ...], the value of each step's true successor.
        terminated: bool[T, ...], the value beyond is 0.
        truncated: bool[T, ...], the episode was cut; the value beyond is ``next_value``.
        gamma: discount in [0, 1].
        gae_lambda: in [0, 1]; 0 gives temporal-difference errors, 1 discounted returns minus ``value``.

    Returns:
        float32[T, ...].

    Raises:
        ConfigError: the sequences do not fit together, flags are not bool, or gamma or ``gae_lambda`` lies outside [0, 1].

    Source: Schulman et al. (2016), eq. 16.
    """
    where, flags = "generalized_advantage", {"terminated": terminated, "truncated": truncated}
    arrays = _sequences(where, flags=flags, reward=reward, value=value, next_value=next_value)
    reward, value, next_value, terminated, truncated = arrays
    require_discount(where, gamma)
    require_within(where, "gae_lambda", gae_lambda, 0, 1, "0.95 is common.")
    error = td_error(reward, value, next_value, terminated, gamma)
    return _recur_backward(error, jnp.where(terminated | truncated, 0.0, gamma * gae_lambda))


def clipped_ratio(log_ratio: jax.Array, largest: jax.Array | float) -> jax.Array:
    """Returns min(exp(log_ratio), largest), any shape. Cut before the exponential, it has a gradient of 0 beyond, not NaN.

    Args:
        log_ratio: of probabilities.
        largest: positive and finite.

    Raises:
        ConfigError: ``largest`` is not a positive, finite number.
    """
    require_within("clipped_ratio", "largest", largest, 0, np.inf, "1 is common.", above=True, below=True)
    return jnp.exp(jnp.minimum(log_ratio, jnp.log(largest)))


def vtrace(
    reward: jax.Array,
    value: jax.Array,
    next_value: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    log_ratio: jax.Array,
    gamma: jax.Array | float,
    clip_rho: jax.Array | float = 1.0,
    clip_c: jax.Array | float = 1.0,
) -> jax.Array:
    """Returns V-trace targets: values of one policy from steps taken by another.

    Args:
        reward, value, next_value, terminated, truncated, gamma: as for ``generalized_advantage``.
        log_ratio: float32[T], the log-probability of each action under the policy to be valued minus that under the policy
            that acted.
        clip_rho: largest weight of a temporal-difference error, positive and finite; it decides which policy is valued.
        clip_c: largest weight of the trace, positive and at most ``clip_rho``; it decides how fast.

    Returns:
        float32[T].

    Raises:
        ConfigError: the sequences do not fit together, flags are not bool, or gamma or a weight is out of range.

    Source: Espeholt et al. (2018), eq. 1, in the recursive form of its remark 1.
    """
    where, flags = "vtrace", {"terminated": terminated, "truncated": truncated}
    arrays = _sequences(where, flags=flags, reward=reward, value=value, next_value=next_value, log_ratio=log_ratio)
    reward, value, next_value, log_ratio, terminated, truncated = arrays
    require_discount(where, gamma)
    for name, weight in (("clip_rho", clip_rho), ("clip_c", clip_c)):
        require_within(where, name, weight, 0, np.inf, "1 is common.", above=True, below=True)
    error = clipped_ratio(log_ratio, clip_rho) * td_error(reward, value, next_value, terminated, gamma)
    trace = jnp.where(terminated | truncated, 0.0, gamma * clipped_ratio(log_ratio, clip_c))
    return value + _recur_backward(error, trace)


def taylor_weights(t: jax.Array, gamma: jax.Array | float, to: jax.Array | float, order: int) -> jax.Array:
    """Returns the weight of step t if a sum with the discount g' is expanded around g and cut after order K.

        w_K(t) = sum_{k=0}^{min(K, t)} C(t, k) (g' - g)^k g^(t - k)

    It is g^t for K = 0 and g'^t for K at least t: in between, g'^t times the chance that among t tosses, each with the chance
    1 - g / g', at most K come up. The sum over t of w_K(t) E[r_t] is the expansion of a value, and of E[Q grad log pi] in place
    of E[r_t] that of a policy gradient, where common practice has a weight of 1: K infinite and g' = 1.

    Args:
        t: int32[...], steps since the start, at least 0.
        gamma: g, in (0, 1].
        to: g', in [g, 1].
        order: K, at least 0; static.

    Returns:
        float32[...].

    Raises:
        ConfigError: an argument is out of range. Traced values are not checked.

    Source: Tang, Rowland, Munos and Valko (2021), "Taylor Expansion of Discount Factors", section 5, on the weights of updates.
    """
    where = "taylor_weights"
    require_count(where, "order", order, 0)
    require_within(where, "gamma", gamma, 0, 1, "0.99 is common.", above=True)
    require_within(where, "to", to, 0, 1, "1 weighs all steps alike.", above=True)
    if not is_traced(gamma, to):
        must = "gamma must not exceed to: the expansion looks further ahead"
        require(bool(np.all(np.asarray(gamma) <= np.asarray(to))), where, must, (gamma, to), "Exchange them.")
    ratio = (jnp.asarray(to, jnp.result_type(float)) - gamma) / gamma
    term = jnp.asarray(gamma, ratio.dtype) ** t
    total = term
    for k in range(1, order + 1):
        term = term * (t - k + 1) / k * ratio  # 0 from k = t + 1 on
        total = total + term
    return total
