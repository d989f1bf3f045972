"""Two atoms a state: means, error bounds, an adversary's linear programme, and ties among optimal policies."""

import itertools

import jax
import numpy as np
import pytest
from scipy import optimize

import envs
from jaxrl.core.finite import TabularModel, tabulate
from jaxrl.errors import ConfigError, UnknownNameError
from jaxrl.solvers.mdp.two_atoms import split, two_atom_control, two_atom_evaluation
from tests import oracles
from tests.solvers.mdp.lakes import LAKE
from tests.solvers.models import best_policy, garnet

MODEL = LAKE["4x4"]


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("gamma", [0.0, 0.9, 0.99])
def test_the_mean_is_that_of_the_policy(gamma, level, double_precision):
    for seed in range(3):
        model = garnet(seed)
        policy = np.random.default_rng(seed).dirichlet(np.ones(3), 8)
        found = two_atom_evaluation(model, policy, gamma, level, 0.0)
        assert bool(found.converged)
        mean = np.asarray(found.value) @ [level, 1 - level]
        np.testing.assert_allclose(mean, oracles.policy_values(model, policy, gamma), atol=1e-8)
        assert float(found.mean_residual) < 1e-10
        assert (found.value[:, 0] <= found.value[:, 1]).all()


def swept(model, policy, gamma, level):
    """Both atoms [X, 2] of a process that never ends, by a thousand plain sweeps: what can follow is sorted and cut in two."""
    value, states = np.zeros((model.num_states, 2)), model.num_states
    mass = (policy[:, :, None, None] * model.probability[..., None] * [level, 1 - level]).reshape(states, -1)
    for _ in range(1000):
        worth = (model.reward[..., None] + gamma * value[model.next_state]).reshape(states, -1)
        order = worth.argsort(1)
        worth, share = np.take_along_axis(worth, order, 1), np.take_along_axis(mass, order, 1)
        worse = np.diff(np.minimum(share.cumsum(1), level), prepend=0.0, axis=1)
        value = np.stack([(worse * worth).sum(1) / level, ((share - worse) * worth).sum(1) / (1 - level)], axis=1)
    return value


def test_the_true_error_is_within_the_bound(double_precision):
    model, policy = garnet(0), oracles.uniform(garnet(0))
    exact = swept(model, policy, 0.95, 0.3)
    np.testing.assert_allclose(two_atom_evaluation(model, policy, 0.95, 0.3, 0.0).value, exact, atol=1e-10)
    for tolerance in (1e-2, 1e-5):
        found = two_atom_evaluation(model, policy, 0.95, 0.3, tolerance)
        far = np.abs(np.asarray(found.value) - exact).max()
        assert 0 < far <= float(found.error_bound) <= 2 * tolerance * np.abs(exact).max()


@pytest.mark.parametrize("level", [0.2, 0.7])
def test_the_lower_atom_is_the_least_that_an_adversary_reaches(level, double_precision):
    model, gamma = garnet(1), 0.9
    policy = best_policy(model, gamma)
    value = np.asarray(two_atom_evaluation(model, policy, gamma, level, 0.0).value)
    for state, action in enumerate(policy.argmax(-1)):
        worth = (model.reward[state, action][:, None] + gamma * value[model.next_state[state, action]]).reshape(-1)
        mass = np.outer(model.probability[state, action], [level, 1 - level]).reshape(-1)
        least = optimize.linprog(worth, A_eq=np.ones((1, mass.size)), b_eq=[1.0], bounds=[(0, top) for top in mass / level]).fun
        assert value[state, 0] == pytest.approx(least, abs=1e-9)


