"""Exact solution of one model at a time, of up to millions of states, on the host in float64.

Transitions are sparse matrices. Values are swept, and in between the greedy policy is evaluated: by a direct solver where states
are few, by a Krylov method where they are many. Such a value is only kept if it is that of the policy, or misses the optimality
equation by half as much as the one before. So discounts close to 1 take no more than a few policies, and every answer carries a
bound of its error.

A sweep, and a step of a Krylov method, carries values on by one transition. Where states are many and a long way from each other,
as in a large gridworld, the first policy therefore heads for the rewards along shortest paths, if that is no bad start, and the
Krylov method is preconditioned by an incomplete factorisation in the order of the values, in which almost all transitions lead to
earlier states.

Source: Puterman (1994), section 6.5 (modified policy iteration); Gargiani et al. (2024), "Inexact Policy Iteration Methods for
Large-Scale Markov Decision Processes", algorithm 1; Saad (2003), "Iterative Methods for Sparse Linear Systems", section 10.4
(incomplete factorisation with a threshold).
"""

from typing import Any

import numpy as np

from jaxrl.core.finite import TabularModel
from jaxrl.errors import require, require_count, require_discount, require_tolerance
from jaxrl.solvers.fixed_point import MAX_SWEEPS
from jaxrl.solvers.mdp.endless import closed, refuse, require_values
from jaxrl.solvers.mdp.problem import require_policy
from jaxrl.solvers.mdp.solution import PolicyValue, Solution
from jaxrl.solvers.mdp.sparse import EPSILON, SparseModel, csr

TOLERANCE = 1e-12  # of the error, relative to the largest value, as far as the precision goes
DIRECT_STATES = 2_000  # up to which a policy is evaluated by factorising its matrix; random transitions fill the factors
FAR = 64  # transitions: states that are at least so far apart are a long way from each other
FIRST_SWEEPS = 8  # before the first policy is evaluated; doubled whenever that brings little
EFFORT = 4  # products of a Krylov method for each sweep
MOST_OPERATIONS = 1e12  # of sweeps without discount, which nothing speeds up: less than an hour


def solve(model: TabularModel, gamma: float, tolerance: float = TOLERANCE, max_sweeps: int = MAX_SWEEPS) -> Solution:
    """Returns the optimal value of every state.

    Args:
        model: the environment's tables, with one reward (no agent axis).
        gamma: discount in [0, 1].
        tolerance: the error to accept, relative to the largest value; where the precision cannot tell it, the limit of the
            precision. At gamma = 1, the last change of a sweep.
        max_sweeps: an end for problems without discount that do not converge.

    Returns:
        The solution in NumPy float64.

    Raises:
        ConfigError: gamma lies outside [0, 1], it is 1 although some policy earns for ever, or every one goes on being paid, the
            tolerance is negative, ``max_sweeps`` is no integer of at least 1, or the model is too large for the memory of this
            machine.
        EnvError: the tables do not fit together, or have a reward for each of several agents.
    """
    where = "host.solve"
    require_discount(where, gamma)
    require_tolerance(where, tolerance)
    require_count(where, "max_sweeps", max_sweeps)
    problem = SparseModel.of(where, model)
    require_values(where, model, gamma)
    most = max_sweeps if gamma < 1 else int(min(max_sweeps, max(1e4, MOST_OPERATIONS / max(problem.transition.nnz, 1))))
    value, sweeps, patience, action = _first_guess(problem, gamma), 0, FIRST_SWEEPS, None
    while True:
        value, values, residual, count, settled = _swept(problem, gamma, value, min(patience, most - sweeps), tolerance)
        sweeps += count
        if settled or sweeps >= most or not np.isfinite(residual):
            break
        if gamma == 1:
            patience *= 2
            continue
        before, action = action, _greedy(problem, values, action)
        better, halved, found = _value_of(problem, gamma, value, action, EFFORT * patience, residual)
        # The value of a policy that is the same again only has more rounding in it than what was swept.
        value = better if halved or (found and (before is None or (before != action).any())) else value
        patience = patience if halved else 2 * patience
    size = np.abs(value).max()
    rounding = problem.rounding(values, size)
    bound = (gamma * residual + rounding) / (1 - gamma) if gamma < 1 else np.inf
    found: Any = tuple(np.asarray(part) for part in (value, values, np.int32(sweeps), residual, bound, settled))
    return Solution(*found)


