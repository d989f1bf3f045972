"""Units, precision and error bounds of every exact solver, and that an action that is never taken decides nothing."""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.random_mdps import random_mdp
from jaxrl.blocks.options import Options
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.average_reward import average_reward
from jaxrl.solvers.mdp.backups import greedy_policy
from jaxrl.solvers.mdp.distributional import distributional_evaluation, distributional_value_iteration
from jaxrl.solvers.mdp.entropic import entropic_value_iteration
from jaxrl.solvers.mdp.finite_horizon import backward_induction, evaluation
from jaxrl.solvers.mdp.modified_policy_iteration import modified_policy_iteration
from jaxrl.solvers.mdp.occupancy import occupancy_program
from jaxrl.solvers.mdp.option_models import option_models
from jaxrl.solvers.mdp.policy_evaluation import policy_evaluation, return_of_policy, return_variance
from jaxrl.solvers.mdp.policy_iteration import policy_iteration
from jaxrl.solvers.mdp.prioritised_sweeping import prioritised_sweeping
from jaxrl.solvers.mdp.robust import robust_value_iteration
from jaxrl.solvers.mdp.soft import soft_value_iteration
from jaxrl.solvers.mdp.stock import optimal_cvar
from jaxrl.solvers.mdp.taylor import taylor_expansion
from jaxrl.solvers.mdp.two_atoms import two_atom_control, two_atom_evaluation
from jaxrl.solvers.mdp.value_iteration import value_iteration
from jaxrl.solvers.mdp.worst_cases import incremental_worst_cases
from tests import oracles, probes
from tests.marks import slow
from tests.solvers.mdp.lakes import LAKE
from tests.solvers.models import best_policy, with_a_ruinous_action

pytestmark = pytest.mark.usefixtures("double_precision")


def test_illegal_actions_are_never_used():
    model = tabulate(probes.masked_action())
    for solver in (value_iteration, policy_iteration):
        solution = solver(model, 0.9)
        assert float(solution.start_value(model)) == 0.5
        assert float(solution.action_value[0, 2]) == -np.inf
    assert greedy_policy(model, solution.action_value)[0].tolist() == [1.0, 0.0, 0.0]


ATOMS = np.array([0.0, 0.5, 1.0, 10.0])  # what the actions of the masked probe pay, and more


def _laws(model):
    found = distributional_value_iteration(model, 0.9, ATOMS)
    return found.start_law(model) @ ATOMS, found.policy


def _parts(model, prefer):
    found = two_atom_control(model, 0.9, 0.25, prefer)
    return found.value[0] @ np.array([0.25, 0.75]), found.policy


def _plan(model, gamma):
    found = optimal_cvar(model, ATOMS, 0.5, gamma)
    return found.value, found.policy[:, 0]


def _sure(model, adversary):
    radius = np.asarray(model.probability)[None] if adversary == "candidates" else 0.1
    found = robust_value_iteration(model, 0.9, radius, adversary).solution
    return found.value[0], np.eye(3)[np.asarray(found.action_value).argmax(-1)]


def _searched(model, adversary):
    radius = np.asarray(model.probability)[None] if adversary == "candidates" else 0.1
    found = incremental_worst_cases(model, 0.9, radius, adversary)
    return found.value[0], found.policy


@pytest.mark.parametrize(
    ("solve", "options"),
    [
        (_laws, ()),
        *((_parts, (prefer,)) for prefer in ("safe", "risky")),
        *((_plan, (gamma,)) for gamma in (1.0, 0.9)),
        *((solve, (name,)) for solve in (_sure, _searched) for name in ("total_variation", "contamination", "candidates")),
    ],
)
def test_illegal_actions_have_no_part_in_laws_plans_and_worst_cases(solve, options):
    """The illegal action is worth 10, the best legal one 0.5."""
    value, policy = solve(tabulate(probes.masked_action()), *options)
    assert float(value) == pytest.approx(0.5)
    np.testing.assert_array_equal(policy[0], [1.0, 0.0, 0.0])


def test_solvers_compile_once_for_a_shape(monkeypatch):
    traced = []

    def counting(function):
        def counted(*args, **kwargs):
            traced.append(function.__name__)
            return function(*args, **kwargs)

        return counted

    parts = ((value_iteration, "fixed_point"), (policy_iteration, "discounted_sums"), (policy_evaluation, "discounted_sums"))
    for solver, name in parts:
        module = sys.modules[solver.__module__]
        monkeypatch.setattr(module, name, counting(getattr(module, name)))
    shape = 7  # of no other test
    for gamma, seed in ((0.9, 0), (0.95, 1)):
        before = len(traced)
        model = jax.tree.map(np.asarray, random_mdp.table(random_mdp.garnet(jax.random.key(seed), shape, 2)))
        value_iteration(model, gamma, tolerance=1e-3 * (1 + seed))
        entropic_value_iteration(model, gamma, max_sweeps=10 + seed)
        policy_iteration(model, gamma)
        policy_evaluation(model, np.full((shape, 2), 0.5), gamma)
        assert (len(traced) == before) == bool(seed)


