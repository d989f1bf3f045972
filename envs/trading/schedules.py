"""Execution schedules, how many lots to sell at each of T steps, and what they cost. On the host, in float64.

With mid prices S' = S - k_t v + noise and fills S - h_t v, selling v_1 .. v_T with sum X costs on average

    C(v) = sum_t h_t v_t^2 + sum_t k_t v_t (v_{t+1} + ... + v_T)

whatever the noise. For constant k the second sum is k/2 (X^2 - sum v^2), so the effective impact is h_t - k/2 and the optimum
sells in proportion to 1 / (h_t - k/2). In general C is a quadratic form.

Source: Almgren and Chriss (2001); the closed form follows by Lagrange's rule.
"""

import numpy as np

from jaxrl.errors import SolverError, require

_GAP = 1e-5  # of the cost, by which a schedule may miss the optimum


def twap(lots: float, num_steps: int) -> np.ndarray:
    """Returns the schedule that sells the same at every step (time-weighted average price), float64[T]."""
    return np.full(num_steps, lots / num_steps)


def front_loaded(lots: float, num_steps: int, rate: float = 0.3) -> np.ndarray:
    """Returns the schedule that sells in proportion to exp(-rate t), float64[T]."""
    share = np.exp(-rate * np.arange(num_steps))
    return lots * share / share.sum()


def closed_form(lots: float, temporary: np.ndarray, permanent: float) -> np.ndarray:
    """Returns the optimal schedule for constant permanent impact, v_t proportional to 1 / (h_t - k/2), float64[T].

    Raises:
        ConfigError: some h_t does not exceed k/2: it would then be best to sell everything at once.
    """
    effective = np.asarray(temporary, np.float64) - permanent / 2
    must = "every temporary impact must exceed half the permanent one"
    require(
        bool((effective > 0).all()), "closed_form", must, float(effective.min()), "Use optimal, which is not limited to that."
    )
    return lots / effective / (1 / effective).sum()


def cost_matrix(temporary: np.ndarray, permanent: np.ndarray) -> np.ndarray:
    """Returns the symmetric M with C(v) = v' M v, float64[T, T]."""
    temporary, permanent = np.asarray(temporary, np.float64), np.asarray(permanent, np.float64)
    later = np.triu(np.repeat(permanent[:, None], len(permanent), 1), 1)
    return np.diag(temporary) + (later + later.T) / 2


def cost(schedule: np.ndarray, temporary: np.ndarray, permanent: np.ndarray) -> float:
    """Returns the expected implementation shortfall C(v) of a schedule, quote currency."""
    return float(schedule @ cost_matrix(temporary, permanent) @ schedule)


def cost_so_far(schedule: np.ndarray, temporary: np.ndarray, permanent: np.ndarray) -> np.ndarray:
    """Returns the expected cost of the sales up to each step, float64[T], lots left at the mid price; the last is C(v)."""
    schedule, temporary, permanent = (np.asarray(row, np.float64) for row in (schedule, temporary, permanent))
    left = schedule.sum() - np.cumsum(schedule)
    return np.cumsum(temporary * schedule**2 + permanent * schedule * left)


def optimal(lots: float, temporary: np.ndarray, permanent: np.ndarray) -> np.ndarray:
    """Returns the schedule without purchases that minimises C(v), by quadratic programming, float64[T].

    Args:
        lots: X. temporary, permanent: float[T], mean impacts of each step.

    Raises:
        ConfigError: C is not convex, so that the optimum found might not be the best.
        SolverError: none is found to a hundred-thousandth of its cost.
    """
    from scipy import optimize

    matrix = cost_matrix(temporary, permanent)
    curvature = float(np.linalg.eigvalsh(matrix).min())
    require(
        curvature > 0, "schedules.optimal", "the cost must be convex", curvature, "Lower permanent, or raise temporary, impact."
    )
    scale = matrix.max()
    found = optimize.minimize(
        lambda share: share @ matrix @ share / scale,
        np.full(len(matrix), 1 / len(matrix)),
        jac=lambda share: 2 * matrix @ share / scale,
        bounds=[(0, 1)] * len(matrix),
        constraints={"type": "eq", "fun": lambda share: share.sum() - 1, "jac": np.ones_like},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    share = found.x / found.x.sum()
    # No schedule is cheaper by more than the linear bound (Frank and Wolfe 1956) at this one.
    slope = 2 * matrix @ share
    gap = (slope @ share - slope.min()) / (share @ matrix @ share)
    require(
        gap <= _GAP,
        "schedules.optimal",
        f"the optimum must be found to within {_GAP:g}",
        gap,
        "Rescale the impacts.",
        SolverError,
    )
    return lots * share


def optimal_lots(lots: int, temporary: np.ndarray, permanent: np.ndarray) -> np.ndarray:
    """Returns the best schedule in whole lots, int64[T], by dynamic programming over step and inventory."""
    temporary, permanent = np.asarray(temporary, np.float64), np.asarray(permanent, np.float64)
    held, sold = np.arange(lots + 1)[:, None], np.arange(lots + 1)[None]
    beyond = np.where(np.arange(lots + 1) > 0, np.inf, 0.0)  # nothing may be left
    choices = []
    for h, k in zip(temporary[::-1], permanent[::-1], strict=True):
        left = held - sold
        value = h * sold**2 + k * sold * left + beyond[np.maximum(left, 0)]
        value = np.where(left >= 0, value, np.inf)
        choices.append(value.argmin(1))
        beyond = value.min(1)
    schedule = []
    for choice in reversed(choices):
        schedule.append(int(choice[lots - sum(schedule)]))
    return np.asarray(schedule)


def in_whole_lots(lots: int, temporary: np.ndarray, permanent: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the schedules that a learner is compared with, int64[T] each; the last one is the best of them all.

    Args:
        lots: X. temporary, permanent: float[T], mean impacts of each step.
    """
    return {
        "equal sales": whole_lots(twap(lots, len(temporary))),
        "front-loaded": whole_lots(front_loaded(lots, len(temporary))),
        "best whole lots": optimal_lots(lots, temporary, permanent),
    }


def whole_lots(schedule: np.ndarray) -> np.ndarray:
    """Rounds a schedule to whole lots with the same total, int64[T]: at each step the cumulative sales are rounded."""
    return np.diff(np.round(np.cumsum(schedule)), prepend=0).astype(np.int64)
