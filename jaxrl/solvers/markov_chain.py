"""Discounted sums along a Markov chain: v = b + M v, with discounted transition probabilities M and payments b in each state.

Up to a few hundred states, they are found by doubling with dense matrices, beyond by sweeps that keep nothing but the outcomes.
Neither needs LAPACK, so both vmap over thousands of chains; both can be differentiated, by the implicit function theorem.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.errors import is_traced, require, require_count, require_discount, require_finite, require_within
from jaxrl.solvers.fixed_point import MAX_SWEEPS, fixed_point, rounding_of

ALWAYS_DENSE, NEVER_DENSE = 128, 2048  # states up to which doubling is fast whatever the discount, and beyond which it takes room


class Chain(NamedTuple):
    """Where a chain goes from each of X states, as M weighted successors.

    next_state: int32[X, M].
    weight: float[X, M], at least 0: probabilities times the discount; 0 where an outcome ends the chain.
    discount: float[], the most that the weights of a state can add up to; 1 without discount.
    """

    next_state: jax.Array
    weight: jax.Array
    discount: jax.Array

    def onward(self, values: jax.Array) -> jax.Array:
        """Returns what values [X, C] are worth a step earlier, M v, float[X, C]."""
        return jnp.einsum("xm,xmc->xc", self.weight, values[self.next_state], precision="highest")

    def backward(self, values: jax.Array) -> jax.Array:
        """Returns the transposed product, float[X, C]: what flows into each state where ``values`` are what is in it."""
        return jnp.zeros_like(values).at[self.next_state].add(self.weight[..., None] * values[:, None])

    def matrix(self) -> jax.Array:
        """Returns M, float[X, X]."""
        states = self.weight.shape[0]
        return jnp.zeros((states, states), self.weight.dtype).at[jnp.arange(states)[:, None], self.next_state].add(self.weight)


def doubling_is_faster(states: int, successors: int, discount: Any = None) -> bool:
    """Returns whether doubling dense matrices sums a chain faster than sweeps do, from operations counted and measured on a CPU.

    Args:
        states: X, which a matrix has squared.
        successors: M of each state, which a sweep visits.
        discount: numbers of which the largest counts, or None where they are not known yet.
    """
    if states <= ALWAYS_DENSE or states > NEVER_DENSE:
        return states <= ALWAYS_DENSE
    gamma = 0.99 if discount is None or is_traced(discount) else float(np.max(discount))
    steps = min(2.0**20, 16 / (1 - gamma)) if gamma < 1 else 2.0**20  # 16: the precision of float32
    # A step of a sweep takes some 40 times as long as one of a product of matrices, which reads in order.
    return math.log2(steps) * states**2 <= 40 * steps * successors


class Sums(NamedTuple):
    """Discounted sums, and how sure they are.

    value: float[X, C].
    duration: float[], the largest error of a value for one unit of error in every step: an upper bound of the norm of
        (I - M)^-1, that is of the expected discounted duration. Infinite where the chain need not end and is not discounted.
    converged: bool[], whether the sums are complete, as far as the precision goes.
    """

    value: jax.Array
    duration: jax.Array
    converged: jax.Array

    def check(self, chain: Chain, paid: jax.Array, largest: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns by how much the sums miss v = b + M v, and how far they can be from the truth, float[] each.

        Args:
            chain, paid: what was summed, float[X, C].
            largest: the largest absolute number that was averaged in ``paid``, where rounding may have lost some of it.
        """
        residual = jnp.abs(paid + chain.onward(self.value) - self.value).max(initial=0)
        rounding = rounding_of(chain.weight.shape[1], largest + jnp.abs(self.value).max(initial=0))
        missed = residual + rounding
        nothing = missed == 0  # infinity times 0 is not a number
        return residual, jnp.where(nothing, 0.0, self.duration * jnp.where(nothing, 1.0, missed))


