"""Optimal stopping, against closed forms, brute force over all orders, and the sampled environment of the same model."""

import itertools

import numpy as np
import pytest

from jaxrl.core.finite import require_model
from jaxrl.errors import ConfigError
from jaxrl.solvers import stopping
from jaxrl.solvers.mdp.finite_horizon import backward_induction

TENTHS = np.arange(1, 11) / 10


def test_known_numbers():
    assert stopping.uniform_offers_value(1) == 0.5
    assert stopping.uniform_offers_value(10) == pytest.approx(0.861098, abs=1e-6)
    assert stopping.secretary(10).skip == 3
    assert stopping.secretary(10).chance == pytest.approx(0.398690, abs=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7])
def test_the_secretary_by_every_order(count):
    """How often each rule picks the best, counted over all permutations of the ranks (the best is 0)."""
    orders = list(itertools.permutations(range(count)))

    def picks(skip, order):
        best = min(order[:skip], default=count)
        return next((rank for rank in order[skip:] if rank < best), None)

    chances = [np.mean([picks(skip, order) == 0 for order in orders]) for skip in range(count)]
    found = stopping.secretary(count)
    assert found.chance == pytest.approx(max(chances))
    assert chances[found.skip] == pytest.approx(max(chances))


def test_offers_make_a_sound_model_whose_best_value_is_the_recursion():
    model = stopping.offers(TENTHS)
    require_model("test", model)
    value = 0.0
    for _ in range(5):
        value = np.maximum(TENTHS, value).mean()
    assert float(backward_induction(model, 5).start_value(model)) == pytest.approx(value, abs=1e-6)
    weighted = stopping.offers([1.0, 3.0], [0.75, 0.25])
    assert float(backward_induction(weighted, 2).start_value(weighted)) == pytest.approx(0.75 * 1.5 + 0.25 * 3.0)


def test_many_offers_are_as_good_as_uniform_ones():
    model = stopping.offers((np.arange(400) + 0.5) / 400)
    expected = stopping.uniform_offers_value(10)
    assert float(backward_induction(model, 10).start_value(model)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("call", "must"),
    [
        (lambda: stopping.offers([]), r"worth must have shape \[X\]"),
        (lambda: stopping.offers([1.0, np.nan]), "worth must be finite"),
        (lambda: stopping.offers([1.0, 2.0], [0.5, 0.6]), "probability must sum to 1"),
        (lambda: stopping.offers([1.0, 2.0], [1.0]), r"probability must have shape \[2\]"),
        (lambda: stopping.secretary(0), "num_candidates must be an integer of at least 1"),
        (lambda: stopping.uniform_offers_value(0), "num_offers must be an integer of at least 1"),
    ],
)
def test_what_is_no_problem(call, must):
    with pytest.raises(ConfigError, match=must):
        call()
