"""Occupancy: the best policy as a linear programme over discounted state-action visits, also where costs have budgets.

    maximise    sum_xa mu(x, a) r(x, a)
    subject to  sum_a mu(x', a) = initial(x') + gamma sum_xa mu(x, a) P(x' | x, a)      for all x'
                sum_xa mu(x, a) c_i(x, a) <= d_i                                        for every cost i
                mu >= 0

A policy takes each action in proportion to mu(x, a). Without costs some best policy is deterministic; with I of them, one that
randomises in at most I states. On the host, in float64.

Source: Puterman (1994), section 6.9; Altman (1999), "Constrained Markov Decision Processes", chapter 3.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxrl.core import machine
from jaxrl.core.finite import TabularModel
from jaxrl.errors import ConfigError, SolverError, require, require_discount, require_real
from jaxrl.solvers.linear_program import linprog
from jaxrl.solvers.mdp.problem import require_one_reward

GAP = 1e-7  # between the programme's value and its policy's, relative to the largest sum of absolute rewards


class ConstrainedSolution(NamedTuple):
    """The best policy within the budgets.

    value: the expected discounted return from the initial distribution. policy: float64[X, A]; uniform over legal actions where
    the best policy never comes. occupancy: float64[X, A], mu. costs: float64[I], expected and discounted, at most the budgets.
    prices: float64[I], by how much the value would rise for a unit more of each budget, at least 0.
    gap: how far the value of ``policy``, evaluated by itself, is from ``value``; residual: by how much mu misses its equations.
    """

    value: float
    policy: np.ndarray
    occupancy: np.ndarray
    costs: np.ndarray
    prices: np.ndarray
    gap: float
    residual: float


def occupancy_program(
    model: TabularModel, gamma: float, costs: Sequence[Any] = (), budgets: Sequence[float] = ()
) -> ConstrainedSolution:
    """Returns the best policy from the initial distribution whose expected discounted costs stay within their budgets.

    Args:
        model: the environment's tables, with one reward (no agent axis).
        gamma: discount in [0, 1), of reward and costs.
        costs: I tables float[X, A, K], the cost of every outcome, or float[X, A].
        budgets: I numbers.

    Raises:
        ConfigError: gamma lies outside [0, 1); a cost has another shape or is not finite; there is no budget for each cost; or
            the model is too large for the memory of this machine.
        EnvError: the model has a reward for each of several agents, or its tables are unsound.
        SolverError: no policy stays within the budgets; the message names the least cost that one can have. Or the programme's
            answer misses its own check.
    """
    where = "occupancy_program"
    require_discount(where, gamma, below_one=True)
    require_one_reward(where, model)
    require(len(costs) == len(budgets), where, "there must be a budget for each cost", (len(costs), len(budgets)), "Name both.")
    limits = np.asarray(require_real(where, "budgets", budgets, "Give numbers."), np.float64).reshape(-1)
    states, actions, outcomes = np.shape(model.next_state)
    machine.require_room(where, f"a programme of {states} states", 512 * states * actions * outcomes, "Take a smaller model.")
    paid = [expected(where, model, cost, number) for number, cost in enumerate(costs)]
    reward, flow, pairs = expected(where, model, model.reward), _flow(model, gamma), np.asarray(model.action_mask).reshape(-1)
    most = np.array([cost.reshape(-1)[pairs] for cost in paid]).reshape(len(paid), int(pairs.sum()))
    initial = np.asarray(model.initial, np.float64)
    answer = _solved(-reward.reshape(-1)[pairs], most, limits, flow[:, pairs], initial)
    if answer.status != 0:
        raise _infeasible(where, most, limits, flow[:, pairs], initial)
    occupancy = np.zeros(states * actions)
    occupancy[pairs] = np.maximum(answer.x, 0.0)
    residual = float(np.abs(flow @ occupancy - initial).max())
    policy = _policy(occupancy.reshape(states, actions), np.asarray(model.action_mask))
    visits = _visits(flow, policy, initial)
    value, found = float(reward.reshape(-1) @ occupancy), np.array([float((cost * visits).sum()) for cost in paid])
    scale = float((expected(where, model, np.abs(np.asarray(model.reward, np.float64))) * visits).sum()) or 1.0
    gap = abs(float((reward * visits).sum()) - value)
    must, fix = "the policy must be worth what the programme says", "Bring the rewards to similar sizes."
    require(gap <= GAP * scale, where, must, gap, fix, SolverError)
    prices = -np.asarray(answer.ineqlin.marginals, np.float64) if len(paid) else np.zeros(0)
    return ConstrainedSolution(value, policy, occupancy.reshape(states, actions), found, prices, gap, residual)


def expected(where: str, model: TabularModel, table: Any, number: int | None = None) -> np.ndarray:
    """Returns the expected value of what outcomes are worth, float64[X, A]. table: float[X, A, K], or float[X, A] as it is.

    Raises:
        ConfigError: it has another shape or is not finite. number: of the cost that the message names.
    """
    name = "the reward" if number is None else f"cost {number}"
    found, shape = np.asarray(require_real(where, name, table, "Give numbers."), np.float64), np.shape(model.next_state)
    must = f"{name} must have shape {list(shape)} or {list(shape[:2])}"
    require(found.shape in (shape, shape[:2]), where, must, found.shape, "Give one number for each outcome.", ConfigError)
    chance = np.asarray(model.probability, np.float64)
    found = np.where(chance > 0, found, 0.0) if found.shape == shape else found
    require(bool(np.isfinite(found).all()), where, f"{name} must be finite", "NaN or infinity", "Replace it.", ConfigError)
    return (chance * found).sum(-1) if found.ndim == 3 else found


def _flow(model: TabularModel, gamma: float) -> Any:
    """Returns the matrix csc [X, X A] of which ``flow @ mu = initial`` are the equations of visits."""
    from scipy import sparse

    states, actions, outcomes = np.shape(model.next_state)
    pair = np.arange(states * actions)
    going_on = np.where(np.asarray(model.terminated), 0.0, np.asarray(model.probability, np.float64)).reshape(-1)
    places = np.asarray(model.next_state).reshape(-1), np.repeat(pair, outcomes)
    onward = sparse.coo_matrix((going_on, places), shape=(states, len(pair)))
    here = sparse.coo_matrix((np.ones(len(pair)), (pair // actions, pair)), shape=(states, len(pair)))
    return (here - gamma * onward).tocsc()


def _solved(cost: np.ndarray, most: np.ndarray, limits: np.ndarray, flow: Any, initial: np.ndarray) -> Any:
    return linprog(cost, most, limits, flow, initial, [(0, None)] * len(cost))


def _infeasible(where: str, most: np.ndarray, limits: np.ndarray, flow: Any, initial: np.ndarray) -> SolverError:
    """Returns the error for budgets that no policy keeps: it names the first one that is below what the cost is at least."""
    for number, cost in enumerate(most):
        least = float(_solved(cost, np.zeros((0, len(cost))), np.zeros(0), flow, initial).fun)
        if least > limits[number]:
            must = f"the budget of cost {number} must be at least {least:.6g}, what it is under the policy that avoids it"
            return SolverError(f"{where}: {must}, got {limits[number]:g}. Try budgets of {least * 1.01:.4g} or more.")
    return SolverError(f"{where}: some policy must keep all budgets at once, got {limits.tolist()}. Raise one of them.")


def _policy(occupancy: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns the policy float64[X, A] whose visits are float64[X, A]; uniform over legal actions where there are none."""
    total = occupancy.sum(-1, keepdims=True)
    known = total > 1e-12 * max(float(total.max()), 1e-300)
    return np.where(known, occupancy / np.where(known, total, 1.0), mask / mask.sum(-1, keepdims=True))


def _visits(flow: Any, policy: np.ndarray, initial: np.ndarray) -> np.ndarray:
    """Returns the discounted visits of a policy, float64[X, A], by solving its own equations."""
    from scipy import sparse
    from scipy.sparse.linalg import spsolve

    states, actions = policy.shape
    spread = sparse.csc_matrix(
        (policy.reshape(-1), (np.arange(states * actions), np.repeat(np.arange(states), actions))),
        shape=(states * actions, states),
    )
    return spsolve((flow @ spread).tocsc(), initial)[:, None] * policy
