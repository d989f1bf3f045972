"""Prioritised sweeping: single states are backed up, the one that may change most first.

    enter every state into the queue, with the amount by which it misses the optimality equation
    while the queue is not empty
        x <- the state of highest priority, taken out;  V(x) <- max_a Q(x, a);  D <- by how much V(x) changed
        for all (y, b) that can lead to x
            priority of y <- gamma P(x | y, b) D, if that is more than its own, and more than the threshold

When the queue is empty, all states are looked at once more: those that still miss their equation enter it again. So the answer
has the residual that was asked for, although the paper's priorities count one change at a time.

Moore and Atkeson learn the model on the way; here it is given. A backup costs as much as the actions, outcomes and predecessors
of one state, and some microseconds: where values change in few places at a time, as behind a wave in a maze, that is much less
than sweeps over all states. The algorithm is sequential; it runs on the host in float64.

Source: Moore and Atkeson (1993), "Prioritized Sweeping: Reinforcement Learning with Less Data and Less Time";
Sutton and Barto (2018), section 8.4.
"""

import heapq
from typing import Any, NamedTuple

import numpy as np

from jaxrl.core.finite import TabularModel
from jaxrl.errors import require_count, require_discount, require_tolerance
from jaxrl.solvers.mdp.endless import require_values
from jaxrl.solvers.mdp.solution import Solution
from jaxrl.solvers.mdp.sparse import SparseModel

MAX_BACKUPS = 10_000_000  # of single states: some minutes


class _Queue:
    """States by priority. A priority only rises; entries that have been overtaken stay in the heap and are passed over."""

    def __init__(self, states: int):
        self._priority = np.zeros(states).tolist()
        self._heap: list[tuple[float, int]] = []

    def promote(self, state: int, priority: float) -> None:
        if priority > self._priority[state]:
            self._priority[state] = priority
            heapq.heappush(self._heap, (-priority, state))

    def pop(self) -> int | None:
        """Returns the state of highest priority, which leaves the queue; None if it is empty."""
        while self._heap:
            negative, state = heapq.heappop(self._heap)
            if self._priority[state] == -negative:
                self._priority[state] = 0.0
                return state
        return None


class _Predecessors(NamedTuple):
    """Of every state x, the states y that can lead to it, and the largest P(x | y, b) over b, as the rows of a csc matrix."""

    bounds: list[int]
    state: list[int]
    probability: list[float]

    @classmethod
    def of(cls, problem: SparseModel) -> "_Predecessors":
        from scipy import sparse

        every = problem.transition.tocoo()
        legal = problem.mask.reshape(-1)[every.row]
        states, actions = problem.mask.shape
        source, target, chance = every.row[legal] // actions, every.col[legal], every.data[legal]
        order = np.lexsort((chance, source, target))
        source, target, chance = source[order], target[order], chance[order]
        # The last of equal pairs has the largest probability.
        last = np.append((np.diff(target) != 0) | (np.diff(source) != 0), True)[: len(target)]
        matrix: Any = sparse.csc_matrix((chance[last], (source[last], target[last])), shape=(states, states))
        return cls(matrix.indptr.tolist(), matrix.indices.tolist(), matrix.data.tolist())


def prioritised_sweeping(model: TabularModel, gamma: float, tolerance: float = 1e-9, max_backups: int = MAX_BACKUPS) -> Solution:
    """Backs up single states, the most urgent first, until no state misses the optimality equation by more than asked for.

    Args:
        model: the environment's tables, with one reward (no agent axis).
        gamma: discount in [0, 1].
        tolerance: the error to accept, relative to the largest value; where the precision cannot tell it, the limit of the
            precision. At gamma = 1, the residual to accept, relative to the largest value.
        max_backups: an end for problems without discount that do not converge.

    Returns:
        The solution in NumPy float64; its iterations are backups of single states, a look at all states counting as one of each.

    Raises:
        ConfigError: gamma lies outside [0, 1], it is 1 although some policy earns for ever, or every one goes on being paid, the
            tolerance is negative, ``max_backups`` is no integer of at least 1, or the model is too large for the memory of this
            machine.
        EnvError: the tables do not fit together, or have a reward for each of several agents.
    """
    where = "prioritised_sweeping"
    require_discount(where, gamma)
    require_tolerance(where, tolerance)
    require_count(where, "max_backups", max_backups)
    problem = SparseModel.of(where, model)
    require_values(where, model, gamma)
    predecessors, value, backups = _Predecessors.of(problem), np.zeros(model.num_states), 0
    share = (1 - gamma) if gamma < 1 else 1.0
    while True:
        values, backups = problem.action_values(value, gamma), backups + len(value)
        missed = np.abs(values.max(-1) - value)
        residual, size = float(missed.max()), float(np.abs(value).max())
        rounding = problem.rounding(values, size)
        limit = max(tolerance * share * size, rounding)
        if residual <= limit or backups >= max_backups or not np.isfinite(residual):
            break
        # While the values are still far away, what is far below the largest residual can wait.
        threshold = max(limit / 4, residual / 1e3)
        value, count = _sweep(problem, predecessors, gamma, value, missed, threshold, max_backups - backups)
        backups += count
    bound = (residual + rounding) / (1 - gamma) if gamma < 1 else np.inf
    parts = (value, values, np.int32(backups), residual, bound, residual <= limit)
    found: Any = tuple(np.asarray(part) for part in parts)
    return Solution(*found)


def _sweep(
    problem: SparseModel,
    predecessors: _Predecessors,
    gamma: float,
    start: np.ndarray,
    missed: np.ndarray,
    threshold: float,
    most: int,
) -> tuple[np.ndarray, int]:
    """Backs up states until the queue is empty. Returns the values, float64[X], and how many backups there were.

    Args:
        problem, predecessors: the model, both ways.
        gamma: discount.
        start: float64[X], the values before.
        missed: float64[X], the first priorities.
        threshold: priorities up to this are not entered.
        most: backups.
    """
    value, queue = start.tolist(), _Queue(len(start))
    for state in np.flatnonzero(missed > threshold).tolist():
        queue.promote(state, float(missed[state]))
    backup = problem.backup_of_one(gamma)
    for count in range(most):
        state = queue.pop()
        if state is None:
            return np.asarray(value), count
        before, value[state] = value[state], backup(state, value)
        change = gamma * abs(value[state] - before)
        for entry in range(predecessors.bounds[state], predecessors.bounds[state + 1]):
            priority = predecessors.probability[entry] * change
            if priority > threshold:
                queue.promote(predecessors.state[entry], priority)
    return np.asarray(value), most
