"""Robust value iteration: the adversary against a linear programme, its ends, and what the robust policy is sure of."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from jaxrl.core.finite import TabularModel
from jaxrl.errors import ConfigError, EnvError, UnknownNameError
from jaxrl.solvers.mdp.robust import contamination, robust_evaluation, robust_value_iteration, total_variation
from jaxrl.solvers.mdp.value_iteration import value_iteration
from tests import oracles
from tests.solvers.mdp.lakes import LAKE
from tests.solvers.models import garnet


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


def test_candidates_are_tried_out_one_by_one(double_precision):
    """Three states, two actions, two laws each: the best of 8 policies, each against the worst of 8 models."""
    model, gamma = garnet(3, num_states=3, num_actions=2), 0.9
    rows = np.stack([model.probability, np.random.default_rng(0).dirichlet(np.ones(3), (3, 2))])
    found = robust_value_iteration(model, gamma, rows, "candidates", 0.0)
    best = np.full(3, -np.inf)
    for actions in itertools.product((0, 1), repeat=3):
        policy = np.eye(2)[list(actions)]
        models = [
            model.replace(probability=np.where(np.reshape(pick, (3, 1, 1)), rows[1], rows[0]))
            for pick in itertools.product((False, True), repeat=3)
        ]
        worst = np.min([oracles.policy_values(one, policy, gamma) for one in models], axis=0)
        sure = robust_evaluation(model, policy, gamma, rows, "candidates", 0.0)
        np.testing.assert_allclose(sure.policy_value.value, worst, atol=1e-10)
        assert bool(sure.policy_value.converged)
        best = np.maximum(best, worst)
    np.testing.assert_allclose(found.solution.value, best, atol=1e-10)


@pytest.mark.parametrize("adversary", ["total_variation", "contamination"])
def test_the_worst_model_of_a_policy_gives_its_value(adversary, double_precision):
    model, policy = LAKE["4x4"], np.random.default_rng(0).dirichlet(np.ones(4), 16)
    sure = robust_evaluation(model, policy, 0.95, 0.2, adversary, 1e-12)
    worst = model.replace(probability=np.asarray(sure.worst))
    np.testing.assert_allclose(sure.policy_value.value, oracles.policy_values(worst, policy, 0.95), atol=1e-9)
    plain = robust_evaluation(model, policy, 0.95, 0.0, adversary, 1e-12).policy_value.value
    np.testing.assert_allclose(plain, oracles.policy_values(model, policy, 0.95), atol=1e-9)
    assert (np.asarray(sure.policy_value.value) <= np.asarray(plain) + 1e-12).all()


def test_bad_arguments_are_refused():
    with pytest.raises(ConfigError, match="radius"):
        robust_value_iteration(LAKE["4x4"], 0.9, 1.5)
    with pytest.raises(UnknownNameError, match="Did you mean 'contamination'"):
        robust_value_iteration(LAKE["4x4"], 0.9, 0.1, "contaminaton")
    table = np.asarray(LAKE["4x4"].probability)
    with pytest.raises(ConfigError, match=r"candidates must have shape \['M', 16, 4, 3\]"):
        robust_value_iteration(LAKE["4x4"], 0.9, table, "candidates")
    with pytest.raises(ConfigError, match="candidates must sum to 1"):
        robust_value_iteration(LAKE["4x4"], 0.9, 0.9 * table[None], "candidates")
    with pytest.raises(ConfigError, match="policy"):
        robust_evaluation(LAKE["4x4"], np.ones((16, 4)), 0.9, 0.1)


def one_choice(chance, reward):
    """Returns a single state with a single action whose outcomes end the episode."""
    shape, states = (1, 1, len(chance)), np.zeros(1, np.int32)
    tables = (np.reshape(chance, shape), np.reshape(reward, shape), np.ones(shape, bool))
    return TabularModel(np.zeros(shape, np.int32), *tables, np.ones(1), np.ones((1, 1), bool), states, states, (1,))


def test_a_candidate_is_paid_for_outcomes_that_the_given_model_excludes():
    """The given model never comes to the loss of 5; a candidate always does."""
    model, candidates = one_choice([1.0, 0.0], [1.0, -5.0]), np.asarray([[[[1.0, 0.0]]], [[[0.0, 1.0]]]])
    best = robust_value_iteration(model, 0.9, candidates, "candidates")
    sure = robust_evaluation(model, np.ones((1, 1)), 0.9, candidates, "candidates")
    np.testing.assert_allclose(best.solution.value, [-5.0])
    np.testing.assert_allclose(sure.policy_value.value, [-5.0])
    endless = one_choice([1.0, 0.0], [1.0, np.inf])
    with pytest.raises(EnvError, match="rewards that a candidate makes possible must be finite"):
        robust_value_iteration(endless, 0.9, candidates, "candidates")
    assert robust_value_iteration(endless, 0.9, candidates[:1], "candidates").solution.value == 1.0


def test_the_bound_holds_the_rounding_of_moved_probabilities():
    """A rare outcome of large reward, from which the adversary takes all its probability but what rounding leaves."""
    for rare in np.random.default_rng(0).random(200) * 0.01:
        model = one_choice([rare / 3, 2 * rare / 3, 1 - rare], [1.0, 1.0, 0.0])
        found = robust_value_iteration(model, 0.0, 1.0).solution
        assert abs(found.value[0]) <= found.error_bound
