"""Robust value iteration: the adversary against a linear programme, its ends, and what the robust policy is sure of."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from jaxrl.errors import ConfigError, UnknownNameError
from jaxrl.solvers.mdp.robust import contamination, robust_value_iteration, total_variation
from jaxrl.solvers.mdp.value_iteration import value_iteration
from tests.solvers.mdp.lakes import LAKE


def by_programme(chance, worth, radius):
    """Returns the least expected worth over all distributions at most ``radius`` away in total variation, by scipy."""
    count = len(chance)
    possible = chance > 0
    # Variables: q, and the upward parts of q - p.
    cost = np.concatenate([np.where(possible, worth, 0.0), np.zeros(count)])
    above = np.hstack([np.eye(count), -np.eye(count)])
    most = np.vstack([above, np.concatenate([np.zeros(count), np.ones(count)])])
    bounds = [(0, 1 if able else 0) for able in possible] + [(0, None)] * count
    equal = np.concatenate([np.ones(count), np.zeros(count)])[None]
    return optimize.linprog(cost, most, np.append(chance, radius), equal, [1.0], bounds).fun


@pytest.mark.parametrize("radius", [0.0, 0.1, 0.5, 1.0])
def test_total_variation_is_the_worst_that_a_linear_programme_finds(radius, double_precision):
    random = np.random.default_rng(0)
    for _ in range(20):
        chance = random.dirichlet(np.ones(5)) * (random.random(5) < 0.7)
        chance = chance / chance.sum() if chance.sum() else np.eye(5)[0]
        worth = random.normal(size=5)
        worst = np.asarray(total_variation(jnp.asarray(chance), jnp.asarray(worth), radius))
        np.testing.assert_allclose(worst.sum(), 1.0)
        assert (worst >= 0).all()
        assert (worst[chance == 0] == 0).all()
        assert 0.5 * np.abs(worst - chance).sum() <= radius + 1e-12
        np.testing.assert_allclose(worst @ worth, by_programme(chance, worth, radius), atol=1e-9)


def test_contamination_by_hand():
    worst = contamination(jnp.array([0.5, 0.5, 0.0]), jnp.array([2.0, 1.0, -9.0]), 0.2)
    np.testing.assert_allclose(worst, [0.4, 0.6, 0.0])


@pytest.mark.parametrize("adversary", ["total_variation", "contamination"])
def test_without_a_radius_it_is_value_iteration(adversary, double_precision):
    model = LAKE["4x4"]
    found = robust_value_iteration(model, 0.95, 0.0, adversary, 1e-12).solution
    np.testing.assert_allclose(found.value, value_iteration(model, 0.95, 1e-12).value, atol=1e-12)


@pytest.mark.parametrize("adversary", ["total_variation", "contamination"])
def test_the_value_falls_with_the_radius_and_is_that_of_the_worst_model(adversary, double_precision):
    """Value iteration on the adversary's own model finds the same value: no policy does better against it."""
    model, before = LAKE["4x4"], np.inf
    for radius in (0.05, 0.1, 0.3):
        found = robust_value_iteration(model, 0.95, radius, adversary, 1e-12)
        start = float(found.solution.start_value(model))
        assert start < before
        assert bool(found.solution.converged)
        fixed = value_iteration(model.__class__(**{**vars(model), "probability": np.asarray(found.worst)}), 0.95, 1e-12)
        np.testing.assert_allclose(fixed.value, found.solution.value, atol=1e-9)
        before = start


def test_bad_arguments_are_refused():
    with pytest.raises(ConfigError, match="radius"):
        robust_value_iteration(LAKE["4x4"], 0.9, 1.5)
    with pytest.raises(UnknownNameError, match="Did you mean 'contamination'"):
        robust_value_iteration(LAKE["4x4"], 0.9, 0.1, "contaminaton")
