"""Mixtures of strategies against closed forms and SciPy's minimiser."""

import numpy as np
import pytest
from scipy import optimize

from jaxrl.errors import ConfigError
from jaxrl.solvers import strategy_mixtures

STRATEGIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [1 / 3, 1 / 3, 1 / 3]])


def test_strategies_that_exclude_each_other_have_the_shares_of_their_players():
    found = strategy_mixtures.fit([[4, 0], [2, 0], [0, 3], [1, 0]], np.eye(2))
    np.testing.assert_allclose(found.weight, [0.75, 0.25])
    assert found.gap == pytest.approx(0, abs=1e-12)
    assert strategy_mixtures.surprise([[4, 0], [0, 4]], np.eye(2), found.weight) == pytest.approx(-np.log(0.75 * 0.25) / 8)


def test_no_other_shares_are_more_likely():
    draw = np.random.default_rng(0)
    kinds = draw.choice(3, 60, p=[0.5, 0.3, 0.2])
    counts = np.stack([draw.multinomial(12, STRATEGIES[kind]) for kind in kinds])
    found = strategy_mixtures.fit(counts, STRATEGIES)

    def missed(free):
        weight = np.exp(np.append(free, 0.0))
        return strategy_mixtures.surprise(counts, STRATEGIES, weight / weight.sum()) * 12

    best = optimize.minimize(missed, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12})
    mine = strategy_mixtures.surprise(counts, STRATEGIES, found.weight) * 12
    assert mine == pytest.approx(best.fun, abs=1e-6)
    assert mine - best.fun <= found.gap + 1e-9
    assert found.weight.sum() == pytest.approx(1)


def test_log_likelihoods_by_hand():
    found = strategy_mixtures.log_likelihoods([[2, 1, 0]], [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]])
    np.testing.assert_allclose(found, [[3 * np.log(0.5), -np.inf]])


def test_a_strategy_trembles_as_often_as_it_was_missed():
    """Half of the choices are another one: the likeliest uniform share is 3 / 4, since a third of it hits the strategy's own."""
    np.testing.assert_allclose(strategy_mixtures.trembling([[5, 5, 0]], [1.0, 0.0, 0.0]), [0.5, 0.25, 0.25])


@pytest.mark.parametrize(
    ("counts", "strategies", "message"),
    [
        ([1, 2], STRATEGIES, "shape"),
        ([[1, 2]], STRATEGIES, "shape"),
        ([[1, -1, 0]], STRATEGIES, "negative"),
        ([[1, 1, 0]], 2 * STRATEGIES, "distributions"),
        ([[0, 1]], [[1.0, 0.0]], "possible"),
        ([[0, np.nan]], [[1.0, 0.0]], "counts"),
    ],
)
def test_wrong_arguments(counts, strategies, message):
    with pytest.raises(ConfigError, match=message):
        strategy_mixtures.fit(counts, strategies)