def finite_horizon(model: TabularModel, gamma: float, num_steps: int) -> np.ndarray:
    """Returns the value of every state to a planner who has so many steps left, float64[X], exact but for rounding.

    Args:
        model: the environment's tables, with one reward (no agent axis).
        gamma: discount in [0, 1].
        num_steps: after which nothing is paid, at least 0.

    Raises:
        ConfigError, EnvError: as for ``solve``; or ``num_steps`` is no integer of at least 0.
    """
    where = "host.finite_horizon"
    require_discount(where, gamma)
    require_count(where, "num_steps", num_steps, 0)
    problem = SparseModel.of(where, model)
    value = np.zeros(len(problem.mask))
    for _ in range(num_steps):
        previous, value = value, problem.action_values(value, gamma).max(-1)
        if np.array_equal(previous, value):
            break  # and so would all steps before
    return value


def require_solved(where: str, model: TabularModel, solution: Solution, gamma: float) -> None:
    """Raises ConfigError unless a solution has converged, and its error is small beside its values or the rewards.

    Args:
        where: who asks.
        model: what was solved.
        solution: what ``solve`` returned.
        gamma: the discount in it.
    """
    paid = np.where(np.asarray(model.probability) > 0, np.asarray(model.reward), 0.0)
    size = max(float(np.abs(solution.value).max()), float(np.abs(paid).max()))
    found = f"a residual of {float(solution.residual):g} after {int(solution.iterations)} sweeps at gamma = {gamma:g}"
    fix = "Lower gamma, or let every episode end."
    require(bool(solution.converged), where, "the optimum must converge", found, fix)
    accurate = gamma == 1 or float(solution.error_bound) <= 1e-4 * size
    require(accurate, where, "the optimum must be accurate to 1e-4", f"{float(solution.error_bound):g} of {size:g}", fix)


def _first_guess(problem: SparseModel, gamma: float) -> np.ndarray:
    """Returns values that rise towards the rewards, float64[X]; zeros where states are few or near, or nothing is discounted.

    The value of the best reward that can come next, if every transition led where the agent would like it to: the largest over
    all s' of gamma^d(s, s') u(s'), with the number of transitions d from s to s' and the best reward u. All rewards are raised
    so that none is negative; then an episode that ends misses the raise for ever after, which counts as a reward of its end.
    """
    from scipy import sparse

    states, actions = problem.mask.shape
    if states <= DIRECT_STATES or not 0 < gamma < 1:
        return np.zeros(states)
    legal = problem.mask.reshape(-1)
    lowest = min(float(problem.reward[legal].min()), 0.0) / (1 - gamma)  # of a state that pays the lowest reward for ever
    ends = np.maximum(1 - np.asarray(problem.transition.sum(1))[:, 0], 0.0)
    best = np.where(legal, problem.reward - (1 - gamma) * lowest - gamma * ends * lowest, 0.0).reshape(problem.mask.shape).max(-1)
    paid = np.flatnonzero(best > 0)
    if not len(paid):
        return np.full(states, lowest)
    entries = np.ones(legal.sum()), np.flatnonzero(legal), np.append(0, problem.mask.sum(1).cumsum())
    any_action = sparse.csr_matrix(entries, shape=(states, states * actions)) @ problem.transition
    if not _are_far_apart(any_action, best >= best.max() / 2):
        return np.zeros(states)
    # Shortest paths, from a node of its own to where rewards are and then against the transitions, in -log(value).
    length = 1.0 + np.log(best.max() / best[paid])
    every = problem.transition[np.flatnonzero(legal)].tocoo()
    source = np.flatnonzero(legal)[every.row] // actions
    rows, columns = np.append(every.col, np.full(len(paid), states)), np.append(source, paid)
    lengths = np.append(np.full(every.nnz, -np.log(gamma)), length)
    # Between two states there may be several transitions, all of one length, which a csr matrix would add up.
    keep = np.unique(rows.astype(np.int64) * (states + 1) + columns, return_index=True)[1]
    graph = sparse.csr_matrix((lengths[keep], (rows[keep], columns[keep])), shape=(states + 1, states + 1))
    away = sparse.csgraph.dijkstra(graph, indices=states)[:states] - 1.0
    guess, zeros = best.max() * np.exp(-away) + lowest, np.zeros(states)
    # One large fine, for example, puts all values far from where they end.
    missed, of_zeros = (np.abs(problem.action_values(value, gamma).max(-1) - value).max() for value in (guess, zeros))
    return guess if missed <= 10 * of_zeros else zeros


