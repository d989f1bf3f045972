"""Corridor: values in closed form."""

import pytest

from envs.gridworlds import corridor
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from tests import oracles


@pytest.mark.parametrize("length", [2, 8])
def test_optimal_value(length):
    model = tabulate(corridor.make(length))
    assert oracles.start_value(model, oracles.value_iteration(model, 0.9)) == pytest.approx(0.9 ** (length - 2))


def test_value_with_slip():
    """Two cells: each try succeeds with probability 1 - slip, so V = (1 - slip) + slip gamma V."""
    model = tabulate(corridor.make(2, slip=0.25))
    assert oracles.start_value(model, oracles.value_iteration(model, 0.9)) == pytest.approx(0.75 / (1 - 0.25 * 0.9))


@pytest.mark.parametrize("parameters", [dict(length=1), dict(slip=1.1), dict(max_steps=0)])
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError):
        corridor.make(**parameters)
