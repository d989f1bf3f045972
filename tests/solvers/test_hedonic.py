"""Hedonic games: partitions that are stable by the definitions, looked up one by one, and games with known answers."""

from itertools import combinations

import numpy as np
import pytest

from jaxrl.errors import ConfigError
from jaxrl.solvers.cooperative import coalitions
from jaxrl.solvers.hedonic import MOST_PLAYERS, additive, fractional, modified_fractional, partitions, structures

CHASE = [[0, 1], [-1, 0]]  # one who likes the other, and one who does not


@pytest.mark.parametrize(("players", "bell"), [(1, 1), (2, 2), (3, 5), (4, 15), (5, 52), (MOST_PLAYERS, 21_147)])
def test_all_partitions_are_there_once(players, bell):
    labels = partitions(players)
    assert len({row.tobytes() for row in labels}) == len(labels) == bell
    for place in range(players):  # coalitions are numbered as they begin
        assert (labels[:, place] <= labels[:, :place].max(1, initial=-1) + 1).all()


def test_utilities_by_hand():
    values = np.array([[9.0, 1, 2], [3, 9, 4], [5, 6, 9]])
    alone, pair, everyone = 1, 0b101, 0b111
    for make, expected in (
        (additive, [0, 2, 3]),
        (fractional, [0, 2 / 2, 3 / 3]),
        (modified_fractional, [0, 2, 3 / 2]),
    ):
        np.testing.assert_allclose(make(values)[0, [alone, pair, everyone]], expected)


def by_definition(utility, blocks):
    """Returns what players could gain, from a list of sets."""
    players = range(len(utility))

    def worth(player, coalition):
        return utility[player, sum(1 << member for member in coalition)]

    home = {player: block for block in blocks for player in block}
    now = {player: worth(player, home[player]) for player in players}
    gains: dict[str, list[float]] = {"alone": [], "nash": [], "individual": [], "contractual": [], "core": []}
    for player in players:
        gains["alone"].append(worth(player, {player}) - now[player])
        for target in [*blocks, set()]:
            if target == home[player] or target | {player} == home[player]:
                continue
            gain = worth(player, target | {player}) - now[player]
            gains["nash"].append(gain)
            if all(worth(member, target | {player}) >= now[member] for member in target):
                gains["individual"].append(gain)
                left = home[player] - {player}
                if all(worth(member, left) >= now[member] for member in left):
                    gains["contractual"].append(gain)
    for size in range(1, len(utility) + 1):
        for block in map(set, combinations(players, size)):
            if block not in blocks:
                gains["core"].append(min(worth(member, block) - now[member] for member in block))
    return {name: max(found, default=-np.inf) for name, found in gains.items()}


@pytest.mark.parametrize("integers", [False, True])
def test_gains_are_those_of_the_definitions(integers):
    generator = np.random.default_rng(0)
    utility = generator.integers(-2, 3, (4, 16)).astype(float) if integers else generator.normal(size=(4, 16))
    found = structures(utility)
    for place, row in enumerate(found.labels):
        blocks = [set(np.flatnonzero(row == label).tolist()) for label in range(row.max() + 1)]
        for name, gain in by_definition(utility, blocks).items():
            assert getattr(found, name)[place] == pytest.approx(gain), (name, row)
        expected = [utility[player, sum(1 << m for m in range(4) if row[m] == row[player])] for player in range(4)]
        np.testing.assert_array_equal(found.payoffs[place], expected)


def test_one_player_who_runs_after_another():
    """Bogomolnaia and Jackson (2002): no partition is Nash stable; the players by themselves are stable in all other senses."""
    found = structures(additive(CHASE))
    np.testing.assert_array_equal(found.labels, [[0, 0], [0, 1]])
    assert not found.nash_stable.any()
    np.testing.assert_array_equal(found.nash, [1, 1])
    for stable in (found.individually_stable, found.core_stable, found.individually_rational):
        np.testing.assert_array_equal(stable, [False, True])
    np.testing.assert_array_equal(found.contractually_stable, [True, True])  # the one that is left behind minds


def test_three_players_without_a_core():
    """Everyone likes the next one most, the one before less, and a crowd not at all (Gale and Shapley's roommates)."""
    utility = np.where(coalitions(3).T & (coalitions(3).sum(1) == 3), -1.0, 0.0)
    for player in range(3):
        following, before = (player + 1) % 3, (player + 2) % 3
        utility[player, 1 << player | 1 << following], utility[player, 1 << player | 1 << before] = 2, 1
    assert not structures(utility).core_stable.any()


@pytest.mark.parametrize("make", [additive, fractional, modified_fractional])
def test_symmetric_games(make):
    """Bogomolnaia and Jackson (2002): of symmetric additive games the best partition is Nash stable. Units do not matter."""
    generator = np.random.default_rng(1)
    for _ in range(5):
        values = generator.normal(size=(6, 6))
        values = values + values.T
        for scale in (1, 1e-9, 1e9):
            found = structures(make(scale * values))
            best = found.payoffs.sum(1).argmax()
            assert found.contractually_stable[best]
            assert found.nash_stable[best] or make is not additive
    friends = structures(make(np.ones((5, 5))))
    assert friends.core_stable[0]
    assert friends.nash_stable[0]


def test_rounding_is_no_gain():
    values = np.array([[0, 0.1, 0.2], [0.3, 0, 0], [0.3, 0, 0]])
    utility = additive(values)
    assert utility[0, 0b111] != 0.3
    utility[0, 0b011] = 0.3  # as good as both together
    assert structures(utility).core[0] <= 0


@pytest.mark.parametrize(
    ("solve", "message"),
    [
        (lambda: partitions(0), "players must be an integer of at least 1"),
        (lambda: partitions(10), "at most 9 players"),
        (lambda: structures(np.zeros((3, 4))), r"utility must have shape \[N, 2\^N\]"),
        (lambda: structures(np.zeros(8)), r"utility must have shape \[N, 2\^N\]"),
        (lambda: structures(np.full((1, 2), np.nan)), "utility must be finite"),
        (lambda: additive(np.zeros((2, 3))), r"values must have shape \[N, N\]"),
        (lambda: fractional(np.zeros((0, 0))), r"values must have shape \[N, N\]"),
        (lambda: modified_fractional([["a"]]), "values must be an array of real numbers"),
    ],
)
def test_unsound_arguments_are_refused(solve, message):
    with pytest.raises(ConfigError, match=message):
        solve()
