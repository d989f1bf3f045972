"""The graph of a model's states, its Laplacian, and the options that climb its eigenvectors.

Two states are joined where an action can lead from one to the other. With the adjacency W and the degrees D of this graph,

    L = D - W,     L e_i = lambda_i e_i,     0 = lambda_1 <= lambda_2 <= ...

is its combinatorial Laplacian. Eigenvectors of small eigenvalues vary slowly along the graph: their largest and smallest entries
lie far apart. An eigen-option is paid e(s') - e(s), follows the best policy for that reward, discounted, and ends where nothing
is left to gain; so it crosses the bottlenecks that a random walk rarely passes. All is on the host, in float64.

Source: Machado, Bellemare and Bowling (2017), "A Laplacian Framework for Option Discovery in Reinforcement Learning", sections 3
and 4; Klissarov and Machado (2023), "Deep Laplacian-based Options for Temporally-Extended Exploration"; the eigenvectors as
features: Mahadevan and Maggioni (2007), "Proto-value Functions".
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from jaxrl.blocks.options import Options, joined
from jaxrl.core import machine
from jaxrl.core.finite import TabularModel, require_model
from jaxrl.errors import require, require_count, require_finite, require_within
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.backups import greedy_policy
from jaxrl.solvers.mdp.problem import require_one_reward

SAME = 1e-9  # eigenvalues that differ by less, relative to the largest, are one eigenvalue several times over
NOTHING = 1e-9  # a gain that is none, relative to the largest entry of the eigenvector


class Laplacian(NamedTuple):
    """The eigenvalues of the Laplacian of X states, rising, and orthonormal eigenvectors.

    eigenvalue: float64[X], at least 0 but for rounding. eigenvector: float64[X, X], a column for each.
    residual: the largest entry of L e - lambda e, of all eigenvectors.

    The sign of an eigenvector is arbitrary. Of an eigenvalue that occurs several times, so are the eigenvectors: only the space
    that they span is unique.
    """

    eigenvalue: np.ndarray
    eigenvector: np.ndarray
    residual: float

    def spaces(self) -> list[np.ndarray]:
        """Returns the numbers of the eigenvectors of each different eigenvalue, rising; the first are those of 0.

        The first has as many as the graph has connected parts.
        """
        far = np.diff(self.eigenvalue) > SAME * self.eigenvalue[-1]
        return np.split(np.arange(len(self.eigenvalue)), np.flatnonzero(far) + 1)

    def slowest(self, count: int) -> np.ndarray:
        """Returns the eigenvectors of the smallest positive eigenvalues, float64[X, count].

        Raises:
            ConfigError: there are not that many, or the last of them is one of several of its eigenvalue, not all of which are
                among them: the choice would be arbitrary.
        """
        require_count("slowest", "count", count)
        first, *others = self.spaces()
        possible = np.cumsum([len(space) for space in others]).tolist()
        must, fix = "count must take all eigenvectors of an eigenvalue, or none", f"Take one of {possible[:10]}."
        require(count in possible, "slowest", must, count, fix)
        return self.eigenvector[:, len(first) : len(first) + count]


def adjacency(model: TabularModel) -> np.ndarray:
    """Returns which states a legal action can lead from one to the other, in either direction, as 0 and 1, float64[X, X].

    A transition that ends the episode counts; staying does not.

    Raises:
        ConfigError: the matrix is too large for the memory of this machine.
        EnvError: the tables are unsound.
    """
    require_model("adjacency", model)
    states = model.num_states
    machine.require_room("adjacency", f"a graph of {states} states", 40 * states**2, "Take fewer states.")
    possible = (np.asarray(model.probability) > 0) & np.asarray(model.action_mask)[:, :, None]
    source, _, _ = np.nonzero(possible)
    joins = np.zeros((states, states))
    joins[source, np.asarray(model.next_state)[possible]] = 1.0
    np.fill_diagonal(joins, 0.0)
    return np.maximum(joins, joins.T)


def laplacian(joins: Any) -> Laplacian:
    """Returns the eigenvalues and eigenvectors of the Laplacian of a graph.

    Args:
        joins: float[X, X], the weights of its edges, symmetric and at least 0; the diagonal does not matter. See ``adjacency``.

    Raises:
        ConfigError: the matrix is not square, not symmetric, not finite, or has a negative entry.
    """
    where, fix = "laplacian", "Give the weight of each edge in both directions."
    weight = np.array(require_finite(where, "joins", joins), np.float64)
    square = weight.ndim == 2 and weight.shape[0] == weight.shape[1] and len(weight) >= 1
    require(square, where, "joins must have shape [X, X]", weight.shape, "Give a row for each state.")
    require(bool((weight == weight.T).all()), where, "joins must be symmetric", "another weight in one direction", fix)
    require_within(where, "joins", weight, 0, np.inf, "0 is no edge.")
    np.fill_diagonal(weight, 0.0)
    matrix = np.diag(weight.sum(1)) - weight
    values, vectors = np.linalg.eigh(matrix)
    return Laplacian(values, vectors, float(np.abs(matrix @ vectors - vectors * values).max()))


def eigen_options(model: TabularModel, vectors: Any, gamma: float = 0.9) -> Options:
    """Returns two options for each vector over the states: the first climbs it, the next one descends.

    The option of e is paid e(s') - e(s), and may end for nothing at any time. Its policy is the best one for that, discounted.
    It ends where the best action is worth nothing, and may begin elsewhere.

    Args:
        model: the environment's tables, with one reward (no agent axis), which does not matter.
        vectors: float[X, F], exact eigenvectors (``Laplacian.slowest``) or learned ones.
        gamma: discount in [0, 1), 0.9 in the source: the lower, the sooner an option ends at a local peak.

    Returns:
        2 F options, in the order of the columns.

    Raises:
        ConfigError: the vectors have another shape or are not finite, or gamma is out of range.
        EnvError: the tables are unsound, or have a reward for each of several agents.
    """
    where, states = "eigen_options", model.num_states
    require_one_reward(where, model)
    require_within(where, "gamma", gamma, 0, 1, "0.9 is common.", below=True)
    table = np.asarray(require_finite(where, "vectors", vectors), np.float64)
    must = f"vectors must have shape [{states}, F]"
    require(table.ndim == 2 and table.shape[0] == states and table.shape[1] >= 1, where, must, table.shape, "Give columns.")
    world = _with_an_end(model)
    return joined(*(_climbing(model, world, sign * vector, gamma) for vector in table.T for sign in (1.0, -1.0)))


def _with_an_end(model: TabularModel) -> TabularModel:
    """Returns the model with one more action, which ends the episode."""
    tables, states = model.tables, model.num_states
    outcomes = np.shape(tables.probability)[2]
    certain = np.broadcast_to(np.arange(outcomes) == 0, (states, 1, outcomes))
    stays = np.broadcast_to(np.arange(states)[:, None, None], certain.shape)
    more = {"next_state": stays, "probability": certain, "reward": np.zeros(certain.shape), "terminated": certain}
    more["action_mask"] = np.ones((states, 1), bool)
    wider = {
        name: np.concatenate([getattr(tables, name), part.astype(getattr(tables, name).dtype)], 1) for name, part in more.items()
    }
    return dataclasses.replace(tables, **wider, joint_shape=(model.num_actions + 1,))


def _climbing(model: TabularModel, world: TabularModel, vector: np.ndarray, gamma: float) -> Options:
    """Returns the option that climbs a vector float64[X]. world: the model with an action that ends."""
    gain = vector[world.next_state] - vector[:, None, None]
    values = host.solve(dataclasses.replace(world, reward=gain), gamma).action_value[:, : model.num_actions]
    begins = values.max(-1) > NOTHING * np.abs(vector).max()
    policy = np.asarray(greedy_policy(model, values), np.float32)
    return Options(begins[None], policy[None], np.where(begins, 0.0, 1.0).astype(np.float32)[None])
