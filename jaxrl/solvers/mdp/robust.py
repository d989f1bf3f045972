"""Robust value iteration: the best policy against the worst of all models near a given one.

    V(x) = max_a min_{q in U(x, a)} sum_k q_k [r_k + gamma (1 - terminated_k) V(x'_k)]

The adversary chooses anew for every state and action (a rectangular set). With ``contamination``, U = {(1 - radius) p +
radius q'}, and with ``total_variation``, U = {q: 1/2 sum_k |q_k - p_k| <= radius}, both over the outcomes that p makes possible;
with ``candidates``, U is a list of distributions over any of the outcomes.

Source: Iyengar (2005), "Robust Dynamic Programming", equation 3 and section 4.3; Nilim and El Ghaoui (2005); contamination: Wang
and Zou (2021), "Online Robust Reinforcement Learning with Model Uncertainty", equation 5.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core.finite import TabularModel
from jaxrl.errors import EnvError, is_traced, require, require_distribution, require_within, unknown_name
from jaxrl.solvers.fixed_point import MAX_SWEEPS, error_bound, fixed_point, rounding_of
from jaxrl.solvers.mdp.problem import require_policy, require_problem
from jaxrl.solvers.mdp.solution import PolicyValue, Solution
from jaxrl.solvers.mdp.value_iteration import iterate


class RobustSolution(NamedTuple):
    """The robust optimum.

    solution: its value is what the best policy is sure of. worst: float[X, A, K], the adversary's answer to it.
    """

    solution: Solution
    worst: jax.Array


class RobustValue(NamedTuple):
    """The sure value of a policy. policy_value: in every state. worst: float[X, A, K], the adversary's answer to the policy."""

    policy_value: PolicyValue
    worst: jax.Array


def contamination(chance: jax.Array, worth: jax.Array, radius: jax.Array | float) -> jax.Array:
    """Returns the worst distribution over K outcomes if a share ``radius`` of the probability is free.

    Args:
        chance: float[..., K], the given one; what it gives no chance stays impossible.
        worth: float[..., K], of each outcome.
        radius: in [0, 1].
    """
    worst = jnp.argmin(jnp.where(chance > 0, worth, jnp.inf), axis=-1)
    return (1 - radius) * chance + radius * jax.nn.one_hot(worst, chance.shape[-1], dtype=chance.dtype)


def total_variation(chance: jax.Array, worth: jax.Array, radius: jax.Array | float) -> jax.Array:
    """As ``contamination``, if probability of up to ``radius`` may move from any outcomes to any others: from the best ones."""
    order = jnp.argsort(jnp.where(chance > 0, worth, jnp.inf), axis=-1)
    rising = jnp.take_along_axis(chance, order, axis=-1)
    moved = jnp.minimum(radius, 1 - rising[..., :1])
    above = jnp.cumsum(rising[..., ::-1], axis=-1)[..., ::-1] - rising
    left = (rising - jnp.clip(moved - above, 0, rising)).at[..., 0].set(rising[..., 0] + moved[..., 0])
    return jnp.take_along_axis(left, jnp.argsort(order, axis=-1), axis=-1)


def candidates(chance: jax.Array, worth: jax.Array, rows: jax.Array) -> jax.Array:
    """As ``contamination``, if the adversary chooses one of M distributions ``rows`` [M, ..., K], whatever the given one is."""
    possible = jnp.where(rows > 0, worth, 0.0)
    worst = (rows * possible).sum(-1).argmin(0)
    return jnp.take_along_axis(rows, worst[None, ..., None], axis=0)[0]


ADVERSARIES = {"contamination": contamination, "total_variation": total_variation, "candidates": candidates}


def robust_value_iteration(
    model: TabularModel,
    gamma: jax.Array | float,
    radius: Any,
    adversary: str = "total_variation",
    tolerance: jax.Array | float = 1e-6,
    max_sweeps: jax.Array | int = MAX_SWEEPS,
) -> RobustSolution:
    """Sweeps V <- max_a min_q until the value is as close to the robust optimum as asked for.

    Args:
        model: the environment's tables, with one reward (no agent axis).
        gamma: discount in [0, 1]; each sweep shrinks the error at least by gamma.
        radius: how far the adversary may go, in [0, 1]; 0 is value iteration. Traced: several may be vmapped. Of "candidates",
            the distributions that it chooses from, float[M, X, A, K].
        adversary: "total_variation", "contamination" or "candidates".
        tolerance, max_sweeps: see ``value_iteration``.

    Raises:
        ConfigError: a number is out of range. UnknownNameError: there is no such adversary.
        EnvError: the model has a reward for each of several agents, or its tables are unsound.
    """
    where = "robust_value_iteration"
    require_problem(where, model, gamma, tolerance, max_sweeps)
    radius = require_radius(where, model, radius, adversary)
    tables = _tables(where, model, radius, adversary)
    return _robust_value_iteration(tables, gamma, radius, adversary, tolerance, max_sweeps)


