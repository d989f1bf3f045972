"""Models of a million states: memory, time and answers, against each other and against shortest paths."""

import numpy as np
import pytest

from envs.gridworlds import gridworld
from jaxrl.core.finite import tabulate
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.modified_policy_iteration import modified_policy_iteration
from jaxrl.solvers.mdp.policy_evaluation import policy_evaluation
from jaxrl.solvers.mdp.value_iteration import value_iteration
from tests.solvers.models import garnet


def room(size, **options):
    """An open room of ``size`` x ``size`` cells with the goal in the corner opposite to the start."""
    rows = ("S" + "." * (size - 1), *["." * size] * (size - 2), "." * (size - 1) + "G")
    return tabulate(gridworld.make(rows, **options), max_states=size * size)


@pytest.mark.parametrize("gamma", [0.9, 0.99])
def test_sweeps_over_successors_agree_with_sparse_matrices(gamma, double_precision):
    """On a process with random successors, and on a room: the same optimum and the same value of a policy."""
    for model in (garnet(0, num_states=300), room(15, slip=0.2)):
        best = host.solve(model, gamma)
        for solve in (value_iteration, modified_policy_iteration):
            found = solve(model, gamma, tolerance=1e-12)
            np.testing.assert_allclose(found.value, best.value, atol=1e-9)
        policy = np.eye(model.num_actions)[best.action_value.argmax(-1)]
        swept = policy_evaluation(model, policy, gamma, dense=False)
        np.testing.assert_allclose(swept.value, host.evaluate(model, policy, gamma).value, atol=1e-9)
        np.testing.assert_allclose(swept.value, best.value, atol=1e-9)


@pytest.mark.slow
def test_a_million_states_are_solved_with_a_bound():
    """A certain room of 1000 x 1000 cells, where the value is known, in some 2 GB and a few minutes on two cores."""
    size, gamma = 1000, 0.999
    model = room(size)
    found = host.solve(model, gamma)
    assert bool(found.converged)
    assert float(found.error_bound) < 1e-9
    moves = 2 * size - 2
    step = float(np.float32(0.01))  # as the environment pays it
    exact = gamma ** (moves - 1) - step * (1 - gamma ** (moves - 1)) / (1 - gamma)
    assert float(found.start_value(model)) == pytest.approx(exact, abs=1e-9)
    policy = np.eye(4)[found.action_value.argmax(-1)]
    evaluated = host.evaluate(model, policy, gamma)
    assert bool(evaluated.converged)
    np.testing.assert_allclose(evaluated.value, found.value, atol=1e-9)
