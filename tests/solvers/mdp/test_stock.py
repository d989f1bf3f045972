"""Stocks: the best conditional value at risk against all policies of histories, the grid, and other utilities."""

import itertools

import jax
import numpy as np
import pytest

import envs
from jaxrl.core import machine
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError, EnvError
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.stock import optimal_cvar, stock_augmented
from tests.solvers.models import garnet

LADDER = tabulate(envs.make("gamble_ladder"))


@pytest.mark.parametrize(("level", "value"), [(0.1, 5.0), (0.25, 5.0), (0.5, 5.375), (1.0, 7.5)])
def test_the_ladder_of_five_gambles(level, value):
    plan = optimal_cvar(LADDER, np.arange(16.0), level)
    assert float(plan.value) == pytest.approx(value, abs=1e-9)
    assert float(plan.gap) < 1e-9
    assert bool(plan.exact)
    assert bool(plan.converged)
    assert plan.law.sum() == pytest.approx(1.0)
    if level == 0.5:
        assert float(plan.threshold) == 7.0


def tail(law, level):
    """Returns the mean of the worst share of a law {return: probability}, sorted by hand."""
    total, left = 0.0, level
    for gain in sorted(law):
        taken = min(left, law[gain])
        total, left = total + taken * gain, left - taken
    return total / level


def best_of_all_histories(rounds, rewards, chance, gamma, level):
    """Returns the best CVaR of all deterministic policies of the whole history; rewards: [2, 2], of losing and winning."""
    histories = [history for t in range(rounds) for history in itertools.product((0, 1, 2), repeat=t)]  # safe, lost, won
    best = -np.inf
    for choices in itertools.product((0, 1), repeat=len(histories)):
        policy, law = dict(zip(histories, choices, strict=True)), {}
        stack = [((), 0.0, 1.0)]
        while stack:
            history, gain, weight = stack.pop()
            if len(history) == rounds:
                law[gain] = law.get(gain, 0.0) + weight
                continue
            scale = gamma ** len(history)
            if policy[history] == 0:
                stack.append(((*history, 0), gain + scale * rewards[0][0], weight))
            else:
                stack.append(((*history, 1), gain + scale * rewards[1][0], weight * (1 - chance)))
                stack.append(((*history, 2), gain + scale * rewards[1][1], weight * chance))
        best = max(best, tail(law, level))
    return best


@pytest.mark.parametrize("level", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("gamma", [1.0, 0.5])
def test_no_policy_of_the_history_is_better(level, gamma):
    """Two rounds with 16 policies and three with 8192; discounted by a half, all stocks stay on a grid of quarters."""
    rounds = 2 if gamma < 1 else 3
    model = tabulate(envs.make("gamble_ladder", rounds=rounds, safe=1.0, win=4.0, lose=-1.0, chance=0.625))
    best = best_of_all_histories(rounds, ((1.0, 1.0), (-1.0, 4.0)), 0.625, gamma, level)
    plan = optimal_cvar(model, np.arange(-4.0, 12.25, 0.25), level, gamma)
    assert float(plan.value) == pytest.approx(best, abs=1e-9)
    assert float(plan.gap) < 1e-9
    assert bool(plan.exact)


def test_a_grid_that_does_not_fit_says_so():
    """Its bound holds: a discounted ladder on a coarse grid against a fine one that fits."""
    model, gamma = tabulate(envs.make("gamble_ladder", rounds=2)), 0.5
    exact = optimal_cvar(model, np.arange(0.0, 6.25, 0.25), 0.5, gamma)
    coarse = optimal_cvar(model, np.arange(0.0, 6.3, 0.3), 0.5, gamma)
    assert bool(exact.exact)
    assert not bool(coarse.exact)
    assert 0 < abs(float(coarse.value - exact.value)) <= float(coarse.error_bound) + 0.15
    assert bool(np.isfinite(coarse.error_bound))


def test_without_risk_it_is_the_ordinary_optimum():
    """Level 1 on a random process that never ends, discounted: below all returns the stock does not matter, rounded or not."""
    model, gamma = garnet(0, num_states=4), 0.5
    atoms = np.linspace(-2.0, 2.0, 41)
    plan = optimal_cvar(model, atoms, 1.0, gamma)
    optimum = float(host.solve(model, gamma).start_value(model))
    assert float(plan.value) == pytest.approx(optimum, abs=1e-9)


def test_a_utility_of_ones_own(double_precision):
    """With f(s) = s the utility's rewards are the rewards themselves."""
    joint = stock_augmented(LADDER, np.arange(-15.0, 16.0), 1.0, lambda stock: stock)
    np.testing.assert_array_equal(joint.utility, joint.model.reward)
    assert float(joint.rounding) == 0.0
    found = host.solve(joint.model.replace(reward=joint.utility), 1.0)
    assert float(found.start_value(joint.model)) == pytest.approx(7.5)
    places = np.asarray(joint.model.state)
    start = np.asarray(joint.model.initial).argmax()
    np.testing.assert_array_equal(places[start], [np.asarray(LADDER.initial).argmax(), 0.0])
    following = places[joint.model.next_state[start, 1]]
    np.testing.assert_array_equal(np.sort(following[:, 1]), [0.0, 3.0])


def test_bad_arguments_are_refused(monkeypatch):
    atoms = np.arange(16.0)
    for level in (0.0, 1.5):
        with pytest.raises(ConfigError, match="level must lie in"):
            optimal_cvar(LADDER, atoms, level)
    with pytest.raises(ConfigError, match="gamma must be positive"):
        optimal_cvar(LADDER, atoms, 0.5, 0.0)
    with pytest.raises(ConfigError, match="atoms of support must rise"):
        optimal_cvar(LADDER, atoms[::-1], 0.5)
    with pytest.raises(ConfigError, match="positively homogeneous"):
        stock_augmented(LADDER, atoms, 0.9, np.tanh)
    with pytest.raises(EnvError, match="one reward"):
        optimal_cvar(tabulate(envs.make("soccer")), atoms, 0.5)
    for thresholds, message in (([99], "each threshold must"), ([], "a threshold to try"), ([0.5], "each threshold must")):
        with pytest.raises(ConfigError, match=message):
            optimal_cvar(LADDER, atoms, 0.5, thresholds=thresholds)
    with pytest.raises(ConfigError, match=r"the atoms must cover the largest return from every state, got 15"):
        optimal_cvar(LADDER, np.arange(15.0), 0.5)
    with pytest.raises(ConfigError, match=r"the atoms must cover the smallest return from every state, got 0"):
        optimal_cvar(LADDER, np.arange(1.0, 16.0), 0.5)
    monkeypatch.setattr(machine, "free_memory", lambda: 1e3)
    with pytest.raises(ConfigError, match="must fit into the memory"):
        optimal_cvar(LADDER, atoms, 0.5)


def test_the_model_is_left_as_it_is():
    before = jax.tree.map(np.copy, LADDER)
    optimal_cvar(LADDER, np.arange(16.0), 0.5)
    jax.tree.map(np.testing.assert_array_equal, LADDER, before)
