"""Problems without discount: whether every state has a finite optimal value, which is asked before anything is solved.

At gamma = 1 an optimal value is a sum of rewards that must come to an end. There is none where no policy is sure to end the
episode or to come to where nothing is paid, and none where a policy is paid for ever.

Source: Puterman (1994), section 7.1; de Alfaro (1999), "Computing Minimum and Maximum Reachability Times in Probabilistic
Systems", for the states from which a set can be reached with probability 1.
"""

from typing import Any

import numpy as np

from jaxrl.core.finite import TabularModel
from jaxrl.errors import ConfigError, is_traced
from jaxrl.solvers.mdp.sparse import EPSILON, SparseModel

MUST_END = "at gamma = 1 a policy must end the episode or come to where nothing is paid"
FIX = "Set gamma below 1, 0.99 say, or use jaxrl.solvers.mdp.average_reward.average_reward for the reward per step."
FIRST_SWEEPS, MOST_SWEEPS = 8, 4096
MOST_OPERATIONS = 1e10  # of these sweeps: a minute or so


def require_values(where: str, model: TabularModel, gamma: Any) -> None:
    """Raises ConfigError if it is certain that an optimal value is not finite. Nothing that is traced is looked at.

    Args:
        where: who asks.
        model: the environment's tables, with one reward, sound.
        gamma: discount; below 1 every value is finite.
    """
    if is_traced(gamma, model.next_state, model.probability, model.reward, model.terminated, model.action_mask) or gamma != 1:
        return
    problem = SparseModel.of(where, model)
    stuck = np.flatnonzero(~_can_end_or_rest(problem))
    if len(stuck):
        refuse(where, stuck[0])
    earning = np.flatnonzero(_earns_for_ever(problem))
    if len(earning):
        refuse(where, earning[0])


def refuse(where: str, state: int) -> None:
    """Raises ConfigError: rewards never end from a state on. where: who asks."""
    raise ConfigError(f"{where}: {MUST_END}, got rewards for ever in state {state}. {FIX}")


def _can_end_or_rest(problem: SparseModel) -> np.ndarray:
    """Returns from which states some policy is sure to end the episode, or to come to where it is paid nothing, bool[X]."""
    states, actions = problem.mask.shape
    leads = (problem.transition > 0).astype(np.float64)
    legal = problem.mask.reshape(-1)

    def some(rows: np.ndarray) -> np.ndarray:
        return np.asarray(rows.reshape(states, actions).any(-1))

    def inside(kept: np.ndarray) -> np.ndarray:
        return legal & (leads @ (~kept).astype(np.float64) == 0)

    rests, kept = some(legal & (problem.reward == 0)), np.ones(states, bool)
    while True:  # an action that pays nothing, and leads to where there is one
        fewer = rests & some(inside(rests) & (problem.reward == 0))
        if (fewer == rests).all():
            break
        rests = fewer
    ends = np.asarray(problem.transition.sum(1))[:, 0] < 1 - 1e-9
    while True:  # states from which the goal can be reached by actions that never leave these states
        allowed = inside(kept)
        reached = rests | some(allowed & ends)
        while True:
            more = reached | some(allowed & (leads @ reached.astype(np.float64) > 0))
            if (more == reached).all():
                break
            reached = more
        if (reached == kept).all():
            return kept
        kept = kept & reached


def _earns_for_ever(problem: SparseModel) -> np.ndarray:
    """Returns the states that some policy never leaves and that pay it more than nothing in the long run, bool[X].

    Whatever the values h: if the policy that is greedy in them never leaves a set of states, in each of which a sweep adds at
    least c > 0 to h, it is paid at least c a step. The mean of many sweeps is such an h, even where they swing.
    """
    states = len(problem.mask)
    most = min(MOST_SWEEPS, max(FIRST_SWEEPS, MOST_OPERATIONS / max(problem.transition.nnz, 1)))
    value, sweeps, count = np.zeros(states), 0, FIRST_SWEEPS
    while sweeps < most:
        total = np.zeros(states)
        for _ in range(count):
            before, value = value, problem.action_values(value, 1.0).max(-1)
            total += value
        mean, sweeps, count = total / count, sweeps + count, 2 * count
        size = np.abs(value).max()
        if np.abs(value - before).max() <= 16 * EPSILON * (size + problem.absolute.max()):
            break
        values = problem.action_values(mean, 1.0)
        resolution = 16 * EPSILON * (problem.deciding(values) + np.abs(values[problem.mask]).max())
        greedy, _ = problem.of_policy(values.argmax(-1))
        found = closed(greedy, np.arange(states), values.max(-1) - mean > resolution)
        if found.any():
            return found
    return np.zeros(states, bool)


def closed(transition: Any, source: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Returns which states lie in a set of states that is never left, nor ended, and of which all are ``inside``, bool[X].

    Args:
        transition: csr [n, X], the probabilities of going on.
        source: int[n], the state that each row starts from.
        inside: bool[X].
    """
    from scipy import sparse

    states = transition.shape[1]
    ends = np.asarray(transition.sum(1))[:, 0] < 1 - 1e-9
    rows = np.repeat(np.arange(len(source)), np.diff(transition.indptr))
    graph = sparse.csr_matrix((np.ones(transition.nnz, bool), (source[rows], transition.indices)), shape=(states, states))
    count, label = sparse.csgraph.connected_components(graph, connection="strong")
    leaves = np.zeros(count, bool)
    leaves[label[source[ends]]] = True
    leaves[label[source[rows]][label[source[rows]] != label[transition.indices]]] = True
    leaves[label[~inside]] = True
    return ~leaves[label]
