"""Prioritised sweeping: known optima, its error bound, and that it backs up few states where few change."""

import numpy as np
import pytest

import envs
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError, EnvError
from jaxrl.solvers.mdp.prioritised_sweeping import prioritised_sweeping
from jaxrl.solvers.mdp.value_iteration import value_iteration
from tests import oracles, probes
from tests.solvers.mdp.lakes import EXACT, LAKE
from tests.solvers.models import best_policy, garnet, ring, with_a_ruinous_action


@pytest.mark.parametrize(("name", "gamma", "value"), EXACT)
def test_known_optima(name, gamma, value):
    found = prioritised_sweeping(LAKE[name], gamma)
    assert bool(found.converged)
    assert float(found.start_value(LAKE[name])) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(("gamma", "tolerance"), [(0.0, 0.0), (0.5, 0.0), (0.98, 0.0), (0.98, 1e-3), (0.999, 1e-3)])
def test_the_true_error_is_within_the_bound(gamma, tolerance):
    for seed in range(3):
        model = garnet(seed)
        exact = oracles.policy_values(model, best_policy(model, gamma), gamma)
        found = prioritised_sweeping(model, gamma, tolerance)
        assert bool(found.converged)
        assert np.abs(found.value - exact).max() <= float(found.error_bound) + 1e-14 * np.abs(exact).max() / (1 - gamma)
        assert float(found.error_bound) <= 3 * max(tolerance, 1e-13 / (1 - gamma)) * np.abs(exact).max()


def test_states_that_do_not_change_are_left_alone():
    """A certain maze: one backup for each state, in the order of the distances, one for each wrong turn, and two looks."""
    maze = tabulate(envs.make("four_rooms"))
    found = prioritised_sweeping(maze, 0.99)
    assert int(found.iterations) < 5 * maze.num_states
    assert int(found.iterations) < 0.2 * maze.num_states * int(value_iteration(maze, 0.99, 1e-9).iterations)
    np.testing.assert_allclose(found.value, oracles.value_iteration(maze, 0.99), atol=1e-12)
    assert int(prioritised_sweeping(ring(100), 0.5, 0.0).iterations) <= 800


def test_units_change_no_digit():
    model = garnet(0)
    plain, scaled = (prioritised_sweeping(model.replace(reward=model.reward * unit), 0.99) for unit in (1.0, 2.0**-40))
    np.testing.assert_array_equal(scaled.value, plain.value * 2.0**-40)


def test_illegal_and_ruinous_actions():
    model = tabulate(probes.masked_action())
    found = prioritised_sweeping(model, 0.9)
    assert float(found.start_value(model)) == 0.5
    assert (found.action_value[~np.asarray(model.action_mask)] == -np.inf).all()
    assert float(prioritised_sweeping(with_a_ruinous_action(), 0.99).value[0]) == pytest.approx(100, rel=1e-8)


def test_too_few_backups_have_not_converged():
    found = prioritised_sweeping(tabulate(envs.make("cliff_walking")), 1.0, max_backups=10)
    assert not bool(found.converged)
    assert float(found.error_bound) == np.inf


def test_bad_arguments_are_refused():
    for options, name in (({"gamma": 1.5}, "gamma"), ({"tolerance": -1.0}, "tolerance"), ({"max_backups": 0}, "max_backups")):
        with pytest.raises(ConfigError, match=name):
            prioritised_sweeping(LAKE["4x4"], **({"gamma": 0.9} | options))
    with pytest.raises(EnvError, match="one reward"):
        prioritised_sweeping(tabulate(envs.make("soccer")), 0.9)
