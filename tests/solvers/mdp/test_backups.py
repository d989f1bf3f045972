"""One step back: action values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.solvers.mdp.backups import action_values
from tests import oracles
from tests.solvers.mdp.lakes import LAKE

pytestmark = pytest.mark.usefixtures("double_precision")


def test_value_iteration_contracts_by_gamma_at_every_sweep():
    model, gamma = LAKE["4x4"], 0.95
    optimum = oracles.value_iteration(model, gamma)
    value, sweep = jnp.zeros(model.num_states), jax.jit(lambda value: action_values(model, value, gamma).max(-1))
    for _ in range(60):
        new = sweep(value)
        assert np.abs(new - optimum).max() <= gamma * np.abs(value - optimum).max() + 1e-15
        value = new
