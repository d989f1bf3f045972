"""FourRooms: exact values, and the spectrum of its graph."""

import numpy as np
import pytest

from envs.gridworlds import four_rooms, grid
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from tests import oracles


@pytest.mark.parametrize(
    ("goal", "slip", "value"),
    [
        ((11, 11), 0.0, 0.826169),
        ((11, 11), 1 / 3, 0.701625),
        ((9, 9), 0.0, 0.860058),
        ((9, 9), 1 / 3, 0.749416),
        ((6, 2), 0.0, 0.950990),
        ((6, 2), 1 / 3, 0.907251),
    ],
)
def test_optimal_value(goal, slip, value):
    model = tabulate(four_rooms.make(goal=goal, slip=slip))
    assert model.num_states == 104
    assert oracles.start_value(model, oracles.value_iteration(model, 0.99)) == pytest.approx(value, abs=1e-6)


def test_length_of_the_random_walk():
    model = tabulate(four_rooms.make())
    steps = oracles.policy_values(model, oracles.uniform(model), 1.0, reward=np.ones_like(model.reward))
    assert oracles.start_value(model, steps) == pytest.approx(1148.34, abs=0.005)


def test_four_rooms_show_in_the_laplacian():
    neighbour = grid.parse("test", four_rooms.MAP, known=".").neighbour
    adjacency = np.zeros((104, 104))
    adjacency[np.arange(104)[:, None], neighbour] = 1
    np.fill_diagonal(adjacency, 0)
    eigenvalues = np.linalg.eigvalsh(np.diag(adjacency.sum(1)) - adjacency)
    np.testing.assert_allclose(eigenvalues[:5], [0, 0.022903, 0.027156, 0.056157, 0.284739], atol=1e-6)


def test_hallways_are_free_and_join_two_rooms():
    rooms = grid.parse("test", four_rooms.MAP, known=".")
    for hallway in four_rooms.HALLWAYS:
        cell = rooms.cell("test", hallway)
        assert len(set(rooms.neighbour[cell]) - {cell}) == 2


def test_start_anywhere():
    env = four_rooms.make(start=None, goal=(9, 9))
    initial = tabulate(env).initial
    assert np.count_nonzero(initial) == 103
    np.testing.assert_allclose(initial[initial > 0], 1 / 103)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (dict(goal=(0, 0)), "free cell"),
        (dict(start=(6, 6)), "free cell"),
        (dict(start=(11, 11)), "start must not be the goal"),
        (dict(slip=2.0), "slip must lie in"),
        (dict(max_steps=0), "max_steps"),
    ],
)
def test_wrong_parameters(parameters, message):
    with pytest.raises(ConfigError, match=message):
        four_rooms.make(**parameters)
