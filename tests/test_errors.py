"""The checks of numbers that come from outside: what they refuse, and what they say of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.errors import (
    ConfigError,
    DataError,
    is_traced,
    require_discount,
    require_distribution,
    require_finite,
    require_real,
    require_within,
    require_zero_sums,
)


@pytest.mark.parametrize("gamma", [-0.1, 1.0000001, np.nan, np.inf, np.array([0.5, 2.0])])
def test_what_is_no_discount_is_refused(gamma):
    with pytest.raises(ConfigError, match=r"solver: gamma must lie in \[0, 1\], got .*0\.99"):
        require_discount("solver", gamma)


def test_a_discount_is_accepted_and_a_traced_one_not_looked_at():
    for gamma in (0, 0.5, 1, np.float32(1), jnp.array([0.0, 1.0])):
        require_discount("solver", gamma)
    with pytest.raises(ConfigError, match=r"\[0, 1\)"):
        require_discount("solver", 1.0, below_one=True)

    @jax.jit
    def traced(gamma):
        assert is_traced({"a": (1, gamma)})
        require_discount("solver", gamma)
        return gamma

    assert traced(5.0) == 5.0
    assert not is_traced(1.0, jnp.ones(2))


def test_the_first_number_that_is_not_finite_is_named():
    with pytest.raises(DataError, match=r"table: prices must be finite, got 'nan at index \(1, 0\)'. Replace it."):
        require_finite("table", "prices", [[1.0, 2.0], [np.nan, np.inf]], error=DataError)
    with pytest.raises(ConfigError, match="got 'inf'"):
        require_finite("table", "price", np.inf)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([[0.5, 0.5], [1.5, -0.5]], r"must not be negative, got '-0.5 in row \(1,\)'"),
        ([[0.5, 0.5], [0.4, 0.5]], r"must sum to 1, got 'a sum of 0.9 in row \(1,\)'"),
        ([0.5, np.nan], "must be finite, got 'nan at index 1'"),
    ],
)
def test_what_is_no_distribution_is_refused(rows, reason):
    with pytest.raises(ConfigError, match=reason):
        require_distribution("model", "probabilities", rows)


def test_rounding_is_no_fault():
    row = np.full(7, 1 / 7, np.float32)
    np.testing.assert_array_equal(require_distribution("model", "probabilities", row), row.astype(np.float64))


@pytest.mark.parametrize("paid", [(np.float32(0.1), -0.1), (1e-17, 0.0), (0.0, 0.0), (1e-6, -1e-6)])
def test_payoffs_that_cancel_but_for_rounding(paid):
    require_zero_sums("game", np.array([[3.0, -3.0], paid]), "Balance it.")


@pytest.mark.parametrize("paid", [(1.0, 0.0), (1e-6, -2e-6), (np.nan, 0.0)])
def test_payoffs_that_do_not_cancel_beside_large_ones_that_do(paid):
    with pytest.raises(ConfigError, match="must sum to zero, got"):
        require_zero_sums("game", np.array([[1e5, -1e5], paid]), "Balance it.")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ("0.9", "must be a real number, got '0.9'. Replace it."),
        (["a", "b"], "must be real numbers, got"),
        (1j, "must be a real number, got 1j"),
        ([[1, 2], [3]], "must be real numbers in rows of one length"),
        ([{}], "must be real numbers in rows of one length"),
    ],
)
def test_what_is_no_array_of_real_numbers_is_refused(values, reason):
    with pytest.raises(DataError, match=f"table: prices {reason}"):
        require_real("table", "prices", values, error=DataError)


def test_real_numbers_keep_their_type():
    for values in (1, [True], np.float32(2), jnp.ones(3, jnp.bfloat16), [np.nan]):
        assert require_real("table", "prices", values).dtype == np.asarray(values).dtype
    assert require_real("table", "prices", np.array([1, None], object)).dtype == np.float64


def test_ends_of_a_range_are_in_it():
    require_within("solver", "decay", [0, 1], 0, 1, "0.9 is common.")
    for value, high, below in ((1, 1, True), (np.nan, np.inf, False), (-1e-9, np.inf, False)):
        with pytest.raises(ConfigError, match="solver: decay must"):
            require_within("solver", "decay", value, 0, high, "0.9 is common.", below)
