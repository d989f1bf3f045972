"""Laws of returns: known laws, simulation, a direct solution, the projection of another library, and ties that cycle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

import envs
from jaxrl.core.finite import TabularModel, tabulate
from jaxrl.errors import ConfigError
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.distributional import (
    distributional_evaluation,
    distributional_value_iteration,
    places,
)
from jaxrl.solvers.mdp.policy_evaluation import return_variance
from jaxrl.solvers.mdp.value_iteration import value_iteration
from tests import oracles
from tests.solvers.mdp.lakes import LAKE
from tests.solvers.models import garnet

MODEL = LAKE["4x4"]
CAREFUL = np.eye(4)[host.solve(MODEL, 0.999).action_value.argmax(-1)]  # reaches the goal as often as any policy


def test_without_discount_the_return_of_the_lake_is_one_with_14_of_17(double_precision):
    found = distributional_evaluation(MODEL, CAREFUL, 1.0, [0.0, 1.0], 1e-12)
    np.testing.assert_allclose(found.start_law(MODEL), [3 / 17, 14 / 17], atol=1e-9)
    assert bool(found.converged)
    assert float(found.mean_residual) < 1e-9
    assert float(found.error_bound) == np.inf


@pytest.mark.parametrize("gamma", [0.5, 0.9])
def test_the_fixed_point_is_that_of_a_linear_solve(gamma, double_precision):
    """The equation is linear in the masses: X N unknowns, solved directly, with weights by hand."""
    model, policy = garnet(0, num_states=5), np.random.default_rng(0).dirichlet(np.ones(3), 5)
    support = np.array([-12.0, -5.0, -1.0, 0.0, 0.5, 3.0, 12.0])
    count = len(support)
    matrix = np.zeros((5 * count, 5 * count))
    for x, a, k, n in np.ndindex(*model.probability.shape, count):
        z = model.reward[x, a, k] + gamma * support[n]
        hat = np.interp(z, support, np.arange(count))
        low = min(int(hat), count - 2)
        weight = policy[x, a] * model.probability[x, a, k]
        matrix[x * count + low, model.next_state[x, a, k] * count + n] += weight * (1 - (hat - low))
        matrix[x * count + low + 1, model.next_state[x, a, k] * count + n] += weight * (hat - low)
    system = np.vstack([matrix - np.eye(5 * count), np.kron(np.eye(5), np.ones(count))])
    exact = np.linalg.lstsq(system, np.append(np.zeros(5 * count), np.ones(5)), rcond=None)[0].reshape(5, count)
    for tolerance in (1e-2, 0.0):
        found = distributional_evaluation(model, policy, gamma, support, tolerance)
        assert bool(found.converged)
        apart = np.cumsum(np.asarray(found.law) - exact, -1)[:, :-1]
        far = np.sqrt((apart**2 * np.diff(support) / np.ptp(support)).sum(-1)).max()
        assert far <= float(found.error_bound) + 1e-14
        assert float(found.error_bound) <= 4 * tolerance + 1e-11
    np.testing.assert_allclose(found.law, exact, atol=1e-10)
    np.testing.assert_allclose(found.law @ support, oracles.policy_values(model, policy, gamma), atol=1e-9)


@pytest.mark.slow
def test_the_law_of_simulated_returns(double_precision):
    """Cramer's distance to 100,000 returns of the lake stays below 0.02; the mean is the value."""
    gamma, support = 0.99, np.linspace(0.0, 1.0, 51)
    policy = np.eye(4)[host.solve(MODEL, gamma).action_value.argmax(-1)]
    found = distributional_evaluation(MODEL, policy, gamma, support)
    law = np.asarray(found.start_law(MODEL))
    assert law @ support == pytest.approx(0.542026, abs=1e-4)
    random, action = np.random.default_rng(0), policy.argmax(-1)
    state, going, gain, discount = np.zeros(100_000, int), np.ones(100_000, bool), np.zeros(100_000), 1.0
    rows = np.arange(16), action
    cumulative = MODEL.probability[rows].cumsum(-1)
    for _ in range(1500):
        drawn = (random.random((len(state), 1)) > cumulative[state]).sum(-1).clip(max=2)
        gain += discount * going * MODEL.reward[rows][state, drawn]
        going &= ~MODEL.terminated[rows][state, drawn]
        state, discount = MODEL.next_state[rows][state, drawn], discount * gamma
        if not going.any():
            break
    simulated = np.searchsorted(np.sort(gain), support[:-1] + 0.01, side="right") / len(gain)
    apart = np.cumsum(law)[:-1] - simulated
    assert np.sqrt((apart**2).sum() * 0.02) < 0.02


