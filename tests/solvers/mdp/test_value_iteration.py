"""Value iteration against known numbers and NumPy."""

import numpy as np
import pytest

from jaxrl.errors import ConfigError
from jaxrl.solvers.mdp.value_iteration import value_iteration, value_sweeps
from tests import oracles
from tests.solvers.mdp.lakes import EXACT, LAKE

pytestmark = pytest.mark.usefixtures("double_precision")


@pytest.mark.parametrize(("size", "gamma", "expected"), EXACT)
def test_value_iteration_finds_every_known_number(size, gamma, expected):
    model = LAKE[size]
    solution = value_iteration(model, gamma, tolerance=1e-13)
    assert float(solution.start_value(model)) == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(solution.value, oracles.value_iteration(model, gamma), atol=1e-9)


def test_the_values_of_each_sweep():
    model, value = LAKE["4x4"], np.zeros(LAKE["4x4"].num_states)
    for found in np.asarray(value_sweeps(model, 0.99, 20)):
        np.testing.assert_allclose(found, value, atol=1e-12)
        value = oracles.action_values(model, value, 0.99).max(-1)
    assert value_sweeps(model, 0.99, 20).shape == (21, model.num_states)
    with pytest.raises(ConfigError, match="at least 1"):
        value_sweeps(model, 0.99, 0)


def test_value_iteration_sweeps_until_the_error_is_within_the_tolerance():
    model, gamma, tolerance = LAKE["4x4"], 0.99, 1e-9
    value, sweeps = np.zeros(model.num_states), 0
    while True:
        previous, value, sweeps = value, oracles.action_values(model, value, gamma).max(-1), sweeps + 1
        if gamma / (1 - gamma) * np.abs(value - previous).max() <= tolerance * np.abs(value).max():
            break
    solution = value_iteration(model, gamma, tolerance)
    assert int(solution.iterations) == sweeps
    assert np.abs(solution.value - oracles.value_iteration(model, gamma)).max() <= float(solution.error_bound)
    assert float(solution.error_bound) <= 1.01 * tolerance
