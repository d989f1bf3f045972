"""The value of a policy under one discount from its value under a smaller one, by a Taylor expansion in the discount.

    V_g' = sum_k [(g' - g) (I - g P)^-1 P]^k V_g,    0 <= g <= g' < 1

Each power looks further ahead: (1 - g) (I - g P)^-1 P is where the chain is after a random time of mean 1 / (1 - g), so that the
k-th term is the value V_g after k such times, weighted by ((g' - g) / (1 - g))^k. Cut after k = K, the sum goes from V_g
at K = 0 to V_g' as K grows. Where V_g is an estimate, a larger K shrinks the bias and lets the noise grow.

Source: Tang, Rowland, Munos and Valko (2021), "Taylor Expansion of Discount Factors".
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core.finite import TabularModel
from jaxrl.errors import is_traced, require, require_count, require_discount, require_within
from jaxrl.solvers.markov_chain import discounted_sums
from jaxrl.solvers.mdp.policy_evaluation import policy_chain, policy_evaluation
from jaxrl.solvers.mdp.problem import require_policy, require_problem, require_values


class Expansion(NamedTuple):
    """The sums of the expansion, cut after each order.

    value: float[K + 1, X], after the terms 0 .. k of every state.
    error_bound: float[K + 1], how far a value can be from V_g', rounding included, if the expansion began with the exact V_g.
    """

    value: jax.Array
    error_bound: jax.Array


def truncation_bound(gamma: Any, to: Any, order: Any, largest: Any) -> jax.Array:
    """Returns the most by which the expansion misses V_g' in any state, ((g' - g) / (1 - g))^(K + 1) r_max / (1 - g').

    Args:
        gamma, to: the discounts g and g', in [0, 1) and [g, 1).
        order: K, at least 0; any of these may be arrays.
        largest: r_max, the largest absolute expected reward of a step.

    Raises:
        ConfigError: an argument is out of range. Traced values are not checked.
    """
    _require_discounts("truncation_bound", gamma, to)
    require_within("truncation_bound", "order", order, 0, jnp.inf, "0 is the smaller discount's value.", below=True)
    require_within("truncation_bound", "largest", largest, 0, jnp.inf, "Give the largest absolute reward.", below=True)
    ratio = (to - jnp.asarray(gamma)) / (1 - jnp.asarray(gamma))
    return ratio ** (jnp.asarray(order) + 1) * largest / (1 - jnp.asarray(to))


def taylor_expansion(
    model: TabularModel, policy: Any, gamma: Any, to: Any, order: int, base: jax.Array | None = None
) -> Expansion:
    """Expands the value of a policy under the discount ``to`` around its value under ``gamma``.

    Args:
        model: the environment's tables, with one reward (no agent axis).
        policy: float[X, A], probabilities of the (joint) actions.
        gamma, to: the discounts g and g', in [0, 1) and [g, 1). Traced: several may be vmapped.
        order: K, the last order, at least 0; static.
        base: float[X], an estimate of V_g to begin with; by default the exact value.

    Raises:
        ConfigError: a discount or the order is out of range, a row of the policy is not a distribution, or ``base`` has another
            shape.
        EnvError: the model has a reward for each of several agents, or its tables are unsound.
    """
    where = "taylor_expansion"
    _require_discounts(where, gamma, to)
    require_count(where, "order", order, 0)
    require_problem(where, model)
    policy = require_policy(where, policy, (model.num_states, model.num_actions), model.action_mask)
    base = None if base is None else require_values(where, model, base)
    return _taylor_expansion(model.tables, policy, gamma, to, order, base)


@partial(jax.jit, static_argnames="order")
def _taylor_expansion(model, policy, gamma, to, order, base) -> Expansion:
    chain = policy_chain(model, policy, gamma)
    identity = jnp.eye(model.num_states, dtype=policy.dtype)
    resolvent = discounted_sums(chain, identity)  # (I - g P)^-1
    onward = jnp.matmul(resolvent.value, policy_chain(model, policy, 1.0).matrix(), precision="highest")
    exact = policy_evaluation(model, policy, gamma)
    first = exact.value if base is None else jnp.asarray(base, policy.dtype)

    def add(carry, _):
        term, total = carry
        term = (to - gamma) * jnp.matmul(onward, term, precision="highest")
        return (term, total + term), total + term

    _, later = jax.lax.scan(add, (first, first), None, order)
    paid = (policy[..., None] * model.probability * model.reward).sum((1, 2))
    bound = truncation_bound(gamma, to, jnp.arange(order + 1), jnp.abs(paid).max())
    # An error of e in the operator, in the norm of the largest row, moves a sum by at most e |V_g'| / (1 - ratio), and one in V_g
    # is multiplied by 1 / (1 - ratio).
    ratio = (to - gamma) / (1 - gamma)
    operator = (to - gamma) * model.num_states * resolvent.check(chain, identity, jnp.ones((), policy.dtype))[1]
    rounding = (operator * jnp.abs(paid).max() / (1 - to) + exact.error_bound) / (1 - ratio)
    return Expansion(jnp.concatenate([first[None], later]), bound + rounding)


def _require_discounts(where: str, gamma: Any, to: Any) -> None:
    require_discount(where, gamma, below_one=True)
    require_within(where, "to", to, 0, 1, "0.99 is common.", below=True)
    if not is_traced(gamma, to):
        dtype = jnp.result_type(float)
        fits = bool(np.all(np.asarray(to, dtype) < 1))
        require(fits, where, f"{dtype} must be able to tell to from 1", to, "0.99 is common; or enable float64.")
        rising = bool(np.all(np.asarray(gamma) <= np.asarray(to)))
        require(rising, where, "gamma must not exceed to: the sum need not converge", (gamma, to), "Exchange them.")
