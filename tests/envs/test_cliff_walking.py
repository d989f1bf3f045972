"""CliffWalking against Gymnasium's table and exact values."""

import gymnasium
import numpy as np
import pytest

from envs.gridworlds import cliff_walking
from envs.gridworlds.grid import DOWN, LEFT, RIGHT, UP
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from tests import oracles

GYMNASIUM_ACTION = {LEFT: 3, DOWN: 2, RIGHT: 1, UP: 0}
GOAL = 47


@pytest.fixture(scope="module")
def model():
    return tabulate(cliff_walking.make())


@pytest.mark.parametrize("slippery", [False, True])
def test_law_is_gymnasiums(slippery):
    theirs = gymnasium.make("CliffWalking-v1", is_slippery=slippery)
    ours = cliff_walking.make(slip=2 / 3 if slippery else 0.0)
    gymnasium_law = oracles.gymnasium_law(theirs, [GYMNASIUM_ACTION[action] for action in range(4)])
    # Gymnasium's table leaves the goal again, ours stays there: no episode gets that far.
    for one, other in zip(oracles.environment_law(ours), gymnasium_law, strict=True):
        np.testing.assert_allclose(one[:GOAL], other[:GOAL], atol=1e-4)


def test_optimal_return(model):
    assert oracles.start_value(model, oracles.value_iteration(model, 1.0)) == -13


@pytest.mark.parametrize(("epsilon", "value"), [(0.1, -45.803322), (0.05, -28.811095), (0.01, -16.066662)])
def test_return_of_exploring_along_the_edge(model, epsilon, value):
    edge = oracles.greedy(model, oracles.value_iteration(model, 1.0), 1.0, preference=[RIGHT, DOWN, UP, LEFT])
    policy = (1 - epsilon) * edge + epsilon * oracles.uniform(model)
    assert oracles.start_value(model, oracles.policy_values(model, policy, 1.0)) == pytest.approx(value, abs=1e-6)


def test_best_exploring_policy_keeps_off_the_edge(model):
    values = oracles.value_iteration(model, 1.0, epsilon=0.1)
    assert oracles.start_value(model, values) == pytest.approx(-20.707677, abs=1e-6)
    safe = oracles.greedy(model, values, 1.0, preference=[RIGHT, DOWN, UP, LEFT])
    assert oracles.start_value(model, oracles.policy_values(model, safe, 1.0)) == pytest.approx(-15)


@pytest.mark.parametrize("parameters", [dict(slip=-0.1), dict(max_steps=0)])
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError):
        cliff_walking.make(**parameters)
