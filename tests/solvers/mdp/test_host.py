"""Solvers on the host against linear solves, closed forms and known numbers."""

import copy

import jax
import numpy as np
import pytest

import envs
from envs.gridworlds import corridor, gridworld
from jaxrl.core import machine
from jaxrl.core.finite import TabularModel, tabulate
from jaxrl.errors import ConfigError, EnvError
from jaxrl.solvers.mdp import host
from tests import oracles
from tests.solvers.models import best_policy, garnet, ring

LAKE = tabulate(envs.make("frozen_lake"))
ROOM = tabulate(gridworld.make(("S....", ".##..", "..a.G"), step=-0.05, rewards={"a": -0.3}, slip=0.3))


@pytest.fixture(params=["direct", "krylov"])
def _method(request, monkeypatch):
    if request.param == "krylov":
        monkeypatch.setattr(host, "DIRECT_STATES", 0)


@pytest.mark.usefixtures("_method")
@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.99, 0.99995, 1 - 1e-7])
def test_the_optimum_of_random_processes(gamma):
    for seed in range(3):
        model = garnet(seed, num_states=12)
        exact = oracles.policy_values(model, best_policy(model, gamma), gamma)
        found = host.solve(model, gamma)
        assert bool(found.converged)
        assert np.abs(found.value - exact).max() <= found.error_bound + 1e-14 * np.abs(exact).max() / (1 - gamma)
        assert float(found.error_bound) <= 1e-12 / (1 - gamma) * np.abs(exact).max()
        np.testing.assert_allclose(found.action_value, oracles.action_values(model, found.value, gamma), atol=1e-9)


@pytest.mark.usefixtures("_method")
@pytest.mark.parametrize("gamma", [0.99, 0.99995, 1.0])
def test_policies_against_linear_solves(gamma):
    for model in (LAKE, ROOM):
        policy = np.random.default_rng(0).dirichlet(np.ones(4), model.num_states)
        found = host.evaluate(model, policy, gamma)
        exact = oracles.policy_values(model, policy, gamma)
        assert bool(found.converged)
        assert np.abs(found.value - exact).max() <= float(found.error_bound) < 1e-9


@pytest.mark.parametrize(
    ("model", "gamma", "expected"),
    [
        (LAKE, 0.99, 0.542026),
        (LAKE, 1.0, 14 / 17),
        (tabulate(envs.make("frozen_lake_8x8")), 1.0, 1.0),
        (tabulate(envs.make("cliff_walking")), 1.0, -13.0),
        (tabulate(corridor.make(60)), 0.8, 0.8**58),
        (ring(3000), 0.999, 0.999**2999 / (1 - 0.999**3000)),
    ],
)
def test_known_numbers(model, gamma, expected):
    found = host.solve(model, gamma)
    assert bool(found.converged)
    assert float(found.start_value(model)) == pytest.approx(expected, abs=1e-6, rel=1e-6)


def test_units_change_no_digit():
    model = garnet(0)
    plain = host.solve(model, 0.999)
    for factor in (2.0**-60, 2.0**40):
        scaled = host.solve(model.replace(reward=model.reward * factor), 0.999)
        np.testing.assert_array_equal(scaled.value, plain.value * factor)
        assert float(scaled.error_bound) == float(plain.error_bound) * factor
    odd = host.solve(model.replace(reward=model.reward * 1e-12), 0.999)
    np.testing.assert_allclose(odd.value, plain.value * 1e-12, rtol=1e-10)


def test_a_discount_close_to_one_takes_few_sweeps():
    assert int(host.solve(garnet(0), 0.99995).iterations) < 1000  # value iteration alone takes half a million


@pytest.mark.slow
@pytest.mark.parametrize("step", [0.0, -1 / 128])
@pytest.mark.parametrize("slip", [0.0, 0.2])
def test_values_travel_a_long_way_in_few_sweeps(step, slip):
    """A room of 3,600 cells, whose goal is 118 moves away: sweeps alone carry its value one cell further each."""
    gamma, size = 0.9999, 60
    rows = ("S" + "." * (size - 1), *["." * size] * (size - 2), "." * (size - 1) + "G")
    model = tabulate(gridworld.make(rows, step=step, slip=slip))
    found = host.solve(model, gamma)
    assert bool(found.converged)
    assert int(found.iterations) < 200
    exact = oracles.policy_values(model, np.eye(4)[found.action_value.argmax(-1)], gamma)
    np.testing.assert_allclose(found.value, exact, atol=1e-9)
    assert np.abs(found.value - exact).max() <= float(found.error_bound)
    assert (oracles.action_values(model, exact, gamma).max(-1) - exact).max() < 1e-10
    if slip == 0:
        moves = 2 * size - 2
        expected = gamma ** (moves - 1) + step * (1 - gamma ** (moves - 1)) / (1 - gamma)
        assert float(found.start_value(model)) == pytest.approx(expected, abs=1e-10)


def loop(*pays, stay=0.0):
    """States in a ring, each of which pays; the second action stays where it is."""
    model = ring(len(pays))
    here = np.arange(len(pays), dtype=np.int32)[:, None]
    return model.replace(
        next_state=np.stack([model.next_state[:, 0], here], axis=1),
        probability=np.ones((len(pays), 2, 1)),
        reward=np.stack([np.reshape(pays, (-1, 1)), np.full((len(pays), 1), stay)], axis=1),
        terminated=np.zeros((len(pays), 2, 1), bool),
        action_mask=np.ones((len(pays), 2), bool),
        joint_shape=(2,),
    )