def discounted_sums(
    chain: Chain,
    paid: jax.Array,
    beyond: Any = None,
    max_steps: int | None = None,
    negligible: Any = None,
    dense: bool | None = None,
) -> Sums:
    """Returns the discounted sums of what is paid from every state on.

    Args:
        chain: where it goes.
        paid: float[X, C], in each state.
        beyond: float[X, C], the value after the last step that is looked at, by default 0. It only matters to a chain that is
            not discounted and need not end.
        max_steps: for how many steps such a chain is followed, at least; by default for 2^24 in float32 and 2^53 in float64, or,
            where the states are many, for ``fixed_point.MAX_SWEEPS``.
        negligible: the discount of a payment, from 0 to 1, that need not be looked at any more; by default the precision.
            A smaller one shows states far from every payment what little is theirs.
        dense: whether to double matrices rather than to sweep; by default what is faster, see ``doubling_is_faster``.

    Raises:
        ConfigError: the tables do not fit together, a successor is no state, a weight is negative or no number, those of a state
            add up to more than the discount, a payment is not finite, or an option is out of range. Of traced values the shapes
            alone are checked.
    """
    where = "discounted_sums"
    _require_chain(where, chain, paid)
    if beyond is not None:
        fix = "Leave it out for zeros."
        beyond = jnp.asarray(beyond if is_traced(beyond) else require_finite(where, "beyond", beyond, fix))
        require(beyond.shape == np.shape(paid), where, "beyond must have the shape of paid", beyond.shape, fix)
    if max_steps is not None:
        require_count(where, "max_steps", max_steps)
    if negligible is not None:
        require_within(where, "negligible", negligible, 0, 1, "Leave it out for the precision.")
    paid = jnp.asarray(paid, jnp.result_type(paid, jnp.float32))
    beyond = jnp.zeros_like(paid) if beyond is None else beyond
    dense = doubling_is_faster(*chain.weight.shape) if dense is None else dense
    method: Callable = _doubled if dense else _swept
    negligible = jnp.finfo(paid.dtype).eps if negligible is None else negligible
    with jax.default_matmul_precision("highest"):
        value, (duration, converged) = jax.lax.custom_linear_solve(
            lambda values: values - chain.onward(values),
            paid,
            lambda _, right: method(chain, right, beyond, max_steps, negligible, False),
            # Gradients: the same sums along the chain turned around.
            lambda _, right: method(chain, right, jnp.zeros_like(right), max_steps, negligible, True),
            has_aux=True,
        )
    discounted = chain.discount < 1
    bound = jnp.where(discounted, 1 / jnp.where(discounted, 1 - chain.discount, 1), jnp.inf)
    return Sums(value, jnp.minimum(bound, duration), converged)


def _require_chain(where: str, chain: Chain, paid: Any) -> None:
    shape = np.shape(chain.weight)
    fits = len(shape) == 2 and min(shape) >= 1 and np.shape(chain.next_state) == shape
    found = np.shape(chain.next_state), shape
    require(fits, where, "next_state and weight must have one shape [X, M]", found, "Give every state M successors.")
    paired = np.ndim(paid) == 2 and np.shape(paid)[0] == shape[0]
    require(paired, where, f"paid must have shape [{shape[0]}, C]", np.shape(paid), "Give a row of payments for each state.")
    if is_traced(chain, paid):
        return
    require_discount(where, chain.discount)
    require_finite(where, "payments", paid)
    successor, weight = np.asarray(chain.next_state), require_finite(where, "weights", chain.weight)
    known = np.issubdtype(successor.dtype, np.integer) and successor.min() >= 0 and successor.max() < shape[0]
    found = successor.min().item(), successor.max().item()
    require(bool(known), where, f"next_state must hold whole numbers in [0, {shape[0]})", found, "Number the states from 0.")
    require(bool(weight.min() >= 0), where, "weights must not be negative", weight.min().item(), "0 leads nowhere.")
    most = weight.sum(1, dtype=np.float64).max().item()
    fits = most <= np.max(chain.discount) + 1e-5
    require(bool(fits), where, "weights of a state must not add up to more than the discount", most, "Multiply by the discount.")


def _doubled(
    chain: Chain, paid: jax.Array, beyond: jax.Array, max_steps: int | None, negligible: Any, transposed: bool
) -> tuple[jax.Array, tuple]:
    """Sums 2^n steps by n products of matrices: V_2n = V_n + M^n V_n."""
    precision = jnp.finfo(paid.dtype)
    most = 2.0 ** (precision.nmant + 1) if max_steps is None else float(max_steps)
    steps = jnp.where(chain.discount < 1, _steps(chain, negligible), most)
    # The last sum is doubled without squaring the matrix once more.
    squarings = jnp.clip(jnp.ceil(jnp.log2(steps)) - 1, 0, precision.nmant).astype(jnp.int32)
    # As rows, since small products are faster with the matrix on the right.
    matrix = chain.matrix() if transposed else chain.matrix().T
    rows = jnp.concatenate([paid.T, jnp.abs(paid).max(1)[None], jnp.ones((1, paid.shape[0]), paid.dtype)])

    def double(_, carry):
        total, power = carry
        return total + total @ power, power @ power

    # That the number of loops depends on the discount alone keeps vmapped chains in step, without a choice for each.
    total, power = jax.lax.fori_loop(0, squarings, double, (rows, matrix))
    once = jnp.concatenate([total, beyond.T]) @ power
    total = total + once[: len(rows)]
    # Of all these steps: what the next ones would add, the entries of M^n 1, and the values beyond.
    following, left, *after = jnp.concatenate([once[len(rows) - 2, None], power.sum(0)[None], once[len(rows) :]]) @ power
    complete = following.max() <= precision.eps * total[-2].max()
    value = total[:-2] + jnp.stack(after)
    return value.T, (_duration(total[-1].max(), left.max()), complete & jnp.isfinite(value).all())