# ---- units, precision, and what is known of the error


def garnets(count, num_states=8, num_actions=3):
    """The models of random processes with rewards in [-1, 1], leading axis ``count``, float32."""
    with jax.enable_x64(False):
        keys = jax.random.split(jax.random.key(0), count)
        models = jax.vmap(lambda key: random_mdp.table(random_mdp.garnet(key, num_states, num_actions)))(keys)
        return models.replace(reward=2 * models.reward - 1)


MANY = garnets(200)


def in_units(models, factor):
    return models.replace(reward=models.reward * jnp.float32(factor))


def member(models, index):
    """One of many models, in float64."""
    taken = jax.tree.map(lambda leaf: np.asarray(leaf[index]), models)
    return jax.tree.map(lambda leaf: leaf.astype(np.float64) if leaf.dtype == np.float32 else leaf, taken)


SOLVERS = {
    "value_iteration": lambda model, gamma: value_iteration(model, gamma, 0.0),
    "policy_iteration": policy_iteration,
    "policy_evaluation": lambda model, gamma: policy_evaluation(model, jnp.full((8, 3), 1 / 3, jnp.float32), gamma),
}
each = {name: jax.jit(jax.vmap(solver, in_axes=(0, None))) for name, solver in SOLVERS.items()}


@pytest.mark.parametrize("factor", [1e-12, 1e-5, 1e8])
@pytest.mark.parametrize("name", ["value_iteration", "policy_iteration"])
def test_rewards_in_other_units_have_the_same_solution(name, factor):
    """Of 200 random processes in float32, none may stay at its first policy because its rewards are small."""
    with jax.enable_x64(False):
        plain, scaled = each[name](MANY, 0.9), each[name](in_units(MANY, factor), 0.9)
    assert np.asarray(plain.converged).all()
    assert np.asarray(scaled.converged).all()
    size = np.abs(plain.value).max()
    np.testing.assert_allclose(scaled.value / np.float32(factor), plain.value, atol=1e-5 * size)
    best = jax.vmap(lambda model: value_iteration(model, 0.9, 1e-12).value)(MANY)
    np.testing.assert_allclose(plain.value, best, atol=1e-5 * size)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("exponent", [-40, 27])
def test_powers_of_two_change_no_digit(name, exponent):
    factor = np.float32(2.0**exponent)
    with jax.enable_x64(False):
        plain, scaled = each[name](MANY, 0.95), each[name](in_units(MANY, factor), 0.95)
    np.testing.assert_array_equal(scaled.value, plain.value * factor)
    np.testing.assert_array_equal(scaled.error_bound, plain.error_bound * factor)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("gamma", [slow(0.5), 0.99, slow(0.9999)])
def test_the_true_error_is_within_the_bound(name, gamma, wide):
    with jax.enable_x64(wide):
        found = jax.tree.map(np.asarray, each[name](jax.tree.map(lambda leaf: leaf[:20], MANY), gamma))
    gamma = gamma if wide else float(np.float32(gamma))
    for index in range(20):
        model = member(MANY, index)
        policy = oracles.uniform(model) if name == "policy_evaluation" else best_policy(model, gamma)
        exact = oracles.policy_values(model, policy, gamma)
        assert np.abs(found.value[index] - exact).max() <= found.error_bound[index]
        # The single rounding of a number is magnified by the horizon, and no bound can be below that.
        horizon = np.finfo(found.value.dtype).eps / (1 - gamma)
        assert found.error_bound[index] <= 40 * horizon * (1 + np.abs(exact).max())
    assert found.converged.all()


@pytest.mark.parametrize("gamma", [1 - 1e-6, 1 - 1e-9])
def test_discounts_close_to_one(gamma):
    """Nothing ends, so values are of the order of 1 / (1 - gamma)."""
    model = member(MANY, 0)
    exact = oracles.policy_values(model, oracles.uniform(model), gamma)
    found = policy_evaluation(model, oracles.uniform(model), gamma)
    np.testing.assert_allclose(found.value, exact, rtol=1e-6)
    assert bool(found.converged)
    solution = policy_iteration(model, gamma)
    assert bool(solution.converged)
    np.testing.assert_allclose(solution.value, oracles.policy_values(model, best_policy(model, gamma), gamma), rtol=1e-6)


@pytest.mark.parametrize("gamma", [1.5, -0.1, float("nan")])
@pytest.mark.parametrize("name", SOLVERS)
def test_discounts_that_are_none(name, gamma):
    with pytest.raises(ConfigError, match=rf"{name}: gamma must lie in \[0, 1\], got {gamma}"):
        SOLVERS[name](member(MANY, 0), gamma)


