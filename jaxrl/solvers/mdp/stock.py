"""Stock-augmented dynamic programming: the best conditional value at risk, by a state that remembers what has been earned.

With the lower tail mean CVaR_tau(G) = max_b { b + E[min(G - b, 0)] / tau }, a policy that maximises it must know by how much it
still misses b. So the state becomes (x, s) with a stock s, which starts at -b and is carried on by

    s' = (s + r) / gamma

After t steps s + G = gamma^t (s_t + G_t), and f(s) = min(s, 0) is positively homogeneous; therefore one expected-return problem
for all b is left, with the discount gamma and the reward f(s + r) - f(s), whose sums telescope to E[f(s + G)] - f(s):

    W(x, s) = max_a sum_k p_k [f(s + r_k) - f(s) + gamma (1 - terminated_k) W(x'_k, s')]
    CVaR_tau = max_b { b + (E[W(x_0, -b)] + f(-b)) / tau }

Outside a grid that covers the negative of all returns the answer is constant in s, so the stock may stop at its ends. Inside, a
stock between two places of the grid is rounded to one of them at random, so that its mean is kept. Where rewards take the stock
from place to place, nothing is rounded and the answer is exact.

Source: Pires (2025), "Optimizing Return Distributions with Distributional Dynamic Programming"; Bauerle and Ott
(2011), "Markov Decision Processes with Average-Value-at-Risk Criteria"; Rockafellar and Uryasev (2000).
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxrl.blocks.utilities import tail_mean
from jaxrl.core import machine
from jaxrl.core.finite import TabularModel
from jaxrl.errors import require, require_discount, require_finite, require_index, require_number, require_real
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.distributional import distributional_evaluation, require_support
from jaxrl.solvers.mdp.problem import require_one_reward


class StockModel(NamedTuple):
    """A process that remembers its stock: state ``M x + m`` stands in x with the stock ``stocks[m]``.

    model: the tables of X M states, with the rewards of the process itself; observation and state are pairs (x, stock), float
        [X M, 2]. Its initial distribution begins with the stock nearest to 0.
    utility: float64[X M, A, K], the rewards f(s + r) - f(s). In place of ``model.reward`` they make the problem of the largest
        E[f(s + G)].
    stocks: float64[M].
    rounding: float64[], by how much one rounding can at most change the expectation of a function of the stock with slopes in
        [-1, 1], as that of ``shortfall`` is: 2 q (1 - q) times the step of the grid, with the chance q of the upper place. It is
        0 where all stocks fall on the grid.
    """

    model: TabularModel
    utility: np.ndarray
    stocks: np.ndarray
    rounding: np.ndarray


class RiskPlan(NamedTuple):
    """The policy of the best conditional value at risk.

    value: float64[], the CVaR of the return from the first state, as the dynamic programme has it.
    threshold: float64[], b, the return below which it counts: the policy starts with the stock -b.
    policy: float64[X, M, A], the first action among equals; at ``stocks`` float64[M].
    law: float64[N], of the return of this policy on ``atoms`` float64[N].
    gap: float64[], by how much the CVaR of that law misses ``value``, or its means their own equation. It is rounding alone if
        the best policy comes to an end. The law is on the same grid: what a coarse one loses is in ``error_bound``.
    error_bound: float64[], how far ``value`` can be from the best CVaR with the thresholds that were tried; infinite without
        discount.
    exact: bool[], whether no stock was rounded.
    converged: bool[], whether both programmes came to their ends.
    """

    value: np.ndarray
    threshold: np.ndarray
    policy: np.ndarray
    stocks: np.ndarray
    law: np.ndarray
    atoms: np.ndarray
    gap: np.ndarray
    error_bound: np.ndarray
    exact: np.ndarray
    converged: np.ndarray


def shortfall(stock: np.ndarray) -> np.ndarray:
    """Returns f(s) = min(s, 0), which leads to the conditional value at risk."""
    return np.minimum(stock, 0.0)


def stock_augmented(
    model: TabularModel, stocks: Any, gamma: float = 1.0, utility: Callable[[np.ndarray], np.ndarray] = shortfall
) -> StockModel:
    """Returns the process whose state remembers what has been earned, on a grid, with the rewards of a utility of it.

    Any expected-return solver then finds max E[f(s + G)] - f(s) from every state x and stock s.

    Args:
        model: the environment's tables, with one reward (no agent axis).
        stocks: float[M], the grid, rising, M at least 2. It should cover -G for every return G from every state.
        gamma: discount in (0, 1].
        utility: f, on arrays; with gamma < 1 positively homogeneous, f(c s) = c f(s) for c > 0.

    Raises:
        ConfigError: gamma lies outside (0, 1], the grid does not rise, the utility is not finite, or not homogeneous though gamma
            is below 1, or the tables do not fit into the memory of this machine.
        EnvError: the model has a reward for each of several agents, or its tables are unsound.
    """
    where = "stock_augmented"
    require_one_reward(where, model)
    require_discount(where, gamma)
    require(gamma > 0, where, "gamma must be positive", gamma, "1.0 adds rewards up.")
    require_support(where, stocks)
    stocks = np.asarray(stocks, np.float64)
    (states, actions, outcomes), count = np.shape(model.next_state), len(stocks)
    needed = 100 * states * count * actions * 2 * outcomes
    machine.require_room(where, f"a model of {states} x {count} states", needed, "Take a coarser grid.")
    now = require_finite(where, "the utility", utility(stocks))
    homogeneous = gamma == 1 or np.allclose(utility(stocks / gamma), now / gamma)
    require(homogeneous, where, "the utility must be positively homogeneous", f"gamma={gamma:g}", "Set gamma=1, or min(s, 0).")
    tables = model.tables
    after = stocks[:, None, None] + np.asarray(tables.reward, np.float64)[:, None]  # [X, M, A, K]
    lower, share = _places(stocks, after / gamma)
    on_grid = bool(((share == 0) | (share == 1)).all())
    lower, weights = (lower + (share == 1), [1.0]) if on_grid else (lower, [1 - share, share])

    def joined(table: Any, of: Callable) -> np.ndarray:
        parts = [np.broadcast_to(of(np.asarray(table)[:, None], part), after.shape) for part in range(len(weights))]
        return np.concatenate(parts, -1).reshape(states * count, actions, -1)

    place = np.stack([np.repeat(np.arange(states), count), np.tile(stocks, states)], axis=1)
    joint = dataclasses.replace(
        model,
        next_state=joined(tables.next_state, lambda table, part: table * count + lower + part).astype(np.int32),
        probability=joined(tables.probability, lambda table, part: table * weights[part]),
        reward=joined(tables.reward, lambda table, part: table),
        terminated=joined(tables.terminated, lambda table, part: table),
        initial=np.kron(np.asarray(model.initial), np.eye(count)[np.abs(stocks).argmin()]),
        action_mask=np.repeat(np.asarray(model.action_mask), count, axis=0),
        observation=place,
        state=place,
    )
    paid = joined(tables.reward, lambda table, part: utility(after) - now[:, None, None])
    inside = (after / gamma >= stocks[0]) & (after / gamma <= stocks[-1])
    off = np.where(inside, 2 * share * (1 - share) * np.diff(stocks)[np.minimum(lower, count - 2)], 0.0)
    return StockModel(joint, paid, stocks, off.max())


def _places(grid: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the place below each value and the share of the place above, in float64; what is as good as on a place is on it."""
    lower = np.clip(np.searchsorted(grid, value, side="right") - 1, 0, len(grid) - 2)
    share = np.clip((value - grid[lower]) / (grid[lower + 1] - grid[lower]), 0.0, 1.0)
    rounded = np.round(share)
    return lower, np.where(np.abs(share - rounded) < 1e-9, rounded, share)