def _swept(problem: SparseModel, gamma: float, value: np.ndarray, count: int, tolerance: float) -> tuple:
    """Sweeps ``count`` times, or until settled. Returns the value, its action values, the last change, the count, and whether."""
    share = (1 - gamma) / gamma if 0 < gamma < 1 else 1.0
    values, most = problem.action_values(value, gamma), float(problem.absolute.max())
    for done in range(1, count + 1):
        new = values.max(-1)
        residual, size = float(np.abs(new - value).max()), float(np.abs(new).max())
        limit = max(tolerance * share * size, 2 * EPSILON * (most + size))
        if residual <= limit:  # only now is it worth to ask which rewards count
            limit = max(tolerance * share * size, 2 * EPSILON * (problem.deciding(values) + size))
        value, values = new, problem.action_values(new, gamma)
        if not residual > limit:
            return value, values, residual, done, bool(np.isfinite(residual))
    return value, values, residual, count, False


def _greedy(problem: SparseModel, values: np.ndarray, before: np.ndarray | None) -> np.ndarray:
    """Returns the best actions, int[X]; an action of ``before`` stays unless another is better by more than rounding.

    Otherwise rounding chooses among actions that are alike, anew each time, and no policy is the last.
    """
    best = values.argmax(-1)
    if before is None:
        return best
    rows = np.arange(len(best))
    rounding = 8 * EPSILON * (np.abs(values[rows, best]) + problem.absolute.reshape(values.shape)[rows, best])
    return np.where(values[rows, before] >= values[rows, best] - rounding, before, best)


def _value_of(
    problem: SparseModel, gamma: float, start: np.ndarray, action: np.ndarray, effort: int, residual: float
) -> tuple[np.ndarray, bool, bool]:
    """Evaluates a policy.

    Returns:
        Its value, whether that halves the residual of the optimality equation, and whether it is found: up to a thousandth of
        the residual. NaN does neither.
    """
    transition, reward = problem.of_policy(action)
    value = _linear(transition, reward, gamma, start, effort, heading=True)
    missed = np.abs(reward + gamma * (transition @ value) - value).max()
    halved = np.abs(problem.action_values(value, gamma).max(-1) - value).max() <= residual / 2
    return value, bool(halved), bool(missed <= 1e-3 * residual)


def _linear(
    transition: Any, reward: np.ndarray, gamma: float, start: np.ndarray, effort: int, heading: bool = False
) -> np.ndarray:
    """Solves v = reward + gamma transition v, approximately where states are many, with ``effort`` products of the matrix.

    Args:
        heading: whether most transitions lead to states of a larger ``start``. Then the incomplete factorisation is cheap, and
            is not left for the case that nothing else helps.

    Returns:
        float64[X], possibly not finite: the caller checks it.
    """
    import scipy.sparse.linalg as linalg
    from scipy import sparse

    system = sparse.identity(len(reward), format="csr") - gamma * transition
    with np.errstate(all="ignore"):
        if len(reward) > DIRECT_STATES:
            return _krylov(system, reward, start, effort, heading)
        try:
            factors = linalg.splu(system.tocsc())
        except RuntimeError:  # exactly singular
            return np.full_like(reward, np.nan)
        value = factors.solve(reward)
        return value + factors.solve(reward - system @ value)  # refined once