def _steps(chain: Chain, negligible: Any) -> jax.Array:
    """Returns after how many steps the discount has shrunk a payment to this share, float[]; infinite without discount."""
    return jnp.abs(jnp.log(negligible)) / jnp.abs(jnp.log(chain.discount))


def _swept(
    chain: Chain, paid: jax.Array, beyond: jax.Array, max_steps: int | None, negligible: Any, transposed: bool
) -> tuple[jax.Array, tuple]:
    """Sums step by step, without a matrix."""
    onward = chain.backward if transposed else chain.onward
    most = jnp.where(chain.discount < 1, MAX_SWEEPS, MAX_SWEEPS if max_steps is None else max_steps)
    magnitude, terms = jnp.abs(paid).max(initial=0), chain.weight.shape[1]
    least = jnp.where(chain.discount < 1, jnp.minimum(_steps(chain, negligible), most), 0).astype(jnp.int32)
    found = fixed_point(lambda values: (paid + onward(values), magnitude), beyond, chain.discount, 0.0, most, terms, least)
    # Without discount, the expected duration bounds the error; it is found long before the values are.
    limit = jnp.where(chain.discount < 1, 0, found.sweeps)

    def longer(carry):
        left, total, count = carry
        left = onward(left)
        return left, total + left, count + 1

    ones = jnp.ones((paid.shape[0], 1), paid.dtype)
    start = (ones, ones, jnp.int32(0))
    left, total, _ = jax.lax.while_loop(lambda carry: (carry[0].max() > 0.5) & (carry[2] < limit), longer, start)
    return found.value, (_duration(total.max(), onward(left).max()), found.converged)


def _duration(steps: jax.Array, left: jax.Array) -> jax.Array:
    """Bounds the norm of (I - M)^-1 by d = 1 + M 1 + ... + M^n 1: with d - M d = 1 - M^(n+1) 1 >= 1 - left, by d / (1 - left).

    Args:
        steps: the largest entry of d.
        left: the largest entry of M^(n+1) 1.
    """
    ends = left < 1
    return jnp.where(ends, steps / jnp.where(ends, 1 - left, 1), jnp.inf)


def stationary_logits(log_rates: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the logarithms of how often a chain is in each of its states in the long run, up to a constant for each class.

    States are eliminated one after the other without a subtraction, in logarithms: each weight is as precise as the rates are,
    however small it is and however weakly parts of the chain are coupled. Pure, and vmappable over chains.

    Args:
        log_rates: float[P, P], logarithms of probabilities or rates of going from one state to another, minus infinity where
            there is no way; the diagonal does not matter. Every state must be left for good by no path: the chain is made of
            closed classes.

    Returns:
        The logarithms, float[P], 0 in the first state of each class; and by which share the flow into a state differs from the
        flow out of it, at most, float[].

    Source: Grassmann, Taksar and Heyman (1985), "Regenerative analysis and steady state distributions for Markov chains".
    """
    count = log_rates.shape[0]
    places, never = jnp.arange(count), -jnp.inf
    log_rates = jnp.where(jnp.eye(count, dtype=bool), never, log_rates)

    def eliminate(step, carry):
        rates, onward = carry
        state = count - 1 - step
        earlier = places < state
        out, into = jnp.where(earlier, rates[state], never), jnp.where(earlier, rates[:, state], never)
        total = jax.nn.logsumexp(out)
        last = jnp.isneginf(total)  # no state of its class is left
        into = jnp.where(last, never, into - jnp.where(last, 0.0, total))
        around = into[:, None] + out[None, :]
        return jnp.logaddexp(rates, around), onward.at[:, state].set(into)

    none = jnp.full_like(log_rates, never)
    _, onward = jax.lax.fori_loop(0, count, eliminate, (log_rates, none))

    def weigh(state, logits):
        inflow = jax.nn.logsumexp(jnp.where(places < state, logits + onward[:, state], never))
        return logits.at[state].set(jnp.where(jnp.isneginf(inflow), 0.0, inflow))

    logits = jax.lax.fori_loop(0, count, weigh, jnp.zeros(count, log_rates.dtype))
    flow = logits[:, None] + log_rates
    inflow, outflow = jax.nn.logsumexp(flow, axis=0), jax.nn.logsumexp(flow, axis=1)
    alone = jnp.isneginf(outflow) & jnp.isneginf(inflow)
    imbalance = jnp.abs(jnp.expm1(jnp.where(alone, 0.0, inflow - jnp.where(alone, 0.0, outflow))))
    return logits, imbalance.max()