def optimal_cvar(model: TabularModel, atoms: Any, level: float, gamma: float = 1.0, thresholds: Any = None) -> RiskPlan:
    """Returns the policy with the best conditional value at risk of the return, among all that remember what they earned.

    On the host in float64. Memory: about 200 X M A K bytes for M atoms, 24 X M^2 A K for the law.

    Args:
        model: the environment's tables, with one reward (no agent axis).
        atoms: float[N], rising: a grid that covers all returns, from whatever state. The stocks are their negatives. With gamma =
            1 the answer is exact if all rewards are sums of steps of the grid.
        level: tau in (0, 1]: the share of the worst returns whose mean counts; 1 is the ordinary expectation.
        gamma: discount in (0, 1]. At 1 every policy must end the episode or come to where nothing is paid.
        thresholds: the indices int[B] of atoms that are tried for b, by default all.

    Raises:
        ConfigError: a number is out of range, a possible return lies beyond the atoms, or as ``stock_augmented``.
        EnvError: as ``stock_augmented``.
    """
    where = "optimal_cvar"
    require_number(where, "level", level, 0, 1, "0.1 is common.", above=True)
    require_support(where, atoms)
    require_one_reward(where, model)
    atoms = np.asarray(atoms, np.float64)
    _require_covered(where, model, atoms, gamma)
    joint, count = stock_augmented(model, -atoms[::-1], gamma), len(atoms)
    for place in () if thresholds is None else require_real(where, "thresholds", thresholds, "Count from 0.").reshape(-1):
        require_index(where, "each threshold", place, count)
    require(thresholds is None or np.size(thresholds) > 0, where, "there must be a threshold to try", 0, "None tries all.")
    best = host.solve(dataclasses.replace(joint.model, reward=joint.utility), gamma)
    worth = np.asarray(model.initial) @ np.asarray(best.value).reshape(-1, count) + shortfall(joint.stocks)  # [M], by -b
    objective = atoms + worth[::-1] / level
    tried = np.arange(count) if thresholds is None else np.asarray(thresholds)
    index = int(tried[objective[tried].argmax()])
    policy = np.eye(model.num_actions)[best.action_value.argmax(-1)]
    begins = np.eye(count)[count - 1 - index]
    joint_model = dataclasses.replace(joint.model, initial=np.kron(np.asarray(model.initial), begins))
    rounded = float(joint.rounding) * gamma / (1 - gamma) if gamma < 1 else 0.0  # the host's own bound is infinite at 1
    with jax.enable_x64(True):
        laws = distributional_evaluation(joint_model, policy, gamma, atoms, 0.0)
        law = np.asarray(laws.start_law(joint_model))
        achieved = float(tail_mean(atoms, law, level))
    return RiskPlan(
        value=np.asarray(objective[index]),
        threshold=np.asarray(atoms[index]),
        policy=policy.reshape(-1, count, model.num_actions),
        stocks=joint.stocks,
        law=law,
        atoms=atoms,
        gap=np.maximum(np.abs(objective[index] - achieved), laws.mean_residual),
        error_bound=(np.asarray(best.error_bound) + rounded) / level,
        exact=np.asarray(joint.rounding == 0),
        converged=np.asarray(bool(best.converged) and bool(laws.converged)),
    )