@pytest.mark.parametrize(
    ("model", "expected"), [(loop(1.0, -2.0), [1.0, 0.0]), (loop(-1.0, -1.0), [0.0, 0.0])], ids=["earns once and rests", "rests"]
)
def test_values_without_discount(model, expected):
    found = host.solve(model, 1.0)
    assert bool(found.converged)
    np.testing.assert_array_equal(found.value, expected)
    host.require_solved("here", model, found, 1.0)


def test_a_solution_that_has_not_converged_is_refused():
    model = tabulate(envs.make("cliff_walking"))
    with pytest.raises(ConfigError, match=r"here: the optimum must converge, got 'a residual of .* after 3 sweeps at gamma = 1'"):
        host.require_solved("here", model, host.solve(model, 1.0, max_sweeps=3), 1.0)


def test_an_optimum_that_rounding_swallows_is_refused():
    model, gamma = garnet(0), 1 - 1e-14
    with pytest.raises(ConfigError, match="the optimum must be accurate to 1e-4"):
        host.require_solved("here", model, host.solve(model, gamma), gamma)
    nothing = model.replace(reward=np.zeros_like(model.reward))
    host.require_solved("here", nothing, host.solve(nothing, 0.9), 0.9)


def test_policies_without_discount_must_end_or_rest():
    model = loop(1.0, -1.0)
    rests = host.evaluate(model, [[1, 0], [0, 1]], 1.0)
    np.testing.assert_array_equal(rests.value, [1.0, 0.0])
    assert bool(rests.converged)
    with pytest.raises(ConfigError, match="must end the episode or come to where nothing is paid"):
        host.evaluate(model, [[1, 0], [1, 0]], 1.0)


def test_models_are_left_as_they_are():
    before = copy.deepcopy(ROOM)
    host.solve(ROOM, 0.9)
    policy = np.eye(4)[np.zeros(ROOM.num_states, int)]
    host.evaluate(ROOM, policy, 0.9)
    jax.tree.map(np.testing.assert_array_equal, ROOM, before)
    np.testing.assert_array_equal(policy, np.eye(4)[np.zeros(ROOM.num_states, int)])


def test_illegal_actions_are_not_taken():
    model = loop(1.0, 0.5, stay=9.0)
    model.action_mask[:, 1] = False
    found = host.solve(model, 0.9)
    assert float(found.value[0]) == pytest.approx((1 + 0.9 * 0.5) / (1 - 0.81))
    assert (found.action_value[:, 1] == -np.inf).all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda m: m.replace(reward=m.reward[..., None] * np.ones(1)), EnvError, "one reward"),
        (lambda m: m.replace(probability=0.9 * m.probability), EnvError, "outcome probabilities must sum to 1"),
        (lambda m: m.replace(reward=np.full_like(m.reward, np.nan)), EnvError, "rewards must be finite"),
    ],
)
def test_tables_that_are_none(change, error, message):
    with pytest.raises(error, match=f"host.solve: .*{message}"):
        host.solve(change(LAKE), 0.9)


@pytest.mark.parametrize("gamma", [1.5, float("nan")])
def test_discounts_that_are_none(gamma):
    for solver in (host.solve, lambda model, gamma: host.evaluate(model, oracles.uniform(model), gamma)):
        with pytest.raises(ConfigError, match="gamma must lie in"):
            solver(LAKE, gamma)


def test_models_that_do_not_fit_are_refused_before(monkeypatch):
    monkeypatch.setattr(machine, "free_memory", lambda: 1e4)
    with pytest.raises(ConfigError, match=r"a model of 16 states must fit into the memory of this machine \(0.0 GB free\)"):
        host.solve(LAKE, 0.9)


@pytest.mark.parametrize("gamma", [0.9999, 1 - 1e-6, 1 - 1e-8])
def test_probabilities_in_single_precision_leak_nothing(gamma):
    """Rows of float32 miss a sum of 1 by up to 1e-7: more than a discount near 1 does."""
    reward, chance = np.ones((1, 3, 2)), np.broadcast_to(np.array([0.1, 0.9], np.float32), (1, 3, 2))
    states = np.arange(1)
    never, nowhere = np.zeros((1, 3, 2), bool), np.zeros((1, 3, 2), np.int32)
    model = TabularModel(nowhere, chance, reward, never, np.ones(1), np.ones((1, 3), bool), states, states, (3,))
    found = host.evaluate(model, np.full((1, 3), np.float32(1 / 3)), gamma)
    assert abs(float(found.value[0]) - 1 / (1 - gamma)) <= float(found.error_bound)
    assert float(found.value[0]) == pytest.approx(1 / (1 - gamma), rel=1e-7)
    assert float(host.solve(model, gamma).value[0]) == pytest.approx(1 / (1 - gamma), rel=1e-7)
    with pytest.raises(ConfigError, match="rewards for ever"):
        host.evaluate(model, np.full((1, 3), np.float32(1 / 3)), 1.0)


def test_shapes_that_are_none():
    model = garnet(0)
    for changed in (model.replace(next_state=model.next_state[0]), jax.tree.map(lambda leaf: leaf[:0], model)):
        with pytest.raises(EnvError, match="next_state must have shape"):
            host.solve(changed, 0.9)
