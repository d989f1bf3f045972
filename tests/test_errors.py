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
    require_index,
    require_number,
    require_real,
    require_within,
    require_zero_sums,
    unknown_name,
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


@pytest.mark.parametrize("values", ["0.9", ["a", "b"], ["1", None], 1j, [[1, 2], [3]], [{}], None, np.datetime64("2020-01-01")])
def test_values_that_are_not_real_numbers_are_refused(values):
    with pytest.raises(DataError, match=r"table: prices must be an array of real numbers, got .* Replace them."):
        require_real("table", "prices", values, "Replace them.", DataError)


def test_real_numbers_keep_their_type():
    for values in (1, [True], np.float32(2), jnp.ones(3, jnp.bfloat16), [np.nan]):
        assert require_real("table", "prices", values).dtype == np.asarray(values).dtype
    assert require_real("table", "prices", np.array([1, None], object)).dtype == np.float64


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1, r"decay must lie in \[0, 1\), got 1"),
        (np.nan, "lie in"),
        (-1e-9, "lie in"),
        ("0.5", "lie in"),
        (True, "lie in"),
        ([], "lie in"),
        ([0.5, 2], "lie in"),
        ([[0.5], [0.1, 0.2]], "lie in"),
    ],
)
def test_numbers_outside_a_range_are_refused(value, message):
    with pytest.raises(ConfigError, match=f"solver: decay must {message}" if "decay" not in message else message):
        require_within("solver", "decay", value, 0, 1, "0.9 is common.", below=True)


def test_ends_of_a_range():
    require_within("solver", "decay", [0, 1], 0, 1, "0.9 is common.")
    require_within("solver", "decay", np.inf, 0, np.inf, "0.9 is common.")
    with pytest.raises(ConfigError, match="decay must be a positive number, got 0"):
        require_within("solver", "decay", 0, 0, np.inf, "0.9 is common.", above=True)
    with pytest.raises(ConfigError, match="decay must be a number of at least 1, got inf"):
        require_within("solver", "decay", np.inf, 1, np.inf, "0.9 is common.", below=True)
    with pytest.raises(ConfigError, match="decay must be one number"):
        require_number("solver", "decay", [0.5], 0, 1, "0.9 is common.")


@pytest.mark.parametrize("value", [-1, 2, 1.0, True, "1", None, [1], np.nan])
def test_indices_outside_a_table_are_refused(value):
    require_index("solver", "player", jnp.int32(1), 2)
    with pytest.raises(ConfigError, match=r"solver: player must be an integer in \[0, 2\)"):
        require_index("solver", "player", value, 2)


def test_of_many_names_the_near_ones_are_told_and_where_all_are_shown():
    few, many = ["lake", "lake_8x8", "maze"], ["lake", "lake_8x8", "frozen_lake", *(f"bandit_{i}" for i in range(40))]
    said = str(unknown_name("make", "world", "laek", few, "jaxrl worlds"))
    assert said == "make: no world is named 'laek'. Did you mean 'lake'? Known: lake, lake_8x8, maze."
    said = str(unknown_name("make", "world", "lake_8", many, "jaxrl worlds"))
    assert said == "make: no world is named 'lake_8'. Did you mean 'lake_8x8' or 'lake'? All 43 are shown by jaxrl worlds."
    assert "'frozen_lake'" in str(unknown_name("make", "world", "lake", many, "jaxrl worlds")), "a name that it is a part of"
    assert "bandit_39" in str(unknown_name("make", "world", "x", many)), "no other place shows them"
    said = str(unknown_name("make", "world", "zzz", many, "jaxrl worlds", "Write zzz.py."))
    assert said == "make: no world is named 'zzz'. Write zzz.py. All 43 are shown by jaxrl worlds."
