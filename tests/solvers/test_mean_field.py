"""Fixpoints of mean-field games: Weiss's magnet in closed form, and games where the mean pushes back."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from jaxrl.errors import ConfigError
from jaxrl.solvers import mean_field

SOLVE = jax.jit(jax.vmap(mean_field.fixpoint, in_axes=(None, 0, None)), static_argnums=0)


def magnet(mean):
    """Two actions, each paid for agreeing with the mean: m = tanh(2 m / tau), with m the mean on a scale from -1 to 1."""
    return 2 * (2 * mean - 1) * jnp.array([-1.0, 1.0])


def crowd(mean):
    """Four quantities, each worth less the more of it there is."""
    return -8 * mean * jnp.arange(4.0)


def test_weiss_magnet():
    """Below tau = 2 it is ordered, above it is not. With low = 1/2 the symmetric fixpoint is the one that is found above."""
    tau = np.array([0.5, 1.0, 1.5, 1.9, 2.5, 4.0])
    with jax.enable_x64(True):
        found = SOLVE(magnet, jnp.asarray(tau), 0.5 + 1e-6)
        order = 2 * np.asarray(found.mean) - 1
    for temperature, m in zip(tau[:4], order[:4], strict=True):
        exact = optimize.brentq(lambda m, t: m - np.tanh(2 * m / t), 1e-3, 1, args=(temperature,))
        assert m == pytest.approx(exact, abs=1e-9)
    assert np.isnan(order[4:]).all()  # there the answer to a mean above 1/2 lies below it
    with jax.enable_x64(True):
        np.testing.assert_allclose(SOLVE(magnet, jnp.asarray(tau[4:]), 0.0).mean, 0.5, atol=1e-9)


@pytest.mark.parametrize("temperature", [0.01, 1.0, 30.0])
def test_the_policy_is_boltzmann_in_its_own_mean(temperature):
    found = mean_field.fixpoint(crowd, temperature)
    weight = np.exp(-8 * float(found.mean) * np.arange(4) / temperature)
    np.testing.assert_allclose(found.policy, weight / weight.sum(), atol=1e-4)
    assert (np.asarray(found.policy) * np.linspace(0, 1, 4)).sum() == pytest.approx(float(found.mean), abs=1e-5)
    assert float(found.residual) < 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0,), "temperature must be a positive number"),
        ((1.0, -0.1), r"low must lie in \[0, 1\]"),
        ((1.0, 0.5, 0.5), "exceed low"),
    ],
)
def test_unsound_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        partial(mean_field.fixpoint, crowd)(*arguments)
