"""The Whittle index of an arm of a restless bandit, exact where the arm is indexable, on the host in float64.

An arm alone is a decision process with two actions, to leave it (0) or to act on it (1). Leaving it is paid a subsidy on top. The
index of a state is the subsidy at which both actions are equally good there. It exists if the set of states in which leaving the
arm is optimal only grows with the subsidy: the arm is then indexable, and the index policy acts on the arms with the largest.

The value of every deterministic policy is a straight line in the subsidy, and so the optimal value is the upper envelope of 2^n
lines. Their crossings are all the subsidies at which anything can change; between two of them one look decides.

Source: Whittle (1988), sections 3 and 4; Weber and Weiss (1990).
"""

import itertools
from typing import Any, NamedTuple

import numpy as np

from jaxrl.errors import SolverError, require, require_distribution, require_finite

MAX_STATES = 6  # 64 policies and their crossings


class WhittleIndex(NamedTuple):
    """The index of an arm.

    index: float64[n], of each state, in units of the reward; NaN in all if the arm is not indexable.
    indexable: whether the index exists.
    residual: float64[n], by how much acting differs from leaving where the subsidy is the index: 0 up to rounding.
    """

    index: np.ndarray
    indexable: bool
    residual: np.ndarray


def _lines(transition: np.ndarray, reward: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the value of every deterministic policy as ``base + subsidy * slope``, float64[2^n, n] each."""
    n = reward.shape[1]
    action = np.array(list(itertools.product((0, 1), repeat=n)))
    state = np.arange(n)
    matrix = np.eye(n) - gamma * transition[action, state]
    pays = np.stack([reward[action, state], 1.0 - action], axis=-1)
    value = np.linalg.solve(matrix, pays)
    return value[..., 0], value[..., 1]


def _crossings(base: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Returns the subsidies at which the lines of two policies cross in some state, in order and each once."""
    first, second = np.triu_indices(len(base), 1)
    closing = slope[first] - slope[second]
    cross = np.abs(closing) > 1e-12 * np.abs(slope).max()
    found = np.sort((base[second] - base[first])[cross] / closing[cross])
    apart = np.diff(found, prepend=-np.inf) > 1e-10 * (1 + np.abs(found))
    return found[apart]


def whittle_index(transition: Any, reward: Any, gamma: float) -> WhittleIndex:
    """Computes the Whittle index of every state of one arm, for the discounted criterion.

    Args:
        transition: float[2, n, n], the probability of each next state by action (0 leaves the arm, 1 acts on it) and state.
        reward: float[2, n], by action and state.
        gamma: discount in (0, 1).

    Raises:
        ConfigError: shapes do not fit, rows are no distributions, gamma is out of range, or n exceeds ``MAX_STATES``.
        SolverError: rounding hides the index of a state.
    """
    where = "whittle_index"
    p, r = np.asarray(transition, np.float64), np.asarray(reward, np.float64)
    fits = r.ndim == 2 and r.shape[0] == 2 and p.shape == (*r.shape, r.shape[1])
    require(fits, where, "transition must be [2, n, n] and reward [2, n]", (p.shape, r.shape), "Check their shapes.")
    fix = "Make it sum to 1."
    p = require_distribution(where, "every row of transition", p, fix, tolerance=1e-6)
    require_finite(where, "reward", r)
    require(0 < gamma < 1, where, "gamma must lie in (0, 1)", gamma, "0.95 is a usual discount.")
    n = r.shape[1]
    require(n <= MAX_STATES, where, f"an arm must have at most {MAX_STATES} states", n, "All its policies are enumerated.")
    p = p / p.sum(-1, keepdims=True)
    unit = np.ptp(r) or 1.0  # the index does not change by what is paid for both actions, and is in proportion to the rest
    paid = (r - r.min()) / unit
    base, slope = _lines(p, paid, gamma)
    changes = _crossings(base, slope)
    looks = np.concatenate([[changes[0] - 1], (changes[1:] + changes[:-1]) / 2, [changes[-1] + 1]])
    gain, value = _gain_of_leaving(looks, base, slope, p, paid, gamma)
    passive = gain > -1e-9 * (1 + np.abs(value))
    # Below the first crossing acting is optimal everywhere, above the last one leaving is: only the way between can be wrong.
    if (passive[:-1] & ~passive[1:]).any():
        return WhittleIndex(np.full(n, np.nan), False, np.full(n, np.nan))
    index = changes[passive.argmax(0) - 1]
    gain, value = _gain_of_leaving(index, base, slope, p, paid, gamma)
    residual = np.abs(np.diagonal(gain))
    accepted = 1e-6 * (np.abs(index) + np.abs(paid[1] - paid[0])) + 64 * np.finfo(np.float64).eps * np.abs(value).max()
    must, fix = "both actions must be equally good at the index", "Bring the rewards to similar sizes, or lower gamma."
    require(bool((residual <= accepted).all()), where, must, (unit * residual).tolist(), fix, SolverError)
    return WhittleIndex(unit * index, True, unit * residual)


def _gain_of_leaving(
    subsidy: np.ndarray, base: np.ndarray, slope: np.ndarray, transition: np.ndarray, reward: np.ndarray, gamma: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns how much better leaving is than acting, and the optimal value, at each of L subsidies, float64[L, n] each."""
    value = (base + subsidy[:, None, None] * slope).max(1)
    leave, act = (reward[action] + gamma * value @ transition[action].T for action in (0, 1))
    return leave + subsidy[:, None] - act, value