def _require_covered(where: str, model: TabularModel, atoms: np.ndarray, gamma: float) -> None:
    """Raises ConfigError if a return that is possible from some state lies beyond the atoms."""
    possible = np.asarray(model.probability) > 0
    for sign, end, name in ((1.0, atoms[-1], "largest"), (-1.0, -atoms[0], "smallest")):
        most = host.solve(_outcomes_as_actions(model, possible, sign), gamma)
        furthest = float(np.max(most.value)) if bool(most.converged) else np.inf
        fits = furthest <= end + 1e-9 * max(abs(end), 1.0)
        must, fix = f"the atoms must cover the {name} return from every state", "Widen the grid, or shorten the episode."
        require(fits, where, must, sign * furthest + 0.0, fix)


def _outcomes_as_actions(model: TabularModel, possible: np.ndarray, sign: float) -> TabularModel:
    """Returns the model in which the outcome of an action can be chosen, [X, A K, 1], with rewards times ``sign``."""
    shape = (model.num_states, -1, 1)
    mask = (possible & np.asarray(model.action_mask)[..., None]).reshape(shape[:2])
    parts = {name: np.asarray(getattr(model, name)).reshape(shape) for name in ("next_state", "terminated")}
    reward = sign * np.where(mask[..., None], np.asarray(model.reward, np.float64).reshape(shape), 0.0)
    alone = {"probability": np.ones(reward.shape), "action_mask": mask, "joint_shape": mask.shape[1:]}
    return dataclasses.replace(model, **parts, reward=reward, **alone)
