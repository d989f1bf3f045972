"""Policy iteration against known numbers and NumPy."""

import jax
import numpy as np
import pytest

from envs.gridworlds import corridor
from jaxrl.core.finite import tabulate
from jaxrl.solvers.mdp.backups import greedy_policy
from jaxrl.solvers.mdp.policy_iteration import policy_iteration
from tests import oracles
from tests.solvers.mdp.lakes import EXACT, LAKE

pytestmark = pytest.mark.usefixtures("double_precision")


@pytest.mark.parametrize(("size", "gamma", "expected"), [case for case in EXACT if case[1] < 1])
def test_policy_iteration_agrees_in_few_improvements(size, gamma, expected):
    model = LAKE[size]
    solution = policy_iteration(model, gamma)
    assert float(solution.start_value(model)) == pytest.approx(expected, abs=1e-6)
    if size == "4x4":
        assert solution.iterations <= 10
    policy = greedy_policy(model, solution.action_value)
    np.testing.assert_allclose(oracles.policy_values(model, policy, gamma), solution.value, atol=1e-9)


@pytest.mark.parametrize("length", [60, 200])
def test_the_way_is_found_from_far_away(length):
    """At discount 0.8 the far end of a corridor is worth 0.8^(L - 2), far below the rounding of its other end."""
    with jax.enable_x64(False):
        model = tabulate(corridor.make(length))
        solution = policy_iteration(model, 0.8)
    distance = np.arange(length - 2, -1, -1)
    np.testing.assert_allclose(solution.value[:-1], 0.8**distance, rtol=1e-4)
    assert (np.asarray(solution.action_value).argmax(-1)[:-1] == 1).all()
