"""FrozenLake against Gymnasium's table and exact values."""

import gymnasium
import numpy as np
import pytest

from envs.gridworlds import frozen_lake
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError, UnknownNameError
from tests import oracles

SAME_ACTIONS = (0, 1, 2, 3)


@pytest.fixture(scope="module")
def model():
    return tabulate(frozen_lake.make())


@pytest.mark.parametrize("map_name", ["4x4", "8x8"])
@pytest.mark.parametrize("slippery", [True, False])
def test_law_is_gymnasiums(map_name, slippery):
    name = {"4x4": "FrozenLake-v1", "8x8": "FrozenLake8x8-v1"}[map_name]
    theirs = gymnasium.make(name, is_slippery=slippery)
    ours = frozen_lake.make(map_name, slip=2 / 3 if slippery else 0.0)
    for one, other in zip(oracles.environment_law(ours), oracles.gymnasium_law(theirs, SAME_ACTIONS), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert ours.max_steps == theirs.spec.max_episode_steps


@pytest.mark.parametrize(
    ("gamma", "value"), [(0.9, 0.068891), (0.95, 0.180472), (0.99, 0.542026), (0.999, 0.785533), (1.0, 14 / 17)]
)
def test_optimal_value(model, gamma, value):
    assert oracles.start_value(model, oracles.value_iteration(model, gamma)) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(("gamma", "value"), [(0.99, 0.414640), (0.999, 0.892635), (1.0, 1.0)])
def test_optimal_value_of_the_large_lake(gamma, value):
    large = tabulate(frozen_lake.make("8x8"))
    assert oracles.start_value(large, oracles.value_iteration(large, gamma)) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(("map", "value"), [("4x4", 0.950990), ("8x8", 0.877521)])
def test_optimal_value_without_slip(map, value):
    certain = tabulate(frozen_lake.make(map, slip=0.0))
    assert oracles.start_value(certain, oracles.value_iteration(certain, 0.99)) == pytest.approx(value, abs=1e-6)


def test_value_of_the_uniform_policy(model):
    values = oracles.policy_values(model, oracles.uniform(model), 0.99)
    assert oracles.start_value(model, values) == pytest.approx(0.012356, abs=1e-6)


def test_chances_within_the_time_limit(model):
    values = oracles.value_iteration(model, 0.99)
    policy = oracles.greedy(model, values, 0.99, preference=[0, 1, 2, 3])
    greedy, random, best = (
        oracles.start_value(model, oracles.horizon_values(model, 100, policy=each))
        for each in (policy, oracles.uniform(model), None)
    )
    assert greedy == pytest.approx(0.740165, abs=1e-6)
    assert random == pytest.approx(0.013940, abs=1e-6)
    assert best == pytest.approx(0.744190, abs=1e-6)


def test_map_of_ones_own():
    strip = tabulate(frozen_lake.make(("SFFG",), slip=0.0))
    assert oracles.start_value(strip, oracles.value_iteration(strip, 0.5)) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (dict(slip=1.5), "slip must lie in"),
        (dict(map=("SF", "F")), "same length"),
        (dict(map=("SFX", "FFG")), "may only contain"),
        (dict(map=("SFF",)), "an S and a G"),
        (dict(max_steps=0), "max_steps"),
    ],
)
def test_wrong_parameters(parameters, message):
    with pytest.raises(ConfigError, match=message):
        frozen_lake.make(**parameters)


def test_unknown_map_names_the_closest():
    with pytest.raises(UnknownNameError, match="Did you mean '8x8'"):
        frozen_lake.make("8x9")
