"""Exponents of maps that are known in closed form, and copies that move as one above the threshold and not below."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.errors import ConfigError
from jaxrl.solvers.coupled_maps import coupled, lyapunov_exponent, synchronisation_threshold


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def logistic(rate):
    return lambda x: rate * x * (1 - x)


def test_exponents_in_closed_form():
    starts = jnp.linspace(0.12, 0.37, 8)
    chaos = jax.vmap(lambda x: lyapunov_exponent(logistic(4.0), x, 16_000))(starts)
    assert chaos.value.mean() == pytest.approx(np.log(2), abs=3e-3)
    np.testing.assert_array_less(jnp.abs(chaos.value - np.log(2)), 5 * chaos.standard_error + 1e-3)
    rest = lyapunov_exponent(logistic(2.5), 0.3, 1600)  # at the fixed point the slope is 2 - r
    assert rest.value == pytest.approx(np.log(0.5), abs=1e-9)
    assert rest.standard_error < 1e-9
    pair = lyapunov_exponent(logistic(3.2), 0.3, 1600)  # of a cycle of two: log |4 + 2 r - r^2| / 2
    assert pair.value == pytest.approx(np.log(abs(4 + 2 * 3.2 - 3.2**2)) / 2, abs=1e-9)
    tent = lyapunov_exponent(lambda x: 1.9 * jnp.minimum(x, 1 - x), 0.3, 1600)
    assert tent.value == pytest.approx(np.log(1.9), abs=1e-9)


def test_copies_move_as_one_above_the_threshold():
    assert synchronisation_threshold(np.log(2)) == pytest.approx(0.5)
    assert synchronisation_threshold(-1.0) == 0
    starts = jnp.asarray(np.random.default_rng(0).uniform(0.1, 0.9, (16, 5)))

    def spread(coupling):
        move = jax.vmap(coupled(logistic(4.0), coupling))
        return jnp.ptp(jax.lax.fori_loop(0, 3000, lambda _, x: move(x), starts), axis=1)

    apart, near = jax.jit(spread)(0.4), jax.jit(spread)(0.6)
    assert apart.max() > 0.01
    assert near.max() == 0


def test_one_step_by_hand():
    moved = coupled(lambda x: 2 * x, 0.25)(jnp.array([1.0, 3.0]))
    np.testing.assert_allclose(moved, [2.5, 5.5])


@pytest.mark.parametrize(
    ("solve", "message"),
    [
        (lambda: lyapunov_exponent(jnp.sin, 0.1, 100), "num_steps must be a multiple of 16"),
        (lambda: lyapunov_exponent(jnp.sin, 0.1, 0), "num_steps must be an integer of at least 1"),
        (lambda: lyapunov_exponent(jnp.sin, 0.1, 16, -1), "burn_in must be an integer of at least 0"),
        (lambda: coupled(jnp.sin, 1.5), "coupling must lie in"),
    ],
)
def test_unsound_arguments_are_refused(solve, message):
    with pytest.raises(ConfigError, match=message):
        solve()
