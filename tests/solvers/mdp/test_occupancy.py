"""The occupancy programme: the plain optimum, the known optima under budgets, prices, and budgets that cannot be kept."""

import dataclasses

import numpy as np
import pytest

import envs
from envs.gridworlds import hazard_grid
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError, SolverError
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.occupancy import occupancy_program
from tests import probes
from tests.solvers.mdp.lakes import LAKE

GAMMA = 0.99


def hazards(slip):
    env = envs.make("hazard_grid", slip=slip)
    model = tabulate(env)
    return model, hazard_grid.cost_table(model, env.params)


@pytest.mark.parametrize(("name", "value"), [("4x4", 0.542026), ("8x8", 0.414640)])
def test_without_costs_it_is_the_optimum(name, value):
    found = occupancy_program(LAKE[name], GAMMA)
    assert found.value == pytest.approx(value, abs=1e-6)
    assert found.value == pytest.approx(float(host.solve(LAKE[name], GAMMA).start_value(LAKE[name])), abs=1e-9)
    assert found.residual < 1e-9
    np.testing.assert_allclose(found.policy.sum(-1), 1.0)


@pytest.mark.parametrize(
    ("slip", "budget", "value"),
    [
        (0.0, 0.0, -5.851985),
        (0.0, 0.5, -5.530180),
        (0.0, 1.0, -5.208375),
        (0.0, 2.0, -4.564765),
        (0.1, 0.5, -6.502827),
        (0.1, 1.0, -6.136387),
        (0.1, 2.0, -5.403506),
    ],
)
def test_known_optima_under_a_budget(slip, budget, value):
    model, cost = hazards(slip)
    found = occupancy_program(model, GAMMA, [cost], [budget])
    assert found.value == pytest.approx(value, abs=1e-6)
    assert found.costs[0] <= budget + 1e-9
    assert found.gap < 1e-7


@pytest.mark.parametrize(("slip", "value", "cost"), [(0.0, -3.940399, 2.970100), (0.1, -4.642449, 3.173086)])
def test_a_budget_that_does_not_bind_costs_nothing(slip, value, cost):
    """With slip several best policies differ in cost; a deterministic one of them costs 3.173086."""
    model, table = hazards(slip)
    found = occupancy_program(model, GAMMA, [table], [10.0])
    assert found.value == pytest.approx(value, abs=1e-6)
    assert found.costs[0] == pytest.approx(cost, abs=1e-6) if slip == 0 else found.costs[0] < cost + 1e-6
    assert found.prices[0] == pytest.approx(0.0, abs=1e-9)


def test_a_slip_may_lead_into_a_hazard_whatever_is_done():
    model, cost = hazards(0.1)
    with pytest.raises(SolverError, match="the budget of cost 0 must be at least 0"):
        occupancy_program(model, GAMMA, [cost], [0.0])


def test_between_two_paths_the_best_policy_randomises_and_the_price_is_their_slope():
    """-5.851985 at cost 0 and -3.940399 at cost 2.9701, so the price is 1.911586 / 2.9701."""
    model, cost = hazards(0.0)
    found = occupancy_program(model, GAMMA, [cost], [1.0])
    mixed = (found.policy > 1e-6).sum(-1) > 1
    visited = found.occupancy.sum(-1) > 1e-9
    assert (mixed & visited).sum() == 1
    assert found.prices[0] == pytest.approx(1.911586 / 2.9701, abs=1e-5)


@pytest.mark.parametrize("budget", [5.0, -5.0])
def test_a_budget_that_no_policy_keeps_is_refused_with_the_least_cost(budget):
    """One state and two actions that cost 3 and 1 for ever: 10 at least, at a discount of 0.9."""
    model = tabulate(probes.time_limit_loop())
    cost = np.broadcast_to([3.0, 1.0], np.shape(model.action_mask))
    with pytest.raises(SolverError, match=r"budget of cost 0 must be at least 10, .*Try a budget of 10\.1"):
        occupancy_program(model, 0.9, [cost], [budget])


@pytest.mark.parametrize(("pay", "charge"), [(1e-9, 1.0), (1e6, 1e-6), (1e6, 1.0), (1.0, 1e-8), (1e-9, 1e6)])
def test_units_change_nothing(pay, charge):
    """Rewards and costs in other units, as far apart as they may be: the same policy, and a price in their units."""
    model, cost = hazards(0.1)
    plain = occupancy_program(model, GAMMA, [cost], [1.0])
    scaled = dataclasses.replace(model, reward=pay * np.asarray(model.reward, np.float64))
    found = occupancy_program(scaled, GAMMA, [charge * cost], [charge])
    assert found.value == pytest.approx(pay * plain.value, rel=1e-7)
    assert found.costs[0] <= charge * (1 + 1e-7)
    assert found.prices[0] == pytest.approx(pay / charge * plain.prices[0], rel=1e-5)
    assert found.prices[0] >= 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.0,), "gamma"),
        ((0.9, [np.zeros((2, 2))], [1.0]), "cost 0 must have shape"),
        ((0.9, [], [1.0]), "a budget for each cost"),
        ((0.9, [np.full((25, 4), np.nan)], [1.0]), "cost 0"),
        ((0.9, [np.zeros((25, 4))], [np.inf]), "budgets must be finite"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        occupancy_program(hazards(0.0)[0], *arguments)