def robust_evaluation(
    model: TabularModel,
    policy: Any,
    gamma: jax.Array | float,
    radius: Any,
    adversary: str = "total_variation",
    tolerance: jax.Array | float = 1e-6,
    max_sweeps: jax.Array | int = MAX_SWEEPS,
) -> RobustValue:
    """Sweeps V <- sum_a pi min_q: what a policy is sure of, whatever the adversary does.

    Args:
        model, gamma, radius, adversary, tolerance, max_sweeps: as for ``robust_value_iteration``.
        policy: float[X, A], probabilities of the actions. The adversary knows the action that is drawn.

    Raises:
        ConfigError: a number is out of range, or a row of the policy is no distribution. UnknownNameError, EnvError: as there.
    """
    where = "robust_evaluation"
    require_problem(where, model, gamma, tolerance, max_sweeps)
    policy = require_policy(where, policy, (model.num_states, model.num_actions), model.action_mask)
    radius = require_radius(where, model, radius, adversary)
    tables = _tables(where, model, radius, adversary)
    return _robust_evaluation(tables, policy, gamma, radius, adversary, tolerance, max_sweeps)


def require_radius(where: str, model: TabularModel, radius: Any, adversary: str) -> Any:
    """Returns the radius, or the candidates as distributions; raises the errors of ``robust_value_iteration``."""
    if adversary not in ADVERSARIES:
        raise unknown_name(where, "adversary", adversary, ADVERSARIES)
    if adversary != "candidates":
        require_within(where, "radius", radius, 0, 1, "0.1 is common.")
        return radius
    rows = radius if is_traced(radius) else require_distribution(where, "the candidates", radius)
    shape = np.shape(model.probability)
    listed = len(rows.shape) == 4 and rows.shape[1:] == shape and len(rows) >= 1
    require(listed, where, f"the candidates must have shape {['M', *shape]}", list(rows.shape), "Stack tables of probabilities.")
    return rows


def _tables(where: str, model: TabularModel, radius: Any, adversary: str) -> TabularModel:
    """Returns ``model.tables``, in which outcomes pay nothing only if no distribution of the adversary makes them possible.

    Raises:
        EnvError: one of the candidates makes an outcome possible whose reward is not finite.
    """
    if adversary != "candidates":
        return model.tables
    traced = is_traced(radius, model.reward)
    numpy: Any = jnp if traced else np
    possible = (numpy.asarray(radius) > 0).any(0)
    if not traced:
        paid, must = np.asarray(model.reward)[possible], "rewards that a candidate makes possible must be finite"
        endless = paid[~np.isfinite(paid)]
        require(not endless.size, where, must, endless[:1].tolist(), "Give the outcome probability 0 in it.", EnvError)
    return dataclasses.replace(model.tables, reward=numpy.where(possible, model.reward, 0))


@partial(jax.jit, static_argnames="adversary")
def _robust_value_iteration(model, gamma, radius, adversary, tolerance, max_sweeps) -> RobustSolution:
    answered = _adversary(model, gamma, radius, adversary)

    def backup(value):
        worst, worth = answered(value)
        return (worst * worth).sum(-1)

    solution = iterate(model, backup, gamma, tolerance, max_sweeps)
    # Probabilities that an adversary moves are rounded, and outcomes that he leaves none keep some: each may pay its reward.
    largest = jnp.where(model.action_mask[..., None], jnp.abs(model.reward), 0.0).max() + jnp.abs(solution.value).max()
    moved = error_bound(0.0, gamma, rounding_of(model.next_state.shape[-1], largest))
    solution = solution._replace(error_bound=solution.error_bound + moved)
    return RobustSolution(solution, answered(solution.value)[0])


@partial(jax.jit, static_argnames="adversary")
def _robust_evaluation(model, policy, gamma, radius, adversary, tolerance, max_sweeps) -> RobustValue:
    answered = _adversary(model, gamma, radius, adversary)
    largest = jnp.where((policy > 0)[..., None], jnp.abs(model.reward), 0.0).max()  # what is impossible pays 0

    def sweep(value):
        worst, worth = answered(value)
        return (policy * (worst * worth).sum(-1)).sum(-1), largest

    start = jnp.zeros(model.num_states, jnp.result_type(float))
    found = fixed_point(sweep, start, gamma, tolerance, max_sweeps, model.next_state[0].size)
    value = PolicyValue(found.value, found.residual, found.error_bound, found.converged)
    return RobustValue(value, answered(found.value)[0])


def _adversary(model, gamma, radius, adversary) -> Callable:
    """Returns ``(value [X]) -> (distributions, worth of the outcomes)``, the adversary's answer, float[X, A, K] each."""
    chance = jnp.asarray(model.probability, jnp.result_type(float))

    def answered(value):
        worth = model.reward + gamma * jnp.where(model.terminated, 0.0, value[model.next_state])
        return ADVERSARIES[adversary](chance, worth, radius), worth

    return answered
