"""Incremental worst-case search (IWOCS): a robust problem as a sequence of ordinary ones.

    T_1 <- the nominal model
    for n = 1, 2, ...
        Q_n     <- the optimal action values of T_n, an ordinary problem
        pi(x)   <- argmax_a min_{i <= n} Q_i(x, a)
        T_{n+1} <- the model that is worst for pi
        stop if pi is worth as much in T_{n+1} as the candidates promise

The candidates promise too much and the policy is sure of too little: max_a min_i Q_i is at least the robust optimum, since each
Q_i is the best against one model that the adversary may choose, and the value of pi against its worst model is at most that
optimum. The difference, ``gap``, is a certificate, whatever led there.

If the adversary chooses anew in every state, as in ``robust``, the worst model of a policy is the same for all starts. If it
chooses one model for the whole process, such as a wind that blows everywhere alike, the gap need not close.

Source: Zouitine, Bertoin, Clavier, Geist and Rachelson (2024), "Solving robust MDPs as a sequence of static RL problems",
algorithm 1.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxrl.core.finite import TabularModel
from jaxrl.errors import SolverError, require, require_count, require_discount, require_tolerance
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.policy_iteration import policy_iteration
from jaxrl.solvers.mdp.problem import require_one_reward
from jaxrl.solvers.mdp.robust import require_radius, robust_evaluation

ROUNDING = 64 * float(np.finfo(np.float64).eps)  # relative to the horizon and the largest value


class WorstCases(NamedTuple):
    """The result of a search, in NumPy float64.

    policy: float64[X, A], deterministic, the first action among equals.
    value: float64[X], what the policy is worth in the model that is worst for it.
    promises: float64[n], the expectation of max_a min_i Q_i in the first state with 1, 2, ..., n models.
    models: T_1 .. T_n.
    gap: float64[], the last promise less the worth of the policy in the first state: how far the policy can be from the robust
        optimum there.
    converged: bool[], whether the gap is as small as asked for.
    """

    policy: np.ndarray
    value: np.ndarray
    promises: np.ndarray
    models: tuple[TabularModel, ...]
    gap: np.ndarray
    converged: np.ndarray


def incremental_worst_cases(
    model: TabularModel,
    gamma: float,
    radius: Any,
    adversary: str = "total_variation",
    tolerance: float = 1e-9,
    max_models: int = 100,
) -> WorstCases:
    """Searches against an adversary who chooses anew for every state and action, in float64 on the host.

    Args:
        model: the nominal environment's tables, with one reward (no agent axis); its initial distribution weighs the gap.
        gamma: discount in [0, 1).
        radius, adversary: see ``robust_value_iteration``. One of the "candidates" must be the nominal model itself.
        tolerance: the gap to accept, relative to the largest action value; where the precision cannot tell it, the limit of the
            precision.
        max_models: an end.

    Raises:
        ConfigError: gamma lies outside [0, 1), or another number is out of range. UnknownNameError: there is no such adversary.
        EnvError: the model has a reward for each of several agents, or its tables are unsound.
        SolverError: as ``worst_case_search``.
    """
    where = "incremental_worst_cases"

    def worst(policy: np.ndarray) -> TabularModel:
        found = robust_evaluation(model, policy, gamma, radius, adversary, 0.0)
        _require_converged(where, "the robust value of a policy", found.policy_value)
        return dataclasses.replace(model, probability=np.asarray(found.worst))

    require_one_reward(where, model)
    tables = require_radius(where, model, radius, adversary)
    if adversary == "candidates":
        listed = any(np.array_equal(model.probability, one) for one in tables)
        require(listed, where, "one of the candidates must be the nominal model", "none", "Add model.probability.")
    return worst_case_search(model, gamma, worst, tolerance, max_models)


def worst_case_search(
    model: TabularModel,
    gamma: float,
    worst: Callable[[np.ndarray], TabularModel],
    tolerance: float = 1e-9,
    max_models: int = 100,
) -> WorstCases:
    """Searches against any adversary, in float64 on the host.

    Args:
        model, gamma, tolerance, max_models: as for ``incremental_worst_cases``.
        worst: ``(policy float64[X, A]) -> model``: the tables that are worst for the policy, of the shape of ``model``. The gap
            is a certificate only if no model that may be chosen is worse.

    Raises:
        ConfigError, EnvError: as ``incremental_worst_cases``.
        SolverError: an ordinary problem did not converge, or a policy is worth more in its worst model than the models so far
            promise: then one of them may not be chosen, or ``worst`` does not return the worst.
    """
    where = "worst_case_search"
    require_discount(where, gamma, below_one=True)
    require_tolerance(where, tolerance)
    require_count(where, "max_models", max_models)
    models, promises, lowest = [model], [], None
    initial = np.asarray(model.initial)
    with jax.enable_x64(True):
        while True:
            solution = policy_iteration(models[-1], gamma)
            _require_converged(where, "each ordinary problem", solution)
            values = np.asarray(solution.action_value)
            lowest = values if lowest is None else np.minimum(lowest, values)
            promises.append(initial @ lowest.max(-1))
            policy = np.eye(model.num_actions)[lowest.argmax(-1)]
            found = worst(policy)
            value = np.asarray(host.evaluate(found, policy, gamma).value)
            gap = promises[-1] - initial @ value
            size = max(np.abs(value).max(), np.abs(lowest[np.isfinite(lowest)]).max())
            rounding = ROUNDING / (1 - gamma) * size
            fix = "Let worst return the worst of them."
            require(bool(gap >= -rounding), where, "no model may promise less than a policy is sure of", gap, fix, SolverError)
            close = gap <= max(tolerance * size, rounding)
            if close or len(models) == max_models or _listed(found, models):
                break
            models.append(found)
    return WorstCases(policy, value, np.asarray(promises), tuple(models), np.asarray(gap), np.asarray(close))


def _listed(model: TabularModel, models: list[TabularModel]) -> bool:
    """Returns whether a model is one of a list already, so that another round would change nothing."""
    names = "next_state", "probability", "reward", "terminated"
    return any(all(np.array_equal(getattr(model, name), getattr(one, name)) for name in names) for one in models)


def _require_converged(where: str, what: str, found: Any) -> None:
    fix = "Lower gamma."
    require(bool(found.converged), where, f"{what} must converge", f"a residual of {found.residual:g}", fix, SolverError)
