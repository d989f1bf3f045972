"""Pure equilibria of random matching against all joint actions of the same game, player by player, and by hand."""

import itertools

import numpy as np
import pytest

from jaxrl.errors import ConfigError
from jaxrl.solvers.random_matching import pure_equilibria


def looked_up(tables, players, tolerance=1e-9):
    """Returns the profiles of counts that are equilibria, by looking at every player of every joint action."""
    kinds = [kind for kind, count in enumerate(players) for _ in range(count)]
    sizes = [len(row[kind]) for kind, row in enumerate(tables)]

    def gets(joint, player):
        others = [other for other in range(len(kinds)) if other != player]
        return sum(tables[kinds[player]][kinds[other]][joint[player], joint[other]] for other in others) / len(others)

    found = {}
    for joint in itertools.product(*(range(sizes[kind]) for kind in kinds)):
        regret = 0.0
        for player, kind in enumerate(kinds):
            would = [gets((*joint[:player], action, *joint[player + 1 :]), player) for action in range(sizes[kind])]
            regret = max(regret, max(would) - would[joint[player]])
        if regret <= tolerance:
            counts = [np.zeros(size, int) for size in sizes]
            for player, kind in enumerate(kinds):
                counts[kind][joint[player]] += 1
            key = tuple(map(tuple, counts))
            found[key] = np.mean([gets(joint, player) for player in range(len(kinds))])
    return found


@pytest.mark.parametrize("players", [(2, 2), (4, 0), (1, 3), (0, 2)])
def test_equilibria_are_those_of_all_joint_actions(players):
    draw = np.random.default_rng(sum(players) + players[0])
    several = 0
    for _ in range(20):
        tables = [[draw.integers(0, 4, (own, other)).astype(float) for other in (3, 2)] for own in (3, 2)]
        found, expected = pure_equilibria(tables, players), looked_up(tables, players)
        ours = [tuple(tuple(counts[place].tolist()) for counts in found.counts) for place in range(len(found.mean))]
        assert sorted(ours) == sorted(expected)
        np.testing.assert_allclose(found.mean, [expected[key] for key in ours])
        assert (found.regret <= 1e-9).all()
        several += len(ours)
    assert several > 0


def test_hawks_and_doves():
    """Four meet at random. A dove who sees one hawk more would gain, a hawk as well: two of each are the one equilibrium."""
    found = pure_equilibria([[[[-1.0, 2.0], [0.0, 1.0]]]], [4])
    np.testing.assert_array_equal(found.counts[0], [[2, 2]])
    np.testing.assert_allclose(found.mean, [(2 * (-1 + 2 * 2) / 3 + 2 * 1 / 3) / 4])


@pytest.mark.parametrize(
    ("payoff", "players", "message"),
    [
        ([[np.zeros((2, 3))]], [2], "shape"),
        ([[np.zeros((2, 2)), np.zeros((2, 2))]], [1, 1], "shape"),
        ([[np.full((2, 2), np.nan)]], [2], "payoff"),
        ([[np.zeros((2, 2))]], [1], "two players"),
        ([[np.zeros((2, 2))]], [2, 2], "kinds"),
        ([[np.zeros((2, 2))]], [2.5], "integer"),
        ([[np.zeros((60, 60))]], [8], "profiles"),
        ([], [], "shape"),
    ],
)
def test_wrong_arguments(payoff, players, message):
    with pytest.raises(ConfigError, match=message):
        pure_equilibria(payoff, players)
