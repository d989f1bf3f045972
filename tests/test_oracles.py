"""The oracle itself, where the library's solvers could not show that it is wrong."""

import numpy as np
import pytest

from jaxrl.core.finite import tabulate
from tests import oracles, probes


def test_a_last_step_is_paid():
    """Every outcome of the only state terminates, and pays: it is no absorbing state."""
    model = tabulate(probes.constant_reward())
    assert oracles.start_value(model, oracles.policy_values(model, oracles.uniform(model), 0.9)) == 1.0


def test_states_beyond_the_end_are_worth_nothing():
    """Two steps, counted; what lies beyond the second is reached by termination alone."""
    model = tabulate(probes.delayed_reward())
    steps = oracles.policy_values(model, oracles.uniform(model), 1.0, reward=np.ones_like(model.reward))
    np.testing.assert_array_equal(steps, [2, 1, 0])


@pytest.mark.parametrize("gamma", [0.5, 0.9])
def test_a_state_that_is_left_by_itself_or_by_an_end(gamma):
    """From state 0 the reward 1 comes for ever, from state 1 once, although both lead to themselves."""
    model = tabulate(probes.limit_or_end())
    np.testing.assert_allclose(oracles.policy_values(model, oracles.uniform(model), gamma), [1 / (1 - gamma), 1.0, 0.0])
