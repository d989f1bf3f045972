"""Exact solvers for finite environments: value iteration, policy iteration and policy evaluation on a ``TabularModel``, and
value iteration for an agent who is averse to risk.

All are pure and compile; they use no LAPACK, so they can be vmapped over thousands of policies. They compute in the precision
jax is set to: float32, or float64 inside ``jax.enable_x64(True)``. Each returns, beside its answer, by how much that misses its
equation and how far it can be from the truth. ``jaxrl.solvers.host`` solves one model at a time, of a million states too.

Source: Sutton and Barto (2018), chapter 4; Puterman (1994), chapter 6; for risk aversion Howard and Matheson (1972).
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core.finite import TabularModel, require_model
from jaxrl.errors import (
    EnvError,
    is_traced,
    require,
    require_count,
    require_discount,
    require_distribution,
    require_finite,
    require_real,
    require_tolerance,
    require_within,
)
from jaxrl.solvers.fixed_point import MAX_SWEEPS, FixedPoint, deciding, fixed_point, rounding_of
from jaxrl.solvers.markov_chain import Chain, discounted_sums, doubling_is_faster


class Solution(NamedTuple):
    """The result of a solver.

    value: float[X], the value of every state under an optimal policy.
    action_value: float[X, A], minus infinity where an action is illegal.
    iterations: int32[], sweeps of value iteration, or improvements of policy iteration.
    residual: float[], the largest amount by which ``value`` misses the equation that it solves.
    error_bound: float[], how far a value can be from the optimum, rounding included. Infinite without discount, where a small
        residual says nothing about the distance.
    converged: bool[], whether the solver came to its end: the tolerance or the limit of the precision, or a stable policy.
    """

    value: jax.Array
    action_value: jax.Array
    iterations: jax.Array
    residual: jax.Array
    error_bound: jax.Array
    converged: jax.Array

    def start_value(self, model: TabularModel) -> jax.Array:
        """Returns the expected value of the first state, float[]."""
        return model.initial @ self.value


class PolicyValue(NamedTuple):
    """The value of a policy.

    value: float[X] (or [X, N] with agents), of every state.
    residual: float[], the largest amount by which ``value`` misses v = r + gamma P v.
    error_bound: float[], how far a value can be from the truth, rounding included. Infinite where nothing is discounted and the
        policy need not end the episode.
    converged: bool[], whether all rewards to come are in the sum, as far as the precision goes.
    """

    value: jax.Array
    residual: jax.Array
    error_bound: jax.Array
    converged: jax.Array

    def start_value(self, model: TabularModel) -> jax.Array:
        """Returns the expected value of the first state, float[] (or [N] with agents)."""
        return model.initial @ self.value


def action_values(model: TabularModel, value: Any, gamma: jax.Array | float) -> jax.Array:
    """Returns Q(x, a) = sum_k p_k [r_k + gamma (1 - terminated_k) V(x'_k)], float[X, A] (Sutton & Barto, equation 4.6).

    Raises:
        ConfigError: gamma lies outside [0, 1], or there is not one number for each state.
        EnvError: the model has a reward for each of several agents, or its tables are unsound.
    """
    require_problem("action_values", model, gamma)
    bootstrap = jnp.where(model.terminated, 0.0, _values_of("action_values", model, value)[model.next_state])
    return (model.probability * (model.reward + gamma * bootstrap)).sum(-1)


def _legal(model: TabularModel, values: jax.Array) -> jax.Array:
    return jnp.where(model.action_mask, values, -jnp.inf)


def greedy_policy(model: TabularModel, values: Any) -> jax.Array:
    """Returns the deterministic policy float[X, A] that takes the best legal action, the first among equals.

    Args:
        model: the environment's tables.
        values: float[X, A]; infinite ones are allowed.

    Raises:
        ConfigError: the values have another shape, or one is NaN.
    """
    where, shape = "greedy_policy", np.shape(model.action_mask)
    table = values if is_traced(values) else require_real(where, "values", values)
    require(table.shape == shape, where, f"values must have shape {list(shape)}", table.shape, "Give one for each action.")
    if not is_traced(values):
        require(not np.isnan(table).any(), where, "values must not be NaN", values, "Use -inf for an action to avoid.")
    table = jnp.asarray(table, jnp.result_type(table, jnp.float32))
    return jax.nn.one_hot(_legal(model, table).argmax(-1), shape[1], dtype=table.dtype)


def require_problem(
    where: str, model: TabularModel, gamma: Any = 1.0, tolerance: Any = 0.0, max_sweeps: Any = 1, *, one_reward: bool = True
) -> None:
    """Refuses a problem that has no solution. Of traced values the shapes alone are checked.

    Args:
        where: who asks.
        model, gamma, tolerance, max_sweeps: arguments of a solver.
        one_reward: whether rewards must not have an agent axis.

    Raises:
        ConfigError: gamma lies outside [0, 1], the tolerance is no number of at least 0, or ``max_sweeps`` none of at least 1.
        EnvError: the model has a reward for each of several agents although one is asked for, or its tables are unsound.
    """
    require_discount(where, gamma)
    require_tolerance(where, tolerance)
    require_within(where, "max_sweeps", max_sweeps, 1, np.inf, f"The default is {MAX_SWEEPS}.")
    (require_one_reward if one_reward else require_model)(where, model)


def _values_of(where: str, model: TabularModel, value: Any) -> jax.Array:
    """Returns a number for each state as an array, which may be traced; raises ConfigError if it has another shape."""
    must, fix = f"value must have shape [{model.num_states}]", "Give one number for each state."
    table = value if is_traced(value) else require_real(where, "value", value, fix)
    require(table.shape == (model.num_states,), where, must, table.shape, fix)
    return jnp.asarray(table)


def require_policy(where: str, policy: Any, shape: tuple[int, ...]) -> jax.Array:
    """Returns a policy as an array; raises ConfigError unless it has this shape, and distributions over its last axis.

    Of a traced policy the shape alone is checked.
    """
    fix = "Normalise its rows."
    table = policy if is_traced(policy) else require_real(where, "the policy", policy, fix)
    require(table.shape == shape, where, f"the policy must have shape {list(shape)}", table.shape, "Give a row for each state.")
    if not is_traced(policy):
        require_distribution(where, "the policy", table, fix)
    return jnp.asarray(table, jnp.result_type(table, jnp.float32))


def require_one_reward(where: str, model: TabularModel) -> None:
    """Raises EnvError where rewards have an agent axis, or as ``require_model``. where: who asks."""
    must, found = "the model must have one reward, [X, A, K]", list(np.shape(model.reward))
    require(np.ndim(model.reward) == 3, where, must, found, "Use jaxrl.solvers.markov_games.for_player.", EnvError)
    require_model(where, model)


def _absolute_rewards(model: TabularModel) -> jax.Array:
    """Returns the expected absolute reward of each state and action, float[X, A]."""
    return jnp.asarray((model.probability * jnp.abs(model.reward)).sum(-1), jnp.result_type(float))


def value_iteration(
    model: TabularModel, gamma: jax.Array | float, tolerance: jax.Array | float = 1e-6, max_sweeps: jax.Array | int = MAX_SWEEPS
) -> Solution:
    """Sweeps V <- max_a Q until the value is as close to the optimum as asked for (Sutton & Barto, equation 4.10).

    Args:
        model: the environment's tables, with one reward (no agent axis).
        gamma: discount in [0, 1]; each sweep shrinks the error at least by gamma.
        tolerance: the error to accept, relative to the largest value (at gamma = 1, the last change of a sweep); 0 goes to the
            limit of the precision.
        max_sweeps: an end for problems with gamma = 1 that do not converge.

    Raises:
        ConfigError: gamma lies outside [0, 1], the tolerance is negative, or ``max_sweeps`` is below 1.
        EnvError: the model has a reward for each of several agents, or its tables are unsound.
    """
    require_problem("value_iteration", model, gamma, tolerance, max_sweeps)
    return _value_iteration(model.tables, gamma, tolerance, max_sweeps)


@jax.jit
def _value_iteration(model, gamma, tolerance, max_sweeps) -> Solution:
    return _iterate(model, lambda value: action_values(model, value, gamma), gamma, tolerance, max_sweeps)


def certainty_equivalents(model: TabularModel, value: Any, risk_aversion: jax.Array | float) -> jax.Array:
    """Returns Q(x, a) = -log(sum_k p_k exp(-b [r_k + (1 - terminated_k) V(x'_k)])) / b, float[X, A]; b is the risk aversion.

    It is what an agent with the utility -exp(-b y) of the sum y of all rewards would take instead of going on. There is no
    discount, since Q is not in proportion to the rewards.

    Raises:
        ConfigError: the risk aversion is not a positive number, or there is not one number for each state.
        EnvError: the model has a reward for each of several agents, or its tables are unsound.

    Source: Howard and Matheson (1972), "Risk-Sensitive Markov Decision Processes", equation 2.10.
    """
    where = "certainty_equivalents"
    _require_risk_aversion(where, risk_aversion)
    require_problem(where, model)
    bootstrap = jnp.where(model.terminated, 0.0, _values_of(where, model, value)[model.next_state])
    possible = jnp.asarray(model.probability) > 0
    outcome = model.reward + bootstrap
    worst = jnp.where(possible, outcome, jnp.inf).min(-1, keepdims=True)
    # Relative to the worst outcome nothing overflows. Near certainty, or indifference to risk, the sum is close to 1 and its
    # logarithm is that of 1 + x with a small x, which must not be rounded before.
    above = -risk_aversion * jnp.where(possible, outcome - worst, 0.0)
    less = (model.probability * jnp.expm1(above)).sum(-1)
    total = (model.probability * jnp.exp(above)).sum(-1)
    near = less > -0.5
    logarithm = jnp.where(near, jnp.log1p(jnp.where(near, less, 0.0)), jnp.log(jnp.where(near, 1.0, total)))
    return worst[..., 0] - logarithm / risk_aversion


def _require_risk_aversion(where: str, risk_aversion: Any) -> None:
    fix = "value_iteration is indifferent to risk."
    require_within(where, "risk_aversion", risk_aversion, 0, np.inf, fix, above=True, below=True)


def entropic_value_iteration(
    model: TabularModel,
    risk_aversion: jax.Array | float,
    tolerance: jax.Array | float = 1e-6,
    max_sweeps: jax.Array | int = MAX_SWEEPS,
) -> Solution:
    """Sweeps V <- max_a Q with the certainty equivalents Q, as ``value_iteration`` does with expectations.

    Args:
        model: the environment's tables, with one reward (no agent axis); episodes must end, or pay nothing in the long run.
        risk_aversion: positive, per unit of reward; near 0 it is value iteration without discount.
        tolerance: the last change of a sweep to accept, relative to the largest value.
        max_sweeps: an end for problems that do not converge.

    Raises:
        ConfigError: the risk aversion is not a positive number, the tolerance is negative, or ``max_sweeps`` is below 1.
        EnvError: the model has a reward for each of several agents, or its tables are unsound.
    """
    where = "entropic_value_iteration"
    _require_risk_aversion(where, risk_aversion)
    require_problem(where, model, tolerance=tolerance, max_sweeps=max_sweeps)
    return _entropic_value_iteration(model.tables, risk_aversion, tolerance, max_sweeps)


class EntropicPlan(NamedTuple):
    """The best that an exponential utility can do from the likeliest start, on the host.

    value: its certainty equivalent, in units of the reward. observations, choices: int[V], what is seen where the best policy
    leads, the start first, and what it does there, the first among equals.
    """

    value: float
    observations: np.ndarray
    choices: np.ndarray

    def errors(self, q: np.ndarray, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Compares learned tables with the plan.

        Args:
            q: float[S, observations, A], certainty equivalents of the actions.
            offset: to be taken from them at the start.

        Returns:
            The error of the value of the start relative to the plan's, float64[S], infinite where it is no number; and by how
            many places the choice with the largest value is off at most, int[S].
        """
        seen = np.asarray(q, np.float64)[:, self.observations]
        error = np.abs(seen[:, 0].max(-1) - offset - self.value) / abs(self.value)
        return np.where(np.isfinite(error), error, np.inf), np.abs(seen.argmax(-1) - self.choices).max(-1)


def entropic_plan(model: TabularModel, risk_aversion: float) -> EntropicPlan:
    """Plans for an exponential utility by ``entropic_value_iteration`` in float64; observations must be integers.

    Raises:
        ConfigError, EnvError: as ``entropic_value_iteration``.
    """
    with jax.enable_x64(True):
        planned = entropic_value_iteration(model, risk_aversion, tolerance=1e-12)
        choices, value = np.asarray(planned.action_value).argmax(-1), float(planned.start_value(model))
    states = visited_under(model, choices)
    return EntropicPlan(value, np.asarray(model.observation)[states], choices[states])


@jax.jit
def _entropic_value_iteration(model, risk_aversion, tolerance, max_sweeps) -> Solution:
    return _iterate(model, lambda value: certainty_equivalents(model, value, risk_aversion), 1.0, tolerance, max_sweeps)


def _iterate(model: TabularModel, backup: Callable, contraction: Any, tolerance: Any, max_sweeps: Any) -> Solution:
    """Sweeps with ``backup``, ``(value [X]) -> action values [X, A]``; see ``fixed_point`` for the rest."""

    outcomes = model.next_state.shape[-1]
    absolute = _absolute_rewards(model)

    def sweep(value):
        values = _legal(model, backup(value))
        return values.max(-1), deciding(values, absolute, outcomes)

    start = jnp.zeros(model.num_states, jnp.result_type(float))
    found: FixedPoint = fixed_point(sweep, start, contraction, tolerance, max_sweeps, outcomes)
    values = _legal(model, backup(found.value))
    return Solution(found.value, values, found.sweeps, found.residual, found.error_bound, found.converged)


def policy_evaluation(
    model: TabularModel,
    policy: jax.Array,
    gamma: jax.Array | float,
    beyond: Any = None,
    max_steps: int | None = None,
    dense: bool | None = None,
) -> PolicyValue:
    """Returns the exact value of a stochastic policy, V = sum_t (gamma P)^t R.

    Exact to rounding for gamma < 1, and for gamma = 1 where the policy terminates. A policy that never terminates has no value at
    gamma = 1 unless it comes to pay nothing: it is followed for a long but finite time then, and the value has not converged. The
    value can be differentiated with respect to the policy, the rewards and gamma.

    Args:
        model: the environment's tables.
        policy: float[X, A], probabilities of the (joint) actions.
        gamma: discount in [0, 1].
        beyond: float[X] (or [X, N] with agents), the value after the last step that is followed, by default 0.
        max_steps: for how many steps, at least, a policy is followed at gamma = 1; see ``discounted_sums``.
        dense: whether to compute with matrices [X, X] rather than by sweeps; by default what is faster.

    Raises:
        ConfigError: gamma lies outside [0, 1], a row of the policy is not a distribution, ``beyond`` has another shape or is not
            finite, or ``max_steps`` is no integer of at least 1.
        EnvError: the tables of the model are unsound.
    """
    where = "policy_evaluation"
    require_problem(where, model, gamma, one_reward=False)
    policy = require_policy(where, policy, (model.num_states, model.num_actions))
    if beyond is not None:
        shape, fix = np.shape(model.reward)[:1] + np.shape(model.reward)[3:], "Give each state a value."
        beyond = jnp.asarray(beyond if is_traced(beyond) else require_finite(where, "beyond", beyond, fix))
        require(beyond.shape == shape, where, f"beyond must have shape {list(shape)}", beyond.shape, fix)
    if max_steps is not None:
        require_count(where, "max_steps", max_steps)
    states, actions, outcomes = model.next_state.shape
    dense = doubling_is_faster(states, actions * outcomes, gamma) if dense is None else dense
    return _policy_evaluation(model.tables, policy, gamma, beyond, max_steps, dense)


@partial(jax.jit, static_argnames=("max_steps", "dense"))
def _policy_evaluation(model, policy, gamma, beyond, max_steps, dense) -> PolicyValue:
    chain = policy_chain(model, policy, gamma)
    weight = jnp.asarray(policy)[..., None] * model.probability  # [X, A, K]
    reward = jnp.asarray(model.reward, weight.dtype).reshape(*weight.shape, -1)
    paid = jnp.einsum("xak,xakn->xn", weight, reward, precision="highest")
    beyond = None if beyond is None else jnp.asarray(beyond, paid.dtype).reshape(paid.shape)
    sums = discounted_sums(chain, paid, beyond, max_steps, dense=dense)
    largest = jnp.where(weight > 0, jnp.abs(reward).max(-1), 0).max(initial=0)
    residual, bound = sums.check(chain, paid, largest)
    return PolicyValue(sums.value.reshape(model.reward.shape[:1] + model.reward.shape[3:]), residual, bound, sums.converged)


def policy_chain(model: TabularModel, policy: jax.Array, gamma: jax.Array | float) -> Chain:
    """Returns the Markov chain that a policy [X, A] makes of a model; each state has A K successors.

    Raises:
        ConfigError: gamma lies outside [0, 1], or a row of the policy is not a distribution.
        EnvError: the tables of the model are unsound.
    """
    require_problem("policy_chain", model, gamma, one_reward=False)
    policy = require_policy("policy_chain", policy, (model.num_states, model.num_actions))
    weight = _going_on(model.terminated, jnp.asarray(policy)[..., None] * model.probability, gamma)
    shape = (model.num_states, -1)
    return Chain(jnp.reshape(model.next_state, shape), weight.reshape(shape), jnp.asarray(gamma))


def return_of_policy(model: TabularModel, policy: jax.Array, num_steps: int) -> jax.Array:
    """Returns what a stochastic policy earns in the next ``num_steps`` steps, without discount, float[X].

    Args:
        model: the environment's tables, with one reward (no agent axis).
        policy: float[X, A], probabilities of the (joint) actions.
        num_steps: after which nothing is paid, as by a time limit.

    Raises:
        ConfigError: a row of the policy is not a distribution, or ``num_steps`` is no integer of at least 0.
        EnvError: the model has a reward for each of several agents, or its tables are unsound.
    """
    where = "return_of_policy"
    if not is_traced(num_steps):
        require_count(where, "num_steps", num_steps, 0)
    require_problem(where, model)
    policy = require_policy(where, policy, (model.num_states, model.num_actions))
    chain = policy_chain(model, policy, 1.0)
    paid = (jnp.asarray(policy)[..., None] * model.probability * model.reward).sum((1, 2))[:, None]

    def sweep(value):
        return paid + chain.onward(value), jnp.abs(paid).max()

    # As many sweeps as steps, unless one changes nothing: then nor would the others.
    return fixed_point(sweep, jnp.zeros_like(paid), max_sweeps=num_steps, min_sweeps=num_steps).value[:, 0]


def _going_on(terminated: jax.Array, weight: jax.Array, gamma: jax.Array | float) -> jax.Array:
    return gamma * jnp.where(terminated, 0.0, weight)


class _Candidate(NamedTuple):
    """A deterministic policy on the way to the best one.

    action: int[X]. value: float[X], its value. size: float[X], its value if all rewards were positive, the scale of rounding.
    complete: bool[], whether these are converged.
    """

    action: jax.Array
    value: jax.Array
    size: jax.Array
    complete: jax.Array


def visited_under(model: TabularModel, actions: np.ndarray) -> list[int]:
    """Returns the states in which an episode can stand that begins at the likeliest start and takes these actions, it first.

    Args:
        model: of a finite environment.
        actions: int[X], of every state.
    """
    states = [int(np.asarray(model.initial).argmax())]
    for state in states:
        taken = actions[state]
        going_on = np.asarray((model.probability[state, taken] > 0) & ~model.terminated[state, taken])
        successors = np.asarray(model.next_state[state, taken])[going_on].tolist()
        states += [successor for successor in successors if successor not in states]
    return states


def policy_iteration(model: TabularModel, gamma: jax.Array | float, max_improvements: jax.Array | int = 1_000) -> Solution:
    """Alternates exact evaluation and greedy improvement until the policy is stable (Howard 1960; Sutton & Barto, section 4.3).

    An action is only replaced by one that is better by more than rounding, which is relative to the rewards to come from that
    state. A new policy is only kept if the gain is there when it is evaluated. So ties cannot make the policy cycle.

    Args:
        model: the environment's tables, with one reward (no agent axis).
        gamma: discount in [0, 1]; at 1 every policy on the way must terminate.
        max_improvements: an end in case of numerical trouble.

    Raises:
        ConfigError: gamma lies outside [0, 1], or ``max_improvements`` is below 1.
        EnvError: the model has a reward for each of several agents, or its tables are unsound.
    """
    require_within("policy_iteration", "max_improvements", max_improvements, 1, np.inf, "The default is 1000.")
    require_problem("policy_iteration", model, gamma)
    dense = doubling_is_faster(model.num_states, model.next_state.shape[-1], gamma)
    return _policy_iteration(model.tables, gamma, max_improvements, dense)


@partial(jax.jit, static_argnames="dense")
def _policy_iteration(model, gamma, max_improvements, dense) -> Solution:
    absolute = dataclasses.replace(model, reward=jnp.abs(model.reward))
    outcomes = model.next_state.shape[-1]
    states = jnp.arange(model.num_states)

    def candidate(action: jax.Array) -> _Candidate:
        next_state, chance, reward, terminated = (
            jnp.asarray(table)[states, action] for table in (model.next_state, model.probability, model.reward, model.terminated)
        )
        chance = jnp.asarray(chance, jnp.result_type(float))
        paid = jnp.stack([(chance * reward).sum(-1), (chance * jnp.abs(reward)).sum(-1)], axis=1)
        chain = Chain(next_state, _going_on(terminated, chance, gamma), jnp.asarray(gamma))
        sums = discounted_sums(chain, paid, negligible=jnp.finfo(paid.dtype).tiny, dense=dense)
        return _Candidate(action, sums.value[:, 0], sums.value[:, 1], sums.converged)

    def improve(carry):
        current, _, count = carry
        values = _legal(model, action_values(model, current.value, gamma))
        size = jnp.where(model.action_mask, action_values(absolute, current.size, gamma), 0).max(-1)
        gain = values.max(-1) - jnp.take_along_axis(values, current.action[:, None], 1)[:, 0]
        better = gain > rounding_of(outcomes, size)
        following = candidate(jnp.where(better, values.argmax(-1), current.action))
        # Both in units of the rewards to come, so that states far from all rewards count like those near them. In theory the
        # whole gain is there, and more.
        unit = jnp.where(better, size, 1)
        realised = jnp.where(better, (following.value - current.value) / unit, 0).sum()
        gained = better.any() & (realised >= 0.5 * jnp.where(better, gain / unit, 0).sum())
        kept = jax.tree.map(lambda new, old: jnp.where(gained, new, old), following, current)
        return kept, gained, count + 1

    start = (candidate(jnp.argmax(model.action_mask, axis=-1)), jnp.bool_(True), jnp.int32(0))
    best, going, count = jax.lax.while_loop(lambda carry: carry[1] & (carry[2] < max_improvements), improve, start)
    values = _legal(model, action_values(model, best.value, gamma))
    residual = jnp.abs(values.max(-1) - best.value).max()
    rounding = rounding_of(outcomes, deciding(values, _absolute_rewards(model), outcomes) + jnp.abs(best.value).max())
    discounted = jnp.asarray(gamma) < 1
    bound = jnp.where(discounted, (residual + rounding) / jnp.where(discounted, 1 - gamma, 1), jnp.inf)
    return Solution(best.value, values, count, residual, bound, ~going & best.complete)
