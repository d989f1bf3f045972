"""A model as sparse matrices, on the host in float64: what the solvers of one large model at a time compute with."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxrl.core import machine
from jaxrl.core.finite import TabularModel, require_shapes
from jaxrl.solvers.mdp.problem import require_one_reward

EPSILON = float(np.finfo(np.float64).eps)


class SparseModel(NamedTuple):
    """A model as sparse matrices.

    transition: csr [X A, X], probabilities of going on.
    reward: float64[X A], expected.
    mask: bool[X, A].
    absolute: float64[X A], the expected absolute reward.
    terms: K.
    """

    transition: Any
    reward: np.ndarray
    mask: np.ndarray
    absolute: np.ndarray
    terms: int

    @classmethod
    def of(cls, where: str, model: TabularModel) -> "SparseModel":
        require_shapes(where, model)
        states, actions, outcomes = np.shape(model.next_state)
        machine.require_room(where, f"a model of {states} states", 128 * states * actions * outcomes, "Take a smaller one.")
        require_one_reward(where, model)
        chance, reward = (np.asarray(table, np.float64) for table in (model.probability, model.reward))
        # float32 leaves sums that miss 1, by as much as a discount may.
        chance, possible = chance / chance.sum(-1, keepdims=True), chance > 0
        going_on = np.where(np.asarray(model.terminated), 0.0, chance)
        paid = np.where(possible, reward, 0.0)
        expected, absolute = (np.einsum("xak,xak->xa", chance, part) for part in (paid, np.abs(paid)))
        transition = csr(going_on.reshape(states * actions, outcomes), np.asarray(model.next_state), states)
        return cls(transition, expected.reshape(-1), np.asarray(model.action_mask), absolute.reshape(-1), outcomes)

    def action_values(self, value: np.ndarray, gamma: float) -> np.ndarray:
        """Returns float64[X, A], minus infinity where an action is illegal."""
        values = self.reward + gamma * (self.transition @ value)
        return np.where(self.mask, values.reshape(self.mask.shape), -np.inf)

    def backup_of_one(self, gamma: float) -> Callable[[int, list[float]], float]:
        """Returns ``(state, value) -> max_a Q(state, a)``, in plain numbers: arrays of so few cost more than what they hold."""
        actions, mask = self.mask.shape[1], self.mask.reshape(-1).tolist()
        bounds, successor = self.transition.indptr.tolist(), self.transition.indices.tolist()
        chance, reward = (gamma * self.transition.data).tolist(), self.reward.tolist()

        def action_value(row: int, value: list[float]) -> float:
            return reward[row] + sum(chance[k] * value[successor[k]] for k in range(bounds[row], bounds[row + 1]))

        def backup(state: int, value: list[float]) -> float:
            rows = range(state * actions, (state + 1) * actions)
            return max(action_value(row, value) for row in rows if mask[row])

        return backup

    def deciding(self, values: np.ndarray) -> float:
        """Returns the largest rewards that had a part in taking the best of each row of ``values``; see ``fixed_point``."""
        absolute = self.absolute.reshape(self.mask.shape)
        near = values + (2 + self.terms / 2) * EPSILON * absolute >= values.max(-1, keepdims=True)
        return float(absolute[near].max(initial=0.0))

    def rounding(self, values: np.ndarray, size: float) -> float:
        """Returns by how much rounding may shift the best of each row of ``values``, if the largest value is ``size``."""
        return (2 + self.terms / 2) * EPSILON * (self.deciding(values) + size)

    def of_policy(self, action: np.ndarray) -> tuple[Any, np.ndarray]:
        """Returns the transitions csr [X, X] and expected rewards float64[X] of the actions int[X]."""
        rows = np.arange(len(action)) * self.mask.shape[1] + action
        return self.transition[rows], self.reward[rows]


def csr(weight: np.ndarray, column: np.ndarray, width: int) -> Any:
    """Returns a csr matrix [n, width] of the weights [n, M] in columns of the same shape."""
    from scipy import sparse

    rows, entries = weight.shape
    bounds = np.arange(rows + 1) * entries
    # Copied, since zeros are eliminated in place.
    matrix = sparse.csr_matrix((weight.reshape(-1), column.reshape(-1), bounds), shape=(rows, width), copy=True)
    matrix.eliminate_zeros()
    return matrix