def test_a_split_by_hand():
    found = split(np.array([3.0, 0.0, 1.0]), np.array([0.5, 0.25, 0.25]), 0.5)
    np.testing.assert_allclose(found, [0.5, 3.0], rtol=1e-6)


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_safe_and_risky_ties_are_the_ends_of_all_optimal_policies(level, double_precision):
    """On a ladder of fair gambles all eight policies are optimal: their lower atoms lie between those of safe and risky ties."""
    model = tabulate(envs.make("gamble_ladder", rounds=3, win=2.0))
    start = int(np.asarray(model.initial).argmax())
    plans = np.eye(2)[list(itertools.product((0, 1), repeat=model.num_states))]
    lower = [float(two_atom_evaluation(model, plan, 1.0, level, 0.0).value[start, 0]) for plan in plans]
    safe, risky = (two_atom_control(model, 1.0, level, prefer, 0.0) for prefer in ("safe", "risky"))
    assert float(safe.value[start, 0]) == pytest.approx(max(lower)) == pytest.approx(3.0)
    assert float(risky.value[start, 0]) == pytest.approx(min(lower))
    assert float(risky.value[start, 0]) < 3.0 < float(risky.value[start, 1])
    for found in (safe, risky):
        assert bool(found.converged)
        again = two_atom_evaluation(model, found.policy, 1.0, level, 0.0)
        np.testing.assert_allclose(again.value, found.value, atol=1e-12)


@pytest.mark.parametrize(("prefer", "action", "parts"), [("safe", 0, [1.0, 1.0]), ("risky", 1, [0.0, 4 / 3])])
def test_control_decides_ties_among_legal_actions(prefer, action, parts, double_precision):
    """One step: 1 for sure, or 0 or 2. The illegal actions are a wider gamble of the same mean, and 1 and a half for sure."""
    reward = np.array([[[1.0, 1.0], [0.0, 2.0], [-10.0, 12.0], [1.5, 1.5]]])
    legal, state = np.array([[True, True, False, False]]), np.arange(1)
    next_state, chance, ends = np.zeros(reward.shape, np.int32), np.full(reward.shape, 0.5), np.ones(reward.shape, bool)
    model = TabularModel(next_state, chance, reward, ends, np.ones(1), legal, state, state, (4,))
    found = two_atom_control(model, 0.9, 0.25, prefer, 0.0)
    assert int(found.policy[0].argmax()) == action
    np.testing.assert_allclose(found.value[0], parts, atol=1e-12)


def test_control_keeps_the_optimum(double_precision):
    exact = oracles.value_iteration(MODEL, 0.99)
    for prefer in ("safe", "risky"):
        found = two_atom_control(MODEL, 0.99, 0.25, prefer, 1e-12)
        np.testing.assert_allclose(np.asarray(found.value) @ [0.25, 0.75], exact, atol=1e-8)


def test_single_precision_and_vmap():
    levels = np.array([0.1, 0.5], np.float32)
    found = jax.vmap(lambda level: two_atom_evaluation(MODEL, oracles.uniform(MODEL), 0.9, level))(levels)
    assert found.value.dtype == np.float32
    assert np.asarray(found.converged).all()
    means = levels[:, None] * found.value[..., 0] + (1 - levels[:, None]) * found.value[..., 1]
    np.testing.assert_allclose(means[0], oracles.policy_values(MODEL, oracles.uniform(MODEL), 0.9), atol=1e-5)


def test_bad_arguments_are_refused():
    for level in (0.0, 1.0, np.nan):
        with pytest.raises(ConfigError, match="level must lie in"):
            two_atom_evaluation(MODEL, oracles.uniform(MODEL), 0.9, level)
    with pytest.raises(UnknownNameError, match="Did you mean 'safe'"):
        two_atom_control(MODEL, 0.9, 0.5, "saef")
    with pytest.raises(ConfigError, match="policy"):
        two_atom_evaluation(MODEL, np.ones((16, 4)), 0.9, 0.5)
    with pytest.raises(ConfigError, match="level must lie in"):
        split(np.zeros(2), np.full(2, 0.5), 1.0)


def test_control_has_not_converged_before_its_means():
    found = two_atom_control(MODEL, 0.95, 0.5, tolerance=10.0, max_sweeps=3)
    assert not bool(found.converged)
    assert float(found.mean_residual) > 1e-3
