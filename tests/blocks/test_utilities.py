"""Utilities of return laws: values by hand, the identity that ties shortfalls to CVaR, and refusal of what has no law."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.blocks import utilities, value_heads
from jaxrl.blocks.utilities import shortfall, tail_mean
from jaxrl.core.transforms import with_stock
from jaxrl.errors import ConfigError, UnknownNameError

ATOMS, MASS = np.array([3.0, 0.0, 1.0]), np.array([0.5, 0.25, 0.25])


def test_tail_means_by_hand():
    for level, value in ((0.25, 0.0), (0.5, 0.5), (0.75, (0.25 + 0.75) / 0.75), (1.0, 1.75), (0.1, 0.0)):
        assert float(tail_mean(ATOMS, MASS, level)) == pytest.approx(value)


def test_shortfalls_by_hand():
    for stock, value in ((0.0, 0.0), (-1.0, -0.25), (-2.0, -0.75), (-4.0, -2.25), (5.0, 0.0)):
        assert float(shortfall(ATOMS, MASS, jnp.float32(stock))) == pytest.approx(value)


@pytest.mark.parametrize("level", [0.1, 0.5, 1.0])
def test_the_best_target_turns_shortfalls_into_a_tail_mean(level):
    """CVaR = max_b b + E[min(G - b, 0)] / tau, and the maximum lies on an atom (Rockafellar and Uryasev 2000)."""
    rng = np.random.default_rng(0)
    atoms, mass = rng.normal(size=(50, 7)), rng.dirichlet(np.ones(7), 50)
    missed = shortfall(atoms[:, None], mass[:, None], -atoms)  # of every atom as the target
    np.testing.assert_allclose((atoms + missed / level).max(-1), tail_mean(atoms, mass, level), rtol=1e-4, atol=1e-5)


def config(**changes):
    fields = {"head": "quantile", "num_atoms": 4, "value_min": 0.0, "value_max": 3.0, "huber_delta": 1.0}
    return SimpleNamespace(**fields | {"utility": "mean", "risk_level": 0.5} | changes)


@pytest.mark.parametrize("head", ["categorical", "quantile"])
def test_utilities_of_both_heads(head):
    """Two actions: 1 for certain, and 0 or 3 with equal chances. The mean takes the gamble, the others do not."""
    sure, gamble = ([[0, 60, 0, 0], [30, 0, 0, 30]], [[1, 1, 1, 1], [0, 0, 3, 3]])[head == "quantile"]
    outputs = jnp.array([[sure, gamble]] * 3, jnp.float32)
    obs = {"obs": jnp.zeros(3), "stock": jnp.array([-1.0, -2.0, -3.0])}
    expected = {"mean": [[1.0, 1.5]] * 3, "cvar": [[1.0, 0.0]] * 3, "shortfall": [[0.0, -0.5], [-1.0, -1.0], [-2.0, -1.5]]}
    for utility, worth in expected.items():
        named = config(head=head, utility=utility)
        found = utilities.make(named, value_heads.make(named))(outputs, obs)
        np.testing.assert_allclose(found, worth, atol=1e-5)


def test_the_law_of_a_mean_is_certain():
    atoms, mass = value_heads.Mean().law(jnp.array([2.0, 3.0]))
    np.testing.assert_allclose(tail_mean(atoms, mass, 0.1), [2.0, 3.0])


def test_what_has_no_utility_is_refused():
    ladder = envs.make("gamble_ladder")
    for changes, error, message in (
        ({"utility": "median"}, UnknownNameError, "no utility is named 'median'"),
        ({"utility": "cvar", "head": "mean"}, ConfigError, "head must be a law of the return .* got 'mean'"),
        ({"utility": "cvar", "risk_level": 0.0}, ConfigError, "risk_level must lie in"),
        ({"utility": "shortfall"}, ConfigError, "the observation must be a dict with a stock, got Discrete"),
    ):
        with pytest.raises(error, match=message):
            utilities.require_utility("test", config(**changes), ladder)
    utilities.require_utility("test", config(utility="shortfall"), with_stock(ladder, [-7.0]))
    with pytest.raises(ConfigError, match="level must lie in"):
        tail_mean(ATOMS, MASS, 1.5)