def _krylov(system: Any, reward: np.ndarray, start: np.ndarray, effort: int, heading: bool) -> np.ndarray:
    """Solves ``system`` v = reward approximately; see ``_linear``."""
    import scipy.sparse.linalg as linalg

    def far() -> bool:
        return _are_far_apart(system, start >= np.quantile(start, 0.99))

    def missing(guess: np.ndarray) -> float:
        return float(np.abs(reward - system @ guess).max())

    options: Any = dict(rtol=1e-3 * EPSILON, atol=0.0, maxiter=max(1, effort // 2))
    if not (heading and far()):
        value = linalg.bicgstab(system, reward, x0=start, **options)[0]
        if heading or missing(value) <= missing(start) / 2 or not far():
            return value
    order = np.argsort(-start, kind="stable")
    ordered, value = system[order][:, order].tocsc(), np.empty_like(reward)
    try:
        factors = linalg.spilu(ordered, drop_tol=1e-3, fill_factor=5, permc_spec="NATURAL", diag_pivot_thresh=0.0)
    except RuntimeError:  # exactly singular
        return np.full_like(reward, np.nan)
    operator: Any = linalg.LinearOperator
    inverse = operator(system.shape, matvec=factors.solve, dtype=np.float64)
    value[order] = linalg.bicgstab(ordered, reward[order], x0=start[order], M=inverse, **options)[0]
    return value


def _are_far_apart(transition: Any, ends: np.ndarray) -> bool:
    """Returns whether there are states from which it takes at least ``FAR`` transitions to the nearest of ``ends``, bool[X].

    States that never come there do not count.
    """
    leads, reached = abs(transition), ends.astype(np.float64)
    for _ in range(FAR):
        before = np.count_nonzero(reached)
        reached = ((reached > 0) | (leads @ reached > 0)).astype(np.float64)
        if np.count_nonzero(reached) == before:
            return False
    return True


def evaluate(model: TabularModel, policy: Any, gamma: float) -> PolicyValue:
    """Returns what a policy is worth in every state.

    Args:
        model: the environment's tables, with one reward (no agent axis).
        policy: float[X, A], probabilities of the actions.
        gamma: discount in [0, 1]. At 1 the policy must end the episode from every state, or come to where nothing is paid.

    Returns:
        The value in NumPy float64.

    Raises:
        ConfigError: gamma lies outside [0, 1], a row of the policy is no distribution, the policy earns or loses for ever
            without discount, or the model is too large for the memory of this machine.
        EnvError: the tables do not fit together, or have a reward for each of several agents.
    """
    where = "host.evaluate"
    require_discount(where, gamma)
    problem = SparseModel.of(where, model)
    states, actions = problem.mask.shape
    require_policy(where, policy, (states, actions), model.action_mask)
    policy = np.asarray(policy, np.float64)
    policy = policy / policy.sum(-1, keepdims=True)
    chosen = csr(policy, np.arange(states * actions), states * actions)
    transition, reward = (chosen @ problem.transition).tocsr(), chosen @ problem.reward
    if gamma == 1:
        transition = _without_rest(where, transition, reward)
    resolution = (2 + problem.terms * actions / 2) * EPSILON
    largest = float((chosen @ problem.absolute).max())
    value, residual, settled = _refined(transition, reward, gamma, largest, resolution)
    rounding = resolution * (largest + np.abs(value).max())
    norm = 1 / (1 - gamma) if gamma < 1 else _longest(transition, resolution)
    bound = norm * (residual + rounding)
    found: Any = tuple(np.asarray(part) for part in (value, residual, bound, settled))
    return PolicyValue(*found)


def _without_rest(where: str, transition: Any, reward: np.ndarray) -> Any:
    """Ends the chain where it would stay for ever without being paid; raises ConfigError where it is paid for ever."""
    from scipy import sparse

    rest = closed(transition, np.arange(len(reward)), np.ones(len(reward), bool))
    paid = np.flatnonzero(rest & (reward != 0))
    if len(paid):
        refuse(where, paid[0])
    return (sparse.diags((~rest).astype(float)) @ transition).tocsr()


def _refined(
    transition: Any, reward: np.ndarray, gamma: float, largest: float, resolution: float
) -> tuple[np.ndarray, float, bool]:
    """Solves v = reward + gamma transition v. Returns the value, by how much it misses, and whether that is only rounding."""
    value, effort, total = np.zeros_like(reward), EFFORT * FIRST_SWEEPS, 0

    def missing(guess: np.ndarray) -> float:
        return float(np.abs(reward + gamma * (transition @ guess) - guess).max())

    residual = missing(value)
    while residual > resolution * (largest + np.abs(value).max()) and total < MAX_SWEEPS:
        better = _linear(transition, reward, gamma, value, effort)
        found = missing(better)
        if found <= residual / 2:
            value, residual = better, found
        else:
            for _ in range(effort):
                value = reward + gamma * (transition @ value)
            residual = missing(value)
        total, effort = total + effort, 2 * effort
    return value, residual, bool(residual <= resolution * (largest + np.abs(value).max()))


def _longest(transition: Any, resolution: float) -> float:
    """Bounds the expected number of steps of a chain that ends, from any state; infinite if that cannot be shown."""
    ones = np.ones(transition.shape[0])
    steps, residual, _ = _refined(transition, ones, 1.0, 1.0, resolution)
    return float(steps.max() / (1 - residual)) if residual < 1 and steps.min() >= 0 else np.inf
