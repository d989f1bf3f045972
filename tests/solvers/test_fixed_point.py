"""Fixed points of linear maps, whose solutions and errors are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.solvers.fixed_point import FixedPoint, fixed_point

RANDOM = np.random.default_rng(0)
MATRIX, OFFSET = RANDOM.dirichlet(np.ones(6), 6), RANDOM.normal(size=6)


@jax.jit
def solve(matrix, offset, gamma, tolerance=0.0, max_sweeps=1_000_000) -> FixedPoint:
    """The fixed point of v <- b + gamma M v, from 0."""

    def sweep(value):
        return offset + gamma * matrix @ value, jnp.abs(offset).max()

    return fixed_point(sweep, jnp.zeros_like(offset), gamma, tolerance, max_sweeps, matrix.shape[0])


def exact(gamma, offset=OFFSET):
    return np.linalg.solve(np.eye(6) - gamma * MATRIX, offset)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.99, 0.9999])
@pytest.mark.parametrize("wide", [False, True])
def test_the_error_is_within_its_bound_and_the_bound_within_the_precision(gamma, wide):
    with jax.enable_x64(wide):
        dtype = jnp.float64 if wide else jnp.float32
        matrix, offset = MATRIX.astype(dtype), OFFSET.astype(dtype)
        gamma = float(dtype(gamma))  # the problem that is solved has this discount
        expected = np.linalg.solve(np.eye(6) - gamma * matrix.astype(float), offset.astype(float))
        found = solve(matrix, offset, gamma)
        error = np.abs(np.asarray(found.value, float) - expected).max()
        assert found.value.dtype == dtype
        assert bool(found.converged)
        assert error <= float(found.error_bound)
        assert float(found.error_bound) <= 10 * float(jnp.finfo(dtype).eps) / (1 - gamma) * (np.abs(expected).max() + 3)


def test_the_tolerance_is_the_relative_error():
    with jax.enable_x64(True):
        for tolerance in (1e-2, 1e-5, 1e-9):
            found = solve(MATRIX, OFFSET, 0.99, tolerance)
            error = np.abs(found.value - exact(0.99)).max()
            assert error <= tolerance * np.abs(found.value).max()
        assert int(solve(MATRIX, OFFSET, 0.99, 1e-2).sweeps) < int(solve(MATRIX, OFFSET, 0.99, 1e-9).sweeps)


@pytest.mark.parametrize("exponent", [-40, -7, 27])
def test_units_change_no_digit(exponent):
    matrix, offset = MATRIX.astype(np.float32), OFFSET.astype(np.float32)
    for tolerance in (0.0, 1e-3):
        found, scaled = solve(matrix, offset, 0.95, tolerance), solve(matrix, offset * np.float32(2.0**exponent), 0.95, tolerance)
        np.testing.assert_array_equal(scaled.value, found.value * np.float32(2.0**exponent))
        assert int(scaled.sweeps) == int(found.sweeps)
        assert float(scaled.error_bound) == float(found.error_bound) * 2.0**exponent


def test_too_few_sweeps_are_not_convergence():
    found = solve(MATRIX, OFFSET, 0.99, max_sweeps=10)
    assert not bool(found.converged)
    assert int(found.sweeps) == 10
    assert np.abs(found.value - exact(0.99)).max() <= float(found.error_bound)


def test_without_a_contraction_the_error_has_no_bound():
    shrinking = solve(0.5 * MATRIX, OFFSET, 1.0)
    assert bool(shrinking.converged)
    assert float(shrinking.error_bound) == np.inf
    np.testing.assert_allclose(shrinking.value, exact(0.5), rtol=1e-5)
    assert not bool(solve(MATRIX, np.ones(6), 1.0, max_sweeps=1000).converged)  # grows by 1 in every sweep


@pytest.mark.parametrize("offset", [np.full(6, np.nan), np.full(6, np.inf)])
def test_numbers_that_are_none_have_not_converged(offset):
    found = solve(MATRIX, offset, 0.9)
    assert not bool(found.converged)
    assert int(found.sweeps) <= 2
    assert not np.isfinite(found.error_bound)


def test_nothing_to_do_is_done_at_once():
    found = solve(MATRIX, np.zeros(6), 0.9)
    assert (int(found.sweeps), bool(found.converged), float(found.error_bound)) == (1, True, 0.0)


def test_a_value_of_zero_is_found_where_rewards_cancel():
    """Fair bets: the value is 0 up to the rounding of the bets, and no relative tolerance could be met."""
    bets = np.array([0.1, -0.3, 0.2])
    matrix = np.full((3, 3), 1 / 3)
    found = jax.jit(lambda: fixed_point(lambda v: ((matrix * (bets + 0.9 * v)).sum(-1), 0.3), jnp.zeros(3), 0.9, 0.0, terms=3))()
    assert bool(found.converged)
    np.testing.assert_allclose(found.value, 0.0, atol=float(found.error_bound))
    assert float(found.error_bound) < 1e-5


def test_many_at_once():
    """Each stops where it would alone."""
    gammas = jnp.array([0.1, 0.9, 0.99])
    found = jax.vmap(lambda gamma: solve(MATRIX, OFFSET, gamma))(gammas)
    for i, gamma in enumerate(gammas):
        alone = solve(MATRIX, OFFSET, gamma)
        assert int(found.sweeps[i]) == int(alone.sweeps)
        np.testing.assert_allclose(found.value[i], alone.value, rtol=1e-5)


@pytest.mark.slow
def test_every_random_map_converges_in_single_precision():
    """Rounding may make the last digits wander; sweeps stop all the same."""

    @jax.jit
    def one(key, gamma):
        matrix_key, offset_key = jax.random.split(key)
        matrix = jax.random.dirichlet(matrix_key, jnp.ones(40), (40,))
        return solve(matrix, jax.random.normal(offset_key, (40,)), gamma)

    keys = jax.random.split(jax.random.key(0), 64)
    for gamma in (0.3, 0.9, 0.999):
        found = jax.vmap(one, in_axes=(0, None))(keys, gamma)
        assert np.asarray(found.converged).all()
        assert (np.asarray(found.sweeps) < 40 / (1 - gamma)).all()
