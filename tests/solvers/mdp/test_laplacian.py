"""The Laplacian of the states: closed forms on paths and cycles, the four rooms, and options that climb."""

import dataclasses
from functools import cache

import numpy as np
import pytest

import envs
from envs.gridworlds import four_rooms
from jaxrl.blocks.options import joined, primitive, require_options
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from jaxrl.solvers.mdp.laplacian import adjacency, eigen_options, laplacian
from jaxrl.solvers.representations import principal_angles
from tests.solvers.models import garnet, ring


def path_of(num_states):
    joins = np.eye(num_states, k=1)
    return joins + joins.T


def cycle_of(num_states):
    return adjacency(ring(num_states))


@cache
def row(length):
    """The model of a corridor without an end; actions left and right, and two that stay."""
    return tabulate(envs.make("gridworld", map=("." * length,), step=0.0))


@cache
def rooms():
    return tabulate(envs.make("gridworld", map=four_rooms.MAP, step=0.0))


@pytest.mark.parametrize("num_states", [2, 3, 8, 40])
def test_a_path_has_the_eigenvalues_of_its_closed_form(num_states):
    found = laplacian(path_of(num_states))
    numbers, cells = np.arange(num_states), np.arange(num_states) + 0.5
    np.testing.assert_allclose(found.eigenvalue, 2 - 2 * np.cos(np.pi * numbers / num_states), rtol=0, atol=1e-13)
    waves = np.cos(np.pi * numbers[None] * cells[:, None] / num_states)
    overlap = np.abs((waves / np.linalg.norm(waves, axis=0)).T @ found.eigenvector)
    np.testing.assert_allclose(overlap, np.eye(num_states), rtol=0, atol=1e-10)
    assert found.residual < 1e-13
    assert [len(space) for space in found.spaces()] == [1] * num_states


