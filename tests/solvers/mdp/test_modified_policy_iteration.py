"""Modified policy iteration: the known optima, whatever the number of sweeps, and how many improvements these save."""

import jax
import numpy as np
import pytest

from jaxrl.errors import ConfigError
from jaxrl.solvers.mdp.modified_policy_iteration import modified_policy_iteration
from jaxrl.solvers.mdp.value_iteration import value_iteration
from tests.solvers.mdp.lakes import EXACT, LAKE


@pytest.mark.parametrize("sweeps", [0, 5, 50])
@pytest.mark.parametrize(("name", "gamma", "value"), [case for case in EXACT if case[1] < 1])
def test_known_optima(name, gamma, value, sweeps, double_precision):
    model = LAKE[name]
    found = modified_policy_iteration(model, gamma, sweeps, tolerance=1e-9)
    assert bool(found.converged)
    np.testing.assert_allclose(found.start_value(model), value, atol=1e-6)
    exact = value_iteration(model, gamma, 1e-13).value
    assert np.abs(np.asarray(found.value - exact)).max() <= float(found.error_bound) + 1e-12


def test_sweeps_save_improvements(double_precision):
    """Without them it is value iteration."""
    model = LAKE["4x4"]
    plain, some, many = (modified_policy_iteration(model, 0.99, sweeps, 1e-9) for sweeps in (0, 5, 100))
    assert abs(int(plain.iterations) - int(value_iteration(model, 0.99, 1e-9).iterations)) <= 1
    assert int(some.iterations) < 0.25 * int(plain.iterations)
    assert int(many.iterations) < 20


def test_single_precision_and_vmap():
    found = jax.vmap(lambda gamma: modified_policy_iteration(LAKE["4x4"], gamma).value)(np.array([0.9, 0.99], np.float32))
    for gamma, value in zip((0.9, 0.99), found, strict=True):
        np.testing.assert_allclose(value, value_iteration(LAKE["4x4"], gamma).value, atol=1e-5)


def test_bad_numbers_are_refused():
    with pytest.raises(ConfigError, match="gamma"):
        modified_policy_iteration(LAKE["4x4"], 1.0)
    with pytest.raises(ConfigError, match="evaluation_sweeps"):
        modified_policy_iteration(LAKE["4x4"], 0.9, -1)
