"""Occupancy: the best policy as a linear programme over discounted state-action visits, also where costs have budgets.

    maximise    sum_xa mu(x, a) r(x, a)
    subject to  sum_a mu(x', a) = initial(x') + gamma sum_xa mu(x, a) P(x' | x, a)      for all x'
                sum_xa mu(x, a) c_i(x, a) <= d_i                                        for every cost i
                mu >= 0

A policy takes each action in proportion to mu(x, a). Without costs some best policy is deterministic; with I of them, one that
randomises in at most I states. On the host, in float64.

Source: Puterman (1994), section 6.9; Altman (1999), "Constrained Markov Decision Processes", chapter 3.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxrl.core import machine
from jaxrl.core.finite import TabularModel
from jaxrl.errors import ConfigError, SolverError, require, require_discount, require_finite, require_real
from jaxrl.solvers.linear_program import linprog
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.problem import require_one_reward

INFEASIBLE = 2  # the solver's status for a programme whose constraints contradict each other
GAP = 1e-6  # between the policy's value and the bound that the prices give, relative to the absolute rewards on the way
OVERRUN = 1e-9  # of a budget, relative to the largest cost that a policy can run up


class ConstrainedSolution(NamedTuple):
    """The best policy within the budgets.

    value: the expected discounted return from the initial distribution. policy: float64[X, A]; uniform over legal actions where
    the best policy never comes. occupancy: float64[X, A], mu. costs: float64[I], expected and discounted, at most the budgets.
    prices: float64[I], by how much the value would rise for a unit more of each budget, at least 0.
    gap: by how much some policy could be better at most, by Lagrange's bound: no policy within the budgets is worth more than
    max_pi J_r(pi) - sum_i prices_i (J_ci(pi) - d_i). residual: by how much mu misses its equations.
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
    limits = np.asarray(require_finite(where, "budgets", budgets, "Leave a cost out that has no limit."), np.float64).reshape(-1)
    states, actions, outcomes = np.shape(model.next_state)
    machine.require_room(where, f"a programme of {states} states", 512 * states * actions * outcomes, "Take a smaller model.")
    pairs = np.asarray(model.action_mask).reshape(-1)
    reward, paid = expected(where, model, model.reward), [expected(where, model, cost, i) for i, cost in enumerate(costs)]
    # In units in which the largest reward and every largest cost are 1: the solver's tolerances are absolute.
    units = [float(np.abs(table.reshape(-1)[pairs]).max()) or 1.0 for table in (reward, *paid)]
    most = np.array([cost.reshape(-1)[pairs] / unit for cost, unit in zip(paid, units[1:], strict=True)])
    programme = _Programme(most.reshape(len(paid), int(pairs.sum())), limits / units[1:], _flow(model, gamma), pairs, model)
    answer = programme.solve(-reward.reshape(-1)[pairs] / units[0])
    if answer.status != 0:
        raise programme.failure(where, answer, units[1:])
    occupancy = np.zeros(states * actions)
    occupancy[pairs] = np.maximum(answer.x, 0.0)
    residual = float(np.abs(programme.flow @ occupancy - programme.initial).max())
    occupancy = occupancy.reshape(states, actions)
    policy = _policy(occupancy, np.asarray(model.action_mask))
    visits = _visits(programme.flow, policy, programme.initial)
    prices = np.maximum(-np.asarray(answer.ineqlin.marginals, np.float64), 0.0) if len(paid) else np.zeros(0)
    prices = prices * units[0] / np.array(units[1:])
    found = np.array([float((cost * visits).sum()) for cost in paid])
    value, scale = float((reward * visits).sum()), float((np.abs(reward) * visits).sum()) or 1.0
    priced = reward - sum((price * cost for price, cost in zip(prices, paid, strict=True)), np.zeros_like(reward))
    bound = float(_best(model, gamma, priced) + prices @ limits)
    gap = max(bound - value, 0.0)
    must, fix = "the policy must be as good as its prices say", "Bring rewards and costs to similar sizes."
    require(gap <= GAP * (scale + float(prices @ np.abs(limits))), where, must, gap, fix, SolverError)
    over = found - limits - OVERRUN * np.array(units[1:]) / (1 - gamma)
    require(bool((over <= 0).all()), where, "the policy must keep its budgets", found.tolist(), fix, SolverError)
    return ConstrainedSolution(value, policy, occupancy, found, prices, gap, residual)


class _Programme(NamedTuple):
    """most: float64[I, P], costs of the legal pairs. limits: float64[I]. flow: csc [X, X A]. pairs: bool[X A], those legal."""

    most: np.ndarray
    limits: np.ndarray
    flow: Any
    pairs: np.ndarray
    model: TabularModel

    @property
    def initial(self) -> np.ndarray:
        return np.asarray(self.model.initial, np.float64)

    def solve(self, cost: np.ndarray, limited: bool = True) -> Any:
        """Minimises float64[P] over visits, within the budgets or without."""
        most, limits = (self.most, self.limits) if limited else (self.most[:0], self.limits[:0])
        return linprog(cost, most, limits, self.flow[:, self.pairs], self.initial, [(0, None)] * len(cost))

    def failure(self, where: str, answer: Any, units: list[float]) -> SolverError:
        """Returns the error for a programme without an answer: it names the first budget below what its cost is at least."""
        if answer.status != INFEASIBLE:
            return SolverError(
                f"{where}: the programme must have an answer, got {answer.message!r}. Bring numbers to similar sizes."
            )
        for number, cost in enumerate(self.most):
            avoiding = self.solve(cost, limited=False)
            least = float(cost @ avoiding.x) if avoiding.status == 0 else -np.inf
            if least > self.limits[number]:
                least, limit = least * units[number], self.limits[number] * units[number]
                must = f"the budget of cost {number} must be at least {least:.6g}, what the policy costs that avoids it most"
                return SolverError(f"{where}: {must}, got {limit:g}. Try a budget of {least + 0.01 * abs(least):.4g}.")
        limits = (self.limits * units).tolist()
        return SolverError(f"{where}: some policy must keep all budgets at once, got {limits}. Raise one of them.")


def _best(model: TabularModel, gamma: float, reward: np.ndarray) -> float:
    """Returns what the best policy is worth for another reward, float64[X, A]."""
    priced = dataclasses.replace(model, reward=np.broadcast_to(reward[:, :, None], np.shape(model.next_state)))
    return float(host.solve(priced, gamma, 1e-12).start_value(model))


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
    visited: Any = spsolve((flow @ spread).tocsc(), initial)
    return visited[:, None] * policy
