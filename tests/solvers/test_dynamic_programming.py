"""Exact solvers against closed forms, known numbers and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.gridworlds import corridor
from envs.random_mdps import random_mdp
from envs.trading import option_hedging
from jaxrl.core.finite import TabularModel, tabulate
from jaxrl.errors import ConfigError, EnvError
from jaxrl.solvers import dynamic_programming, host, markov_chain
from jaxrl.solvers.dynamic_programming import (
    action_values,
    certainty_equivalents,
    entropic_plan,
    entropic_value_iteration,
    greedy_policy,
    policy_evaluation,
    policy_iteration,
    return_of_policy,
    value_iteration,
)
from tests import oracles, probes
from tests.solvers.models import best_policy, ring

CERTAIN = tabulate(envs.make("frozen_lake", slip=0.0))
IDLE = np.eye(4)[np.zeros(16, int)]  # left, for ever: there is a wall, and nothing is paid
LAKE = {"4x4": tabulate(envs.make("frozen_lake")), "8x8": tabulate(envs.make("frozen_lake_8x8"))}
EXACT = [
    ("4x4", 0.9, 0.068891),
    ("4x4", 0.95, 0.180472),
    ("4x4", 0.99, 0.542026),
    ("4x4", 0.999, 0.785533),
    ("4x4", 1.0, 14 / 17),
    ("8x8", 0.99, 0.414640),
    ("8x8", 0.999, 0.892635),
    ("8x8", 1.0, 1.0),
]


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(("size", "gamma", "expected"), EXACT)
def test_value_iteration_finds_every_known_number(size, gamma, expected):
    model = LAKE[size]
    solution = value_iteration(model, gamma, tolerance=1e-13)
    assert float(solution.start_value(model)) == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(solution.value, oracles.value_iteration(model, gamma), atol=1e-9)


@pytest.mark.parametrize(("size", "gamma", "expected"), [case for case in EXACT if case[1] < 1])
def test_policy_iteration_agrees_in_few_improvements(size, gamma, expected):
    model = LAKE[size]
    solution = policy_iteration(model, gamma)
    assert float(solution.start_value(model)) == pytest.approx(expected, abs=1e-6)
    if size == "4x4":
        assert solution.iterations <= 10
    policy = greedy_policy(model, solution.action_value)
    np.testing.assert_allclose(oracles.policy_values(model, policy, gamma), solution.value, atol=1e-9)


def test_value_iteration_contracts_by_gamma_at_every_sweep():
    model, gamma = LAKE["4x4"], 0.95
    optimum = oracles.value_iteration(model, gamma)
    value, sweep = jnp.zeros(model.num_states), jax.jit(lambda value: action_values(model, value, gamma).max(-1))
    for _ in range(60):
        new = sweep(value)
        assert np.abs(new - optimum).max() <= gamma * np.abs(value - optimum).max() + 1e-15
        value = new


def test_value_iteration_sweeps_until_the_error_is_within_the_tolerance():
    model, gamma, tolerance = LAKE["4x4"], 0.99, 1e-9
    value, sweeps = np.zeros(model.num_states), 0
    while True:
        previous, value, sweeps = value, oracles.action_values(model, value, gamma).max(-1), sweeps + 1
        if gamma / (1 - gamma) * np.abs(value - previous).max() <= tolerance * np.abs(value).max():
            break
    solution = value_iteration(model, gamma, tolerance)
    assert int(solution.iterations) == sweeps
    assert np.abs(solution.value - oracles.value_iteration(model, gamma)).max() <= float(solution.error_bound)
    assert float(solution.error_bound) <= 1.01 * tolerance


@pytest.mark.parametrize("gamma", [0.0, 0.9, 0.99, 1.0])
def test_policy_evaluation_of_a_random_policy(gamma):
    model = LAKE["4x4"]
    policy = np.random.default_rng(0).dirichlet(np.ones(4), model.num_states)
    found = policy_evaluation(model, policy, gamma)
    np.testing.assert_allclose(found.value, oracles.policy_values(model, policy, gamma), atol=1e-10)


def test_policy_evaluation_of_the_uniform_policy_is_the_known_number():
    model = LAKE["4x4"]
    found = policy_evaluation(model, np.full((model.num_states, 4), 0.25), 0.99)
    assert float(found.start_value(model)) == pytest.approx(0.012356, abs=1e-6)


def test_policy_evaluation_over_many_policies_at_once_in_single_precision():
    with jax.enable_x64(False):
        model = LAKE["4x4"]
        policies = np.random.default_rng(1).dirichlet(np.ones(4), (512, model.num_states)).astype(np.float32)
        values = jax.jit(jax.vmap(lambda policy: policy_evaluation(model, policy, 0.99).value))(policies)
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values[7], oracles.policy_values(model, policies[7], 0.99), atol=1e-5)


def test_cliff_walking_and_its_best_exploring_policy():
    model = tabulate(envs.make("cliff_walking"))
    solution = value_iteration(model, 1.0)
    assert float(solution.start_value(model)) == -13.0
    edge = oracles.greedy(model, np.asarray(solution.value), 1.0, preference=[2, 1, 3, 0])  # ties go right, along the edge
    for epsilon, expected in ((0.1, -45.803322), (0.05, -28.811095), (0.01, -16.066662)):
        policy = (1 - epsilon) * edge + epsilon / 4
        assert float(policy_evaluation(model, policy, 1.0).start_value(model)) == pytest.approx(expected, abs=1e-5)


def test_a_policy_that_never_terminates_gives_a_large_finite_number():
    model = tabulate(envs.make("cliff_walking"))
    found = policy_evaluation(model, np.eye(4)[np.zeros(model.num_states, int)], 1.0)  # for ever into the left wall
    assert np.isfinite(found.value).all()
    assert float(found.start_value(model)) < -1e5
    assert not bool(found.converged)
    assert float(found.error_bound) == np.inf


def test_illegal_actions_are_never_used():
    model = tabulate(probes.masked_action())
    for solver in (value_iteration, policy_iteration):
        solution = solver(model, 0.9)
        assert float(solution.start_value(model)) == 0.5
        assert float(solution.action_value[0, 2]) == -np.inf
    assert greedy_policy(model, solution.action_value)[0].tolist() == [1.0, 0.0, 0.0]


def test_a_game_has_a_value_per_agent():
    model = tabulate(envs.make("prisoners_dilemma"))
    uniform = np.full((model.num_states, 4), 0.25)
    value = policy_evaluation(model, uniform, 0.9).value
    assert value.shape == (model.num_states, 2)
    np.testing.assert_allclose(model.initial @ value, [-1.5, -1.5])


@pytest.mark.parametrize("aversion", [1e-6, 0.5, 10.0])
def test_certainty_equivalent_of_a_lake_that_pays_once(aversion):
    """The sum of the rewards is 0 or 1, so whoever is averse to risk wants what everyone wants: 1 with probability 14/17."""
    model = LAKE["4x4"]
    solution = entropic_value_iteration(model, aversion, tolerance=1e-13)
    expected = -np.log1p(14 / 17 * np.expm1(-aversion)) / aversion
    assert float(solution.start_value(model)) == pytest.approx(expected, rel=1e-6)


def test_certainty_equivalents_in_numpy():
    """Of stochastic moves with rewards and ends, from any values; and of values that exp() could not hold."""
    model, aversion = tabulate(envs.make("cliff_walking", slip=0.3)), 0.7
    values = np.random.default_rng(0).normal(size=model.num_states)
    onward = model.reward + ~model.terminated * values[model.next_state]
    expected = -np.log((model.probability * np.exp(-aversion * onward)).sum(-1)) / aversion
    np.testing.assert_allclose(certainty_equivalents(model, values, aversion), expected, rtol=1e-10)
    lifted, going_on = np.asarray(certainty_equivalents(model, values + 1e4, aversion)), ~model.terminated.any(-1)
    np.testing.assert_allclose(lifted[going_on], expected[going_on] + 1e4, rtol=1e-10)


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
@pytest.mark.parametrize("gamma", [0.5, 0.99, 0.9999])
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


@pytest.mark.parametrize("length", [60, 200])
def test_the_way_is_found_from_far_away(length):
    """At discount 0.8 the far end of a corridor is worth 0.8^(L - 2), far below the rounding of its other end."""
    with jax.enable_x64(False):
        model = tabulate(corridor.make(length))
        solution = policy_iteration(model, 0.8)
    distance = np.arange(length - 2, -1, -1)
    np.testing.assert_allclose(solution.value[:-1], 0.8**distance, rtol=1e-4)
    assert (np.asarray(solution.action_value).argmax(-1)[:-1] == 1).all()


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
    """A reward in every step without discount, and too few sweeps or improvements."""
    endless = member(MANY, 0).replace(reward=np.ones((8, 3, 3)))
    assert not bool(value_iteration(endless, 1.0, max_sweeps=1000).converged)
    assert not bool(policy_iteration(endless, 1.0).converged)
    assert not bool(policy_evaluation(endless, oracles.uniform(endless), 1.0).converged)
    stopped = value_iteration(LAKE["4x4"], 0.99, max_sweeps=10)
    assert not bool(stopped.converged)
    assert np.abs(stopped.value - oracles.value_iteration(LAKE["4x4"], 0.99)).max() <= float(stopped.error_bound)
    assert not bool(policy_iteration(LAKE["4x4"], 0.99, max_improvements=1).converged)
    assert not bool(entropic_value_iteration(endless, 0.5, max_sweeps=1000).converged)


def test_without_discount_the_error_of_a_policy_is_bounded_by_how_long_it_takes():
    model = tabulate(envs.make("cliff_walking"))
    found = policy_evaluation(model, oracles.uniform(model), 1.0)
    exact = oracles.policy_values(model, oracles.uniform(model), 1.0)
    assert np.abs(found.value - exact).max() <= float(found.error_bound) < 1e-5 * np.abs(exact).max()
    # For ever into a wall that costs nothing, but at the start alone: the value is right, though nothing bounds the error.
    best = greedy_policy(CERTAIN, value_iteration(CERTAIN, 0.9).action_value)
    stays = policy_evaluation(CERTAIN, np.where(CERTAIN.initial[:, None] > 0, IDLE, best), 1.0)
    assert bool(stays.converged)
    assert float(stays.start_value(CERTAIN)) == 0.0
    assert float(stays.value.max()) == 1.0
    assert float(stays.error_bound) == np.inf


@pytest.mark.parametrize("gamma", [0.9, 1.0])
@pytest.mark.parametrize("beyond", [None, 1.0])
def test_sweeps_agree_with_matrices(gamma, beyond):
    model = LAKE["4x4"]
    policy = np.random.default_rng(0).dirichlet(np.ones(4), 16)
    beyond = None if beyond is None else np.full(16, beyond)
    dense, swept = (policy_evaluation(model, policy, gamma, beyond, dense=dense) for dense in (True, False))
    np.testing.assert_allclose(swept.value, dense.value, atol=1e-12)
    assert bool(swept.converged)
    assert float(swept.error_bound) < 1e-10
    for dense in (True, False):
        found = policy_evaluation(CERTAIN, IDLE, 1.0, np.ones(16), max_steps=1000, dense=dense)
        assert float(found.start_value(CERTAIN)) == 1.0


def test_matrices_are_left_where_they_are_too_large():
    """20,000 states in a ring: a matrix would take 3.2 GB."""
    states = 20_000
    model, policy = ring(states), np.ones((states, 1))
    evaluate = dynamic_programming._policy_evaluation.lower(model, policy, 0.9, None, None, False).compile()
    assert evaluate.memory_analysis().temp_size_in_bytes < 10_000_000
    found = policy_evaluation(model, policy, 0.9)
    assert float(found.value[0]) == pytest.approx(0.9 ** (states - 1) / (1 - 0.9**states), abs=1e-12)
    assert float(found.value[-1]) == pytest.approx(1 / (1 - 0.9**states))
    assert bool(policy_iteration(model, 0.9).converged)


@pytest.mark.parametrize("dense", [True, False])
def test_the_gradient_of_a_value_is_that_of_the_policy_gradient_theorem(dense):
    """d V(start) / d policy(x, a) = sum of discounted visits to x times Q(x, a), for moves of mass within a row."""
    model, gamma = LAKE["4x4"], 0.95
    policy = np.random.default_rng(3).dirichlet(np.ones(4), 16)
    gradient = jax.grad(lambda policy: policy_evaluation(model, policy, gamma, dense=dense).start_value(model))(policy)
    values = oracles.policy_values(model, policy, gamma)
    onward = np.einsum("xa,xak->xak", policy, model.probability * ~model.terminated)
    transition = np.zeros((16, 16))
    np.add.at(transition, (np.arange(16)[:, None, None], model.next_state), onward)
    visits = np.linalg.solve(np.eye(16) - gamma * transition.T, model.initial)
    expected = visits[:, None] * oracles.action_values(model, values, gamma)
    np.testing.assert_allclose(gradient, expected, atol=1e-10)
    slope = jax.grad(lambda gamma: policy_evaluation(model, policy, gamma, dense=dense).start_value(model))(gamma)
    ahead, behind = (model.initial @ oracles.policy_values(model, policy, gamma + step) for step in (1e-6, -1e-6))
    assert float(slope) == pytest.approx((ahead - behind) / 2e-6, rel=1e-5)


def test_solvers_compile_once_for_a_shape(monkeypatch):
    traced = []

    def counting(function):
        def counted(*args, **kwargs):
            traced.append(function.__name__)
            return function(*args, **kwargs)

        return counted

    for name in ("fixed_point", "discounted_sums"):
        monkeypatch.setattr(dynamic_programming, name, counting(getattr(dynamic_programming, name)))
    shape = 7  # of no other test
    for gamma, seed in ((0.9, 0), (0.95, 1)):
        before = len(traced)
        model = jax.tree.map(np.asarray, random_mdp.table(random_mdp.garnet(jax.random.key(seed), shape, 2)))
        value_iteration(model, gamma, tolerance=1e-3 * (1 + seed))
        entropic_value_iteration(model, gamma, max_sweeps=10 + seed)
        policy_iteration(model, gamma)
        policy_evaluation(model, np.full((shape, 2), 0.5), gamma)
        assert (len(traced) == before) == bool(seed)


def test_rewards_of_several_agents_are_not_those_of_one():
    model = tabulate(envs.make("prisoners_dilemma"))
    for solver in (value_iteration, policy_iteration, entropic_value_iteration):
        with pytest.raises(EnvError, match=r"must have one reward, \[X, A, K\], got \[2, 4, 1, 2\]"):
            solver(model, 0.9)


def test_policies_that_are_none():
    model = LAKE["4x4"]
    with pytest.raises(ConfigError, match=r"the policy must sum to 1, got 'a sum of 0\.9"):
        policy_evaluation(model, np.full((16, 4), 0.225), 0.9)
    with pytest.raises(ConfigError, match="the policy must be finite"):
        policy_evaluation(model, np.full((16, 4), np.nan), 0.9)
    with pytest.raises(ConfigError, match=r"the policy must have shape \[16, 4\]"):
        policy_evaluation(model, np.full((16, 3), 1 / 3), 0.9)


@pytest.mark.parametrize("aversion", [0.0, -1.0, float("nan"), float("inf")])
def test_risk_aversions_that_are_none(aversion):
    with pytest.raises(ConfigError, match="risk_aversion must be a positive number"):
        entropic_value_iteration(LAKE["4x4"], aversion)


@pytest.mark.parametrize("aversion", [1e-6, 1e-3, 1.0, 1e3])
def test_certainty_equivalents_in_single_precision(aversion):
    """Near indifference the utility is a straight line, and its curvature must not be lost in rounding."""
    model = LAKE["4x4"]
    values = np.random.default_rng(0).normal(size=16)
    exact = certainty_equivalents(model, values, aversion)
    with jax.enable_x64(False):
        found = certainty_equivalents(jax.tree.map(jnp.asarray, model), values.astype(np.float32), aversion)
    np.testing.assert_allclose(found, exact, atol=2e-6)


def test_methods_are_chosen_by_size():
    assert markov_chain.doubling_is_faster(100, 8, 0.5)
    assert not markov_chain.doubling_is_faster(1000, 8, 0.9)
    assert markov_chain.doubling_is_faster(1000, 8, 1.0)
    assert not markov_chain.doubling_is_faster(10_000, 8, 1.0)


# ---- what is not played decides nothing


def with_a_ruinous_action(ends=False):
    """One state: the first action pays 1 (and goes on with probability 0.9, if it ends); the second costs more than anything."""
    chance = np.array([[[0.9, 0.1]] * 2]) if ends else np.ones((1, 2, 1))
    reward = np.array([[[1.0, 0.0], [-1e9, -1e9]]]) if ends else np.array([[[1.0], [-1e9]]])
    over = np.broadcast_to(np.array([False, True]), chance.shape).copy() if ends else np.zeros(chance.shape, bool)
    states, legal = np.arange(1), np.ones((1, 2), bool)
    return TabularModel(np.zeros(chance.shape, np.int32), chance, reward, over, np.ones(1), legal, states, states, (2,))


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


def test_a_plan_says_where_it_leads_and_how_far_off_others_are():
    model = tabulate(option_hedging.make((0.0, 0.5, 1.0), 2.0, 2.0, cost=0.01, num_steps=2))
    plan = entropic_plan(model, 5.0)
    solution = entropic_value_iteration(model, 5.0, tolerance=1e-12)
    assert plan.value == pytest.approx(float(solution.start_value(model)), rel=1e-12)
    assert plan.observations[0] == model.observation[model.initial.argmax()]
    assert len(plan.observations) == len(set(plan.observations.tolist())) == 3  # the start, and after a move either way
    best = np.asarray(solution.action_value).argmax(-1)
    states = [int(np.flatnonzero(model.observation == seen)[0]) for seen in plan.observations]
    np.testing.assert_array_equal(plan.choices, best[states])
    q = np.zeros((2, model.num_states, 3)) + plan.value - 1.0
    q[0, plan.observations, plan.choices] = plan.value
    q[1, plan.observations, (plan.choices + 1) % 3] = np.nan
    error, off = plan.errors(q + 3.0, offset=3.0)
    assert error.tolist() == [pytest.approx(0.0, abs=1e-12), np.inf]
    assert off[0] == 0
    assert off[1] > 0
    assert plan.errors(q[:1], offset=0.5 * abs(plan.value))[0][0] == pytest.approx(0.5)


# ---- unsound arguments


ASKED = {  # tests/test_doors.py has the other solvers
    "action_values": lambda model: action_values(model, np.zeros(1), 0.9),
    "certainty_equivalents": lambda model: certainty_equivalents(model, np.zeros(1), 1.0),
    "return_of_policy": lambda model: return_of_policy(model, np.array([[0.5, 0.5]]), 3),
}


@pytest.mark.parametrize("solver", ASKED)
@pytest.mark.parametrize(
    ("name", "number", "message"),
    [
        ("probability", 1.4, "probabilities must sum to 1, got 1.4 for action 0 in state 0"),
        ("next_state", 77, r"next_state must hold whole numbers in \[0, 1\), got \(0, 77\)"),
        ("reward", np.nan, "rewards must be finite"),
    ],
)
def test_a_model_that_is_not_sound_is_refused(solver, name, number, message):
    table = getattr(with_a_ruinous_action(), name).copy()
    table[0, 0, 0] = number
    with pytest.raises(EnvError, match=f"^{solver}: .*{message}"):
        ASKED[solver](with_a_ruinous_action().replace(**{name: table}))


def test_a_traced_model_is_not_checked():
    model = with_a_ruinous_action()
    found = jax.jit(lambda model: value_iteration(model, 0.9).value)(model.replace(reward=np.full((1, 2, 1), np.nan)))
    assert np.isnan(np.asarray(found)).all()


@pytest.mark.parametrize("tolerance", [np.nan, -1e-3, "1e-6"])
def test_an_unsound_tolerance_is_refused(tolerance):
    model = with_a_ruinous_action()
    for solve in (
        lambda: value_iteration(model, 0.9, tolerance),
        lambda: entropic_value_iteration(model, 1.0, tolerance),
        lambda: host.solve(model, 0.9, tolerance),
    ):
        with pytest.raises(ConfigError, match="tolerance must be"):
            solve()


def test_a_discount_that_is_text_is_refused():
    for solve in (value_iteration, policy_iteration, host.solve):
        with pytest.raises(ConfigError, match=r"gamma must lie in \[0, 1\], got '0\.9'"):
            solve(with_a_ruinous_action(), "0.9")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"next_state": np.full((1, 2), 3, np.int32)}, r"next_state must hold whole numbers in \[0, 1\)"),
        ({"weight": np.array([[0.9, 0.4]])}, "must not add up to more than the discount, got 1.3"),
        ({"weight": np.array([[0.9, -0.4]])}, "weights must not be negative, got -0.4"),
        ({"weight": np.array([[0.9, np.nan]])}, "weights must be finite"),
        ({"weight": np.array([0.9])}, r"must have one shape \[X, M\]"),
        ({"discount": np.array(2.0)}, r"gamma must lie in \[0, 1\]"),
    ],
)
def test_a_chain_that_is_not_sound_is_refused(changes, message):
    chain = markov_chain.Chain(np.zeros((1, 2), np.int32), np.array([[0.5, 0.4]]), np.array(0.9))
    assert float(markov_chain.discounted_sums(jax.tree.map(jnp.asarray, chain), jnp.ones((1, 1))).value[0, 0]) == pytest.approx(
        10
    )
    with pytest.raises(ConfigError, match=message):
        markov_chain.discounted_sums(chain._replace(**changes), np.ones((1, 1)))