@pytest.mark.parametrize("num_states", [5, 8])
def test_a_cycle_has_pairs_of_equal_eigenvalues_and_spaces_of_waves(num_states):
    found = laplacian(cycle_of(num_states))
    expected = np.sort(2 - 2 * np.cos(2 * np.pi * np.arange(num_states) / num_states))
    np.testing.assert_allclose(found.eigenvalue, expected, rtol=0, atol=1e-13)
    spaces = found.spaces()
    assert [len(space) for space in spaces] == [1] + [2] * ((num_states - 1) // 2) + [1] * (num_states % 2 == 0)
    angle = 2 * np.pi * np.arange(num_states) / num_states
    for number, space in enumerate(spaces[1:], 1):
        if len(space) == 2:
            waves = np.stack([np.cos(number * angle), np.sin(number * angle)], 1)
            assert principal_angles(found.eigenvector[:, space], waves).max() < 1e-10
    assert found.slowest(2).shape == (num_states, 2)
    with pytest.raises(
        ConfigError, match=r"count must take all eigenvectors of an eigenvalue, or none, got 1. Take one of \[2, 4"
    ):
        found.slowest(1)


def test_the_four_rooms_have_three_slow_eigenvectors():
    found = laplacian(adjacency(rooms()))
    np.testing.assert_allclose(found.eigenvalue[:5], [0, 0.022903, 0.027156, 0.056157, 0.284739], rtol=0, atol=1e-6)
    with_goal = tabulate(four_rooms.make(start=None))
    np.testing.assert_allclose(laplacian(adjacency(with_goal)).eigenvalue, found.eigenvalue, rtol=0, atol=1e-12)


def test_parts_that_are_not_connected_each_have_a_constant():
    joins = np.zeros((7, 7))
    joins[:4, :4], joins[4:, 4:] = path_of(4), path_of(3)
    found = laplacian(joins)
    assert len(found.spaces()[0]) == 2
    assert found.slowest(1).shape == (7, 1)
    np.testing.assert_allclose(found.eigenvalue[2], 2 - 2 * np.cos(np.pi / 4), atol=1e-13)
    np.testing.assert_allclose(found.slowest(1)[4:], 0, atol=1e-12)
    lonely = laplacian(np.zeros((3, 3)))
    assert [len(space) for space in lonely.spaces()] == [3]


def test_only_possible_transitions_of_legal_actions_join_states():
    model = garnet(0)
    joins = adjacency(model)
    expected = np.zeros((8, 8))
    for x, a, k in np.ndindex(model.next_state.shape):
        if model.probability[x, a, k] > 0 and model.next_state[x, a, k] != x:
            expected[x, model.next_state[x, a, k]] = expected[model.next_state[x, a, k], x] = 1
    np.testing.assert_array_equal(joins, expected)


def test_a_legal_way_in_one_direction_joins_two_states():
    mask = np.ones((6, 4), bool)
    mask[2, 2] = False
    np.testing.assert_array_equal(adjacency(dataclasses.replace(row(6), action_mask=mask)), path_of(6))
    mask[3, 0] = False
    parted = path_of(6)
    parted[2, 3] = parted[3, 2] = 0
    np.testing.assert_array_equal(adjacency(dataclasses.replace(row(6), action_mask=mask)), parted)


def test_an_option_of_a_corridor_leads_to_its_end_and_ends_there():
    model, length = row(9), 9
    options = eigen_options(model, laplacian(adjacency(model)).slowest(1))
    require_options("test", joined(primitive(length, 4), options), length, 4)
    ends = []
    for number in range(options.count):
        action = options.policy[number].argmax(-1)
        place = model.next_state[np.arange(length), action, model.probability[np.arange(length), action].argmax(-1)]
        (end,) = np.flatnonzero(~options.initiation[number])
        np.testing.assert_array_equal(options.termination[number], np.arange(length) == end)
        towards_end = np.where(np.arange(length) < end, 1, -1)
        elsewhere = np.arange(length) != end
        np.testing.assert_array_equal((place - np.arange(length))[elsewhere], towards_end[elsewhere])
        ends.append(int(end))
    assert sorted(ends) == [0, length - 1]


@pytest.mark.parametrize("gamma", [0.0, 0.9, 0.99])
def test_options_begin_where_something_is_left_to_gain(gamma):
    """V = max(0, max_a sum p [e(s') - e(s) + gamma V(s')]), swept in NumPy."""
    model = tabulate(four_rooms.make(start=None, goal=(9, 9), slip=0.2))
    vectors = laplacian(adjacency(model)).slowest(4)
    options = eigen_options(model, vectors, gamma)
    assert options.count == 8
    for number in range(8):
        e, value = vectors[:, number // 2] * (1 - 2 * (number % 2)), np.zeros(model.num_states)
        for _ in range(3000):
            beyond = np.where(model.terminated, 0.0, value[model.next_state])
            values = (model.probability * (e[model.next_state] - e[:, None, None] + gamma * beyond)).sum(-1)
            value = np.maximum(values.max(-1), 0.0)
        np.testing.assert_array_equal(options.initiation[number], values.max(-1) > 1e-9)
        chosen = (options.policy[number] * values).sum(-1)
        np.testing.assert_allclose(chosen, values.max(-1), rtol=0, atol=1e-9)
        assert options.initiation[number].any()
        assert not options.initiation[number][e.argmax()]


def test_illegal_actions_are_never_taken():
    model = row(6)
    mask = np.ones((6, 4), bool)
    mask[2, 2] = False  # no way to the right from the third cell
    masked = dataclasses.replace(model, action_mask=mask)
    options = eigen_options(masked, np.arange(6.0)[:, None])
    assert not (np.asarray(options.policy) * ~mask).any()
    np.testing.assert_array_equal(options.initiation[0], [True, True, False, True, True, False])


def test_a_vector_without_slopes_has_options_that_begin_nowhere():
    options = eigen_options(row(6), np.full((6, 1), 1 / 3))
    assert not options.initiation.any()
    assert (options.termination == 1).all()


def test_matrices_that_are_no_graph_are_refused():
    for joins, must in (
        (np.ones((2, 3)), "shape"),
        (np.triu(np.ones((3, 3))), "symmetric"),
        (-np.ones((2, 2)), "joins must"),
    ):
        with pytest.raises(ConfigError, match=must):
            laplacian(joins)