def test_values_that_grow_for_ever_have_not_converged():
    """A reward in every step without discount, which compiled code cannot refuse, and too few sweeps or improvements."""
    endless = member(MANY, 0).replace(reward=np.ones((8, 3, 3)))
    assert not bool(jax.jit(lambda gamma: value_iteration(endless, gamma, max_sweeps=1000).converged)(1.0))
    assert not bool(jax.jit(lambda gamma: policy_iteration(endless, gamma).converged)(1.0))
    assert not bool(policy_evaluation(endless, oracles.uniform(endless), 1.0).converged)
    stopped = value_iteration(LAKE["4x4"], 0.99, max_sweeps=10)
    assert not bool(stopped.converged)
    assert np.abs(stopped.value - oracles.value_iteration(LAKE["4x4"], 0.99)).max() <= float(stopped.error_bound)
    assert not bool(policy_iteration(LAKE["4x4"], 0.99, max_improvements=1).converged)
    assert not bool(entropic_value_iteration(endless, 0.5, max_sweeps=1000).converged)


# ---- what is not played decides nothing


@pytest.mark.parametrize("legal", [True, False])
def test_an_action_that_is_never_taken_hides_no_change(legal):
    model = with_a_ruinous_action()
    model = model.replace(action_mask=np.array([[True, legal]]))
    solution = value_iteration(model, 0.99)
    assert bool(solution.converged)
    assert float(solution.value[0]) == pytest.approx(100, rel=1e-4)
    assert float(solution.error_bound) < 0.01
    assert float(policy_iteration(model, 0.99).value[0]) == pytest.approx(100, rel=1e-4)
    assert float(host.solve(model, 0.99).value[0]) == pytest.approx(100, rel=1e-11)


def test_without_discount_it_hides_none_either():
    model = with_a_ruinous_action(ends=True)
    assert float(value_iteration(model, 1.0).value[0]) == pytest.approx(9, rel=1e-4)
    assert float(host.solve(model, 1.0).value[0]) == pytest.approx(9, rel=1e-9)
    # The certainty equivalent of a geometric number of ones: -log(0.1 / (1 - 0.9 exp(-b))) / b.
    expected = -np.log(0.1 / (1 - 0.9 * np.exp(-0.01))) / 0.01
    assert float(entropic_value_iteration(model, 0.01).value[0]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("worth", [np.nan, np.inf, 1e300])
def test_what_is_impossible_may_pay_anything(worth):
    """An outcome of probability 0 has no part in any answer, whatever its reward says."""
    model = tabulate(probes.delayed_reward())
    possible = np.asarray(model.probability)
    wide = dataclasses.replace(
        model,
        probability=np.concatenate([possible, np.zeros_like(possible)], -1),
        next_state=np.concatenate([model.next_state] * 2, -1),
        terminated=np.concatenate([model.terminated] * 2, -1),
        reward=np.concatenate([np.asarray(model.reward), np.full_like(possible, worth)], -1),
    )
    uniform, grid = np.full(np.shape(model.action_mask), 0.5), np.linspace(0.0, 1.0, 11)
    everywhere = np.full((1, model.num_states), 0.5, np.float32)
    options = Options(everywhere > 0, uniform[None].astype(np.float32), everywhere)
    for solve in (
        lambda model: value_iteration(model, 0.9).value,
        lambda model: policy_iteration(model, 0.9).value,
        lambda model: modified_policy_iteration(model, 0.9).value,
        lambda model: policy_evaluation(model, uniform, 0.9).value,
        lambda model: return_variance(model, uniform, 0.9).value,
        lambda model: return_of_policy(model, uniform, 3),
        lambda model: soft_value_iteration(model, 0.9, 0.5).solution.value,
        lambda model: robust_value_iteration(model, 0.9, 0.1).solution.value,
        lambda model: average_reward(model).bias,
        lambda model: host.solve(model, 0.9).value,
        lambda model: occupancy_program(model, 0.9).policy,
        lambda model: prioritised_sweeping(model, 0.9).value,
        lambda model: backward_induction(model, 3).value,
        lambda model: evaluation(model, np.stack([uniform] * 3)).value,
        lambda model: distributional_evaluation(model, uniform, 0.9, grid).law,
        lambda model: distributional_value_iteration(model, 0.9, grid).law,
        lambda model: two_atom_evaluation(model, uniform, 0.9, 0.3).value,
        lambda model: two_atom_control(model, 0.9, 0.3).value,
        lambda model: optimal_cvar(model, grid, 0.5).law,
        lambda model: incremental_worst_cases(model, 0.9, 0.1).value,
        lambda model: taylor_expansion(model, uniform, 0.8, 0.9, 5).error_bound,
        lambda model: taylor_expansion(model, uniform, 0.8, 0.9, 5).value,
        lambda model: option_models(model, options, 0.9).reward,
        lambda model: option_models(model, options, 0.9).transition,
    ):
        np.testing.assert_allclose(solve(wide), solve(model), rtol=1e-6)


def test_an_episode_of_one_step_is_solved_without_discount():
    model = tabulate(probes.constant_reward())
    np.testing.assert_allclose(host.solve(model, 1.0).start_value(model), 1.0)
    np.testing.assert_allclose(value_iteration(model, 1.0).start_value(model), 1.0)