@pytest.mark.parametrize("case", range(5))
def test_the_projection_is_that_of_rlax_and_keeps_mass_and_mean(case):
    random = np.random.default_rng(case)
    support, target = np.linspace(-2.0, 3.0, 11), np.sort(random.uniform(-1.9, 2.9, 7))
    mass = random.dirichlet(np.ones(7))
    lower, share = places(jnp.asarray(support, jnp.float32), jnp.asarray(target, jnp.float32))
    mine = np.zeros(11)
    np.add.at(mine, np.asarray(lower), mass * (1 - np.asarray(share)))
    np.add.at(mine, np.asarray(lower) + 1, mass * np.asarray(share))
    theirs = rlax.categorical_l2_project(*(jnp.asarray(part, jnp.float32) for part in (target, mass, support)))
    np.testing.assert_allclose(mine, theirs, atol=1e-6)
    assert mine.sum() == pytest.approx(1.0, abs=1e-6)
    assert mine @ support == pytest.approx(mass @ target, abs=1e-6)


def test_laws_whose_returns_fall_on_atoms_are_exact(double_precision):
    """Three rounds of a gamble: a binomial law; its variance by two ways."""
    model = tabulate(envs.make("gamble_ladder", rounds=3))
    risky = np.tile([0.0, 1.0], (model.num_states, 1))
    found = distributional_evaluation(model, risky, 1.0, np.arange(10.0), 0.0)
    law = np.asarray(found.start_law(model))
    np.testing.assert_allclose(law[[0, 3, 6, 9]], np.array([1, 3, 3, 1]) / 8, atol=1e-15)
    start = int(np.asarray(model.initial).argmax())
    assert float(return_variance(model, risky, 1.0).value[start]) == pytest.approx(3 * 9 / 4)


def test_mass_beyond_the_ends_is_not_lost_but_reported(double_precision):
    model = tabulate(envs.make("gamble_ladder", rounds=3))
    risky = np.tile([0.0, 1.0], (model.num_states, 1))
    found = distributional_evaluation(model, risky, 1.0, np.arange(6.0))
    np.testing.assert_allclose(np.asarray(found.law).sum(-1), 1.0)
    assert float(found.mean_residual) > 0.1
    assert float(distributional_evaluation(model, risky, 1.0, np.arange(10.0)).mean_residual) < 1e-12


@pytest.mark.parametrize("gamma", [0.9, 0.99])
def test_control_finds_the_optimum(gamma, double_precision):
    support = np.linspace(0.0, 1.0, 51)
    found = distributional_value_iteration(MODEL, gamma, support, 1e-9)
    assert bool(found.converged)
    np.testing.assert_allclose(found.law @ support, value_iteration(MODEL, gamma, 1e-12).value, atol=1e-7)
    assert float(found.mean_residual) < 1e-8
    assert float(found.error_bound) == np.inf


def two_step_tie():
    """State 0 leads to state 1; there action 0 pays 0, and action 1 pays -1 or 1 with equal probability. All is worth 0."""
    chance = np.array([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.5, 0.5]]])
    reward = np.array([[[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [-1.0, 1.0]]])
    after, ends = np.ones((2, 2, 2), np.int32), np.zeros((2, 2, 2), bool)
    ends[1] = True
    return TabularModel(after, chance, reward, ends, np.eye(2)[0], np.ones((2, 2), bool), np.arange(2), np.arange(2), (2,))


def other_than_before(law, mean):
    """Takes the gamble in state 1 if its law was certain before, and the certain action if it was not."""
    certain = law[:, 1] > 0.75
    return jnp.where(mean[:, 0] == mean[:, 1], certain.astype(jnp.int32), mean.argmax(-1))


def test_ties_can_make_the_laws_cycle_although_the_means_stand_still(double_precision):
    model, support = two_step_tie(), np.array([-1.0, 0.0, 1.0])
    still = distributional_value_iteration(model, 0.9, support)
    assert bool(still.converged)
    for sweeps in (50, 51):
        cycles = distributional_value_iteration(model, 0.9, support, 1e-6, sweeps, other_than_before)
        assert not bool(cycles.converged)
        assert int(cycles.iterations) == sweeps
        assert float(cycles.residual) > 0.4
        assert float(cycles.mean_residual) == 0.0


def test_single_precision_and_vmap():
    support = np.linspace(0.0, 1.0, 21)
    found = jax.vmap(lambda gamma: distributional_evaluation(MODEL, CAREFUL, gamma, support).law)(
        np.array([0.9, 0.99], np.float32)
    )
    assert found.dtype == np.float32
    value = oracles.policy_values(MODEL, CAREFUL, 0.9)
    np.testing.assert_allclose(np.asarray(found[0]) @ support, value, atol=1e-5)


def test_bad_arguments_are_refused():
    for support, message in (
        ([0.0], "N at least 2"),
        ([0.0, 0.0], "must rise"),
        ([0.0, np.nan], "must be finite"),
        ([0, 99999999, 1e8], "in float32"),
    ):
        with pytest.raises(ConfigError, match=message):
            distributional_evaluation(MODEL, CAREFUL, 0.9, support)
    with pytest.raises(ConfigError, match="gamma"):
        distributional_value_iteration(MODEL, 1.1, [0.0, 1.0])
    with pytest.raises(ConfigError, match="policy"):
        distributional_evaluation(MODEL, CAREFUL[:3], 0.9, [0.0, 1.0])
